//! Exports: the file systems of the paths that clients mount.

use core::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_system::FileSystem;

/// All exports of a server. Called from many threads at once.
pub trait Exports: Send + Sync {
    /// The export of `path`, for a client that mounts it. A path beneath the export's own names a directory in the export.
    ///
    /// May block, as to make and mount a layer: this client waits, other clients do not.
    ///
    /// # Errors
    ///
    /// The reason for a refusal: the client receives the [kind](MountError::kind), the [observer](super::Observer) the whole error.
    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError>;

    /// The export of this id, called for each request, so a table look-up. Ids stay the same over a restart: clients continue
    /// without a new mount.
    ///
    /// # Errors
    ///
    /// [`Absent::NotYet`] makes the client repeat its call.
    fn find(&self, id: u32) -> Result<Arc<Export>, Absent>;

    /// Whether a client may use the export; called for each request. A handle cannot be forged, but passed on: this check keeps one
    /// client's handles from serving another.
    fn permits(&self, export: &Export, client: Ipv4Addr) -> Permission {
        let _ = (export, client);
        Permission::Granted
    }

    /// The paths of the export list for a client (`showmount -e`). Only paths that the client may mount: libnfs mounts all paths
    /// beneath its own, and fails if one is refused.
    fn list(&self, client: Ipv4Addr) -> Vec<PathBuf>;

    /// Called every few seconds.
    fn maintain(&self) {}
}

/// A file system under a path.
pub struct Export {
    /// A number in every handle; the same after a restart, and never reused for another export.
    pub id: u32,
    /// The path that clients mount; `/` is the shortest.
    pub path: PathBuf,
    /// The file system.
    pub tree: Arc<dyn FileSystem>,
    /// Refuses all changes.
    pub read_only: bool,
    /// Maps the client's root to the user nobody (exports(5)). Not for a client's root file system.
    pub root_squash: bool,
}

/// Whether a client may use an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The client may.
    Granted,
    /// Not decided yet: the client has to repeat its call (`NFS3ERR_JUKEBOX`; `MNT3ERR_ACCES` for MNT, which lacks such a status).
    Later,
    /// The client may not (`NFS3ERR_ACCES`). The handle is valid, so the answer is not `NFS3ERR_STALE`.
    Denied,
}

/// A refused mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountError {
    /// The status for the client.
    pub kind: MountErrorKind,
    /// The reason, for an operator: a clause without a full stop.
    pub why: String,
}

/// The status of a refused mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountErrorKind {
    /// No export has this path (`MNT3ERR_NOENT`).
    NotFound,
    /// The path is exported, but not to this client (`MNT3ERR_ACCES`).
    Denied,
    /// The path is exported, but the export could not be made ready (`MNT3ERR_SERVERFAULT`).
    Failed,
}

/// The reason for a missing export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The export is gone for good: the client's handle is stale (`NFS3ERR_STALE`).
    Unknown,
    /// The export is being made ready: the client has to repeat its call (`NFS3ERR_JUKEBOX`).
    NotYet,
}

/// The simplest exports: one file system for all clients.
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
    /// Exports this export only.
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
