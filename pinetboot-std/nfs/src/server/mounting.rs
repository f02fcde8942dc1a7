//! Few MNTs at a time: a first mount makes a layer, which takes the disk for long, and a thousand of them come at once after a power
//! cut. The others wait here, and not in a worker each: calls of Pis that run already find one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use crate::clients::Client;
use crate::connection::Connection;
use crate::datagrams::{Datagrams, Sender};

/// The places of MNTs, and those that wait for one.
#[derive(Debug)]
pub(super) struct Mounting(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Places taken: by calls under way, and by waiting ones whose turn was given.
    taken: usize,
    waiting: VecDeque<Mount>,
    /// The time at which a place was freed or added last.
    progress: Instant,
}

/// An MNT that waits.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) from: Origin,
    /// The RPC message.
    pub(super) message: Box<[u8]>,
}

/// The way of a call's answer.
#[derive(Debug)]
pub(super) enum Origin {
    /// A connection, with its token; a place of its client is taken.
    Connection(u64, Arc<Connection>),
    /// A socket, with its token, and a client whose place is taken.
    Datagrams(u64, Arc<Datagrams>, Sender, Arc<Client>),
}

impl Mounting {
    /// Takes a place, or waits. True if the call has to be carried out now.
    pub(super) fn enter(&self, mount: impl FnOnce() -> Mount) -> bool {
        let mut state = self.state();
        // A client beyond all bounds is refused by its disk's share.
        let now = state.taken < AT_ONCE || state.waiting.len() >= MOST_WAITING;
        match now {
            true => state.taken += 1,
            false => state.waiting.push_back(mount()),
        }
        now
    }

    /// Frees a place. True if the place passes to a waiting call, whose turn it is.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state();
        state.progress = Instant::now();
        let passes = !state.waiting.is_empty();
        if !passes {
            state.taken -= 1;
        }
        passes
    }

    /// The call whose turn it is.
    pub(super) fn next(&self) -> Option<Mount> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.taken -= 1;
        }
        next
    }

    /// Adds a place if calls wait and none was freed for long: those under way wait for a disk that the others may not need. True if
    /// it is the turn of a waiting call.
    pub(super) fn add_place(&self) -> bool {
        let mut state = self.state();
        let adds = !state.waiting.is_empty() && state.progress.elapsed() >= PATIENCE;
        if adds {
            state.taken += 1;
            state.progress = Instant::now();
        }
        adds
    }

    /// Whether calls wait.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Mounting {
    fn default() -> Self {
        Self(Mutex::new(State { taken: 0, waiting: VecDeque::new(), progress: Instant::now() }))
    }
}

impl Shared {
    /// Takes a place for an MNT; without a free one the call waits for its turn, and the result is true.
    pub(super) fn queue_mount(&self, mount: impl FnOnce() -> Mount) -> bool {
        let waits = !self.mounting.enter(mount);
        if waits {
            // The supervisor may have to add a place.
            self.ring();
        }
        waits
    }

    /// Frees the place of an MNT, and gives the next its turn.
    pub(super) fn leave_mounting(&self) {
        if self.mounting.leave() {
            self.give_turn(super::Turn::Mount);
        }
    }
}

/// MNTs under way: a disk writes the records of several layers together.
const AT_ONCE: usize = 8;
/// Most that wait; a message has up to 2 KiB.
const MOST_WAITING: usize = 4096;
/// Time without progress after which a place is added.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> Mount {
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(stream.local_addr().unwrap()).unwrap();
        let peer = "192.0.2.7:700".parse().unwrap();
        let client = crate::clients::Clients::default().at(*std::net::SocketAddrV4::ip(&peer));
        let connection = Connection::new(stream, peer, client, crate::message::Programs::Files);
        Mount { from: Origin::Connection(7, Arc::new(connection)), message: [0; 40].into() }
    }

    #[test]
    fn a_place_passes_to_the_call_that_waits_longest() {
        let mounting = Mounting::default();
        let now = (0..AT_ONCE + 2).filter(|_| mounting.enter(mount)).count();
        assert_eq!((now, mounting.is_waited_for()), (AT_ONCE, true));
        assert!(mounting.leave() && mounting.next().is_some());
        assert!(!mounting.enter(mount), "the place has passed on");
        assert!((0..2).all(|_| mounting.leave() && mounting.next().is_some()));
        assert!((0..AT_ONCE).all(|_| !mounting.leave()) && mounting.enter(mount));
    }

    #[test]
    fn calls_that_hang_get_company() {
        let mounting = Mounting::default();
        let now = (0..AT_ONCE + 2).filter(|_| mounting.enter(mount)).count();
        assert_eq!(now, AT_ONCE);
        assert!(!mounting.add_place(), "they have just begun");
        mounting.state().progress -= PATIENCE;
        assert!(mounting.add_place() && mounting.next().is_some());
        assert!(!mounting.add_place() && mounting.is_waited_for());
    }
}
