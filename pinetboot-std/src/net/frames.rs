//! A DHCP client's network: whole Ethernet frames on one interface.
//!
//! A client without an address cannot use a UDP socket: a server may send answers to the address that the client does not have
//! yet, and port 68 may belong to this machine's DHCP client. Frames avoid both.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant as Clock;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use pinetboot_core::dhcp::{CLIENT_PORT, MAX_LEN};
use pinetboot_core::{Datagram, Instant, Net};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};

/// UDP from 0.0.0.0:68 by broadcast frames, and to port 68 of any address, on one interface.
#[derive(Debug)]
pub struct Frames {
    socket: OwnedFd,
    mac: [u8; 6],
    incoming: Box<[u8]>,
    outgoing: [u8; MAX_LEN],
    start: Clock,
    /// Sends instead of the frames' socket, whose frames no server on this machine receives.
    broadcast: Option<UdpSocket>,
}

impl Frames {
    /// Opens an interface.
    ///
    /// # Errors
    ///
    /// If this Ethernet interface does not exist, or the process lacks CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        Self::open_for(interface, SockProtocol::EthIp)
    }

    /// Opens an interface, and reaches the servers on this machine too: messages leave as broadcasts of the interface's `address`, which
    /// the kernel also delivers to its own sockets (net/ipv4/ip_output.c, ip_mc_output). Answers of this machine are seen as frames
    /// that leave.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if the interface does not have the address.
    pub fn open_with_this_machine(interface: &str, address: Ipv4Addr) -> io::Result<Self> {
        let udp = UdpSocket::bind((address, 0))?;
        udp.set_broadcast(true)?;
        setsockopt(&udp, sockopt::BindToDevice, &interface.into())?;
        Ok(Self { broadcast: Some(udp), ..Self::open_for(interface, SockProtocol::EthAll)? })
    }

    fn open_for(interface: &str, protocol: SockProtocol) -> io::Result<Self> {
        let link = link_of(interface)?;
        let mac = link.addr().ok_or_else(|| io::Error::other("the interface has no Ethernet address"))?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self {
            socket,
            mac,
            incoming: vec![0; FRAME].into(),
            outgoing: [0; _],
            start: Clock::now(),
            broadcast: None,
        })
    }

    /// The source address of frames: the interface's own, unless [`pretend`](Self::pretend) sets another.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends frames from this hardware address. Frames to it arrive only in promiscuous mode (`ip link set IF promisc on`);
    /// broadcasts always do.
    pub const fn pretend(&mut self, mac: [u8; 6]) {
        self.mac = mac;
    }

    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let millis = deadline.since(self.now()).as_micros().div_ceil(1000);
        let timeout = u16::try_from(millis).map_or(PollTimeout::from(u16::MAX), PollTimeout::from);
        let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut readable, timeout) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn try_send(&self, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        if let Some(udp) = &self.broadcast {
            return udp.send_to(payload, to).map(drop);
        }
        let mut frame = [0; FRAME];
        let len = emit(&mut frame, self.mac, to, payload).ok_or(io::ErrorKind::InvalidInput)?;
        send(self.socket.as_raw_fd(), frame.get(..len).unwrap_or_default(), MsgFlags::empty())?;
        Ok(())
    }
}

impl Net for Frames {
    type Error = io::Error;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    async fn recv(&mut self, deadline: Instant) -> io::Result<Option<Datagram<'_, ()>>> {
        let (peer, payload) = loop {
            match recv(self.socket.as_raw_fd(), &mut self.incoming, MsgFlags::empty()) {
                Ok(len) => {
                    if let Some(received) = parse(self.incoming.get(..len).unwrap_or_default()) {
                        break received;
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    if !self.wait(deadline)? && self.now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        let bytes = self.incoming.get(payload).unwrap_or_default();
        Ok(Some(Datagram::new(Instant::ZERO + self.start.elapsed(), (), peer, bytes)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        let payload = self.outgoing.get(..len).unwrap_or_default();
        // By the trait, a failure is a lost datagram.
        let _lost = self.try_send(to, payload);
    }
}

/// The link-layer address of an interface: its index, and its hardware address.
pub(super) fn link_of(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this machine has no interface of that name"))
}

/// The sender and the payload's range of a datagram to port 68 in a frame.
fn parse(frame: &[u8]) -> Option<(SocketAddrV4, core::ops::Range<usize>)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let fragment = ip.more_frags() || ip.frag_offset() != 0;
    if fragment || ip.next_header() != IpProtocol::Udp || !ip.verify_checksum() {
        return None;
    }
    // The UDP checksum is not looked at: a card that computes it on the way out leaves it undone on a virtual link.
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    if udp.dst_port() != CLIENT_PORT {
        return None;
    }
    let start = EthernetFrame::<&[u8]>::header_len() + usize::from(ip.header_len()) + UDP_HEADER;
    Some((SocketAddrV4::new(ip.src_addr(), udp.src_port()), start..start + udp.payload().len()))
}

/// Writes a broadcast frame from 0.0.0.0:68, and says how long it is.
pub(super) fn emit(frame: &mut [u8; FRAME], mac: [u8; 6], to: SocketAddrV4, payload: &[u8]) -> Option<usize> {
    let udp = UdpRepr { src_port: CLIENT_PORT, dst_port: to.port() };
    let ip = Ipv4Repr {
        src_addr: Ipv4Addr::UNSPECIFIED,
        dst_addr: *to.ip(),
        next_header: IpProtocol::Udp,
        payload_len: UDP_HEADER + payload.len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(mac),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let checksums = ChecksumCapabilities::default();
    let len = ethernet.buffer_len() + ip.buffer_len() + ip.payload_len;
    let mut out = EthernetFrame::new_unchecked(frame.get_mut(..len)?);
    ethernet.emit(&mut out);
    let mut out = Ipv4Packet::new_unchecked(out.payload_mut());
    ip.emit(&mut out, &checksums);
    let mut out = UdpPacket::new_unchecked(out.payload_mut());
    let fill = |room: &mut [u8]| room.copy_from_slice(payload);
    udp.emit(&mut out, &ip.src_addr.into(), &ip.dst_addr.into(), payload.len(), fill, &checksums);
    Some(len)
}

const UDP_HEADER: usize = 8;

/// More than any MTU in use.
pub(super) const FRAME: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_a_datagram() {
        let mut frame = [0; FRAME];
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let len = emit(&mut frame, [2, 0, 0, 0, 0, 1], to, b"hello").unwrap();
        let (from, payload) = parse(&frame[..len]).unwrap();
        assert_eq!(from, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68));
        assert_eq!(&frame[payload], b"hello");
        for cut in 0..len {
            assert_eq!(parse(&frame[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_frame_has_no_more_than_its_bytes() {
        let mut frame = [0; FRAME];
        let len = emit(&mut frame, [2; 6], SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), &[7; 300]).unwrap();
        for damaged in crate::damaged::mutations(&frame[..len], 20_000) {
            if let Some((_, payload)) = parse(&damaged) {
                assert!(damaged.get(payload).is_some());
            }
        }
    }

    #[test]
    fn other_ports_are_passed_over() {
        let mut frame = [0; FRAME];
        let len = emit(&mut frame, [2; 6], SocketAddrV4::new(Ipv4Addr::BROADCAST, 67), b"").unwrap();
        assert_eq!(parse(&frame[..len]), None);
    }
}
