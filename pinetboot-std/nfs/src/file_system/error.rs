//! What may go wrong in a file system: RFC 1813, section 2.6 (`nfsstat3`), but for what the procedures say themselves.

use core::fmt;

/// Whatever a file system answers.
pub type Result<T> = core::result::Result<T, FsError>;

/// What a file system refuses, or why it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FsError {
    /// Only the owner, or root, may do that (`NFS3ERR_PERM`).
    NotOwner,
    /// There is no file of that name (`NFS3ERR_NOENT`).
    NotFound,
    /// The disk fails (`NFS3ERR_IO`).
    Io,
    /// There is no such device (`NFS3ERR_NXIO`).
    NoSuchDevice,
    /// The caller has no permission (`NFS3ERR_ACCES`).
    Denied,
    /// There is a file of that name already (`NFS3ERR_EXIST`).
    Exists,
    /// The two files are on different file systems (`NFS3ERR_XDEV`).
    OtherFileSystem,
    /// The device cannot do that (`NFS3ERR_NODEV`).
    WrongDevice,
    /// The file is no directory (`NFS3ERR_NOTDIR`).
    NotDirectory,
    /// The file is a directory (`NFS3ERR_ISDIR`).
    IsDirectory,
    /// The file or the argument is none that this can be done with (`NFS3ERR_INVAL`).
    Invalid,
    /// The file would be larger than a file can be (`NFS3ERR_FBIG`).
    TooLarge,
    /// The disk is full (`NFS3ERR_NOSPC`).
    NoSpace,
    /// The file system takes no changes (`NFS3ERR_ROFS`).
    ReadOnly,
    /// The file has as many names as a file can have (`NFS3ERR_MLINK`).
    TooManyLinks,
    /// The name is longer than a name can be (`NFS3ERR_NAMETOOLONG`).
    NameTooLong,
    /// The directory is not empty (`NFS3ERR_NOTEMPTY`).
    NotEmpty,
    /// The caller's share of the disk is full (`NFS3ERR_DQUOT`).
    Quota,
    /// There is no such file any more (`NFS3ERR_STALE`).
    Stale,
    /// A listing cannot go on there: the client has to begin anew (`NFS3ERR_BAD_COOKIE`).
    BadCookie,
    /// The file system cannot do that at all (`NFS3ERR_NOTSUPP`).
    NotSupported,
    /// The file system has no files of that kind (`NFS3ERR_BADTYPE`).
    BadKind,
    /// The file system itself is at fault (`NFS3ERR_SERVERFAULT`).
    Fault,
    /// That is not possible right now: the client is to ask again in a moment (`NFS3ERR_JUKEBOX`).
    Later,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOwner => "the operation is the owner's only",
            Self::NotFound => "no such file",
            Self::Io => "the disk failed",
            Self::NoSuchDevice => "no such device",
            Self::Denied => "permission denied",
            Self::Exists => "the file exists already",
            Self::OtherFileSystem => "the files are on different file systems",
            Self::WrongDevice => "the device does not support the operation",
            Self::NotDirectory => "the file is not a directory",
            Self::IsDirectory => "the file is a directory",
            Self::Invalid => "the operation is invalid for this file",
            Self::TooLarge => "the file would be too large",
            Self::NoSpace => "the disk is full",
            Self::ReadOnly => "the file system is read-only",
            Self::TooManyLinks => "the file has too many links",
            Self::NameTooLong => "the name is too long",
            Self::NotEmpty => "the directory is not empty",
            Self::Quota => "the quota is used up",
            Self::Stale => "the file is gone",
            Self::BadCookie => "the listing cannot continue at this cookie",
            Self::NotSupported => "the file system does not support the operation",
            Self::BadKind => "the file system does not support files of this kind",
            Self::Fault => "the file system failed",
            Self::Later => "the operation is not possible yet",
        })
    }
}

impl core::error::Error for FsError {}
