//! What it takes to make a file the way it was asked for.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nfs3_types::nfs3::{
    createverf3, ftype3, nfstime3, sattr3, set_atime, set_gid3, set_mode3, set_mtime, set_uid3,
};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};

use super::attributes::{attributes, status};
use super::identity::modes_are_exact;
use super::open_files::OpenFile;
use super::{DirectoryTree, changes, kernel};
use crate::file_system::{Caller, Found, Result};

impl DirectoryTree {
    /// What has just been made under a name: its id, the attributes it should have, and a place among the open files.
    pub(super) fn made(
        &self,
        dir: &OpenFile,
        name: &CString,
        caller: &Caller,
        with: &sattr3,
    ) -> Result<Found> {
        let place = self.open_name(dir, name).map_err(status)?;
        self.finish(caller, OpenFile::place(place), with)
    }

    pub(super) fn finish(&self, caller: &Caller, file: OpenFile, with: &sattr3) -> Result<Found> {
        let id = kernel::of_file(file.as_fd()).map_err(status)?;
        let file = self.files.keep(id, file);
        let with =
            sattr3 { mode: if modes_are_exact() { set_mode3::None } else { with.mode }, ..with.clone() };
        self.change(caller, &id, &file, &with)?;
        Ok(Found { id, attributes: self.stat(&id, &file)? })
    }

    pub(super) fn create_exclusive(
        &self,
        dir: &OpenFile,
        name: &CString,
        verifier: createverf3,
    ) -> io::Result<OpenFile> {
        let (atime, mtime) = times_of(verifier);
        match self.create_new(dir, name, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => {
                let times = sattr3 {
                    atime: set_atime::SET_TO_CLIENT_TIME(atime),
                    mtime: set_mtime::SET_TO_CLIENT_TIME(mtime),
                    ..sattr3::default()
                };
                changes::apply(fd.as_fd(), &times)?;
                Ok(OpenFile::made(fd))
            }
            Err(Errno::EXIST) => {
                let place = self.open_name(dir, name).map_err(|_| Errno::EXIST)?;
                let there = attributes(&fs::fstat(&place)?);
                let ours = there.type_ == ftype3::NF3REG && (there.atime, there.mtime) == (atime, mtime);
                if ours { Ok(OpenFile::place(place)) } else { Err(Errno::EXIST) }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn create_new(&self, dir: &OpenFile, name: &CString, mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(dir, name, flags, mode)
    }
}

pub(super) fn mode(with: &sattr3, default: u32) -> Mode {
    let mode = match with.mode {
        set_mode3::Some(mode) => mode,
        set_mode3::None => default,
    };
    Mode::from_raw_mode(mode & 0o7777)
}

/// What making a file does not do already: owners, where they are not the caller, and times.
pub(super) fn initial(with: &sattr3, caller: &Caller) -> sattr3 {
    let uid = match with.uid {
        set_uid3::Some(uid) if uid != caller.uid => set_uid3::Some(uid),
        _ => set_uid3::None,
    };
    let gid = match with.gid {
        set_gid3::Some(gid) if gid != caller.gid => set_gid3::Some(gid),
        _ => set_gid3::None,
    };
    sattr3 { uid, gid, ..with.clone() }
}

/// Where an exclusive create's verifier is kept until the client sets the times: in the times.
fn times_of(verifier: createverf3) -> (nfstime3, nfstime3) {
    let [a, b, c, d, e, f, g, h] = verifier.0;
    // 31 bits: what every file system's times can hold.
    let time = |bytes| nfstime3 { seconds: u32::from_be_bytes(bytes) & 0x7fff_ffff, nseconds: 0 };
    (time([a, b, c, d]), time([e, f, g, h]))
}
