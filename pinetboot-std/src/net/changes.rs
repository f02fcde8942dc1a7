//! Changes of interfaces, IPv4 addresses and routes, as the kernel tells them (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_LINK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::{Control, Interrupt};

/// The kernel's messages about changes. They only wake: the state itself is [read](super::Links::look), whole, so a message that
/// was lost (ENOBUFS) is none the worse.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
    control: Control,
}

impl Changes {
    /// Begins to listen; no privilege is needed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Self { socket, control: Control::new()? })
    }

    /// The handle that stops [`wait`](Self::wait).
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for a change, or for the end of the time; whether there was a change.
    ///
    /// # Errors
    ///
    /// The control's, or the system's.
    pub fn wait(&self, at_most: PollTimeout) -> Result<bool, Interrupt> {
        loop {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            ];
            let over = match poll(&mut ready, at_most) {
                Ok(count) => count == 0,
                Err(Errno::EINTR) => false,
                Err(error) => return Err(Interrupt::Failed(error.into())),
            };
            self.control.check()?;
            let changed = self.drain();
            if changed || over {
                return Ok(changed);
            }
        }
    }

    /// Takes all messages; whether there was one.
    pub fn drain(&self) -> bool {
        let mut message = [0; 4096];
        let mut any = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::MSG_TRUNC) {
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
