//! A received message: its client, transport and port.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

use super::clients::Client;

/// A received message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// The sender.
    pub(super) client: SocketAddrV4,
    /// The share of the sender's address.
    pub(super) share: &'a Client,
    /// The transport.
    pub(super) transport: Transport<'a>,
    /// The programs of the receiving port.
    pub(super) programs: Programs,
    /// The RPC message.
    pub(super) bytes: &'a [u8],
}

/// The programs of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// The portmapper.
    Portmap,
    /// NFS and MOUNT.
    Files,
}

/// The transport of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport<'a> {
    /// TCP, so the client's address is proven. `has_read`: a READ over this connection succeeded;
    /// `has_changed`: a change over it was permitted.
    Tcp { has_read: &'a AtomicBool, has_changed: &'a AtomicBool },
    /// UDP, so the source may be forged.
    Udp,
}
