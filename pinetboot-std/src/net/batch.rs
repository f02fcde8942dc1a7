//! Many datagrams by one system call: `recvmmsg` and `sendmmsg`.
//!
//! The headers of the calls are allocated once for each thread, so a call allocates nothing.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg,
};

use super::UNSPECIFIED;
use super::socket::Socket;

/// Most datagrams of a call.
pub(super) const BATCH: usize = 64;

/// A received datagram's metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// The index of the receiving socket.
    pub(super) place: usize,
    pub(super) len: usize,
    pub(super) peer: SocketAddrV4,
    /// The local address to answer from.
    pub(super) destination: Ipv4Addr,
}

/// The socket and the common properties of messages that one system call sends.
pub(super) struct Sending<'a> {
    pub(super) socket: &'a Socket,
    /// The source address, if the socket is bound to none.
    pub(super) source: Ipv4Addr,
    /// Bytes of each datagram but the last of a message (UDP_SEGMENT, Linux 4.18): the network card cuts the message, or the
    /// kernel just before. `None`: a message is one datagram.
    pub(super) segment: Option<u16>,
}

/// Reads datagrams of `socket`, at `place`: each into a slot of `slot` bytes of `memory`, until all slots are used or none is
/// left. A longer datagram is cut. Returns the number of datagrams.
pub(super) fn receive(
    socket: &Socket,
    place: usize,
    memory: &mut [u8],
    slot: usize,
    arrived: &mut Vec<Received>,
) -> usize {
    let mut slots = memory.chunks_exact_mut(slot);
    let free = slots.len().min(BATCH);
    HEADERS.with_borrow_mut(|headers| {
        let mut iov: [_; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        let headers = if socket.tells_destination() { &mut headers.to_any } else { &mut headers.to_one };
        // An ICMP error belongs to an earlier datagram; the next call reads on.
        let Ok(messages) =
            recvmmsg(socket.as_raw_fd(), headers, iov.iter_mut().take(free), MsgFlags::empty(), None)
        else {
            return 0;
        };
        let mut count = 0;
        for message in messages {
            count += 1;
            let peer = message.address.map_or(UNSPECIFIED, SocketAddrV4::from);
            let mut destination = socket.bound();
            for info in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::Ipv4PacketInfo(info) = info {
                    // The address that the kernel would answer from: the destination, unless that was a broadcast.
                    destination = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                }
            }
            arrived.push(Received { place, len: message.bytes, peer, destination });
        }
        count
    })
}

/// Sends messages, in order, until all are sent or one fails. Returns the number of sent messages, or the first one's error.
pub(super) fn send<'a>(
    how: &Sending<'_>,
    messages: impl Iterator<Item = (&'a [u8], SocketAddrV4)>,
) -> Result<usize, Errno> {
    let mut iov = [[IoSlice::new(&[])]; BATCH];
    let mut to = [None; BATCH];
    let mut count = 0;
    for ((iov, to), (bytes, address)) in iov.iter_mut().zip(&mut to).zip(messages) {
        *iov = [IoSlice::new(bytes)];
        *to = Some(SockaddrIn::from(address));
        count += 1;
    }
    let info = in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(how.source.octets()) },
        ipi_addr: in_addr { s_addr: 0 },
    };
    let chosen = (how.socket.bound().is_unspecified() && !how.source.is_unspecified())
        .then_some(ControlMessage::Ipv4PacketInfo(&info));
    let cut = how.segment.as_ref().map(ControlMessage::UdpGsoSegments);
    let fd = how.socket.as_raw_fd();
    let (iov, to) = (iov.iter().take(count), to.get(..count).unwrap_or_default());
    HEADERS.with_borrow_mut(|headers| {
        let sent = match (chosen, cut) {
            (None, None) => sendmmsg(fd, &mut headers.plain, iov, to, [], MsgFlags::empty()),
            (Some(one), None) => sendmmsg(fd, &mut headers.from, iov, to, [one], MsgFlags::empty()),
            (None, Some(one)) => sendmmsg(fd, &mut headers.cut, iov, to, [one], MsgFlags::empty()),
            (Some(one), Some(two)) => {
                sendmmsg(fd, &mut headers.from_cut, iov, to, [one, two], MsgFlags::empty())
            }
        };
        sent.map(Iterator::count)
    })
}

/// Memory of the system calls: one for each set of control messages, sized for that set.
struct Headers {
    to_one: MultiHeaders<SockaddrIn>,
    to_any: MultiHeaders<SockaddrIn>,
    plain: MultiHeaders<SockaddrIn>,
    from: MultiHeaders<SockaddrIn>,
    cut: MultiHeaders<SockaddrIn>,
    from_cut: MultiHeaders<SockaddrIn>,
}

thread_local! {
    static HEADERS: RefCell<Headers> = RefCell::new(Headers {
        to_one: MultiHeaders::preallocate(BATCH, None),
        to_any: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))),
        plain: MultiHeaders::preallocate(BATCH, None),
        from: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))),
        cut: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(u16))),
        from_cut: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo, u16))),
    });
}
