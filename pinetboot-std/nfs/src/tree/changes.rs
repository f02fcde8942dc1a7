//! SETATTR's changes, but for the size.

use std::os::fd::{AsRawFd, BorrowedFd};

use nfs3_types::nfs3::{nfstime3, sattr3, set_atime, set_gid3, set_mode3, set_mtime, set_uid3};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::fs::{chmodat, chownat, utimensat};
use rustix::io;

/// Is there anything for [`apply`]?
pub(super) fn beside_size(changes: &sattr3) -> bool {
    changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some() || sets_times(changes)
}

/// As the user that this thread acts as. The owner goes first: a change of it takes the set-id bits away, which may be
/// among those to be set.
pub(super) fn apply(file: BorrowedFd<'_>, changes: &sattr3) -> io::Result<()> {
    let uid = match changes.uid {
        set_uid3::Some(uid) => Some(Uid::from_raw(uid)),
        set_uid3::None => None,
    };
    let gid = match changes.gid {
        set_gid3::Some(gid) => Some(Gid::from_raw(gid)),
        set_gid3::None => None,
    };
    if uid.is_some() || gid.is_some() {
        chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if let set_mode3::Some(mode) = changes.mode {
        chmodat(CWD, path_of(file), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    }
    if sets_times(changes) {
        let last_access = match changes.atime {
            set_atime::DONT_CHANGE => OMIT,
            set_atime::SET_TO_SERVER_TIME => NOW,
            set_atime::SET_TO_CLIENT_TIME(time) => timespec(time),
        };
        let last_modification = match changes.mtime {
            set_mtime::DONT_CHANGE => OMIT,
            set_mtime::SET_TO_SERVER_TIME => NOW,
            set_mtime::SET_TO_CLIENT_TIME(time) => timespec(time),
        };
        utimensat(file, c"", &Timestamps { last_access, last_modification }, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// A path that leads to an open file, even where that is a symbolic link: for calls that take no descriptor.
pub(super) fn path_of(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn sets_times(changes: &sattr3) -> bool {
    !matches!((&changes.atime, &changes.mtime), (set_atime::DONT_CHANGE, set_mtime::DONT_CHANGE))
}

fn timespec(time: nfstime3) -> Timespec {
    Timespec { tv_sec: time.seconds.into(), tv_nsec: time.nseconds.min(999_999_999).into() }
}

const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
