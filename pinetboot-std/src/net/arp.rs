//! ARP requests (RFC 826): whether a neighbour answers now. The kernel's table has only earlier answers.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc::{
    self, BPF_ABS, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, ETH_P_ARP, SO_ATTACH_FILTER, SOL_SOCKET,
    sock_filter, sock_fprog,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::{setsockopt_impl, sockopt_impl};
use rustix::net::{SocketFlags, SocketType, eth, socket_with};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

use super::neighbour::interface_of;

/// Asks single addresses, over a socket from the time at which the process could open one.
#[derive(Debug)]
pub struct Asker(Mutex<OwnedFd>);

impl Asker {
    /// An asker, for all interfaces.
    ///
    /// # Errors
    ///
    /// The system's; the socket requires CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(rustix::net::AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ARP))?;
        take_nothing(&socket)?;
        Ok(Self(Mutex::new(socket)))
    }

    /// The MAC address that answers for `address` within a time; `None` without an answer, or for an address behind a router.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ask(&self, address: Ipv4Addr, within: Duration) -> io::Result<Option<[u8; 6]>> {
        let Some(interface) = interface_of(address) else { return Ok(None) };
        let (link, mac, ours) = ends(&interface)?;
        let Some(ours) = ours else { return Ok(None) };
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bind(socket.as_raw_fd(), &link)?;
        take_arp(&*socket)?;
        let answered = send(socket.as_raw_fd(), &request(mac, ours, address), MsgFlags::empty())
            .map_err(io::Error::from)
            .and_then(|_| answer_on(&socket, address, within));
        take_nothing(&*socket)?;
        answered
    }
}

fn answer_on(socket: &OwnedFd, address: Ipv4Addr, within: Duration) -> io::Result<Option<[u8; 6]>> {
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

/// Probes addresses without waiting for answers (RFC 5227, section 2.1.1).
#[derive(Debug)]
pub struct Prober {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl Prober {
    /// A prober on this interface.
    ///
    /// # Errors
    ///
    /// The system's; the socket requires CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        let (socket, mac) = open(interface)?;
        Ok(Self { socket, mac })
    }

    /// Moves the prober to the interface of this name, which was removed and made again: no privilege is needed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind_again(&mut self, interface: &str) -> io::Result<()> {
        let (link, mac, _) = ends(interface)?;
        bind(self.socket.as_raw_fd(), &link)?;
        self.mac = mac;
        Ok(())
    }

    /// Broadcasts a probe for this address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        // > The 'sender IP address' field MUST be set to all zeroes; this is to avoid polluting ARP caches in other hosts
        let frame = request(self.mac, Ipv4Addr::UNSPECIFIED, address);
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The sender of the next ARP packet that has arrived: its address, and its MAC address.
    pub fn answer(&mut self) -> Option<(Ipv4Addr, [u8; 6])> {
        let mut frame = [0; 256];
        // Other hosts' frames are passed over, but not without end.
        for _ in 0..256 {
            let len = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
            let sender = sender(frame.get(..len).unwrap_or_default()).map(|(_, address, mac)| (address, mac));
            if let Some((address, mac)) = sender
                && !address.is_unspecified()
                && mac != self.mac
            {
                return Some((address, mac));
            }
        }
        None
    }
}

/// The index, the MAC address and the first IPv4 address of an interface.
fn ends(interface: &str) -> io::Result<(LinkAddr, [u8; 6], Option<Ipv4Addr>)> {
    let addresses: Vec<_> = getifaddrs()?.filter(|entry| entry.interface_name == interface).collect();
    let link = addresses.iter().find_map(|entry| entry.address?.as_link_addr().copied());
    let link = link.ok_or(io::ErrorKind::NotFound)?;
    let ours = addresses
        .iter()
        .find_map(|entry| entry.address?.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
    let mac = link.addr().ok_or_else(|| io::Error::other("the interface has no Ethernet address"))?;
    Ok((link, mac, ours))
}

/// A socket for the ARP packets of an interface, and the interface's MAC address.
fn open(interface: &str) -> io::Result<(OwnedFd, [u8; 6])> {
    let (link, mac, _) = ends(interface)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    take_arp(&socket)?;
    bind(socket.as_raw_fd(), &link)?;
    Ok((socket, mac))
}

/// Lets a socket receive ARP alone: without this it would copy every frame of the interface.
fn take_arp(socket: &impl AsFd) -> nix::Result<()> {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter { code: code as u16, jt: 0, jf, k };
    take(
        socket,
        &mut [
            instruction(BPF_LD | BPF_H | BPF_ABS, 0, ETHER_TYPE),
            instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, ETH_P_ARP as u32),
            instruction(BPF_RET | BPF_K, 0, u32::MAX),
            instruction(BPF_RET | BPF_K, 0, 0),
        ],
    )
}

/// Lets a socket receive no frame.
pub(super) fn take_nothing(socket: &impl AsFd) -> nix::Result<()> {
    take(socket, &mut [sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: 0 }])
}

/// Sets the filter of a socket.
pub(super) fn take(socket: &impl AsFd, program: &mut [sock_filter]) -> nix::Result<()> {
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(socket, Filter, &program)
}

sockopt_impl!(
    /// Which packets the socket takes (socket(7), `SO_ATTACH_FILTER`).
    Filter,
    SetOnly,
    SOL_SOCKET,
    SO_ATTACH_FILTER,
    sock_fprog
);

pub(super) fn request(mac: [u8; 6], ours: Ipv4Addr, address: Ipv4Addr) -> [u8; FRAME] {
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
    match sender(frame)? {
        (ArpOperation::Reply, sender, mac) if sender == address => Some(mac),
        _ => None,
    }
}

/// Operation and sender of an ARP packet.
fn sender(frame: &[u8]) -> Option<(ArpOperation, Ipv4Addr, [u8; 6])> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    match ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()? {
        ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } => {
            Some((operation, source_protocol_addr, source_hardware_addr.0))
        }
        _ => None,
    }
}

/// The place of the type in an Ethernet header.
const ETHER_TYPE: u32 = 12;

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
