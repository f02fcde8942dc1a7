//! Directories that are not served.

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
    /// It holds this.
    NotForPis(&'static str),
    NoOpenat2(io::Error),
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
                "cannot serve {path} as boot files: it holds {name}, where keys and passwords of Pis are, and TFTP gives them to \
                 anyone. To see the images in it: pinetboot images {path}. Or serve another directory"
            ),
            TreeErrorKind::NoOpenat2(error) => write!(
                f,
                "cannot serve {path} safely: the system call openat2 fails ({error}). It needs Linux 5.6 or newer, and a \
                 container runtime that allows it"
            ),
        }
    }
}

impl std::error::Error for TreeError {}

/// What no tree of boot files has in it.
pub(super) const NOT_FOR_PIS: [&str; 3] = [IMAGES, STATE, NFS_KEY];

/// The key of NFS file handles: `nfs/handle.rs`, which not every build has.
const NFS_KEY: &str = "nfs-handle.key";
