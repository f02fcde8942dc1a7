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
    /// The bound address; unspecified for all local addresses.
    bound: Ipv4Addr,
    /// Whether each datagram comes with its destination address.
    tells_destination: bool,
    /// The bound interface; `None` for all.
    interface: Option<Box<str>>,
    /// Whether the system chose the port.
    any_port: bool,
}

impl Socket {
    pub(super) fn bind(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        Self::new(address, interface, false)
    }

    /// A socket that another process has bound to this address. The interface is set if the socket is bound to none.
    pub(super) fn adopt(fd: OwnedFd, address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        if let Some(interface) = interface {
            setsockopt(&fd, sockopt::BindToDevice, &interface.into())?;
        }
        let bound = *address.ip();
        Ok(Self { fd, bound, tells_destination: false, interface: interface.map(Box::from), any_port: false })
    }

    /// Another socket at the same address and interface; the kernel divides incoming datagrams between them.
    pub(super) fn beside(&self) -> io::Result<Self> {
        // Set only now: the first bind failed if another process held the port.
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
        let (bound, any_port) = (*address.ip(), address.port() == 0);
        Ok(Self { fd, bound, tells_destination: false, interface: interface.map(Box::from), any_port })
    }

    /// Binds the socket to its interface again, which was removed and made again. The socket keeps its port, unless the system
    /// chose that.
    ///
    /// To change `SO_BINDTODEVICE` takes CAP_NET_RAW, to set it does not (Linux 5.7), and connect(2) to AF_UNSPEC removes it
    /// (`__udp_disconnect` in net/ipv4/udp.c): so a server without capabilities follows its interface.
    pub(super) fn bind_again(&self) -> io::Result<()> {
        let Some(interface) = self.interface() else { return Ok(()) };
        rustix::net::connect_unspec(&self.fd)?;
        setsockopt(&self.fd, sockopt::BindToDevice, &interface.into())?;
        if self.any_port {
            // The address may come after the interface.
            setsockopt(&self.fd, sockopt::IpFreebind, &true)?;
            bind(self.fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(self.bound, 0)))?;
        }
        Ok(())
    }

    /// Lets each datagram come with its destination address, if the socket is bound to all addresses.
    pub(super) fn ask_for_destination(&mut self) -> io::Result<()> {
        if self.bound.is_unspecified() {
            setsockopt(&self.fd, sockopt::Ipv4PacketInfo, &true)?;
            self.tells_destination = true;
        }
        Ok(())
    }

    /// Divides datagrams between the `count` sockets of an address by the client's address alone (`SO_REUSEPORT`, Linux 4.5);
    /// the kernel's default divides by the client's port too. Consecutive addresses go to consecutive sockets.
    pub(super) fn divide_by_client(&self, count: u32) -> io::Result<()> {
        // Classic BPF, which requires no privilege (bpf(4), linux/filter.h).
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

    /// Allows sending to broadcast addresses.
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

    /// Forbids fragments, which bootloaders do not reassemble. This also saves the kernel the identification of each packet, 4 %
    /// of its work here.
    pub(super) fn never_fragment(&self) -> io::Result<()> {
        Ok(setsockopt(&self.fd, PathMtuDiscovery, &IP_PMTUDISC_DO)?)
    }

    /// Allows fragments of datagrams that are too long, the system's default.
    pub(super) fn allow_fragments(&self) -> io::Result<()> {
        Ok(setsockopt(&self.fd, PathMtuDiscovery, &IP_PMTUDISC_WANT)?)
    }

    /// Enlarges both buffers to `bytes`, or to the system's limit without CAP_NET_ADMIN.
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

    /// The path MTU to `peer` in bytes, as far as known. The query consumes the socket.
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
