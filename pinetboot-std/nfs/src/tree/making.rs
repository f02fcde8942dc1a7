//! Making files with the requested attributes.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};

use super::attributes::{attributes, refusal};
use super::descriptors::with_room;
use super::identity::modes_are_exact;
use super::open_files::OpenFile;
use super::{DirectoryTree, kernel};
use crate::file_system::{Caller, FileKind, Found, FsError, Result, SetAttributes, SetTime, Time};

impl DirectoryTree {
    /// Finishes a new file: its id, the requested attributes, and a place among the open files.
    pub(super) fn made(
        &self,
        dir: &OpenFile,
        name: &CString,
        caller: &Caller,
        with: &SetAttributes,
    ) -> Result<Found> {
        let place = self.open_name(dir, name).map_err(refusal)?;
        self.finish(caller, self.files.place(place), with)
    }

    pub(super) fn finish(&self, caller: &Caller, file: OpenFile, with: &SetAttributes) -> Result<Found> {
        let id = kernel::of_file(file.as_fd()).map_err(refusal)?;
        let file = self.files.keep(id, file);
        // Another owner costs the file its set-id bits.
        let again = |mode: &u32| mode & 0o6000 != 0 && (with.uid.is_some() || with.gid.is_some());
        let with =
            SetAttributes { mode: with.mode.filter(|mode| !modes_are_exact() || again(mode)), ..*with };
        self.change(caller, &id, &file, &with)?;
        Ok(Found { id, attributes: self.stat(&id, &file)? })
    }

    /// Creates a file, or with `guarded` off changes the size of an existing one.
    pub(super) fn create_or_change(
        &self,
        caller: &Caller,
        dir: &OpenFile,
        name: &CString,
        with: &SetAttributes,
        guarded: bool,
    ) -> Result<Found> {
        match self.create_new(dir, name, mode(with, 0o666)) {
            // A new file is empty: its size only changes if it becomes longer.
            Ok(fd) => {
                let size = with.size.filter(|&size| size != 0);
                let with = initial(&SetAttributes { size, ..*with }, caller);
                self.finish(caller, self.files.made(fd), &with)
            }
            Err(Errno::EXIST) if !guarded => {
                let place = self.open_name(dir, name).map_err(refusal)?;
                let there = self.found(place.as_fd()).map_err(refusal)?;
                if there.attributes.kind != FileKind::Regular {
                    return Err(FsError::Exists);
                }
                let file = self.files.keep(there.id, self.files.place(place));
                let size = SetAttributes { size: with.size, ..SetAttributes::default() };
                self.change(caller, &there.id, &file, &size)?;
                Ok(Found { id: there.id, attributes: self.stat(&there.id, &file)? })
            }
            Err(error) => Err(refusal(error)),
        }
    }

    /// Creates a file whose times are the verifier. An existing file with these times is the result of the same call before.
    pub(super) fn create_exclusive(
        &self,
        caller: &Caller,
        dir: &OpenFile,
        name: &CString,
        verifier: [u8; 8],
    ) -> Result<Found> {
        let (accessed, modified) = times_of(verifier);
        match self.create_new(dir, name, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => {
                let times = SetAttributes {
                    accessed: SetTime::To(accessed),
                    modified: SetTime::To(modified),
                    ..SetAttributes::default()
                };
                self.finish(caller, self.files.made(fd), &times)
            }
            Err(Errno::EXIST) => {
                let place = self.open_name(dir, name).map_err(|_| FsError::Exists)?;
                let there = attributes(&fs::fstat(&place).map_err(refusal)?);
                let ours = there.kind == FileKind::Regular
                    && (there.accessed, there.modified) == (accessed, modified);
                match ours {
                    true => self.finish(caller, self.files.place(place), &SetAttributes::default()),
                    false => Err(FsError::Exists),
                }
            }
            Err(error) => Err(refusal(error)),
        }
    }

    fn create_new(&self, dir: &OpenFile, name: &CString, mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        with_room(|| fs::openat(dir, name, flags, mode))
    }
}

pub(super) fn mode(with: &SetAttributes, default: u32) -> Mode {
    Mode::from_raw_mode(with.mode.unwrap_or(default) & 0o7777)
}

/// The attributes that creation does not set: owners other than the caller, and times.
pub(super) fn initial(with: &SetAttributes, caller: &Caller) -> SetAttributes {
    let uid = with.uid.filter(|&uid| uid != caller.uid);
    let gid = with.gid.filter(|&gid| gid != caller.gid);
    SetAttributes { uid, gid, ..*with }
}

/// Stores an exclusive create's verifier in the file's times, until the client sets them.
fn times_of(verifier: [u8; 8]) -> (Time, Time) {
    let [a, b, c, d, e, f, g, h] = verifier;
    // 31 bits: the range of times on every file system.
    let time = |bytes| Time { seconds: u32::from_be_bytes(bytes) & 0x7fff_ffff, nanoseconds: 0 };
    (time([a, b, c, d]), time([e, f, g, h]))
}
