//! Many datagrams in one system call, each with the address of ours that it came to or goes from: recvmmsg(2) and
//! sendmmsg(2) with `IP_PKTINFO`.
//!
//! All unsafe code of this crate is here. No library has it: nix gives all datagrams of a sendmmsg the same control
//! message, rustix knows no `IP_PKTINFO`.

#![expect(unsafe_code, reason = "recvmmsg and sendmmsg, with a control message for each datagram")]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::libc;

/// Datagrams that came.
pub(crate) struct Incoming {
    memory: Box<[[u8; LARGEST]; BATCH]>,
    names: [libc::sockaddr_in; BATCH],
    controls: [Control; BATCH],
    headers: [libc::mmsghdr; BATCH],
    count: usize,
}

/// One received datagram.
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddrV4,
    /// The address of ours that it was sent to.
    pub(crate) to: Ipv4Addr,
    pub(crate) bytes: &'a [u8],
}

impl Incoming {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            memory: Box::new([[0; LARGEST]; BATCH]),
            names: [NO_NAME; BATCH],
            controls: [Control::EMPTY; BATCH],
            // SAFETY: null pointers and lengths of 0 are a valid `mmsghdr`.
            headers: unsafe { zeroed() },
            count: 0,
        })
    }

    /// Takes all waiting datagrams, up to [`BATCH`]. With `wait`, waits for the first for at most the socket's own timeout.
    /// No datagram is `Ok(0)`.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.count = 0;
        for i in 0..BATCH {
            // Only those of the last call have changed, but telling which costs as much as this.
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_control = ptr::from_mut(&mut self.controls[i]).cast();
            header.msg_controllen = size_of::<Control>();
        }
        let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        for (i, slice) in slices.iter_mut().enumerate() {
            let memory = &mut self.memory[i];
            let slice = slice.write(libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: LARGEST });
            self.headers[i].msg_hdr.msg_iov = slice;
            self.headers[i].msg_hdr.msg_iovlen = 1;
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: all pointers in the headers are to memory of `self` and of `slices`, with their true lengths, and live
        // until the call is over; nothing else refers to that memory.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                flags,
                ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => self.count = count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => {}
                error if error.kind() == io::ErrorKind::Interrupted => {}
                // ICMP's answer to an earlier datagram: a port is closed. The socket itself is sound.
                error if error.kind() == io::ErrorKind::ConnectionRefused => {}
                error => return Err(error),
            },
        }
        Ok(self.count)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Datagram<'_>> {
        (0..self.count).map(|i| self.at(i))
    }

    /// The datagram of this number, below the number that was received.
    pub(crate) fn at(&self, i: usize) -> Datagram<'_> {
        let header = &self.headers[i];
        let len = (header.msg_len as usize).min(LARGEST);
        let to = match header.msg_hdr.msg_controllen >= size_of::<Control>() {
            true => Ipv4Addr::from(self.controls[i].info.ipi_addr.s_addr.to_ne_bytes()),
            false => Ipv4Addr::UNSPECIFIED,
        };
        Datagram { from: address(&self.names[i]), to, bytes: &self.memory[i][..len] }
    }
}

/// Datagrams to be sent.
pub(crate) struct Outgoing {
    memory: Box<[[u8; LARGEST]; BATCH]>,
    lengths: [usize; BATCH],
    names: [libc::sockaddr_in; BATCH],
    controls: [Control; BATCH],
    count: usize,
}

impl Outgoing {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            memory: Box::new([[0; LARGEST]; BATCH]),
            lengths: [0; BATCH],
            names: [NO_NAME; BATCH],
            controls: [Control::EMPTY; BATCH],
            count: 0,
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// How many more datagrams fit.
    pub(crate) fn room(&self) -> usize {
        BATCH - self.count
    }

    /// Adds a datagram; `write` writes the payload and returns its length. The batch must have room.
    pub(crate) fn add(&mut self, from: Ipv4Addr, to: SocketAddrV4, write: impl FnOnce(&mut [u8]) -> usize) {
        let i = self.count;
        self.lengths[i] = write(&mut self.memory[i]).min(LARGEST);
        self.names[i] = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: to.port().to_be(),
            sin_addr: ip(*to.ip()),
            sin_zero: [0; 8],
        };
        self.controls[i].info.ipi_spec_dst = ip(from);
        self.count += 1;
    }

    /// Sends all datagrams; a datagram that the kernel refuses is lost.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) {
        let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        for i in 0..self.count {
            let base = self.memory[i].as_mut_ptr().cast();
            let slice = slices[i].write(libc::iovec { iov_base: base, iov_len: self.lengths[i] });
            // SAFETY: null pointers and lengths of 0 are a valid `mmsghdr`.
            let header = headers[i].write(unsafe { zeroed() });
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[i]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(&mut self.controls[i]).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        let mut sent = 0;
        while sent < self.count {
            // SAFETY: the headers from `sent` to `count` are initialised, and all pointers in them are to memory of `self`
            // and of `slices`, with their true lengths, which lives until the call is over.
            let more = unsafe {
                let first = headers.as_mut_ptr().add(sent).cast();
                libc::sendmmsg(socket.as_raw_fd(), first, (self.count - sent) as u32, 0)
            };
            // An error is that of the first; go on behind it.
            sent += usize::try_from(more).unwrap_or(1).max(1);
        }
        self.count = 0;
    }
}

/// Lets no datagram of this socket be fragmented on its way. The kernel then chooses no identification for each, a
/// noticeable cost.
pub(crate) fn never_fragment(socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = libc::IP_PMTUDISC_DO;
    // SAFETY: the pointer is to an integer of the length that is said, and lives until the call is over.
    let done = unsafe {
        let value = ptr::from_ref(&value).cast();
        let len = size_of::<libc::c_int>() as u32;
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value, len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A control message with an `in_pktinfo`, laid out as cmsg(3) has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
    /// `CMSG_SPACE` rounds up.
    _padding: u32,
}

impl Control {
    const EMPTY: Self = Self {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>(),
            cmsg_level: libc::IPPROTO_IP,
            cmsg_type: libc::IP_PKTINFO,
        },
        info: libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: 0 },
            ipi_addr: libc::in_addr { s_addr: 0 },
        },
        _padding: 0,
    };
}

const NO_NAME: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: libc::AF_INET as u16,
    sin_port: 0,
    sin_addr: libc::in_addr { s_addr: 0 },
    sin_zero: [0; 8],
};

fn ip(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

fn address(name: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes()), u16::from_be(name.sin_port))
}

/// How many datagrams one call moves.
pub(crate) const BATCH: usize = 64;

/// The longest datagram: what an Ethernet frame carries.
pub(crate) const LARGEST: usize = 1472;
