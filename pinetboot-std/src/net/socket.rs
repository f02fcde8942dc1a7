//! One non-blocking UDP socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, bind,
    connect, getsockname, getsockopt, recvmsg, sendmsg, sendto, setsockopt, socket, sockopt,
};

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// The address that it is bound to; unspecified if it takes datagrams to any of ours.
    bound: Ipv4Addr,
    /// Room for what [`ask_for_destination`](Socket::ask_for_destination) asks for; empty if it was not called.
    control: Vec<u8>,
    /// The only interface that it uses.
    interface: Option<Box<str>>,
}

/// What came, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) len: usize,
    pub(super) peer: SocketAddrV4,
    /// The address of ours to answer from.
    pub(super) destination: Ipv4Addr,
}

impl Socket {
    pub(super) fn bind(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        if let Some(interface) = interface {
            setsockopt(&fd, sockopt::BindToDevice, &interface.into())?;
        }
        bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
        Ok(Self { fd, bound: *address.ip(), control: Vec::new(), interface: interface.map(Box::from) })
    }

    /// Lets [`receive`](Self::receive) tell which address of ours a datagram was sent to.
    pub(super) fn ask_for_destination(&mut self) -> io::Result<()> {
        if self.bound.is_unspecified() {
            setsockopt(&self.fd, sockopt::Ipv4PacketInfo, &true)?;
            self.control = cmsg_space!(in_pktinfo);
        }
        Ok(())
    }

    /// Lets it send to broadcast addresses.
    pub(super) fn allow_broadcast(&self) -> io::Result<()> {
        setsockopt(&self.fd, sockopt::Broadcast, &true)?;
        Ok(())
    }

    pub(super) fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// As far as the system allows: beyond its limit only with the privilege to.
    pub(super) fn enlarge_buffers(&self, bytes: usize) {
        if setsockopt(&self.fd, sockopt::RcvBufForce, &bytes).is_err() {
            let _as_far_as_allowed = setsockopt(&self.fd, sockopt::RcvBuf, &bytes);
        }
        let _as_far_as_allowed = setsockopt(&self.fd, sockopt::SndBuf, &bytes);
    }

    pub(super) fn address(&self) -> io::Result<SocketAddrV4> {
        Ok(getsockname::<SockaddrIn>(self.fd.as_raw_fd())?.into())
    }

    /// The next datagram, if there is one. One longer than `memory` is cut.
    pub(super) fn receive(&mut self, memory: &mut [u8]) -> Option<Received> {
        let mut iov = [IoSliceMut::new(memory)];
        let control = (!self.control.is_empty()).then_some(&mut *self.control);
        // An ICMP error for something sent earlier says nothing of what comes: after it the next call has more to say.
        let message = match recvmsg::<SockaddrIn>(self.fd.as_raw_fd(), &mut iov, control, MsgFlags::empty()) {
            Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EINTR) => {
                return None;
            }
            message => message.ok()?,
        };
        let peer = message.address?.into();
        let mut destination = self.bound;
        for info in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::Ipv4PacketInfo(info) = info {
                // The address that the kernel would answer from: the destination, unless that was a broadcast.
                destination = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
            }
        }
        Some(Received { len: message.bytes, peer, destination })
    }

    /// Sends one datagram; from a socket that is bound to no address, with `source` as its own.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddrV4, source: Ipv4Addr) -> Result<usize, Errno> {
        let to = SockaddrIn::from(to);
        if !self.bound.is_unspecified() || source.is_unspecified() {
            return sendto(self.fd.as_raw_fd(), bytes, &to, MsgFlags::empty());
        }
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        sendmsg(self.fd.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&to))
    }

    /// The largest IP packet, in bytes, that the route to `peer` is known to carry. To ask takes a socket of its own.
    pub(super) fn path_mtu(self, peer: SocketAddrV4) -> Option<u16> {
        connect(self.fd.as_raw_fd(), &SockaddrIn::from(peer)).ok()?;
        let mtu = getsockopt(&self.fd, sockopt::IpMtu).ok()?;
        Some(u16::try_from(mtu).unwrap_or(u16::MAX))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
