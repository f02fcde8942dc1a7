//! DHCP's facts.

use std::net::{Ipv4Addr, SocketAddrV4};

use pinetboot_core::dhcp::{HardwareAddress, MessageType, NoReply};
use pinetboot_core::pi::PiIdentity;

/// What happened in DHCP.
#[derive(Debug, Clone, PartialEq)]
pub enum Dhcp {
    /// A client sent a message.
    Asked {
        /// Its hardware address.
        hardware: HardwareAddress,
        /// DISCOVER, REQUEST ..
        kind: Option<MessageType>,
        /// The transaction (RFC 2131, `xid`).
        xid: u32,
        /// Option 97, if a Raspberry Pi's boot code sent it.
        identity: Option<PiIdentity>,
    },
    /// This server gave an address (ACK).
    Leased {
        /// To which client.
        hardware: HardwareAddress,
        /// Which.
        address: Ipv4Addr,
    },
    /// A client took the address that another server offered: its REQUEST, which is broadcast, says so.
    TookOther {
        /// Which client.
        hardware: HardwareAddress,
        /// Which address.
        address: Ipv4Addr,
    },
    /// A reply that gives no address, or only offers one.
    Answered {
        /// To which client.
        hardware: HardwareAddress,
        /// OFFER, ACK or NAK.
        kind: MessageType,
        /// The address in it; 0.0.0.0 if none.
        address: Ipv4Addr,
        /// Where the reply went.
        to: SocketAddrV4,
    },
    /// A message got no reply.
    Unanswered {
        /// The client.
        hardware: HardwareAddress,
        /// Why.
        why: NoReply,
    },
    /// A datagram at a DHCP port was no DHCP message.
    Malformed {
        /// Its sender.
        peer: SocketAddrV4,
        /// What is wrong with it.
        why: String,
    },
    /// Leases were read from the lease file.
    LeasesRestored {
        /// The file.
        path: String,
        /// Leases that are in force again.
        restored: u32,
        /// Lines that are unreadable or do not fit the network.
        lost: u32,
    },
    /// The leases were written to the lease file.
    LeasesWritten {
        /// The file.
        path: String,
        /// How many.
        leases: u32,
    },
    /// The lease file cannot be read, or not be written.
    LeaseFileFailed {
        /// The file.
        path: String,
        /// `read` or `write`.
        operation: &'static str,
        /// The system's reason.
        error: String,
    },
    /// Another DHCP server answers on this interface, and addresses are given all the same.
    OtherServer {
        /// The interface.
        interface: String,
        /// The other server.
        server: Ipv4Addr,
    },
    /// No DHCP server answers on this interface, where this one is a proxy.
    NoServer {
        /// The interface.
        interface: String,
    },
    /// Whether other DHCP servers answer cannot be found out.
    CannotLook {
        /// The interface.
        interface: String,
        /// The system's reason.
        error: String,
    },
    /// A DHCP thread ended.
    Ended {
        /// The failure; `None`: it was told to stop.
        error: Option<String>,
    },
}
