//! Facts about DHCP.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pinetboot_core::dhcp::{HardwareAddress, MessageType, NoReply, NotKept};
use pinetboot_core::pi::{PiIdentity, Prefix};

use super::Mac;

/// A fact about DHCP.
#[derive(Debug, Clone, PartialEq)]
pub enum Dhcp {
    /// A client sent a message.
    Asked {
        /// Its hardware address.
        hardware: HardwareAddress,
        /// The message type: DISCOVER, REQUEST ..
        kind: Option<MessageType>,
        /// The transaction id (RFC 2131, `xid`).
        xid: u32,
        /// Option 97 of a Raspberry Pi's boot code.
        identity: Option<PiIdentity>,
        /// A relay agent passed the message on.
        relayed: bool,
        /// The client identifier is a DUID (RFC 4361).
        has_duid: bool,
        /// The vendor class or user class is that of boot code: PXE, U-Boot, iPXE.
        is_boot_code: bool,
    },
    /// This server leased an address (ACK).
    Leased {
        /// The client.
        hardware: HardwareAddress,
        /// The address.
        address: Ipv4Addr,
    },
    /// A client took the address of another server, as its broadcast REQUEST shows.
    TookOther {
        /// The client.
        hardware: HardwareAddress,
        /// The address.
        address: Ipv4Addr,
    },
    /// This server sent a reply that leases no address.
    Answered {
        /// The client.
        hardware: HardwareAddress,
        /// OFFER, ACK or NAK.
        kind: MessageType,
        /// The address in the reply; 0.0.0.0 for none.
        address: Ipv4Addr,
        /// The reply's destination.
        to: SocketAddrV4,
    },
    /// A message got no reply.
    Unanswered {
        /// The client.
        hardware: HardwareAddress,
        /// The reason.
        why: NoReply,
    },
    /// A datagram at a DHCP port is not a DHCP message.
    Malformed {
        /// The sender.
        peer: SocketAddrV4,
        /// The fault.
        why: String,
    },
    /// Leases were read from the lease file.
    LeasesRestored {
        /// The file.
        path: String,
        /// Leases that are in force again.
        restored: u32,
        /// Leases outside the range, of an address or a client that has another lease, or reserved for another Pi.
        lost: u32,
    },
    /// Lines of the lease file have no valid lease.
    LeaseLinesUnreadable {
        /// The file.
        path: String,
        /// The numbers of the lines, from 1.
        lines: Vec<usize>,
        /// The copy of the file.
        copy: String,
    },
    /// An address of the inventory is not reserved for its Pi.
    NotReserved {
        /// The Pi.
        pi: Prefix,
        /// The address.
        address: Ipv4Addr,
        /// The reason.
        why: NotKept,
    },
    /// The leases were written to the lease file.
    LeasesWritten {
        /// The file.
        path: String,
        /// The number of leases.
        leases: u32,
    },
    /// The lease file cannot be read or written.
    LeaseFileFailed {
        /// The file.
        path: String,
        /// `read`, `write`, `copy`.
        operation: &'static str,
        /// The system's reason.
        error: String,
    },
    /// The search for another DHCP server began.
    Looks {
        /// The interface.
        interface: String,
        /// The time that the search takes.
        within: Duration,
    },
    /// The server answers on this interface from here on, as this address.
    Serves {
        /// The interface.
        interface: String,
        /// The server's address.
        address: Ipv4Addr,
    },
    /// The interface has no address: the server does not answer there.
    NoAddress {
        /// The interface.
        interface: String,
    },
    /// Another DHCP server answers on this interface, and `--force` keeps this one leasing.
    OtherServer {
        /// The interface.
        interface: String,
        /// The other server.
        server: Ipv4Addr,
    },
    /// This server is a proxy, and no DHCP server answers on this interface.
    NoServer {
        /// The interface.
        interface: String,
    },
    /// The search for other DHCP servers failed.
    CannotLook {
        /// The interface.
        interface: String,
        /// The system's reason.
        error: String,
    },
    /// Hosts that have an address cannot be looked for before the address is leased.
    CannotProbe {
        /// The interface.
        interface: String,
        /// The system's reason.
        error: String,
    },
    /// Another host answers at the address that a client was to get.
    InUse {
        /// The client.
        hardware: HardwareAddress,
        /// The address.
        address: Ipv4Addr,
        /// The MAC address of the other host.
        mac: Mac,
    },
    /// A client is not served, or not whole, for want of a setting.
    Lacks {
        /// The client.
        hardware: HardwareAddress,
        /// The setting.
        setting: Lacking,
    },
    /// Addresses are leased on other interfaces, or through relay agents, but not to this interface's network.
    NotAttached {
        /// The interface.
        interface: String,
        /// Its network.
        network: String,
    },
    /// A DHCP thread ended, because the server stops.
    Ended,
}

/// A setting without which a client is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lacking {
    /// A network of a relay agent.
    Network {
        /// The agent.
        relay: Ipv4Addr,
        /// An address in the network, by `giaddr` or option 82.
        link: Ipv4Addr,
    },
    /// This Pi in the inventory.
    Entry(Prefix),
    /// BOOTP.
    Bootp,
    /// A boot file for clients of this architecture, if it has a name.
    BootFile(Option<&'static str>),
}
