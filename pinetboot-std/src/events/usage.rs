//! Sums and sizes that a service tells every now and then, for metrics.

use std::borrow::Cow;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::prefix;

/// A sum since the start of a service, or a size now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    /// The calls of NFS since its process started.
    Nfs(Served),
    /// The requests of NBD since the start.
    Disks(Served),
    /// The space that a Pi's changes take on the server.
    Space {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The image beneath.
        image: String,
        /// A disk, with its snapshots; otherwise a layer.
        is_disk: bool,
        /// Bytes; 0: there is none any more.
        bytes: u64,
    },
    /// The leases of DHCP that run.
    Leases {
        /// Their number.
        running: u64,
    },
}

/// What a service of file systems or disks did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Calls, by the name of their procedure or command.
    pub calls: Vec<(Cow<'static, str>, u64)>,
    /// Bytes that clients read.
    pub read: u64,
    /// Bytes that clients wrote.
    pub written: u64,
}
