//! Facts about frames that are for no port of this server.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::Model;
use pinetboot_core::pi::boot::{ArpTarget, Survey};

use super::Mac;

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
    /// With DHCP off: a client requested this address of another server, by a broadcast.
    AddressRequested {
        /// The client.
        hardware: HardwareAddress,
        /// The address.
        address: Ipv4Addr,
    },
    /// Another server's answer to a client was broadcast.
    OtherServer {
        /// The client.
        hardware: HardwareAddress,
        /// The server.
        server: Ipv4Addr,
    },
    /// The port of the switch sends messages of a spanning tree of the first version (STP).
    SpanningTree {
        /// The interface.
        interface: String,
        /// Seconds in each of the states listening and learning.
        forward_delay: u8,
    },
    /// A host sent a line of its log (NETCONSOLE).
    Console {
        /// The host.
        hardware: HardwareAddress,
        /// The line.
        line: String,
        /// The number of the rule that it shows.
        rule: Option<u8>,
    },
    /// The network is to be asked in a Pi's place.
    AsksNetwork {
        /// The Pi.
        mac: Mac,
        /// Its model.
        model: Model,
        /// The time for answers.
        within: Duration,
    },
    /// The answer.
    Surveyed {
        /// The Pi.
        hardware: HardwareAddress,
        /// What other servers offer.
        survey: Survey,
        /// The same in words, for each server.
        said: Vec<String>,
    },
    /// A Pi is to be asked for by ARP.
    AsksPi {
        /// The Pi.
        mac: Mac,
        /// Its address.
        address: Ipv4Addr,
        /// The time for the answer.
        within: Duration,
    },
    /// The answer.
    ArpAnswered {
        /// The Pi.
        hardware: HardwareAddress,
        /// Whether one came.
        alive: bool,
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
