//! SETATTR's changes, without the size.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::fs::{chmodat, chownat, utimensat};
use rustix::io;

use crate::file_system::{SetAttributes, SetTime};

/// Whether [`apply`] has any change to make.
pub(super) fn beside_size(changes: &SetAttributes) -> bool {
    changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some() || sets_times(changes)
}

/// Applies the changes as the thread's current user. The owner goes first: a change of the owner clears the set-id bits, which
/// may be set next.
pub(super) fn apply(file: BorrowedFd<'_>, changes: &SetAttributes) -> io::Result<()> {
    let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
    if uid.is_some() || gid.is_some() {
        chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if let Some(mode) = changes.mode {
        chmodat(CWD, path_of(file), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    }
    if sets_times(changes) {
        let (last_access, last_modification) = (timespec(changes.accessed), timespec(changes.modified));
        utimensat(file, c"", &Timestamps { last_access, last_modification }, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// A path to an open file, also to a symbolic link, for calls without a descriptor.
pub(super) fn path_of(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn sets_times(changes: &SetAttributes) -> bool {
    (changes.accessed, changes.modified) != (SetTime::Keep, SetTime::Keep)
}

fn timespec(time: SetTime) -> Timespec {
    match time {
        SetTime::Keep => OMIT,
        SetTime::Now => NOW,
        SetTime::To(time) => {
            Timespec { tv_sec: time.seconds.into(), tv_nsec: time.nanoseconds.min(999_999_999).into() }
        }
    }
}

const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
