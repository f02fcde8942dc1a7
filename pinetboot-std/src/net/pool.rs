//! The ports of transfers.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::Local;

/// Chooses a transfer's port among a few.
///
/// Both ports and both addresses identify a transfer (RFC 1350, section 4: "the pair of TID's"),
/// and a datagram from another peer is answered with ERROR 5 without effect on the transfer. So two transfers may share a local
/// port if their peers differ, and one system call serves many transfers. Only the pair has to be new:
///
/// > The TID's chosen for a connection should be randomly chosen, so that the probability that the same number is chosen
/// > twice in immediate succession is very low. (RFC 1350, section 4)
///
/// A peer that begins another transfer from the same port gets another local port, so delayed datagrams of its earlier
/// transfers do not reach the new one.
///
/// A forger of a client's address sees no answer, and has to guess the port to acknowledge one: a guess of [`Pool::PORTS`]. The
/// ports themselves are no secret, for any client is told one. Which one is, by a keyed hash (SipHash) of the number of transfers.
#[derive(Debug)]
pub(super) struct Pool {
    random: RandomState,
    transfers: u64,
    /// The last port of each hash of a peer: two peers with one hash only make each other skip a port.
    last: Box<[u8]>,
    homes: Vec<Home>,
}

/// The ports for requests to one local address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    /// The listening socket of the requests.
    listener: usize,
    /// The address that the ports are bound to: that of the requests, so a datagram needs no explicit source. With more
    /// addresses than homes, no particular one.
    pub(super) address: Ipv4Addr,
    /// The index of the first socket.
    pub(super) first: usize,
}

impl Pool {
    /// Ports of each address: fewer ports mean more datagrams in one system call.
    pub(super) const PORTS: usize = PORTS_OF_AN_ADDRESS as usize;

    pub(super) fn new() -> Self {
        let last = (0..PEERS).map(|peer| peer as u8).collect();
        Self { random: RandomState::new(), transfers: 0, last, homes: Vec::new() }
    }

    /// The ports for requests `at` this port; `None` before the first.
    pub(super) fn home(&self, at: Local) -> Option<Home> {
        let is_for = |address| move |home: &&Home| (home.listener, home.address) == (at.socket, address);
        self.homes
            .iter()
            .find(is_for(at.source))
            .or_else(|| self.homes.iter().find(is_for(UNSPECIFIED)))
            .copied()
    }

    /// The ports to bind for requests `at` this port.
    pub(super) fn new_home(&self, at: Local, first: usize) -> Home {
        let address = if self.homes.len() < MOST_HOMES { at.source } else { UNSPECIFIED };
        Home { listener: at.socket, address, first }
    }

    /// Adds bound ports.
    pub(super) fn add(&mut self, home: Home) {
        self.homes.push(home);
    }

    /// The port, 0 to [`PORTS`](Self::PORTS) - 1, of a new transfer with `peer`.
    pub(super) fn next(&mut self, peer: SocketAddrV4) -> usize {
        let hash = (u64::from(peer.ip().to_bits()) << 16 | u64::from(peer.port())).wrapping_mul(SPREAD) >> 52;
        let Some(last) = self.last.get_mut(hash as usize) else { return 0 };
        self.transfers = self.transfers.wrapping_add(1);
        let step = 1 + self.random.hash_one(self.transfers) as usize % (Self::PORTS - 1);
        let next = (usize::from(*last) + step) % Self::PORTS;
        *last = next as u8;
        next
    }
}

/// Ports for the transfers of requests to one local address.
pub const PORTS_OF_AN_ADDRESS: u16 = 8;

/// 2^64 divided by the golden ratio: spreads values that differ in few bits (Knuth).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Limit of homes: a host has few addresses, but owns all of 127.0.0.0/8.
const MOST_HOMES: usize = 16;

/// 12 bits of the hash.
const PEERS: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), number)
    }

    #[test]
    fn a_peer_never_gets_the_same_port_twice_in_a_row() {
        let mut pool = Pool::new();
        for round in 0..1000 {
            let others = (0..round % 50).map(|number| peer(2000 + number));
            let last = pool.next(peer(1));
            others.for_each(|other| assert!(pool.next(other) < Pool::PORTS));
            let next = pool.next(peer(1));
            assert_ne!(last, next, "round {round}");
        }
    }

    #[test]
    fn peers_are_spread_over_the_ports() {
        let mut pool = Pool::new();
        let mut count = [0; Pool::PORTS];
        // As after a power cut: each asks for its third file from one port or the next.
        for number in 0..1000 {
            for _ in 0..=number % 3 {
                count[pool.next(peer(number))] += 1;
            }
        }
        assert!(count.iter().all(|count| *count > 1000 / Pool::PORTS), "{count:?}");
    }

    /// A forger knows the peer and its earlier ports.
    #[test]
    fn the_next_port_cannot_be_foreseen() {
        let (mut pool, mut other) = (Pool::new(), Pool::new());
        let (mut count, mut same) = ([0_usize; Pool::PORTS], 0);
        let mut last = pool.next(peer(1));
        for _ in 0..15_000 {
            let next = pool.next(peer(1));
            count[(next + Pool::PORTS - last) % Pool::PORTS] += 1;
            same += usize::from(next == other.next(peer(1)));
            last = next;
        }
        let [same_port, others @ ..] = count;
        assert_eq!(same_port, 0);
        let expected = 15_000 / (Pool::PORTS - 1);
        assert!(others.iter().all(|count| count.abs_diff(expected) < expected / 5), "{count:?}");
        assert!(same < 2 * 15_000 / Pool::PORTS, "another server's ports tell {same} of these");
    }

    #[test]
    fn many_addresses_share_what_is_bound_to_none() {
        let mut pool = Pool::new();
        for number in 0..100 {
            let at = Local { socket: 0, source: Ipv4Addr::new(127, 0, 0, number) };
            if pool.home(at).is_none() {
                let home = pool.new_home(at, usize::from(number));
                pool.add(home);
            }
            assert_eq!(pool.home(at).unwrap().first, usize::from(number).min(MOST_HOMES));
        }
        assert!(pool.home(Local { socket: 1, source: Ipv4Addr::LOCALHOST }).is_none());
    }
}
