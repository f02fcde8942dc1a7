//! The source address that the kernel chooses.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use pinetboot_core::tftp::PORT;

/// The source address of a packet from this machine to `server`; no packet is sent. `None` without a route or an address.
pub fn source_of(server: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((server, PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address).filter(|address| !address.is_unspecified()),
        IpAddr::V6(_) => None,
    }
}
