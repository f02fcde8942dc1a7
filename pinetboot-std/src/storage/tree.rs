//! A directory tree, served beneath its root and nowhere else.

mod error;
mod hints;

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat, fstatat};
use pinetboot_core::pi::{Lookup, Place, Prefix};
use pinetboot_core::{BootPath, OpenError};

use super::miss::Miss;
use super::recent::RecentFiles;
use super::shared::{OnDisk, Version};
use super::{FoundContent, Medium, Reach};
use crate::beneath::beneath;

pub use error::TreeError;
use error::{NOT_FOR_PIS, TreeErrorKind};
use hints::Hints;

/// A tree of boot files.
///
/// A name with a Pi's prefix (`7bf18f79/config.txt`) is looked up in the Pi's own directory if that exists, else in the shared
/// directory. Never in both: a Pi with its own system must not get the shared kernel because its directory lacks an optional
/// one.
///
/// TFTP has no users, so a file is sent only if its mode lets others read it (`chmod o+r`), as with other TFTP servers. A
/// directory with images or with state of Pis is refused: it holds keys and passwords.
#[derive(Debug)]
pub struct BootTree {
    root: OwnedFd,
    path: PathBuf,
    medium: Medium,
    /// Whether links may name places in the tree by absolute paths of this machine: not where a Pi writes.
    absolute_links: bool,
    recent: RecentFiles,
    hints: Hints,
}

impl BootTree {
    /// Opens a tree.
    ///
    /// # Errors
    ///
    /// If the directory is missing or empty, or this system cannot serve it safely.
    pub fn open_at(path: &Path) -> Result<Self, TreeError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty());
        Ok(Self { absolute_links: true, ..Self::open_as(path, root)? })
    }

    /// The tree in an open directory, which has this path.
    ///
    /// # Errors
    ///
    /// As for [`open_at`](Self::open_at).
    pub fn of(directory: OwnedFd, path: &Path) -> Result<Self, TreeError> {
        Self::open_as(path, Ok(directory))
    }

    fn open_as(path: &Path, root: Result<OwnedFd, Errno>) -> Result<Self, TreeError> {
        let error = |kind| TreeError { path: path.to_owned(), kind };
        let root = root.map_err(|errno| error(TreeErrorKind::Open(errno.into())))?;
        if let Some(found) = NOT_FOR_PIS.into_iter().find(|name| is_there(&root, name)) {
            return Err(error(TreeErrorKind::NotForPis(found)));
        }
        let through = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let mut entries = fs::read_dir(through).map_err(|reason| error(TreeErrorKind::Open(reason)))?;
        if entries.next().is_none() {
            return Err(error(TreeErrorKind::Empty));
        }
        match beneath(&root, Path::new("."), OFlag::O_PATH) {
            Ok(_) => {
                let (medium, path, recent) = (Medium::of(&root), path.to_owned(), RecentFiles::default());
                let hints = Hints::default();
                Ok(Self { medium, root, path, absolute_links: false, recent, hints })
            }
            Err(reason) => Err(error(TreeErrorKind::NoOpenat2(reason.into()))),
        }
    }

    /// The tree's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the open directory.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fstat(&self.root).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// Whether the tree has a config.txt, shared or in a directory.
    pub fn has_config(&self) -> bool {
        let in_directory = |path: PathBuf| path.join("config.txt").is_file();
        in_directory(self.path.clone())
            || fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| in_directory(entry.path()))
    }

    /// Opens a file by the Pi's rules.
    ///
    /// # Errors
    ///
    /// The reason, and the path of the look-up; [`OpenError::Later`]: not known within this reach.
    pub(super) fn open(&self, path: &BootPath<'_>, reach: Reach) -> Result<FoundContent, Miss> {
        let (place, opened) = self.open_by_the_rules(path, reach);
        opened.map_err(|obstacle| match obstacle {
            Obstacle::System(Errno::EAGAIN) => OpenError::Later.into(),
            _ => Miss::new(obstacle.error(), &self.path.join(place), obstacle.reason()),
        })
    }

    /// Reads a whole file; `None` if it is longer than `most` bytes.
    ///
    /// # Errors
    ///
    /// If the file is missing or cannot be read; [`OpenError::Later`]: not known within this reach.
    pub(super) fn read(
        &self,
        path: &BootPath<'_>,
        most: u64,
        reach: Reach,
    ) -> Result<Option<Arc<[u8]>>, Miss> {
        let file = match self.open(path, reach)? {
            FoundContent::Made(bytes) => return Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= most)),
            FoundContent::OnDisk(file) => file,
        };
        if file.version.len > most {
            return Ok(None);
        }
        match file.read_whole(reach) {
            Ok(Some(bytes)) => Ok(Some(bytes.into())),
            Ok(None) => Err(OpenError::Later.into()),
            Err(reason) => Err(Miss::new(OpenError::Failed, &file.place, reason)),
        }
    }

    /// Opens a file; returns the path of the last look-up, and its result.
    fn open_by_the_rules(
        &self,
        path: &BootPath<'_>,
        reach: Reach,
    ) -> (PathBuf, Result<FoundContent, Obstacle>) {
        // The name as requested first: an existing file needs no rules, and no look-up of the Pi's directory.
        let asked: PathBuf = path.components().collect();
        let opened = self.open_beneath(&asked, reach);
        if matches!(opened, Ok(_) | Err(Obstacle::System(Errno::EAGAIN))) {
            return (asked, opened);
        }
        let lookup = Lookup::new(*path);
        let obstacle = Cell::new(None);
        let own = |prefix| match self.own_directory(path, prefix, reach) {
            Ok(own) => own,
            Err(found) => {
                obstacle.set(Some(found));
                None
            }
        };
        let directory = match lookup.place(own) {
            Place::Own(directory) => PathBuf::from(directory),
            Place::Shared => PathBuf::new(),
        };
        if let Some((directory, obstacle)) = obstacle.into_inner() {
            return (directory.into(), Err(obstacle));
        }
        let place = directory.join(lookup.file().components().collect::<PathBuf>());
        let opened = if place == asked { opened } else { self.open_beneath(&place, reach) };
        (place, opened)
    }

    /// The name of the Pi's directory, if it exists: as requested, or in lower or upper case.
    ///
    /// # Errors
    ///
    /// The directory that is there and cannot be entered, or about which nothing is known within this reach.
    fn own_directory(
        &self,
        path: &BootPath<'_>,
        prefix: Prefix,
        reach: Reach,
    ) -> Result<Option<String>, (String, Obstacle)> {
        let asked = path.components().next().map(str::to_owned);
        let canonical = prefix.to_string();
        let upper = canonical.to_uppercase();
        let mut names: Vec<_> = asked.into_iter().chain([canonical, upper]).collect();
        names.dedup();
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
        for name in names {
            // One call for a link, if that is usual here. What goes wrong is found out below.
            if self.hints.has_links() && self.open_at_place(Path::new(&name), directory, reach).is_ok() {
                return Ok(Some(name));
            }
            // First without following a link: one call for a name that is absent, the usual case.
            match self.medium.open(reach, &self.root, Path::new(&name), directory | OFlag::O_NOFOLLOW) {
                Ok(_) => return Ok(Some(name)),
                Err(Errno::ENOENT) => {
                    self.hints.set_has_links(false);
                    continue;
                }
                Err(Errno::ENOTDIR) => {} // a link, or a file
                Err(errno) => return Err((name, errno.into())),
            }
            match self.open_at_place(Path::new(&name), directory, reach) {
                Ok(_) => {
                    self.hints.set_has_links(true);
                    return Ok(Some(name));
                }
                Err(Errno::ENOTDIR) => {}
                Err(Errno::ENOENT) => return Err((name, Obstacle::LeadsNowhere)),
                Err(errno) => return Err((name, errno.into())),
            }
        }
        Ok(None)
    }

    /// Opens what is at `place`, in UTF-8 or else in Latin-1. Links are followed as long as they stay in the tree.
    fn open_at_place(&self, place: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
        let opened = self.open_exactly(place, flags, reach);
        match &opened {
            Err(Errno::ENOENT) => {
                in_latin1(place).map_or(opened, |place| self.open_exactly(&place, flags, reach))
            }
            _ => opened,
        }
    }

    fn open_exactly(&self, place: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
        match self.medium.open(reach, &self.root, place, flags) {
            // The kernel refuses every absolute link (openat2(2), RESOLVE_BENEATH).
            Err(Errno::EXDEV) if self.absolute_links => {
                let inside = self.resolved(place)?;
                self.medium.open(reach, &self.root, &inside, flags)
            }
            opened => opened,
        }
    }

    /// The path in the tree to which a path with absolute links leads: `ENOENT` if nothing is there, `EXDEV` if it leaves the tree.
    fn resolved(&self, place: &Path) -> Result<PathBuf, Errno> {
        let top = PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd())).canonicalize();
        let top = top.map_err(|_| Errno::EXDEV)?;
        let place = top.join(place);
        match place.canonicalize() {
            Ok(found) => found.strip_prefix(&top).map(Path::to_owned).map_err(|_| Errno::EXDEV),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let last = place.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
                Err(if last.is_some_and(|last| last.starts_with(&top)) {
                    Errno::ENOENT
                } else {
                    Errno::EXDEV
                })
            }
            Err(_) => Err(Errno::EXDEV),
        }
    }

    fn open_beneath(&self, place: &Path, reach: Reach) -> Result<FoundContent, Obstacle> {
        if reach == Reach::Memory && !self.hints.is_long(place) {
            let found = self.open_at_place(place, OFlag::O_PATH, reach)?;
            let version = version_for_others(&File::from(found))?;
            if let Some(bytes) = self.recent.find(&version) {
                return Ok(FoundContent::Made(bytes));
            }
        }
        // O_NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = File::from(self.open_at_place(place, flags, reach)?);
        let version = version_for_others(&file)?;
        // A file system that is mounted below the tree's has its own kind.
        let medium = if reach == Reach::Memory { self.medium } else { Medium::of(&file) };
        let file = OnDisk { file, version, medium, place: self.path.join(place), first: None };
        self.hints.set_long(place, !RecentFiles::has_room_for(&version));
        if reach == Reach::Memory
            && RecentFiles::keeps(&version, SystemTime::now())
            && let Ok(Some(bytes)) = file.read_whole(reach)
        {
            let bytes = bytes.into();
            self.recent.keep(version, &bytes);
            return Ok(FoundContent::Made(bytes));
        }
        Ok(FoundContent::OnDisk(file))
    }
}

/// The path with the bytes of Latin-1, if they are others.
fn in_latin1(place: &Path) -> Option<PathBuf> {
    let bytes = BootPath::parse(place.as_os_str().as_bytes()).ok()?.latin1()?;
    Some(OsString::from_vec(bytes.collect()).into())
}

/// The version of a regular file that others may read.
fn version_for_others(file: &File) -> Result<Version, Obstacle> {
    let metadata = file.metadata().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if !metadata.is_file() {
        return Err(Errno::EISDIR.into());
    }
    if !Mode::from_bits_truncate(metadata.mode()).contains(Mode::S_IROTH) {
        return Err(Obstacle::NotForOthers);
    }
    Ok(Version::of(&metadata))
}

fn is_there(directory: &OwnedFd, name: &str) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

/// The reason for a refused file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    System(Errno),
    /// The file's mode does not let others read it.
    NotForOthers,
    /// A Pi's directory is a link to a directory that does not exist.
    LeadsNowhere,
}

impl Obstacle {
    const fn error(self) -> OpenError {
        match self {
            Self::System(Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ENAMETOOLONG) => {
                OpenError::NotFound
            }
            Self::System(Errno::EXDEV | Errno::ELOOP | Errno::EACCES | Errno::EPERM)
            | Self::NotForOthers
            | Self::LeadsNowhere => OpenError::Denied,
            Self::System(_) => OpenError::Failed,
        }
    }

    fn reason(self) -> io::Error {
        match self {
            Self::System(Errno::EXDEV) => io::Error::other("a link in the path leads out of the tree"),
            // The server is one of the others, unless the file is its user's.
            Self::System(Errno::EACCES) => {
                io::Error::other("not readable by others (chmod o+r, and o+x for its directories)")
            }
            Self::System(errno) => errno.into(),
            Self::NotForOthers => io::Error::other("not readable by others (chmod o+r)"),
            Self::LeadsNowhere => {
                io::Error::other("the Pi's directory is a link to a directory that does not exist")
            }
        }
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

#[cfg(test)]
mod tests;
