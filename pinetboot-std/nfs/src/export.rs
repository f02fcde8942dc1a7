//! What is exported: which file system a client gets for the path it asks for.

use core::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_system::FileSystem;

/// All exports of a server. Called from many threads at once.
pub trait Exports: Send + Sync {
    /// The export that holds `path`, for a client that mounts it. A path beneath an export's own means a directory in it.
    ///
    /// May take its time, for a layer to be made and mounted say; the client waits, others do not.
    ///
    /// # Errors
    ///
    /// Why this client does not get it; the client is told the [kind](MountError::kind), and the
    /// [observer](super::Observer) all of it.
    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError>;

    /// The export of this id: asked for each request, so a look into a table. Ids stay the same over a restart, after
    /// which clients go on without mounting again.
    ///
    /// # Errors
    ///
    /// [`Absent::NotYet`] has the client ask again in a moment.
    fn find(&self, id: u32) -> Result<Arc<Export>, Absent>;

    /// May this client use the export? Asked for each request. Handles are proof against forgery, not against being passed
    /// on: this is what keeps one client's handles from serving another.
    fn permits(&self, export: &Export, client: Ipv4Addr) -> Permission {
        let _ = (export, client);
        Permission::Granted
    }

    /// The paths to show a client that asks what is exported (`showmount -e`). Only those that it may mount: libnfs mounts
    /// all of them that are beneath the one that it wants, and gives up if it does not get one.
    fn list(&self, client: Ipv4Addr) -> Vec<PathBuf>;

    /// Called every few seconds.
    fn maintain(&self) {}
}

/// A file system under a path.
pub struct Export {
    /// Goes into every handle; the same after a restart, and never given to another export.
    pub id: u32,
    /// The path that clients mount, `/` at the shortest.
    pub path: PathBuf,
    /// What is in it.
    pub tree: Arc<dyn FileSystem>,
    /// Nobody may change anything.
    pub read_only: bool,
    /// Root on the client is nobody here. Not for anything that is to be a client's root file system.
    pub root_squash: bool,
}

/// Whether a client may use an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The client may.
    Granted,
    /// That is not known yet: the client is to ask again in a moment (`NFS3ERR_JUKEBOX`, and `MNT3ERR_ACCES` for MNT, which has
    /// no such status).
    Later,
    /// The client may not (`NFS3ERR_ACCES`). Its handle is good, so it is not told that the file is gone.
    Denied,
}

/// Why a client may not mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountError {
    /// What the client is told.
    pub kind: MountErrorKind,
    /// The reason, for an operator: a clause without a full stop.
    pub why: String,
}

/// What a client is told that may not mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountErrorKind {
    /// Nothing of that name is exported (`MNT3ERR_NOENT`).
    NotFound,
    /// The path is exported, but not to this client (`MNT3ERR_ACCES`).
    Denied,
    /// The path is exported, but could not be made ready (`MNT3ERR_SERVERFAULT`).
    Failed,
}

/// Why there is no export of some id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is none, and never will be again: the client's handle is stale (`NFS3ERR_STALE`).
    Unknown,
    /// It is being made ready: the client is to ask again (`NFS3ERR_JUKEBOX`).
    NotYet,
}

/// The simplest exports: one file system for everyone.
#[derive(Debug)]
pub struct OneExport(Arc<Export>);

impl MountError {
    /// An error of this kind, for this reason.
    #[must_use]
    pub fn new(kind: MountErrorKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

impl OneExport {
    /// Exports this, and nothing else.
    #[must_use]
    pub fn new(export: Export) -> Self {
        Self(Arc::new(export))
    }
}

impl Exports for OneExport {
    fn mount(&self, path: &Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        if path.starts_with(&self.0.path) {
            Ok(self.0.clone())
        } else {
            Err(MountError::new(MountErrorKind::NotFound, "no export has that path"))
        }
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        if id == self.0.id { Ok(self.0.clone()) } else { Err(Absent::Unknown) }
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![self.0.path.clone()]
    }

    fn maintain(&self) {
        self.0.tree.maintain();
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("id", &self.id).field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl core::error::Error for MountError {}
