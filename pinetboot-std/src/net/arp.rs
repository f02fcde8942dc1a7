//! ARP requests (RFC 826): whether a neighbour answers now. The kernel's table has only earlier answers.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

use super::neighbour::interface_of;

/// The MAC address that answers for `address` within a time; `None` without an answer, or for an address behind a router.
///
/// # Errors
///
/// The system's; the request requires CAP_NET_RAW.
pub fn ask(address: Ipv4Addr, within: Duration) -> io::Result<Option<[u8; 6]>> {
    let Some(interface) = interface_of(address) else { return Ok(None) };
    let addresses: Vec<_> = getifaddrs()?.filter(|entry| entry.interface_name == interface).collect();
    let link = addresses.iter().find_map(|entry| entry.address?.as_link_addr().copied());
    let ours = addresses
        .iter()
        .find_map(|entry| entry.address?.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
    let (Some(link), Some(ours)) = (link, ours) else { return Ok(None) };
    let Some(mac) = link.addr() else { return Ok(None) };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    bind(socket.as_raw_fd(), &link)?;
    send(socket.as_raw_fd(), &request(mac, ours, address), MsgFlags::empty())?;

    let deadline = Instant::now() + within;
    let mut frame = [0; 256];
    loop {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(len) => {
                if let Some(mac) = answer(frame.get(..len).unwrap_or_default(), address) {
                    return Ok(Some(mac));
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = PollTimeout::try_from(left.as_millis() as i32 + 1).unwrap_or(PollTimeout::ZERO);
        let mut readable = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut readable, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn request(mac: [u8; 6], ours: Ipv4Addr, address: Ipv4Addr) -> [u8; FRAME] {
    let mac = EthernetAddress(mac);
    let (dst_addr, ethertype) = (EthernetAddress::BROADCAST, EthernetProtocol::Arp);
    let mut frame = [0; FRAME];
    let mut out = EthernetFrame::new_unchecked(&mut frame);
    EthernetRepr { src_addr: mac, dst_addr, ethertype }.emit(&mut out);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: ours,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    arp.emit(&mut ArpPacket::new_unchecked(out.payload_mut()));
    frame
}

/// The MAC address in a frame, if the frame is a reply of this address.
fn answer(frame: &[u8], address: Ipv4Addr) -> Option<[u8; 6]> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    match ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()? {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr,
            source_protocol_addr,
            ..
        } if source_protocol_addr == address => Some(source_hardware_addr.0),
        _ => None,
    }
}

/// An Ethernet header and ARP for Ethernet and IPv4.
const FRAME: usize = 14 + 28;

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    #[test]
    fn a_reply_of_the_address_is_an_answer_and_nothing_else_is() {
        let mut frame = request([2, 0, 0, 0, 0, 9], THEIRS, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(answer(&frame, THEIRS), None, "a request");
        frame[21] = 2; // ARP's operation: a reply
        assert_eq!(answer(&frame, THEIRS), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(answer(&frame, Ipv4Addr::new(192, 0, 2, 8)), None);
        for cut in 0..frame.len() {
            assert_eq!(answer(&frame[..cut], THEIRS), None, "cut at {cut}");
        }
        frame[12] = 8;
        frame[13] = 0;
        assert_eq!(answer(&frame, THEIRS), None, "IPv4");
    }
}
