//! The directory for uploads. A file appears whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::fstatvfs;
use pinetboot_core::{BootPath, OpenError, Upload};
use tempfile::NamedTempFile;

use crate::beneath::beneath;

/// A directory that clients may write to.
#[derive(Debug)]
pub struct Uploads {
    root: OwnedFd,
    overwrite: bool,
}

/// An upload under way: a temporary file beside its place, renamed when whole.
#[derive(Debug)]
pub struct Incoming {
    /// The temporary file.
    file: Option<NamedTempFile>,
    /// The directory and the name of the finished file.
    directory: OwnedFd,
    name: String,
    overwrite: bool,
}

impl Uploads {
    /// Opens the directory; `overwrite` lets uploads replace existing files.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open_at(path: &Path, overwrite: bool) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(path, flags, Mode::empty())?, overwrite })
    }

    /// Creates a file to write. Directories are not created.
    ///
    /// # Errors
    ///
    /// If the file exists and may not be replaced, its directory is missing, or the disk has too little space.
    pub fn create(&self, path: &BootPath<'_>, len: Option<u64>) -> Result<Incoming, OpenError> {
        let mut place: PathBuf = path.components().collect();
        place.pop();
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { &place };
        let directory = beneath(&self.root, place, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(
            |errno| match errno {
                Errno::ENOENT | Errno::ENOTDIR => OpenError::NotFound,
                Errno::EXDEV | Errno::ELOOP | Errno::EACCES => OpenError::Denied,
                _ => OpenError::Failed,
            },
        )?;
        let name = path.file_name().to_owned();
        let there = fstatat(&directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there && !self.overwrite {
            return Err(OpenError::Exists);
        }
        if let (Some(len), Ok(system)) = (len, fstatvfs(&directory))
            && len > system.blocks_available().saturating_mul(system.fragment_size())
        {
            return Err(OpenError::NoSpace);
        }
        let file = tempfile::Builder::new()
            .prefix(".pinetboot-")
            .suffix(".part")
            .permissions(readable_by_all())
            .tempfile_in(through(&directory))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::NoSpace,
                _ => OpenError::Failed,
            })?;
        Ok(Incoming { file: Some(file), directory, name, overwrite: self.overwrite })
    }
}

impl Upload for Incoming {
    type Error = io::Error;

    fn expect(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Does not flush to the disk: a large file takes seconds, and the worker would serve no other client meanwhile.
    async fn finish(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let place = through(&self.directory).join(&self.name);
        // Without `overwrite` this fails if the file appeared meanwhile.
        let kept = if self.overwrite { file.persist(place) } else { file.persist_noclobber(place) };
        kept.map(drop).map_err(|error| error.error)
    }
}

/// A path to an open directory, which no link can redirect.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn readable_by_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use pinetboot_core::block_on;

    use super::*;

    fn put(uploads: &Uploads, name: &str, content: &[u8]) -> Result<(), OpenError> {
        let mut incoming =
            uploads.create(&BootPath::parse(name.as_bytes()).unwrap(), Some(content.len() as u64))?;
        block_on(incoming.write(content)).map_err(|_| OpenError::Failed)?;
        block_on(incoming.finish()).map_err(|_| OpenError::Exists)
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().flatten();
        names.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_comes_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::open_at(directory.path(), false).unwrap();
        let mut dropped = uploads.create(&BootPath::parse(b"half").unwrap(), None).unwrap();
        block_on(dropped.write(b"ha")).unwrap();
        drop(dropped);
        assert_eq!(names(directory.path()), [""; 0]);
        put(&uploads, "whole", b"whole").unwrap();
        assert_eq!(names(directory.path()), ["whole"]);
        assert_eq!(fs::read(directory.path().join("whole")).unwrap(), b"whole");
    }

    #[test]
    fn nothing_is_overwritten_unless_told() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::open_at(directory.path(), false).unwrap();
        put(&uploads, "log", b"one").unwrap();
        assert_eq!(put(&uploads, "log", b"two"), Err(OpenError::Exists));
        // Two uploads of one name: the one that is whole first stays.
        let path = BootPath::parse(b"race").unwrap();
        let (mut first, mut second) =
            (uploads.create(&path, None).unwrap(), uploads.create(&path, None).unwrap());
        block_on(first.write(b"first")).unwrap();
        block_on(first.finish()).unwrap();
        assert!(block_on(second.finish()).is_err());
        assert_eq!(fs::read(directory.path().join("race")).unwrap(), b"first");
        let uploads = Uploads::open_at(directory.path(), true).unwrap();
        put(&uploads, "log", b"two").unwrap();
        assert_eq!(fs::read(directory.path().join("log")).unwrap(), b"two");
    }

    #[test]
    fn stays_beneath_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("out")).unwrap();
        let uploads = Uploads::open_at(directory.path(), true).unwrap();
        assert_eq!(put(&uploads, "out/file", b""), Err(OpenError::Denied));
        assert_eq!(put(&uploads, "missing/file", b""), Err(OpenError::NotFound));
        assert_eq!(names(outside.path()), [""; 0]);
    }

    #[test]
    fn refuses_what_cannot_fit() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::open_at(directory.path(), false).unwrap();
        let too_long = uploads.create(&BootPath::parse(b"big").unwrap(), Some(u64::MAX));
        assert_eq!(too_long.err(), Some(OpenError::NoSpace));
    }
}
