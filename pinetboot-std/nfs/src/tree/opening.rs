//! Opens files by id and name, and finds ids; never outside of the tree.

use core::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{self, Errno};

use super::attributes::{attributes, refusal};
use super::descriptors::with_room;
use super::identity::act_as_root;
use super::kernel::MountId;
use super::open_files::OpenFile;
use super::{DirectoryTree, kernel};
use crate::file_system::{Attributes, FileId, FileKind, Found, FsError, Result};

impl DirectoryTree {
    pub(super) fn file(&self, id: &FileId) -> Result<Arc<OpenFile>> {
        if let Some(file) = self.files.find(id) {
            return Ok(file);
        }
        let place = self.open_by_id(id, OFlags::PATH).map_err(refusal)?;
        Ok(self.files.keep(*id, self.files.place(place)))
    }

    pub(super) fn open_by_id(&self, id: &FileId, flags: OFlags) -> io::Result<OwnedFd> {
        act_as_root().map_err(|_| Errno::PERM)?;
        let root = self.root.get()?;
        // The kernel's error for an unknown handle is ENOENT.
        with_room(|| kernel::open(root.as_fd(), id, flags)).map_err(|error| match error {
            Errno::NOENT | Errno::INVAL => Errno::STALE,
            error => error,
        })
    }

    /// Opens a regular file's content only: opening a device or a FIFO has effects.
    pub(super) fn open_content(&self, id: &FileId, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_by_id(id, flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW)
    }

    pub(super) fn stat(&self, id: &FileId, file: &OpenFile) -> Result<Attributes> {
        let stat = fs::fstat(file).map_err(refusal)?;
        if stat.st_nlink == 0 {
            // Another process removed the file, and only this server has it open.
            self.files.forget(id);
            return Err(FsError::Stale);
        }
        Ok(self.attributes_of(id, &stat))
    }

    pub(super) fn found(&self, fd: BorrowedFd<'_>) -> io::Result<Found> {
        let id = kernel::of_file(fd)?;
        Ok(Found { id, attributes: self.attributes_of(&id, &fs::fstat(fd)?) })
    }

    fn attributes_of(&self, id: &FileId, stat: &Stat) -> Attributes {
        let attributes = attributes(stat);
        Attributes { file_number: self.numbers.of(attributes.file_number, || Ok(*id)), ..attributes }
    }

    /// The file `name` in `dir`, which had that number a moment ago; `None` if it is gone, or not in this mount.
    ///
    /// Queried by name, if both queries surely see the same file: opening it first takes twice as long, and a listing consists of
    /// such queries.
    pub(super) fn found_at(&self, mount: MountId, dir: &OpenFile, name: &CStr, number: u64) -> Option<Found> {
        let (id, found_in) = kernel::of_name_in_mount(dir.as_fd(), name).ok()?;
        if found_in != mount {
            return None;
        }
        let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if stat.st_ino == number {
            return Some(Found { id, attributes: self.attributes_of(&id, &stat) });
        }
        self.open_name(dir, name).and_then(|place| self.found(place.as_fd())).ok()
    }

    /// Opens the file `name` in `dir` as this thread's user.
    pub(super) fn open_name(&self, dir: &OpenFile, name: &CStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        with_room(|| fs::openat2(dir, name, flags, Mode::empty(), within)).map_err(|error| match error {
            // A mount point of another file system.
            Errno::XDEV => Errno::ACCESS,
            error => error,
        })
    }

    /// The parent directory. Another process may have moved a directory out of the tree, so the whole path up is checked.
    pub(super) fn parent(&self, id: &FileId, dir: &OpenFile) -> io::Result<OwnedFd> {
        if id == self.root.id() {
            return dir
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        let open = |dir: BorrowedFd<'_>| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::openat2(dir, c"..", flags, Mode::empty(), ResolveFlags::NO_XDEV)
        };
        let parent = open(dir.as_fd())?;
        act_as_root().map_err(|_| Errno::PERM)?;
        let (mut above, mut steps) = (kernel::of_file(parent.as_fd())?, MOST_LEVELS);
        let mut at = open(parent.as_fd());
        while above != *self.root.id() {
            let next = at?;
            let next_id = kernel::of_file(next.as_fd())?;
            steps -= 1;
            if next_id == above || steps == 0 {
                return Err(Errno::STALE);
            }
            (above, at) = (next_id, open(next.as_fd()));
        }
        Ok(parent)
    }

    pub(super) fn regular(&self, id: &FileId, file: &OpenFile) -> io::Result<()> {
        match self.stat(id, file).map_err(|_| Errno::STALE)?.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn reader<'a>(&self, id: &FileId, file: &'a OpenFile) -> Result<BorrowedFd<'a>> {
        file.reader(|| {
            self.regular(id, file)?;
            self.open_content(id, OFlags::RDONLY)
        })
        .map_err(refusal)
    }

    pub(super) fn writer<'a>(&self, id: &FileId, file: &'a OpenFile) -> Result<BorrowedFd<'a>> {
        file.writer(|| {
            self.regular(id, file)?;
            self.open_content(id, OFlags::RDWR)
        })
        .map_err(refusal)
    }
}

/// Most levels to check upwards.
const MOST_LEVELS: u32 = 1000;
