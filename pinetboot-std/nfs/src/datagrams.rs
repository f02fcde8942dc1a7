//! Calls over UDP; each answer's source is the call's destination.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};

use super::message::Programs;

/// A UDP socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// Calls under way.
    calls: AtomicUsize,
    pub(super) programs: Programs,
}

/// The addresses of an answer: destination and source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) peer: SocketAddrV4,
    destination: in_addr,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket, programs: Programs) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        Ok(Self { socket, calls: AtomicUsize::new(0), programs })
    }

    /// Records the begin of a call; false if the socket has to rest until the [end](Self::end) of one.
    pub(super) fn begin(&self) -> bool {
        self.calls.fetch_add(1, Ordering::AcqRel) + 1 < MOST_CALLS
    }

    /// Records the end of a call; true if the socket rested.
    pub(super) fn end(&self) -> bool {
        self.calls.fetch_sub(1, Ordering::AcqRel) == MOST_CALLS
    }

    /// Receives the next datagram into `memory`; `None` without one, and for a datagram whose source is no client.
    pub(super) fn receive(&self, memory: &mut [u8]) -> Option<(usize, Sender)> {
        let mut control = cmsg_space!(in_pktinfo);
        let mut iov = [IoSliceMut::new(memory)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received =
            recvmsg::<SockaddrIn>(self.socket.as_raw_fd(), &mut iov, Some(&mut control), flags).ok()?;
        let peer = SocketAddrV4::from(received.address?);
        if NO_CLIENTS.contains(&peer.port()) {
            return None;
        }
        let destination = received.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_spec_dst),
            _ => None,
        })?;
        Some((received.bytes, Sender { peer, destination }))
    }

    /// Sends an answer; an answer that cannot be sent is lost, and the client repeats its call.
    pub(super) fn send(&self, message: &[u8], to: Sender) {
        let info =
            in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: to.destination, ipi_addr: in_addr { s_addr: 0 } };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let peer = SockaddrIn::from(to.peer);
        let flags = MsgFlags::MSG_DONTWAIT;
        let _sent = sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(message)], &control, flags, Some(&peer));
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Most calls of a socket under way: the sources of datagrams may be forged, so that no bound of a client holds. Further datagrams
/// wait in the kernel.
const MOST_CALLS: usize = 16;

/// Source ports of no client, whose datagrams get no answer: port 0, and the services that answer any datagram, as a forged source
/// sends an answer there. Echo (RFC 862), discard (RFC 863), chargen (RFC 864), qotd (RFC 865), systat (RFC 866), daytime (RFC 867),
/// time (RFC 868).
const NO_CLIENTS: [u16; 8] = [0, 7, 9, 11, 13, 17, 19, 37];
