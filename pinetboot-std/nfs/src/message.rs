//! A message as it comes in: from whom, how, and to which port.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

/// A message that came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// From whom.
    pub(super) client: SocketAddrV4,
    /// How.
    pub(super) transport: Transport<'a>,
    /// To which port.
    pub(super) programs: Programs,
    /// What it is.
    pub(super) bytes: &'a [u8],
}

/// Which programs answer on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// The portmapper.
    Portmap,
    /// NFS and MOUNT.
    Files,
}

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport<'a> {
    /// In a stream, by a client that proved its address. Whether a READ over the same connection has succeeded.
    Tcp { has_read: &'a AtomicBool },
    /// In a datagram, whose source may be made up.
    Udp,
}
