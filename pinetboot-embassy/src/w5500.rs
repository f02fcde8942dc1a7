//! The W5500 Ethernet chip (WIZnet's data sheet, version 1.1.0) by its own UDP sockets: [`Udp`] is the core's network trait on them.
//!
//! The chip answers ARP and ping, asks for the hardware address of a peer, makes and checks the checksums, and drops what is for no open
//! socket: broadcast and multicast of other protocols cost the processor nothing. Each socket has memory of its own in the chip, so that the
//! next block of a file can lie there before its client asks for it ([`Net::prepare`](pinetboot_core::Net::prepare)); from an ACK to the next
//! DATA it then takes six short transfers on the bus.
//!
//! One chip serves several networks, each on its [`Sockets`]; a task of [`W5500::run`] sets the chip up, and resets it when a network finds
//! it failing. The driver believes no length that the chip reports, finds datagrams whose interrupt was lost, and opens a socket anew whose
//! SEND does not end.
//!
//! Sockets that no transfer holds have the page and the name (`spare`).
//!
//! Not done: IPv6, fragments; the chip has neither.

mod bus;
mod chip;
mod socket;
mod spare;
mod udp;

use core::fmt;

pub use chip::{DHCP_CLIENT_SOCKETS, DHCP_SOCKETS, Sockets, TFTP_SOCKETS, W5500};
pub use udp::{DhcpMemory, Memory, Udp};

/// A fault of the chip: it is missing, has no power, or the wires garbled the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Fault {
    Bus,
    Version(u8),
    Status(u8),
    Length(u16),
    Settings,
    Stuck,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus => f.write_str("the bus failed"),
            Self::Version(version) => write!(f, "it says version {version}, not 4"),
            Self::Status(status) => write!(f, "a socket is in state {status}"),
            Self::Length(len) => write!(f, "it says that a datagram has {len} bytes"),
            Self::Settings => f.write_str("it has lost its settings"),
            Self::Stuck => f.write_str("it does not take a command"),
        }
    }
}

#[cfg(test)]
mod tests;
