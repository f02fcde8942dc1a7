//! One non-blocking UDP socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::libc::{
    self, BPF_A, BPF_ABS, BPF_ALU, BPF_K, BPF_LD, BPF_MOD, BPF_RET, BPF_W, IP_MTU_DISCOVER, IP_PMTUDISC_DO,
    IP_PMTUDISC_WANT, IPPROTO_IP, SKF_NET_OFF, sock_filter, sock_fprog,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, getsockopt, setsockopt,
    socket, sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// Whether datagrams may be fragmented (ip(7), `IP_MTU_DISCOVER`).
    PathMtuDiscovery,
    SetOnly,
    IPPROTO_IP,
    IP_MTU_DISCOVER,
    i32
);

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// The address that it is bound to; unspecified if it takes datagrams to any of ours.
    bound: Ipv4Addr,
    /// Whether each datagram says which address of ours it was sent to.
    tells_destination: bool,
    /// The only interface that it uses.
    interface: Option<Box<str>>,
}

impl Socket {
    pub(super) fn bind(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        Self::new(address, interface, false)
    }

    /// One more at the address and interface of this, which then share what comes there.
    pub(super) fn beside(&self) -> io::Result<Self> {
        // Not from the beginning: so it was noticed if someone else had the port already.
        setsockopt(&self.fd, sockopt::ReusePort, &true)?;
        Self::new(self.address()?, self.interface(), true)
    }

    fn new(address: SocketAddrV4, interface: Option<&str>, shares: bool) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        if let Some(interface) = interface {
            setsockopt(&fd, sockopt::BindToDevice, &interface.into())?;
        }
        if shares {
            setsockopt(&fd, sockopt::ReusePort, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
        Ok(Self { fd, bound: *address.ip(), tells_destination: false, interface: interface.map(Box::from) })
    }

    /// Lets each datagram tell which address of ours it was sent to, where that may be any of them.
    pub(super) fn ask_for_destination(&mut self) -> io::Result<()> {
        if self.bound.is_unspecified() {
            setsockopt(&self.fd, sockopt::Ipv4PacketInfo, &true)?;
            self.tells_destination = true;
        }
        Ok(())
    }

    /// Divides what comes to the `count` sockets that share an address by who sent it, and not by his port as well, as the
    /// kernel does by itself (`SO_REUSEPORT`, Linux 4.5): the first gets the first client, the second the next one.
    pub(super) fn divide_by_client(&self, count: u32) -> io::Result<()> {
        // In the kernel's oldest language for such programs, that takes no privilege (bpf(4), linux/filter.h).
        let instruction = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut program = [
            // The address of the sender: 12 bytes into the IP header.
            instruction(BPF_LD | BPF_W | BPF_ABS, (SKF_NET_OFF + 12) as u32),
            instruction(BPF_ALU | BPF_MOD | BPF_K, count),
            instruction(BPF_RET | BPF_A, 0),
        ];
        let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        setsockopt(&self.fd, sockopt::AttachReusePortCbpf, &program)?;
        Ok(())
    }

    /// Lets it send to broadcast addresses.
    pub(super) fn allow_broadcast(&self) -> io::Result<()> {
        setsockopt(&self.fd, sockopt::Broadcast, &true)?;
        Ok(())
    }

    pub(super) const fn tells_destination(&self) -> bool {
        self.tells_destination
    }

    pub(super) const fn bound(&self) -> Ipv4Addr {
        self.bound
    }

    pub(super) fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// Lets nothing that is sent be cut into fragments, which bootloaders do not put together. That saves the kernel from
    /// thinking up an identification for each packet, which is 4 % of all that it does here.
    pub(super) fn never_fragment(&self) -> io::Result<()> {
        Ok(setsockopt(&self.fd, PathMtuDiscovery, &IP_PMTUDISC_DO)?)
    }

    /// Takes that back: what does not fit is cut, as is the system's default.
    pub(super) fn allow_fragments(&self) -> io::Result<()> {
        Ok(setsockopt(&self.fd, PathMtuDiscovery, &IP_PMTUDISC_WANT)?)
    }

    /// As far as the system allows: beyond its limit only with the privilege to.
    pub(super) fn enlarge_buffers(&self, bytes: usize) {
        if setsockopt(&self.fd, sockopt::RcvBufForce, &bytes).is_err() {
            let _as_far_as_allowed = setsockopt(&self.fd, sockopt::RcvBuf, &bytes);
        }
        if setsockopt(&self.fd, sockopt::SndBufForce, &bytes).is_err() {
            let _as_far_as_allowed = setsockopt(&self.fd, sockopt::SndBuf, &bytes);
        }
    }

    pub(super) fn address(&self) -> io::Result<SocketAddrV4> {
        Ok(getsockname::<SockaddrIn>(self.fd.as_raw_fd())?.into())
    }

    /// Whether the kernel cuts a long message into datagrams.
    pub(super) fn can_segment(&self) -> bool {
        getsockopt(&self.fd, sockopt::UdpGsoSegment).is_ok()
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

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
