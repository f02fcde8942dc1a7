//! A packet socket (packet(7)) for the frames that [`Frame`](super::Frame) reads, and for no others.
//!
//! The kernel decides by a filter (BPF, Documentation/networking/filter.rst), before it copies a frame or wakes this process: the
//! packets of a transfer cost some ten instructions each, as UDP to port 67, 68 or 6666, ARP and BPDUs alone pass. A reader that is
//! late loses frames ([`BUFFER`]), never memory.
//!
//! Frames that this machine sends do not pass, nor those of VLANs, whose tag the kernel takes off. The interface stays out of
//! promiscuous mode: it is told of the two more addresses that frames come for, those of spanning trees and 00:00:00:00:00:00.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    self, ARPHRD_ETHER, BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_LDX, BPF_MSH, BPF_RET, PACKET_ADD_MEMBERSHIP, PACKET_IGNORE_OUTGOING, PACKET_MR_MULTICAST,
    PACKET_MR_UNICAST, SOL_PACKET, packet_mreq, sock_filter,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};
use pinetboot_core::pi::console;

use super::arp::{request, take, take_nothing};
use super::backlog::{dropped, is_waiting};
use super::frame::{ARP, DHCP_CLIENT, DHCP_SERVER, IPV4, MAX_LEN_FIELD, UDP};
use super::frames::{FRAME, emit, link_of};
use super::{Control, Interrupt};

/// The evidence on one interface.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    interface: String,
    mac: [u8; 6],
    control: Control,
    /// Frames that arrived and were not looked at.
    left_out: u64,
}

impl Capture {
    /// Opens an interface.
    ///
    /// # Errors
    ///
    /// If this Ethernet interface does not exist, or the process lacks CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (link, mac) = ends(interface)?;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        take_nothing(&socket)?;
        // Else the kernel clones each packet that this machine sends, for the filter to drop it. Linux before 4.20 has no such option.
        let _cloned_and_dropped = setsockopt(&socket, IgnoreOutgoing, &true);
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        let capture =
            Self { socket, interface: interface.to_owned(), mac, control: Control::new()?, left_out: 0 };
        capture.bind(&link)?;
        // Frames of before the first filter, of any interface.
        while capture.next(&mut [0; LONGEST]).is_some() {}
        take(&capture.socket, &mut filter())?;
        Ok(capture)
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's MAC address.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The handle that stops or wakes [`wait`](Self::wait).
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for a frame, a wake, or the end of the time.
    ///
    /// # Errors
    ///
    /// The control's, or the system's.
    pub fn wait(&mut self, at_most: PollTimeout) -> Result<(), Interrupt> {
        self.wait_for(at_most, PollFlags::POLLIN)
    }

    /// Waits for a wake or the end of the time, whatever arrives: the kernel drops what the buffer does not hold.
    ///
    /// # Errors
    ///
    /// The control's, or the system's.
    pub fn rest(&mut self, at_most: PollTimeout) -> Result<(), Interrupt> {
        self.wait_for(at_most, PollFlags::empty())
    }

    fn wait_for(&mut self, at_most: PollTimeout, frames: PollFlags) -> Result<(), Interrupt> {
        if !self.control.has_heard() && !is_waiting(self.socket.as_fd()) {
            self.control.heard(dropped(&self.socket) + self.left_out);
        }
        let mut ready =
            [PollFd::new(self.control.as_fd(), PollFlags::POLLIN), PollFd::new(self.socket.as_fd(), frames)];
        // Without a flag poll(2) still reports an interface that is down.
        let count = if frames.is_empty() { 1 } else { 2 };
        match poll(ready.get_mut(..count).unwrap_or_default(), at_most) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Interrupt::Failed(error.into())),
        }
        if ready.first().and_then(PollFd::any) != Some(false) {
            self.control.check()?;
        }
        if self.control.takes_bind_again()
            && let Ok((link, mac)) = ends(&self.interface)
        {
            self.mac = mac;
            self.bind(&link).map_err(Interrupt::Failed)?;
        }
        Ok(())
    }

    /// Counts a frame that the caller leaves out.
    pub const fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// The next frame that has arrived; `None` if there is none, or the interface is gone.
    pub fn next<'a>(&self, buffer: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(len) => return buffer.get(..len),
                Err(Errno::EINTR) => {}
                // ENETDOWN is told once, when the interface goes down.
                Err(_) => return None,
            }
        }
    }

    /// Broadcasts a datagram from 0.0.0.0:68, with the interface's MAC address as the source.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn broadcast(&self, port: u16, payload: &[u8]) -> io::Result<()> {
        let mut frame = [0; FRAME];
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
        let len = emit(&mut frame, self.mac, to, payload).ok_or(io::ErrorKind::InvalidInput)?;
        send(self.socket.as_raw_fd(), frame.get(..len).unwrap_or_default(), MsgFlags::empty())?;
        Ok(())
    }

    /// Asks by ARP for an address, as the host that has `own`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ask(&self, own: Ipv4Addr, address: Ipv4Addr) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &request(self.mac, own, address), MsgFlags::empty())?;
        Ok(())
    }

    fn bind(&self, link: &LinkAddr) -> io::Result<()> {
        bind(self.socket.as_raw_fd(), link)?;
        let index = link.ifindex() as i32;
        for (kind, address) in [(PACKET_MR_MULTICAST, BRIDGES), (PACKET_MR_UNICAST, [0; 6])] {
            let mut mr_address = [0; 8];
            mr_address[..6].copy_from_slice(&address);
            let membership = packet_mreq { mr_ifindex: index, mr_type: kind as u16, mr_alen: 6, mr_address };
            // An interface without such a list takes every frame.
            let _takes_all = setsockopt(&self.socket, Membership, &membership);
        }
        Ok(())
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The link-layer address of an Ethernet interface, with the protocol that its socket is bound to: all.
fn ends(interface: &str) -> io::Result<(LinkAddr, [u8; 6])> {
    let link = link_of(interface)?;
    let mac = link.addr().ok_or_else(|| io::Error::other("the interface has no Ethernet address"))?;
    if link.hatype() != ARPHRD_ETHER {
        return Err(io::Error::other("the interface is no Ethernet"));
    }
    Ok((link, mac))
}

/// The program: what it returns is the number of bytes that are copied.
fn filter() -> [sock_filter; 21] {
    let at = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump =
        |code: u32, k: u32, jt: u8, jf: u8| sock_filter { code: (BPF_JMP | code | BPF_K) as u16, jt, jf, k };
    // Jumps count the instructions that are left out; the last but one drops a frame, the last passes it.
    [
        at(BPF_LD | BPF_B | BPF_ABS, PACKET_KIND),
        jump(BPF_JEQ, OUTGOING, 17, 0),
        at(BPF_LD | BPF_B | BPF_ABS, HAS_VLAN_TAG),
        jump(BPF_JEQ, 0, 0, 15),
        at(BPF_LD | BPF_H | BPF_ABS, 12), // the type
        jump(BPF_JEQ, ARP as u32, 14, 0),
        jump(BPF_JEQ, IPV4 as u32, 3, 0),
        jump(BPF_JGT, MAX_LEN_FIELD as u32, 11, 0),
        at(BPF_LD | BPF_H | BPF_ABS, 14), // LLC, of a BPDU 0x4242
        jump(BPF_JEQ, 0x4242, 10, 9),
        at(BPF_LD | BPF_B | BPF_ABS, 14 + 9),
        jump(BPF_JEQ, UDP as u32, 0, 7),
        at(BPF_LD | BPF_H | BPF_ABS, 14 + 6), // a later fragment has no ports
        jump(BPF_JSET, 0x1fff, 5, 0),
        at(BPF_LDX | BPF_B | BPF_MSH, 14), // the length of IPv4's header
        at(BPF_LD | BPF_H | BPF_IND, 14 + 2),
        jump(BPF_JEQ, DHCP_SERVER as u32, 3, 0),
        jump(BPF_JEQ, DHCP_CLIENT as u32, 2, 0),
        jump(BPF_JEQ, console::PORT as u32, 1, 0),
        at(BPF_RET | BPF_K, 0),
        at(BPF_RET | BPF_K, LONGEST as u32),
    ]
}

sockopt_impl!(
    /// Whether frames that this machine sends pass the socket by (linux/if_packet.h, `PACKET_IGNORE_OUTGOING`).
    IgnoreOutgoing,
    SetOnly,
    SOL_PACKET,
    PACKET_IGNORE_OUTGOING,
    bool
);

sockopt_impl!(
    /// More addresses that an interface takes frames for (packet(7), `PACKET_ADD_MEMBERSHIP`).
    Membership,
    SetOnly,
    SOL_PACKET,
    PACKET_ADD_MEMBERSHIP,
    packet_mreq
);

/// Ancillary data of a packet: SKF_AD_OFF + SKF_AD_PKTTYPE, + SKF_AD_VLAN_TAG_PRESENT (linux/filter.h).
const PACKET_KIND: u32 = (-0x1000_i32 + 4) as u32;
const HAS_VLAN_TAG: u32 = (-0x1000_i32 + 48) as u32;
/// PACKET_OUTGOING (linux/if_packet.h).
const OUTGOING: u32 = 4;
/// The address of spanning trees (IEEE 802.1D-2004, table 7-10).
const BRIDGES: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];
/// The longest frame that is looked at, in bytes: more than a DHCP message, or a line.
pub const LONGEST: usize = 1514;
/// Bytes of frames that wait to be read: some hundred.
const BUFFER: usize = 128 << 10;
