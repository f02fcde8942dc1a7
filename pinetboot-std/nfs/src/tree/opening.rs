//! From ids and names to open files, and the way back; never out of the tree.

use core::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::{self, Errno};

use super::attributes::{attributes, refusal};
use super::identity::act_as_root;
use super::open_files::OpenFile;
use super::{DirectoryTree, kernel};
use crate::file_system::{Attributes, FileId, FileKind, Found, FsError, Result};

impl DirectoryTree {
    pub(super) fn file(&self, id: &FileId) -> Result<Arc<OpenFile>> {
        if let Some(file) = self.files.find(id) {
            return Ok(file);
        }
        let place = self.open_by_id(id, OFlags::PATH).map_err(refusal)?;
        Ok(self.files.keep(*id, OpenFile::place(place)))
    }

    pub(super) fn open_by_id(&self, id: &FileId, flags: OFlags) -> io::Result<OwnedFd> {
        act_as_root().map_err(|_| Errno::PERM)?;
        // ENOENT is what the kernel says of a handle it can make nothing of.
        kernel::open(self.root.as_fd(), id, flags).map_err(|error| match error {
            Errno::NOENT | Errno::INVAL => Errno::STALE,
            error => error,
        })
    }

    /// Only a regular file's content: opening a device or a FIFO does things.
    pub(super) fn open_content(&self, id: &FileId, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_by_id(id, flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW)
    }

    pub(super) fn stat(&self, id: &FileId, file: &OpenFile) -> Result<Attributes> {
        let stat = fs::fstat(file).map_err(refusal)?;
        if stat.st_nlink == 0 {
            // Removed behind our back. Nobody has it open but us.
            self.files.forget(id);
            return Err(FsError::Stale);
        }
        Ok(attributes(&stat))
    }

    pub(super) fn found(&self, fd: BorrowedFd<'_>) -> io::Result<Found> {
        let id = kernel::of_file(fd)?;
        Ok(Found { id, attributes: attributes(&fs::fstat(fd)?) })
    }

    /// What `name` in `dir` is, which had that number a moment ago; None if it is gone, or another file system.
    ///
    /// Asked by name, as long as that is sure to be the same file both times: to open it first takes twice as long, and a
    /// listing is all of this.
    pub(super) fn found_at(&self, dir: &OpenFile, name: &CStr, number: u64) -> Option<Found> {
        let (id, mount) = kernel::of_name_in_mount(dir.as_fd(), name).ok()?;
        if mount != self.mount {
            return None;
        }
        let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if stat.st_ino == number {
            return Some(Found { id, attributes: attributes(&stat) });
        }
        self.open_name(dir, name).and_then(|place| self.found(place.as_fd())).ok()
    }

    /// The file that `name` in `dir` is, opened as this thread's user.
    pub(super) fn open_name(&self, dir: &OpenFile, name: &CStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
            .map_err(|error| match error {
                // Another file system is mounted there.
                Errno::XDEV => Errno::ACCESS,
                error => error,
            })
    }

    /// The directory above. A directory may have been moved out of the tree by others, so all the way up is looked at.
    pub(super) fn parent(&self, id: &FileId, dir: &OpenFile) -> io::Result<OwnedFd> {
        if *id == self.root_id {
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
        while above != self.root_id {
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

/// Directories within directories that are looked through upwards.
const MOST_LEVELS: u32 = 1000;
