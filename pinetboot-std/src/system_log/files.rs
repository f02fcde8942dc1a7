//! The files of a root, for reading anywhere in them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use pinetboot_image::ReadAt;
use pinetboot_image::ext4::{Ext4, FileKind};

use crate::beneath::within;

/// Files by their path from the top, without a leading slash. Symbolic links are followed and stay inside, as for a process in a
/// `chroot`.
pub(crate) trait Files {
    /// The names in a directory that are UTF-8, sorted; empty if no directory has that path.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// A regular file with its length in bytes; `None` if no regular file has that path.
    fn open(&self, path: &str) -> io::Result<Option<(Box<dyn ReadAt + '_>, u64)>>;
}

/// A directory of this machine.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// # Errors
    ///
    /// If the directory cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OwnedFd::from(File::open(path)?)))
    }

    fn find(&self, path: &str, flags: OFlag) -> io::Result<Option<File>> {
        match within(&self.0, Path::new(path), flags) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO | Errno::ENAMETOOLONG) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Files for Directory {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(directory) = self.find(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory)?.take(MOST_NAMES) {
            let name = entry?.file_name().to_str().ok().map(str::to_owned);
            names.extend(name.filter(|name| name != "." && name != ".."));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &str) -> io::Result<Option<(Box<dyn ReadAt + '_>, u64)>> {
        // By O_PATH first, so that no device or pipe is touched.
        let is_regular = |file: &File| Ok::<_, io::Error>(file.metadata()?.is_file());
        match self.find(path, OFlag::O_PATH)? {
            Some(file) if is_regular(&file)? => {}
            _ => return Ok(None),
        }
        let Some(file) = self.find(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)? else {
            return Ok(None);
        };
        let status = file.metadata()?;
        Ok(status.is_file().then(|| (Box::new(file) as Box<dyn ReadAt>, status.len())))
    }
}

/// The root on a disk.
impl<R: ReadAt> Files for Ext4<R> {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        if let Some(inode) =
            self.find(path).map_err(io::Error::other)?.filter(|inode| inode.kind == FileKind::Directory)
        {
            self.entries(&inode, &mut self.budget(), |entry, _| {
                if names.len() < MOST_NAMES {
                    names.extend(String::from_utf8(entry.name.to_vec()));
                }
                Ok::<_, pinetboot_image::ImageError>(())
            })
            .map_err(io::Error::other)?;
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &str) -> io::Result<Option<(Box<dyn ReadAt + '_>, u64)>> {
        let found = self.find(path).map_err(io::Error::other)?;
        let Some(inode) = found.filter(|inode| inode.kind == FileKind::Regular) else { return Ok(None) };
        let content = self.content(&inode).map_err(io::Error::other)?;
        let len = content.len();
        Ok(Some((Box::new(content), len)))
    }
}

const MOST_NAMES: usize = 10_000;
