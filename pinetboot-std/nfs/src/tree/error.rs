//! Errors of directories that cannot be served.

use core::fmt;

/// The reason why a directory cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be opened.
    Directory(std::io::Error),
    /// Its file system has no file handles; overlayfs has them if mounted with `nfs_export=on,index=on`.
    NoHandles(std::io::Error),
    /// The process may not open files by handle.
    NotPrivileged,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "cannot be opened: {error}"),
            Self::NoHandles(error) => write!(
                f,
                "its file system has no file handles ({error}), which NFS needs. Mount an overlayfs with index=on,nfs_export=on"
            ),
            Self::NotPrivileged => write!(
                f,
                "serving NFS requires root (in a container: --cap-add DAC_READ_SEARCH as well), or a program with the \
                 capabilities dac_read_search, dac_override, setuid, setgid, chown, fowner, fsetid and mknod"
            ),
        }
    }
}

impl core::error::Error for OpenError {}
