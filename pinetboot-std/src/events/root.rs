//! Facts about root file systems.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::{BootRecord, Mac, prefix};

/// A fact about a Pi's root file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Root {
    /// The record of a Pi from before the server started, made when the Pi mounted its root.
    Remembered {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The Pi's address.
        address: Option<Ipv4Addr>,
        /// The Pi's MAC address.
        mac: Option<Mac>,
        /// The Pi's last boots, oldest first.
        boots: Vec<BootRecord>,
    },
    /// A layer was made.
    LayerMade {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The base image.
        image: String,
        /// The Pi's host name.
        host_name: String,
        /// The image before, from whose layer the kept directories were copied.
        kept: Option<String>,
    },
    /// A layer was removed for `roots reset`.
    LayerReset {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The base image.
        image: String,
    },
    /// A layer that was moved or copied, with its base image or without, was adopted in its new place.
    LayerAdopted {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The base image.
        image: String,
    },
    /// An operation on a layer failed.
    LayerFailed {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The base image.
        image: String,
        /// The operation: `mount`, `reset`, `serve again`, `keep the record of`.
        operation: Cow<'static, str>,
        /// The system's reason.
        error: String,
    },
    /// The base image of a layer changed after the layer was made.
    BaseChanged {
        /// The layer's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The base image's root.
        root: String,
    },
    /// New layers were removed: their Pis wrote nothing to them, and used them for less than two minutes.
    UnusedRemoved {
        /// The Pi of each, and the address that mounted the layer.
        #[serde(with = "prefix::addresses")]
        layers: Vec<(Prefix, Option<Ipv4Addr>)>,
    },
    /// A Pi got "no space" for a change of its root, or is near its limit; told once an hour.
    NoSpace {
        /// The Pi; `None` for the one that has a tree of mode `rw`.
        #[serde(with = "prefix::option")]
        pi: Option<Prefix>,
        /// The reason.
        why: Shortage,
        /// The largest layers on a full disk, if they were counted.
        largest: Vec<LayerSize>,
    },
    /// The limits of layers were set up.
    Limits {
        /// The file system of the layers enforces them, by project quotas; otherwise the server counts.
        by_file_system: bool,
    },
    /// The disk of the layers, or of a tree of mode `rw`, is nearly full.
    DiskFilling {
        /// The state directory, or the tree.
        place: String,
        /// Used parts of a hundred, of the space that Pis may fill.
        percent: u64,
        /// Bytes that Pis may still write.
        left: u64,
        /// The largest layers.
        largest: Vec<LayerSize>,
    },
    /// A client's claim to a root was accepted; MOUNT has not sent the handle yet.
    Granted {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
    },
    /// A Pi mounted its root: MOUNT sent the handle.
    Mounted {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The requested path.
        path: String,
        /// The client's MAC address, if known.
        mac: Option<Mac>,
        /// The evidence that the client is that Pi.
        evidence: Evidence,
    },
    /// A client took its mount back within a minute, as 'pinetboot simulate' does: the mount proves nothing.
    Unmounted {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
    },
    /// A mount was refused.
    MountRefused {
        /// The root's Pi, if the path or the address names one.
        #[serde(with = "prefix::option")]
        pi: Option<Prefix>,
        /// The requested path.
        path: String,
        /// The reason.
        why: String,
        /// The server failed; the client is not at fault.
        failed: bool,
        /// No export has the path, or the directory does not exist.
        not_found: bool,
    },
    /// A client used a handle of a root that it may not use, or not yet.
    CallRefused {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The name of the root's Pi.
        name: String,
        /// The reason.
        why: String,
        /// The client may be the Pi with a new address: the answer is NFS3ERR_JUKEBOX, and the client repeats its call.
        in_doubt: bool,
    },
    /// A Pi uses its root; emitted every few seconds at most.
    Active {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
    },
    /// A Pi continues to use its root, from a new address.
    Moved {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The former address.
        from: Ipv4Addr,
        /// The client's MAC address, if known.
        mac: Option<Mac>,
        /// The evidence that the client is that Pi.
        evidence: Evidence,
    },
    /// A disk was made.
    DiskMade {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The image that the disk stands on.
        image: String,
    },
    /// A client opened a connection to the port of disks.
    DiskConnected,
    /// A Pi has its disk.
    DiskOpened {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The image that the disk stands on.
        image: String,
        /// The client's MAC address, if known.
        mac: Option<Mac>,
        /// The evidence that the client is that Pi.
        evidence: Evidence,
    },
    /// A connection with a disk ended.
    DiskClosed {
        /// The disk's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// How.
        end: DiskEnd,
    },
    /// A client did not get a disk.
    DiskRefused {
        /// The disk's Pi, if the name of the export names one.
        #[serde(with = "prefix::option")]
        pi: Option<Prefix>,
        /// The reason.
        why: String,
        /// The server failed; the client is not at fault.
        failed: bool,
    },
    /// A request of a client to its disk failed.
    DiskFailed {
        /// `read`, `write`, `flush`, ..
        operation: Cow<'static, str>,
        /// The reason.
        error: String,
    },
    /// The root on a Pi's disk cannot be read before its journal is replayed: the Pi gets the initramfs of its last boot.
    DiskUnclean {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The reason.
        why: String,
    },
    /// A Pi's layer is served again.
    Resumed {
        /// The root's Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// After a restart of the server; otherwise after a rest.
        restarted: bool,
    },
}

/// How a connection with a disk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskEnd {
    /// The client ended it by the protocol's request (NBD_CMD_DISC).
    Released,
    /// Without a word: the Pi has no power, or its network failed.
    Broken,
    /// Another connection of the Pi has the disk.
    Replaced,
}

/// The reason why a change of a root gets "no space".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shortage {
    /// The change would touch the disk's reserve.
    Reserve,
    /// The disk is full.
    Disk,
    /// The layer has reached its limit, in bytes.
    Limit {
        /// The limit.
        limit: u64,
    },
    /// The layer is near its limit; no change was refused yet.
    Near {
        /// The size of the layer in bytes.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The size of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSize {
    /// The Pi's name.
    pub name: String,
    /// The size on the disk in bytes.
    pub bytes: u64,
}

/// Evidence that a client is a certain Pi, weakest first. Newer evidence never displaces stronger evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Evidence {
    /// The client's address fetched the Pi's system by TFTP.
    Fetched,
    /// The client's DHCP option 97 names the serial number, and its MAC address matches.
    Dhcp,
    /// The client has the MAC address that the Pi had when it mounted its root.
    SameAdapter,
    /// The client uses the root, or holds a sealed handle of the root that no other client uses.
    Mount,
    /// The inventory has the address.
    Inventory,
}
