//! What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`).

use std::os::fd::AsFd;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

/// Whether the other end has acknowledged nothing for a while: bytes are under way, and the kernel has sent them again and again. It
/// doubles the time from 200 ms on (RFC 6298, section 5.5), so that six times in a row take 12 s.
pub(super) fn is_unacknowledged(connection: &impl AsFd) -> bool {
    // The system's failure is that of a closed connection, which ends by itself.
    getsockopt(connection, TcpInfo)
        .is_ok_and(|info| info.tcpi_unacked > 0 && info.tcpi_retransmits >= MOST_RETRANSMITS)
}

sockopt_impl!(
    /// The state of a connection.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info
);

const MOST_RETRANSMITS: u8 = 6;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_that_works_is_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_unacknowledged(&stream));
        assert!(!is_unacknowledged(&listener), "no connection at all");
    }
}
