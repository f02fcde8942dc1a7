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
    /// The process lacks these capabilities, by name.
    Lacks(Vec<&'static str>),
    /// The system refuses, although the process has the capabilities.
    Refused(std::io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "cannot be opened: {error}"),
            Self::NoHandles(error) => write!(
                f,
                "its file system has no file handles ({error}), which NFS needs. Mount an overlayfs with index=on,nfs_export=on"
            ),
            Self::Lacks(names) => write!(
                f,
                "serving files by handle as their users requires root, or the capabilities CAP_{}; in a container: 'cap_add: [{}]'",
                names.join(", CAP_"),
                names.join(", "),
            ),
            Self::Refused(error) => write!(
                f,
                "the kernel refuses to open files by handle ({error}), although the process has the capabilities: in a container, by a \
                 seccomp profile, or as the container is rootless (user namespace)"
            ),
        }
    }
}

impl core::error::Error for OpenError {}
