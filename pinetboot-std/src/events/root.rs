//! Facts about root file systems.

use std::net::Ipv4Addr;

use pinetboot_core::pi::Prefix;

use super::{BootRecord, Mac};

/// What happened to a Pi's root file system.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    /// What is known about a Pi from before the server started: what it proved when it mounted its root.
    Remembered {
        /// The Pi.
        pi: Prefix,
        /// Its address.
        address: Option<Ipv4Addr>,
        /// Its MAC address.
        mac: Option<Mac>,
        /// Its last boots, oldest first.
        boots: Vec<BootRecord>,
    },
    /// A layer was made.
    LayerMade {
        /// Whose.
        pi: Prefix,
        /// On which image.
        image: String,
        /// The Pi's host name.
        host_name: String,
    },
    /// A layer was removed, as `roots reset` asked for.
    LayerReset {
        /// Whose.
        pi: Prefix,
        /// On which image.
        image: String,
    },
    /// Something about a layer failed.
    LayerFailed {
        /// Whose.
        pi: Prefix,
        /// On which image.
        image: String,
        /// What: `mount`, `reset`, `serve again`, `keep the record of`.
        operation: &'static str,
        /// The system's reason.
        error: String,
    },
    /// The base image of a layer was changed since the layer was made.
    BaseChanged {
        /// Whose layer.
        pi: Prefix,
        /// The base image's root.
        root: String,
    },
    /// A Pi mounted its root: the handle was given.
    Mounted {
        /// Whose root.
        pi: Prefix,
        /// The path that it asked for.
        path: String,
        /// The client's MAC address, as far as known.
        mac: Option<Mac>,
        /// What shows that the client is that Pi.
        evidence: Evidence,
    },
    /// A mount was refused.
    MountRefused {
        /// Whose root, if the path or the address tells.
        pi: Option<Prefix>,
        /// The path that was asked for.
        path: String,
        /// Why.
        why: String,
        /// The server is at fault, not the client.
        failed: bool,
    },
    /// A client used a handle of a root that is not its own, or not yet.
    CallRefused {
        /// Whose root.
        pi: Prefix,
        /// The name of that Pi.
        name: String,
        /// Why.
        why: String,
        /// It may be the Pi with another address: it is told to ask again.
        in_doubt: bool,
    },
    /// A Pi that has its root calls; told every few seconds at most.
    Active {
        /// Whose root.
        pi: Prefix,
    },
    /// A Pi goes on with its root, from another address than before.
    Moved {
        /// Whose root.
        pi: Prefix,
        /// The address before.
        from: Ipv4Addr,
        /// The client's MAC address, as far as known.
        mac: Option<Mac>,
        /// What shows that the client is that Pi.
        evidence: Evidence,
    },
    /// A Pi's layer is served again after the server was started anew.
    Resumed {
        /// Whose root.
        pi: Prefix,
    },
}

/// What shows that a client is a certain Pi, weakest first. What is stronger is never displaced by what is weaker and newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The client's address fetched the Pi's system by TFTP.
    Fetched,
    /// DHCP: the client's option 97 names the serial number, and its MAC address fits.
    Dhcp,
    /// The client has the MAC address that the Pi had when it mounted its root.
    SameAdapter,
    /// The client uses the root, or holds a sealed handle of it that no other client uses.
    Mount,
    /// The inventory has the address.
    Inventory,
}
