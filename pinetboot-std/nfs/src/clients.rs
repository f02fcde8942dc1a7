//! The shares of clients, by address: calls under way, connections and memory. Bounded for each client and in all, so that one client's
//! slow disk or slow reading leaves workers and memory to the others.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::disks::{Disks, OnDisk};

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_address: Mutex<HashMap<Ipv4Addr, Weak<Client>>>,
    all: Arc<Totals>,
}

/// The share of one client.
#[derive(Debug)]
pub(super) struct Client {
    all: Arc<Totals>,
    places: Mutex<Places>,
    /// The disk of its last call.
    disk: AtomicU64,
    connections: AtomicUsize,
    /// Bytes that its connections hold.
    held: AtomicIsize,
}

#[derive(Debug, Default)]
struct Totals {
    disks: Arc<Disks>,
    held: AtomicIsize,
}

/// Calls under way.
#[derive(Debug, Default)]
struct Places {
    calls: usize,
    /// Those of them that came by UDP.
    datagrams: usize,
    /// Connections with a call but without a place, in the order in which they get one.
    waiting: VecDeque<u64>,
}

impl Clients {
    /// The client at this address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Arc<Client> {
        let mut clients = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        // The table never has more than twice as many entries as there are clients, and is cleared at a constant cost for each.
        if clients.len() == clients.capacity() {
            clients.retain(|_, client| client.strong_count() > 0);
        }
        let client = Arc::new(Client {
            all: self.all.clone(),
            places: Mutex::default(),
            disk: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            held: AtomicIsize::new(0),
        });
        clients.insert(address, Arc::downgrade(&client));
        client
    }

    /// Bytes that all connections hold.
    pub(super) fn held(&self) -> usize {
        bytes(&self.all.held)
    }
}

impl Client {
    /// Takes a place for a call of a connection. Without a free place the connection waits, which `waits` shows, until
    /// [`next_waiting`](Self::next_waiting) returns its token.
    pub(super) fn begin(&self, token: u64, waits: &AtomicBool) -> bool {
        let mut places = self.places();
        if places.calls < self.most_calls() {
            places.calls += 1;
            return true;
        }
        if !waits.swap(true, Ordering::AcqRel) {
            places.waiting.push_back(token);
        }
        false
    }

    /// Takes a place for a call by UDP; without one the call is dropped, and the client repeats it.
    pub(super) fn begin_datagram(&self) -> bool {
        let mut places = self.places();
        let free = places.datagrams < MOST_DATAGRAMS && places.calls < self.most_calls();
        if free {
            places.datagrams += 1;
            places.calls += 1;
        }
        free
    }

    /// Frees a place.
    pub(super) fn end(&self) {
        self.places().calls -= 1;
    }

    pub(super) fn end_datagram(&self) {
        self.places().datagrams -= 1;
        self.end();
    }

    /// The next connection to look at, after a place was freed.
    pub(super) fn next_waiting(&self) -> Option<u64> {
        self.places().waiting.pop_front()
    }

    /// Takes a place on a disk for a call under way; `None` if none is free.
    pub(super) fn enter(&self, disk: u64) -> Option<OnDisk> {
        self.disk.store(disk, Ordering::Relaxed);
        self.all.disks.enter(disk)
    }

    /// Most calls under way: an eighth of the free places on the client's disk, so that many clients with a slow disk leave some to
    /// the next, but one always.
    fn most_calls(&self) -> usize {
        (self.all.disks.left(self.disk.load(Ordering::Relaxed)) / 8).clamp(1, MOST_CALLS)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Open connections.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts memory that a connection holds more, or less.
    pub(super) fn hold(&self, growth: isize) {
        self.held.fetch_add(growth, Ordering::Relaxed);
        self.all.held.fetch_add(growth, Ordering::Relaxed);
    }

    /// Bytes that its connections hold.
    pub(super) fn held(&self) -> usize {
        bytes(&self.held)
    }
}

fn bytes(held: &AtomicIsize) -> usize {
    // A sum may be below zero while another thread has counted only the end of a loan.
    held.load(Ordering::Relaxed).max(0).unsigned_abs()
}

/// Most calls under way of a client: fewer than the usual workers, so that other clients get some at once.
const MOST_CALLS: usize = 8;
/// Most of these by UDP: the source of a datagram may be forged.
const MOST_DATAGRAMS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::MOST_WORKERS;

    fn address(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(number)
    }

    /// Takes places until the client has no more; returns their number.
    fn take_all(client: &Client) -> usize {
        let waits = AtomicBool::new(false);
        (0..).take_while(|_| client.begin(1, &waits)).count()
    }

    /// Takes places until the client, or the disk, has no more; returns their number.
    fn take_on_disk(client: &Client, disk: u64, places: &mut Vec<OnDisk>) -> usize {
        let (waits, before) = (AtomicBool::new(false), places.len());
        while client.begin(1, &waits) {
            let Some(place) = client.enter(disk) else {
                client.end();
                break;
            };
            places.push(place);
        }
        places.len() - before
    }

    #[test]
    fn a_client_has_eight_calls_over_all_its_connections() {
        let clients = Clients::default();
        assert_eq!(take_all(&clients.at(address(1))), 8, "forgotten with its last connection");
        let one = clients.at(address(1));
        assert_eq!((take_all(&one), take_all(&clients.at(address(1)))), (8, 0));
    }

    #[test]
    fn however_many_clients_wait_for_their_disks_the_next_has_a_worker() {
        let clients = Clients::default();
        let stuck: Vec<_> = (0..1000).map(|number| clients.at(address(number))).collect();
        let mut places = Vec::new();
        let taken: Vec<_> = stuck.iter().map(|client| take_on_disk(client, 1, &mut places)).collect();
        assert!(taken.iter().take(40).all(|&taken| taken >= 1), "{:?}", taken.get(..40));
        assert_eq!(taken.iter().sum::<usize>(), MOST_WORKERS * 3 / 4);
        let next = clients.at(address(1000));
        assert_eq!(take_on_disk(&next, 1, &mut places), 0);
        assert!(take_on_disk(&next, 2, &mut places) > 1);
    }

    #[test]
    fn connections_get_free_places_in_turn() {
        let client = Clients::default().at(address(1));
        take_all(&client);
        client.next_waiting();
        let waits = [const { AtomicBool::new(false) }; 2];
        for _ in 0..2 {
            assert!(!client.begin(7, &waits[0]) && !client.begin(8, &waits[1]));
        }
        client.end();
        let turns = [(); 3].map(|()| client.next_waiting());
        assert_eq!(turns, [Some(7), Some(8), None], "each waits once");
    }

    #[test]
    fn datagrams_take_half_of_the_places() {
        let client = Clients::default().at(address(1));
        assert_eq!((0..).take_while(|_| client.begin_datagram()).count(), 4);
        assert_eq!(take_all(&client), 4);
        client.end_datagram();
        assert!(client.begin_datagram());
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let clients = Clients::default();
        (0..10_000).for_each(|number| drop(clients.at(address(number))));
        assert!(clients.by_address.lock().unwrap().len() < 100);
    }
}
