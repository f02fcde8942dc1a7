//! Facts about frames that are for no port of this server.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::boot::ArpTarget;

/// A fact about the network.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// A host sent an ARP request.
    ArpAsked {
        /// The host.
        hardware: HardwareAddress,
        /// The address that it asks for.
        address: Ipv4Addr,
        /// What has the address.
        target: ArpTarget,
    },
    /// The frames of an interface cannot be read.
    Unheard {
        /// The interface.
        interface: String,
        /// The system's reason.
        error: String,
    },
    /// Hosts send more of such frames than are read.
    TooMany {
        /// The interface.
        interface: String,
        /// Frames a second that are read.
        most: u32,
    },
}
