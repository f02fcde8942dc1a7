//! The network card of all Pis: one packet socket, whose frames are given to the Pi of their destination.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

use crate::Failed;

/// A packet socket on an interface.
pub(crate) struct Wire {
    socket: OwnedFd,
    frame: Vec<u8>,
}

/// The receiver of a frame, by its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// The Pi of this number.
    Pi(usize),
    /// The Pi with this address, which an ARP request asks for.
    Address(Ipv4Addr),
}

impl Wire {
    pub(crate) fn open(interface: &str) -> Result<Self, Failed> {
        let failed = |error: nix::errno::Errno| format!("no packet socket on {interface}: {error}");
        let link = getifaddrs().map_err(failed)?.find_map(|found| {
            let link: LinkAddr = *found.address?.as_link_addr()?;
            (found.interface_name == interface).then_some(link)
        });
        let link = link.ok_or_else(|| format!("no interface {interface}"))?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).map_err(failed)?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).map_err(failed)?;
        bind(socket.as_raw_fd(), &link).map_err(failed)?;
        Ok(Self { socket, frame: vec![0; LONGEST] })
    }

    /// Waits for a frame, at most this long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let millis = u16::try_from(at_most.as_millis()).unwrap_or(u16::MAX);
        // A signal ends the wait: the caller looks again.
        let _readable =
            poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(millis));
    }

    /// The next frame for a Pi, if one has come.
    pub(crate) fn receive(&mut self) -> Option<(To, &[u8])> {
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut self.frame, MsgFlags::MSG_DONTWAIT).ok()?;
            if let Some(to) = self.frame.get(..len).and_then(destination) {
                return Some((to, &self.frame[..len]));
            }
        }
    }

    /// Sends a frame; a failure is loss.
    pub(crate) fn send(&self, frame: &[u8]) {
        let _lost = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
    }
}

/// The MAC address of a Pi: of Raspberry Pi Trading, and its number.
pub(crate) fn mac(pi: usize) -> [u8; 6] {
    let [_, a, b, c] = (pi as u32).to_be_bytes();
    [0xd8, 0x3a, 0xdd, a, b, c]
}

fn pi_of(mac: &[u8]) -> Option<usize> {
    let [0xd8, 0x3a, 0xdd, a, b, c] = *mac.first_chunk()? else { return None };
    Some(u32::from_be_bytes([0, a, b, c]) as usize)
}

fn destination(frame: &[u8]) -> Option<To> {
    if pi_of(frame.get(6..12)?).is_some() {
        return None; // what a Pi sent
    }
    if let Some(pi) = pi_of(frame) {
        return Some(To::Pi(pi));
    }
    match frame.get(12..14)? {
        ARP => Some(To::Address(Ipv4Addr::from(*frame.get(38..)?.first_chunk::<4>()?))),
        IPV4 => pi_of(dhcp(frame)?.get(28..34)?).map(To::Pi),
        _ => None,
    }
}

/// The DHCP message for a client in a frame.
pub(crate) fn dhcp(frame: &[u8]) -> Option<&[u8]> {
    // Without IP options, as servers send them.
    let is_dhcp = frame.get(12..14)? == IPV4 && *frame.get(23)? == UDP && frame.get(36..38)? == [0, 68];
    is_dhcp.then(|| frame.get(42..)).flatten()
}

/// A broadcast of a DHCP client without an address. RFC 768: a checksum of zero is none.
pub(crate) fn dhcp_frame(pi: usize, message: &[u8]) -> Vec<u8> {
    let udp_len = 8 + message.len();
    let mut frame = [&[0xff; 6][..], &mac(pi), IPV4].concat();
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&(20 + udp_len as u16).to_be_bytes());
    let sum: u32 = ip.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    ip[10..12].copy_from_slice(&(!(sum as u16).wrapping_add((sum >> 16) as u16)).to_be_bytes());
    frame.extend(ip);
    frame.extend([0, 68, 0, 67]);
    frame.extend((udp_len as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

const IPV4: &[u8] = &[0x08, 0];
const ARP: &[u8] = &[0x08, 0x06];
const UDP: u8 = 17;
/// A packet socket gets merged segments whole.
const LONGEST: usize = 128 << 10;
/// Room for all that thousands of Pis are sent at once.
const BUFFER: usize = 256 << 20;
