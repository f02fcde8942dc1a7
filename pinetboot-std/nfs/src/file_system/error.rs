//! Errors of a file system: RFC 1813, section 2.6 (`nfsstat3`), without the statuses that the procedures produce themselves.

use core::fmt;

/// The result of a file system's method.
pub type Result<T> = core::result::Result<T, FsError>;

/// The error of a file system's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FsError {
    /// The operation is the owner's and root's only (`NFS3ERR_PERM`).
    NotOwner,
    /// The file does not exist (`NFS3ERR_NOENT`).
    NotFound,
    /// The disk failed (`NFS3ERR_IO`).
    Io,
    /// The device does not exist (`NFS3ERR_NXIO`).
    NoSuchDevice,
    /// The caller has no permission (`NFS3ERR_ACCES`).
    Denied,
    /// A file of this name exists already (`NFS3ERR_EXIST`).
    Exists,
    /// The two files are on different file systems (`NFS3ERR_XDEV`).
    OtherFileSystem,
    /// The device does not support the operation (`NFS3ERR_NODEV`).
    WrongDevice,
    /// The file is not a directory (`NFS3ERR_NOTDIR`).
    NotDirectory,
    /// The file is a directory (`NFS3ERR_ISDIR`).
    IsDirectory,
    /// The operation is invalid for this file or argument (`NFS3ERR_INVAL`).
    Invalid,
    /// The file would exceed the largest size (`NFS3ERR_FBIG`).
    TooLarge,
    /// The disk is full (`NFS3ERR_NOSPC`).
    NoSpace,
    /// The file system is read-only (`NFS3ERR_ROFS`).
    ReadOnly,
    /// The file has the most hard links (`NFS3ERR_MLINK`).
    TooManyLinks,
    /// The name is too long (`NFS3ERR_NAMETOOLONG`).
    NameTooLong,
    /// The directory is not empty (`NFS3ERR_NOTEMPTY`).
    NotEmpty,
    /// The caller's quota is used up (`NFS3ERR_DQUOT`).
    Quota,
    /// The file is gone (`NFS3ERR_STALE`).
    Stale,
    /// The listing cannot continue at this cookie: the client has to restart it (`NFS3ERR_BAD_COOKIE`).
    BadCookie,
    /// The file system does not support the operation (`NFS3ERR_NOTSUPP`).
    NotSupported,
    /// The file system does not support this kind of file (`NFS3ERR_BADTYPE`).
    BadKind,
    /// The file system failed (`NFS3ERR_SERVERFAULT`).
    Fault,
    /// The operation is not possible yet: the client has to repeat its call (`NFS3ERR_JUKEBOX`).
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
