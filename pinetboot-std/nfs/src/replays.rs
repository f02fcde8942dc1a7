//! The replay cache, for repeated calls.
//!
//! A client without an answer repeats its call, over UDP after a second, over TCP on a new connection. Repeated calls that must not be
//! carried out twice (a second REMOVE would fail with NFS3ERR_NOENT) are answered from memory. The client's address, the
//! transaction id and a digest of all bytes identify a call; the port may change with a reconnect.
//!
//! Bounded for each client, and in the number of clients. A restart clears the cache, as with other servers.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The cached answers of all clients.
#[derive(Debug, Default)]
pub(super) struct Replays {
    clients: Mutex<HashMap<Ipv4Addr, Client>>,
    answered: Condvar,
    hasher: RandomState,
}

/// The identity of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    client: Ipv4Addr,
    xid: u32,
    digest: u64,
}

/// The treatment of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A new call: carry it out, then call [`Replays::answered`].
    New,
    /// A repeated call, with its answer.
    Before(Vec<u8>),
    /// A repeated call whose first one is still under way: send no answer, the client repeats it.
    UnderWay,
}

#[derive(Debug)]
struct Client {
    /// `None` while the call is under way.
    answers: HashMap<(u32, u64), Option<Vec<u8>>>,
    order: VecDeque<(u32, u64)>,
    used: Instant,
}

impl Replays {
    pub(super) fn id(&self, client: Ipv4Addr, xid: u32, message: &[u8]) -> Id {
        Id { client, xid, digest: self.hasher.hash_one(message) }
    }

    /// Looks up a call; waits a while for one under way.
    pub(super) fn look_up(&self, id: Id) -> Seen {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let client = match clients.get_mut(&id.client) {
                Some(client) => client,
                None => {
                    if clients.len() >= MOST_CLIENTS {
                        forget_idlest(&mut clients);
                    }
                    clients.entry(id.client).or_insert_with(Client::new)
                }
            };
            client.used = Instant::now();
            match client.answers.get(&(id.xid, id.digest)) {
                Some(Some(answer)) => return Seen::Before(answer.clone()),
                Some(None) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Seen::UnderWay;
                    }
                    let waited = self.answered.wait_timeout(clients, left);
                    clients = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    client.begin((id.xid, id.digest));
                    return Seen::New;
                }
            }
        }
    }

    /// Records the answer of a new call.
    pub(super) fn answered(&self, id: Id, answer: &[u8]) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) =
            clients.get_mut(&id.client).and_then(|client| client.answers.get_mut(&(id.xid, id.digest)))
        {
            *place = Some(answer.into());
        }
        drop(clients);
        self.answered.notify_all();
    }
}

impl Client {
    fn new() -> Self {
        Self { answers: HashMap::new(), order: VecDeque::new(), used: Instant::now() }
    }

    fn begin(&mut self, call: (u32, u64)) {
        while self.order.len() >= MOST_ANSWERS {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
        self.order.push_back(call);
        self.answers.insert(call, None);
    }
}

fn forget_idlest(clients: &mut HashMap<Ipv4Addr, Client>) {
    let idlest = clients.iter().min_by_key(|(_, client)| client.used).map(|(&address, _)| address);
    if let Some(idlest) = idlest {
        clients.remove(&idlest);
    }
}

/// Cached answers of a client, about 300 bytes each: more than a client has under way.
const MOST_ANSWERS: usize = 256;
const MOST_CLIENTS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[test]
    fn answers_the_second_time_from_memory() {
        let replays = Replays::default();
        let id = replays.id(CLIENT, 7, b"remove x");
        assert_eq!(replays.look_up(id), Seen::New);
        replays.answered(id, b"removed");
        assert_eq!(replays.look_up(id), Seen::Before(b"removed".into()));
    }

    #[test]
    fn another_client_or_call_is_another() {
        let replays = Replays::default();
        let id = replays.id(CLIENT, 7, b"remove x");
        assert_eq!(replays.look_up(id), Seen::New);
        for other in [
            replays.id(Ipv4Addr::new(10, 0, 0, 2), 7, b"remove x"),
            replays.id(CLIENT, 8, b"remove x"),
            replays.id(CLIENT, 7, b"remove y"),
        ] {
            assert_eq!(replays.look_up(other), Seen::New);
        }
    }

    #[test]
    fn a_call_under_way_is_waited_for() {
        let replays = Replays::default();
        let id = replays.id(CLIENT, 7, b"remove x");
        assert_eq!(replays.look_up(id), Seen::New);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| replays.look_up(id));
            replays.answered(id, b"removed");
            assert_eq!(second.join().unwrap(), Seen::Before(b"removed".into()));
        });
    }

    #[test]
    fn a_flood_of_one_client_leaves_the_others_theirs() {
        let replays = Replays::default();
        let other = replays.id(Ipv4Addr::new(10, 0, 0, 2), 7, b"remove x");
        assert_eq!(replays.look_up(other), Seen::New);
        replays.answered(other, b"removed");
        for xid in 0..10 * u32::try_from(MOST_ANSWERS).unwrap() {
            let id = replays.id(CLIENT, xid, b"remove x");
            assert_eq!(replays.look_up(id), Seen::New);
            replays.answered(id, b"removed");
        }
        assert_eq!(replays.look_up(other), Seen::Before(b"removed".into()));
        let clients = replays.clients.lock().unwrap();
        assert_eq!(clients[&CLIENT].answers.len(), MOST_ANSWERS);
        assert_eq!(clients[&CLIENT].order.len(), MOST_ANSWERS);
    }

    #[test]
    fn clients_are_bounded() {
        let replays = Replays::default();
        for address in 0..2 * u32::try_from(MOST_CLIENTS).unwrap() {
            replays.look_up(replays.id(Ipv4Addr::from_bits(address), 7, b"remove x"));
        }
        assert_eq!(replays.clients.lock().unwrap().len(), MOST_CLIENTS);
    }
}
