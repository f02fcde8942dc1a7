//! Lines that Pis send of their own boot, at the port of NETCONSOLE: for a server that may open no packet socket, and so overhears nothing.

use std::net::Ipv4Addr;
#[cfg(feature = "disk")]
use std::net::{SocketAddr, UdpSocket};

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::console;

use crate::bus::Bus;
use crate::events::{Mac, Network};
#[cfg(feature = "disk")]
use crate::net::neighbour;
use crate::text::without_secrets;

/// The open ports.
#[cfg(feature = "disk")]
#[derive(Debug)]
pub(super) struct Lines(Vec<UdpSocket>);

#[cfg(feature = "disk")]
impl Lines {
    /// Opens the port at these addresses, but where another program has it.
    pub(super) fn open(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        let open = |address| {
            let socket = UdpSocket::bind((address, console::PORT))?;
            socket.set_nonblocking(true).map(|()| socket)
        };
        Self(addresses.into_iter().flat_map(open).collect())
    }

    /// Tells what has come since the last call. A sender whose MAC address is not known is no neighbour.
    pub(super) fn tell(&self, bus: &Bus) {
        let mut buffer = [0; 1500];
        for socket in &self.0 {
            for _ in 0..MOST_DATAGRAMS {
                let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) else { break };
                if let Some(mac) = neighbour(*from.ip()) {
                    told(mac, Some(*from.ip()), buffer.get(..len).unwrap_or_default(), bus);
                }
            }
        }
    }
}

/// Tells the lines of a datagram; `client`: its address, where that is known.
pub(super) fn told(from: Mac, client: Option<Ipv4Addr>, text: &[u8], bus: &Bus) {
    let hardware = HardwareAddress::ethernet(from);
    let text = String::from_utf8_lossy(text);
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(MOST_LINES) {
        // A kernel prints its command line, with the secret of the boot.
        let rule = console::rule(line);
        let line: String = without_secrets(line).chars().take(LONGEST_LINE).collect();
        bus.emit(client, Network::Console { hardware, line, rule });
    }
}

/// Datagrams that are read at once; the socket's buffer bounds the others.
#[cfg(feature = "disk")]
const MOST_DATAGRAMS: usize = 256;
/// Lines of one datagram.
const MOST_LINES: usize = 8;
/// Characters of a line.
const LONGEST_LINE: usize = 200;
