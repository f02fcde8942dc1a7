//! The path MTU to a peer.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pinetboot_core::Instant;

use super::Local;
use super::socket::Socket;

/// Path MTUs of the kernel, cached for a second.
///
/// A query takes a socket and five system calls, which was an eighth of all work in a boot storm, where a Pi requests forty
/// files in a row. A path that becomes narrower meanwhile is noticed when a datagram is too long for it.
#[derive(Debug)]
pub(super) struct Routes(Box<[Cell<Option<Route>>]>);

#[derive(Debug, Clone, Copy)]
struct Route {
    /// The local socket and address, which influence the route.
    local: Local,
    peer: Ipv4Addr,
    mtu: u16,
    asked: Instant,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self(vec![Cell::new(None); PEERS].into())
    }

    /// The largest IP packet, in bytes, on the path from `local`, with socket `socket`, to `peer`.
    pub(super) fn mtu(&self, local: Local, socket: Option<&Socket>, peer: SocketAddrV4, now: Instant) -> u16 {
        // Neighbours have neighbouring addresses. Two peers with one slot only repeat each other's query.
        let place = self.0.get(peer.ip().to_bits() as usize % PEERS);
        let known = place.and_then(Cell::get).filter(|route| {
            (route.local, route.peer) == (local, *peer.ip()) && now.since(route.asked) < GOOD_FOR
        });
        if let Some(route) = known {
            return route.mtu;
        }
        // A socket for each peer: a socket keeps the source address of its first connect, and 127.0.0.1 reaches no other
        // machine.
        let socket = Socket::bind(SocketAddrV4::new(local.source, 0), socket.and_then(Socket::interface));
        let mtu = socket.ok().and_then(|socket| socket.path_mtu(peer)).unwrap_or(ETHERNET);
        if let Some(place) = place {
            place.set(Some(Route { local, peer: *peer.ip(), mtu, asked: now }));
        }
        mtu
    }
}

const PEERS: usize = 1024;
const GOOD_FOR: Duration = Duration::from_secs(1);
const ETHERNET: u16 = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_asked_for_once_a_second() {
        let routes = Routes::new();
        let local = Local { socket: 0, source: Ipv4Addr::LOCALHOST };
        let peer = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), 2000);
        let asked = || routes.0.iter().find_map(Cell::get).unwrap().asked;
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let mtu = routes.mtu(local, None, peer, at(5));
        assert!(mtu > ETHERNET, "the loopback carries more than {mtu}");
        for (millis, since) in [(5, 5), (1004, 5), (1005, 1005), (1006, 1005)] {
            let port_counts_not = SocketAddrV4::new(*peer.ip(), 3000);
            assert_eq!(routes.mtu(local, None, port_counts_not, at(millis)), mtu);
            assert_eq!(asked(), at(since), "at {millis} ms");
        }
        let other = Local { source: Ipv4Addr::new(127, 0, 0, 2), ..local };
        routes.mtu(other, None, peer, at(1007));
        assert_eq!(asked(), at(1007), "from another address it may be another way");
    }
}
