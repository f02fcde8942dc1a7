//! Errors of directories that cannot be served.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::images::{IMAGES, STATE};

/// A tree that cannot be served.
#[derive(Debug)]
pub struct TreeError {
    pub(super) path: PathBuf,
    pub(super) kind: TreeErrorKind,
}

#[derive(Debug)]
pub(super) enum TreeErrorKind {
    Open(io::Error),
    Empty,
    /// The directory holds this entry.
    NotForPis(&'static str),
    NoOpenat2(io::Error),
}

impl TreeError {
    /// Whether the directory is missing or empty, as before the first import.
    pub fn has_nothing(&self) -> bool {
        match &self.kind {
            TreeErrorKind::Open(error) => error.kind() == io::ErrorKind::NotFound,
            TreeErrorKind::Empty => true,
            TreeErrorKind::NotForPis(_) | TreeErrorKind::NoOpenat2(_) => false,
        }
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            TreeErrorKind::Open(error) => write!(f, "cannot open the tree {path}: {error}"),
            TreeErrorKind::Empty => write!(
                f,
                "the tree {path} is empty. Copy the files of a Pi's boot partition into it: config.txt, the kernel, the \
                 device trees (*.dtb) and overlays/"
            ),
            TreeErrorKind::NotForPis(name) => write!(
                f,
                "cannot serve {path} as boot files: the directory holds {name}, with keys and passwords of Pis, and TFTP sends files to \
                 any client. List its images with 'pinetboot images {path}', or serve another directory"
            ),
            TreeErrorKind::NoOpenat2(error) => write!(
                f,
                "cannot serve {path} safely: the system call openat2 fails ({error}). Use Linux 5.6 or newer, a container runtime \
                 that allows openat2, and a systemd unit without DynamicUser and RestrictSUIDSGID"
            ),
        }
    }
}

impl std::error::Error for TreeError {}

/// Entries that no tree of boot files has.
pub(super) const NOT_FOR_PIS: [&str; 3] = [IMAGES, STATE, NFS_KEY];

/// The key file of NFS handles (`pinetboot_nfs::Handles`, a crate that some builds lack).
const NFS_KEY: &str = "nfs-handle.key";
