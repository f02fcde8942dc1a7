//! What waits at a socket, and what its full buffer dropped.

use std::os::fd::{AsFd, BorrowedFd};

use nix::libc::{self, SO_MEMINFO, SOL_SOCKET};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};

/// Whether a message waits to be read.
pub(crate) fn is_waiting(socket: BorrowedFd<'_>) -> bool {
    let mut ready = [PollFd::new(socket, PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Messages that the system dropped, since the socket was opened; 0 before Linux 4.12.
pub(super) fn dropped(socket: &impl AsFd) -> u64 {
    getsockopt(socket, MemoryInfo).map_or(0, |info: [u32; VARIABLES]| info[DROPS].into())
}

sockopt_impl!(
    /// Counts of a socket's memory (linux/sock_diag.h, `SK_MEMINFO_*`).
    MemoryInfo,
    GetOnly,
    SOL_SOCKET,
    SO_MEMINFO,
    [u32; VARIABLES]
);

/// SK_MEMINFO_VARS.
const VARIABLES: usize = 9;
/// SK_MEMINFO_DROPS.
const DROPS: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_full_buffer_counts_what_it_drops() {
        let (server, client) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(!is_waiting(server.as_fd()));
        let send = |count| {
            (0..count).for_each(|_| {
                client.send_to(&[0; 1000], server.local_addr().unwrap()).unwrap();
            })
        };
        send(1);
        assert!(is_waiting(server.as_fd()));
        assert_eq!(dropped(&server), 0);
        send(2000);
        assert!(dropped(&server) > 0);
        server.set_nonblocking(true).unwrap();
        while server.recv(&mut [0; 1000]).is_ok() {}
        assert!(!is_waiting(server.as_fd()));
    }
}
