//! Attributes and errors of the kernel, converted to NFS's.

use rustix::fs::{FileType, Stat, major, minor};
use rustix::io::Errno;

use crate::file_system::{Attributes, Device, FileKind, FsError, Time};

pub(super) fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        kind: file_kind(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        used: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
        device: Device { major: major(stat.st_rdev), minor: minor(stat.st_rdev) },
        file_number: stat.st_ino,
        accessed: time(stat.st_atime, stat.st_atime_nsec),
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        changed: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// RFC 1813, section 2.6. An error without a counterpart becomes the one with the least harm in a client.
pub(super) fn refusal(error: Errno) -> FsError {
    match error {
        Errno::PERM => FsError::NotOwner,
        Errno::NOENT => FsError::NotFound,
        Errno::NXIO => FsError::NoSuchDevice,
        Errno::ACCESS | Errno::BUSY | Errno::TXTBSY => FsError::Denied,
        Errno::EXIST => FsError::Exists,
        Errno::XDEV => FsError::OtherFileSystem,
        Errno::NODEV => FsError::WrongDevice,
        Errno::NOTDIR => FsError::NotDirectory,
        Errno::ISDIR => FsError::IsDirectory,
        Errno::INVAL | Errno::LOOP => FsError::Invalid,
        Errno::FBIG => FsError::TooLarge,
        Errno::NOSPC => FsError::NoSpace,
        Errno::ROFS => FsError::ReadOnly,
        Errno::MLINK => FsError::TooManyLinks,
        Errno::NAMETOOLONG => FsError::NameTooLong,
        Errno::NOTEMPTY => FsError::NotEmpty,
        Errno::DQUOT => FsError::Quota,
        Errno::STALE => FsError::Stale,
        Errno::OPNOTSUPP => FsError::NotSupported,
        // Temporary: the client has to repeat its call.
        Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TIMEDOUT => {
            FsError::Later
        }
        _ => FsError::Io,
    }
}

fn file_kind(kind: FileType) -> FileKind {
    match kind {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::RegularFile | FileType::Unknown => FileKind::Regular,
    }
}

fn time<N: TryInto<u32>>(seconds: i64, nanoseconds: N) -> Time {
    let seconds = u32::try_from(seconds.clamp(0, u32::MAX.into())).unwrap_or_default();
    Time { seconds, nanoseconds: nanoseconds.try_into().unwrap_or_default() }
}
