//! Sockets that the service manager has opened: sd_listen_fds(3), by the crate listenfd.
//!
//! A socket is used where the configuration would open one of the same type, address and port; no names are needed. The service
//! manager keeps the sockets while the server restarts: requests and connections wait.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use listenfd::ListenFd;
use nix::libc::{AF_INET, SOCK_DGRAM, SOCK_STREAM};
use nix::sys::socket::{SockType, SockaddrIn, getsockname, getsockopt, sockopt};

/// The sockets that no service has taken yet.
#[derive(Debug, Default)]
pub struct Handed(Vec<OwnedFd>);

impl Handed {
    /// The IPv4 sockets that LISTEN_FDS counts; none are inherited by other programs from here on.
    pub fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let count = passed.len().min(MOST);
        let mut take = |index| {
            // The crate checks the type, and sets FD_CLOEXEC.
            let udp = passed.take_custom(index, AF_INET, SOCK_DGRAM, "UDP socket").ok().flatten();
            udp.or_else(|| passed.take_custom(index, AF_INET, SOCK_STREAM, "TCP socket").ok().flatten())
        };
        Self((0..count).filter_map(&mut take).collect())
    }

    /// The UDP socket with this address.
    pub fn take_udp(&mut self, address: SocketAddrV4) -> Option<OwnedFd> {
        let is_it = |socket: &OwnedFd| is_udp(socket) && address_of(socket) == Some(address);
        let found = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(found))
    }

    /// All sockets with one of these ports.
    pub fn take_ports(&mut self, ports: &[u16]) -> Vec<OwnedFd> {
        let has_port =
            |socket: &mut OwnedFd| address_of(socket).is_some_and(|address| ports.contains(&address.port()));
        self.0.extract_if(.., has_port).collect()
    }

    /// Whether all sockets are taken.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_udp(socket: impl AsFd) -> bool {
    getsockopt(&socket.as_fd(), sockopt::SockType) == Ok(SockType::Datagram)
}

/// `None` for IPv6.
fn address_of(socket: &OwnedFd) -> Option<SocketAddrV4> {
    getsockname::<SockaddrIn>(socket.as_raw_fd()).ok().map(SocketAddrV4::from)
}

/// More than any configuration opens.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;
    use crate::net::{LinuxNet, Options};

    #[test]
    fn a_socket_is_used_where_the_configuration_would_open_the_same() {
        let free = (Ipv4Addr::LOCALHOST, 0);
        let (udp, other) = (UdpSocket::bind(free).unwrap(), UdpSocket::bind(free).unwrap());
        let (tcp, six) = (TcpListener::bind(free).unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        let [std::net::SocketAddr::V4(address), std::net::SocketAddr::V4(of_tcp)] =
            [udp.local_addr().unwrap(), tcp.local_addr().unwrap()]
        else {
            unreachable!("bound to IPv4")
        };
        assert!(LinuxNet::listen(&[address], Options::default()).is_err(), "the port is taken");
        let mut handed = Handed(vec![other.into(), six.into(), tcp.into(), udp.into()]);
        let net = LinuxNet::listen_with(&[address], Options::default(), &mut handed).unwrap();
        assert_eq!(net.addresses().unwrap(), [address]);
        assert!(handed.take_udp(address).is_none(), "taken");
        assert!(handed.take_udp(of_tcp).is_none(), "of another type");
        assert_eq!(handed.take_ports(&[of_tcp.port()]).len(), 1);
        assert_eq!((handed.0.len(), handed.is_empty()), (2, false));
    }
}
