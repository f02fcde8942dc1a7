//! The directory for uploads. A file appears whole or not at all.
//!
//! A request alone holds one descriptor of a directory; its file is made when the first bytes come. Refused are names that begin with
//! a dot or a dash: the first are hidden from an operator and are this server's own (`.pinetboot-*.part`), the second are options to
//! a shell's `*`. Another name than the requested one would surprise the client, so no name is changed.

mod quota;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::DecimalBytes;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{AccessFlags, faccessat};
use pinetboot_core::{OpenError, OpenRequest, Upload};
use tempfile::NamedTempFile;
use walkdir::WalkDir;

use super::Miss;
use crate::beneath::beneath;
use crate::bus::Bus;
use crate::events::Tftp;
use crate::space::{Reserve, Size, Space};
use crate::text::shown;
use quota::Place;
pub use quota::UploadQuota;

/// A directory that clients may write to.
#[derive(Debug)]
pub struct Uploads {
    root: OwnedFd,
    rules: UploadRules,
    quota: UploadQuota,
    bus: Bus,
}

/// The settings of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadRules {
    /// Whether an upload may replace a file.
    pub overwrite: bool,
    /// The largest file.
    pub max_size: Size,
    /// The space that uploads leave free.
    pub reserve: Reserve,
}

/// An upload under way: a temporary file beside its place, renamed when whole.
#[derive(Debug)]
pub struct Incoming {
    /// The temporary file, once bytes came; its lock tells it from a leftover.
    file: Option<(NamedTempFile, Place)>,
    /// Bytes written.
    len: u64,
    /// The directory of the finished file.
    space: Space,
    /// The name of the finished file.
    name: String,
    rules: UploadRules,
    client: Ipv4Addr,
    quota: UploadQuota,
    bus: Bus,
}

impl Uploads {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open_at(path: &Path, rules: UploadRules, quota: UploadQuota, bus: Bus) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(path, flags, Mode::empty())?, rules, quota, bus })
    }

    /// Begins an upload. Directories are not created.
    ///
    /// # Errors
    ///
    /// If the name is refused, the file exists and may not be replaced, its directory is missing, or a limit is reached.
    pub fn create(&self, request: &OpenRequest<'_>) -> Result<Incoming, Miss> {
        let name = request.path.file_name();
        check_name(name)?;
        let mut place: PathBuf = request.path.components().collect();
        place.pop();
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { &place };
        let directory = beneath(&self.root, place, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(
            |errno| match errno {
                Errno::ENOENT | Errno::ENOTDIR => OpenError::NotFound,
                Errno::EXDEV | Errno::ELOOP | Errno::EACCES => OpenError::Denied,
                _ => OpenError::Failed,
            },
        )?;
        let there = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there && !self.rules.overwrite {
            return Err(OpenError::Exists.into());
        }
        let client = *request.peer.ip();
        if let Err(errno) = faccessat(&directory, ".", AccessFlags::W_OK, AtFlags::AT_EACCESS) {
            return Err(refused(OpenError::Denied, errno.desc()));
        }
        self.quota.check(client, Instant::now()).map_err(|why| refused(OpenError::NoSpace, why))?;
        let incoming = Incoming {
            file: None,
            len: 0,
            space: Space::new(directory, self.rules.reserve),
            name: name.to_owned(),
            rules: self.rules,
            client,
            quota: self.quota.clone(),
            bus: self.bus.clone(),
        };
        incoming.fits(request.len.unwrap_or(0)).map_err(|why| refused(OpenError::NoSpace, why))?;
        Ok(incoming)
    }

    /// Removes the temporary files of processes that were killed; returns their number. Files of running processes are locked.
    pub fn remove_leftovers(&self) -> usize {
        let files = WalkDir::new(through(&self.root).join(".")).max_depth(DEPTH).same_file_system(true);
        let files = files.into_iter().take(MOST_LOOKED_AT).flatten();
        let ours = |name: &str| {
            let random = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
            random.is_some_and(|random| random.len() == RANDOM && !random.contains('.'))
        };
        let ours =
            files.filter(|file| file.file_type().is_file() && file.file_name().to_str().is_some_and(ours));
        let removed = ours.filter(|file| {
            let lock = File::open(file.path());
            lock.is_ok_and(|file| file.try_lock().is_ok()) && fs::remove_file(file.path()).is_ok()
        });
        removed.count()
    }
}

impl Incoming {
    /// Whether a file of `len` bytes fits; the error is the limit.
    fn fits(&self, len: u64) -> Result<(), String> {
        let most = self.rules.max_size.bytes();
        if len > most {
            return Err(format!("the file is larger than --upload-max-size, {}", DecimalBytes(most)));
        }
        let left = len.saturating_sub(self.len);
        if self.space.measure().is_ok_and(|free| left > free.for_clients) {
            return Err(FULL.to_owned());
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.file.is_none() {
            let place = self.quota.begin(self.client, Instant::now())?;
            self.file = Some((self.make().map_err(|error| error.to_string())?, place));
        }
        let len = self.len.saturating_add(bytes.len() as u64);
        if len > self.rules.max_size.bytes() {
            return self.fits(len);
        }
        if !self.space.take(bytes.len() as u64) {
            return Err(FULL.to_owned());
        }
        if let Some((file, _)) = &mut self.file {
            file.write_all(bytes).map_err(|error| error.to_string())?;
        }
        self.len = len;
        Ok(())
    }

    fn make(&self) -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new();
        file.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).permissions(readable_by_all());
        let file = file.tempfile_in(through(self.space.directory()))?;
        file.as_file().try_lock()?;
        Ok(file)
    }

    fn complete(&mut self) -> Result<(), String> {
        if self.file.is_none() {
            self.put(&[])?;
        }
        let Some((file, _place)) = self.file.take() else { return Ok(()) };
        let place = through(self.space.directory()).join(&self.name);
        // Without `overwrite` this fails if the file appeared meanwhile.
        let kept = if self.rules.overwrite { file.persist(place) } else { file.persist_noclobber(place) };
        kept.map(drop).map_err(|error| error.error.to_string())
    }

    /// Tells why an upload ends; the client hears "disk full or allocation exceeded" alone.
    fn tell(&self, why: String) -> io::Error {
        let (file, error) = (shown(&self.name).to_string(), io::Error::other(why.clone()));
        self.bus.emit(self.client, Tftp::UploadFailed { file, why });
        error
    }
}

impl Upload for Incoming {
    type Error = io::Error;

    fn expect(&mut self, len: u64) -> io::Result<()> {
        self.fits(len).map_err(|why| self.tell(why))
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes).map_err(|why| self.tell(why))
    }

    /// Does not flush to the disk: a large file takes seconds, and the worker would serve no other client meanwhile.
    async fn finish(&mut self) -> io::Result<()> {
        self.complete().map_err(|why| self.tell(why))
    }
}

fn check_name(name: &str) -> Result<(), Miss> {
    if name.len() > MOST_NAME {
        return Err(refused(OpenError::NameTooLong, format!("the name is longer than {MOST_NAME} bytes")));
    }
    if name.starts_with(['.', '-']) {
        return Err(refused(OpenError::Denied, "names that begin with a dot or a dash are refused"));
    }
    Ok(())
}

fn refused(error: OpenError, why: impl Into<String>) -> Miss {
    Miss { error, place: None, reason: Some(io::Error::other(why.into())) }
}

/// A path to an open directory, which no link can redirect.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn readable_by_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

const FULL: &str = "the disk is full, except for the server's reserve. Remove files, or lower --disk-reserve";
/// Linux's limit of a name (limits.h, NAME_MAX).
const MOST_NAME: usize = 255;
const PREFIX: &str = ".pinetboot-";
const SUFFIX: &str = ".part";
/// Random characters between the two.
const RANDOM: usize = 6;
/// Levels of directories, and entries, that are searched for leftovers at the start.
const DEPTH: usize = 8;
const MOST_LOOKED_AT: usize = 100_000;

#[cfg(test)]
mod tests {
    use pinetboot_core::{BootPath, block_on};

    use super::*;

    fn open(directory: &tempfile::TempDir, overwrite: bool) -> Uploads {
        let max_size = "1M".parse().unwrap();
        let rules = UploadRules { overwrite, max_size, reserve: Reserve::default() };
        Uploads::open_at(directory.path(), rules, UploadQuota::default(), Bus::silent()).unwrap()
    }

    fn create(uploads: &Uploads, name: &str, len: Option<u64>) -> Result<Incoming, OpenError> {
        let path = BootPath::parse(name.as_bytes()).unwrap();
        let request = OpenRequest::new(path, "192.0.2.1:1".parse().unwrap()).with_len(len);
        uploads.create(&request).map_err(|miss| miss.error)
    }

    fn put(uploads: &Uploads, name: &str, content: &[u8]) -> Result<(), OpenError> {
        let mut incoming = create(uploads, name, Some(content.len() as u64))?;
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
        let uploads = open(&directory, false);
        let mut dropped = create(&uploads, "half", None).unwrap();
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
        let uploads = open(&directory, false);
        put(&uploads, "log", b"one").unwrap();
        assert_eq!(put(&uploads, "log", b"two"), Err(OpenError::Exists));
        // Two uploads of one name: the one that is whole first stays.
        let begin = || create(&uploads, "race", None).unwrap();
        let (mut first, mut second) = (begin(), begin());
        block_on(first.write(b"first")).unwrap();
        block_on(first.finish()).unwrap();
        assert!(block_on(second.finish()).is_err());
        assert_eq!(fs::read(directory.path().join("race")).unwrap(), b"first");
        let uploads = open(&directory, true);
        put(&uploads, "log", b"two").unwrap();
        assert_eq!(fs::read(directory.path().join("log")).unwrap(), b"two");
    }

    #[test]
    fn stays_beneath_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("out")).unwrap();
        let uploads = open(&directory, true);
        assert_eq!(put(&uploads, "out/file", b""), Err(OpenError::Denied));
        assert_eq!(put(&uploads, "missing/file", b""), Err(OpenError::NotFound));
        assert_eq!(names(outside.path()), [""; 0]);
    }

    #[test]
    fn refuses_what_cannot_fit() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = open(&directory, false);
        assert_eq!(create(&uploads, "big", Some(u64::MAX)).err(), Some(OpenError::NoSpace));
        assert_eq!(create(&uploads, "big", Some(1_000_001)).err(), Some(OpenError::NoSpace));
        // The bytes count, not the announced length.
        let mut lies = create(&uploads, "big", Some(10)).unwrap();
        block_on(lies.write(&[0; 1_000_000])).unwrap();
        assert!(block_on(lies.write(&[0])).is_err());
        drop(lies);
        let rules = UploadRules { reserve: Reserve::new(Some("1EiB".parse().unwrap())), ..uploads.rules };
        let uploads = Uploads { rules, ..uploads };
        assert_eq!(create(&uploads, "one", Some(1)).err(), Some(OpenError::NoSpace));
        let mut unknown = create(&uploads, "one", None).unwrap();
        assert!(block_on(unknown.write(&[0])).is_err(), "the reserve stays free");
        drop(unknown);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn names_that_mislead_an_operator_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = open(&directory, true);
        for name in [".hidden", ".pinetboot-abcdef.part", "-rf", "...", "."] {
            let Ok(path) = BootPath::parse(name.as_bytes()) else { continue };
            assert_eq!(check_name(path.file_name()).unwrap_err().error, OpenError::Denied, "{name}");
        }
        assert_eq!(put(&uploads, &"n".repeat(256), b""), Err(OpenError::NameTooLong));
        put(&uploads, &"n".repeat(255), b"").unwrap();
        put(&uploads, "a.b-c", b"").unwrap();
    }

    #[test]
    fn a_request_alone_makes_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = open(&directory, true);
        let open: Vec<_> = (0..100).map(|_| create(&uploads, "one", Some(5)).unwrap()).collect();
        assert_eq!(names(directory.path()), [""; 0]);
        drop(open);
        put(&uploads, "empty", b"").unwrap();
        assert_eq!(names(directory.path()), ["empty"]);
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = open(&directory, false);
        fs::create_dir_all(directory.path().join("sub")).unwrap();
        let others = [".pinetboot-x.part", ".pinetboot-a.b.cd.part", ".pinetboot-abcdef", "file"];
        for name in [".pinetboot-abcdef.part", "sub/.pinetboot-123456.part"].iter().chain(&others) {
            fs::write(directory.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("file", directory.path().join(".pinetboot-linked.part")).unwrap();
        let mut running = create(&uploads, "sub/running", None).unwrap();
        block_on(running.write(b"more")).unwrap();
        assert_eq!(uploads.remove_leftovers(), 2);
        assert_eq!(names(directory.path()).len(), others.len() + 2);
        block_on(running.finish()).unwrap();
        assert_eq!(names(&directory.path().join("sub")), ["running"]);
    }
}
