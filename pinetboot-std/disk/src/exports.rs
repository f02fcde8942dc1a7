//! Exports: which client may have which disk.

use core::fmt;
use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use crate::disk::Disk;

/// Decides which client has which disk. Called from many threads at once.
pub trait Exports: Send + Sync {
    /// Opens the export `name` for a client; the empty name is the client's default disk. Called for every connection, and for a
    /// question (INFO) whose result is dropped at once.
    ///
    /// # Errors
    ///
    /// [`Refused`]: the client may not have this disk, or not now. The client is not told whether the export exists.
    fn open(&self, client: IpAddr, name: &str) -> Result<Export, Refused>;

    /// The names that a client may open. Names of other clients' disks stay out of this list.
    fn list(&self, client: IpAddr) -> Vec<String>;
}

/// A disk for one connection.
#[derive(Clone)]
pub struct Export {
    /// The disk, shared by all connections to it.
    pub disk: Arc<dyn Disk>,
    /// Refuses writes also where the disk takes them.
    pub read_only: bool,
    /// Dropped when the connection ends: the place to give a lease back.
    pub lease: Arc<dyn Any + Send + Sync>,
}

/// A client's request for a disk was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Export {
    /// An export without a lease.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, read_only: false, lease: Arc::new(()) }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only || self.disk.is_read_only()
    }
}

/// One disk for every client, by the empty name or `disk`. Clients that share a writable disk damage its file system: for one
/// client, or a read-only disk.
#[derive(Debug)]
pub struct OneExport(pub Arc<dyn Disk>);

impl Exports for OneExport {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        if name.is_empty() || name == NAME { Ok(Export::new(self.0.clone())) } else { Err(Refused) }
    }

    fn list(&self, _client: IpAddr) -> Vec<String> {
        vec![NAME.to_owned()]
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("disk", &self.disk)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such disk for this client")
    }
}

impl core::error::Error for Refused {}

const NAME: &str = "disk";
