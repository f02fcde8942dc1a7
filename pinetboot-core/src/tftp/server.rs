//! The TFTP server: one loop over a [`Net`] and a [`Storage`].
//!
//! The loop knows nothing of the network it runs on: the same lines serve a thousand clients on Linux and one on a
//! microcontroller. `decide` understands a datagram while the network lends it; then the loop acts.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

use super::decide::{Action, Beginning, Decision, ErrorText, Opened, decide};
use super::options::Limits;
use super::packet::ErrorCode;
use super::receiver::Receiver;
use super::report::Direction;
use super::sender::Sender;
use super::session::{Session, Slot};
use super::step::Outcome;
use super::table::Table;
use super::transfer::{Progress, Route, Transfer, send};
use crate::event::{Rejected, Rejection, Started};
use crate::observe::{Event, Observer, Ticks};
use crate::storage::{File, Storage};
use crate::{Instant, Net, Quota};

/// A TFTP server (RFC 1350, 2347, 2348, 2349, 7440).
///
/// `MAX` bounds the session table and must be a power of two; the places themselves are the caller's
/// ([`Session`]), and there may be fewer. With many places, `MAX` should be at least twice their number: the
/// table slows down when nearly full.
///
/// A request that finds no place or no port gets no answer: a bootloader repeats its request (a Pi every 2 s), and ends the
/// boot at an ERROR. A full table makes room for a new client, in this order:
///
/// 1. The oldest transfer whose client has sent nothing but its request, if that was more than 200 ms ago.
/// 2. An address with more than a quarter of the places (and more than 8), or else a /24 network with more than half (and
///    more than 256), gives up its slowest transfer for a client outside it.
/// 3. A transfer that passes less than 4096 bytes/s, two seconds or more after its beginning, or lacks only the last ACK.
/// 4. The oldest transfer whose client has sent nothing but its request, if that was more than 20 ms ago.
///
/// An address gets at most 128 ERRORs a second for refused requests, and 16 for packets that belong to no transfer; ports below
/// 1024 get no answer.
pub struct Server<'s, N: Net, S: Storage, O: Observer, const MAX: usize> {
    net: N,
    storage: S,
    observer: O,
    limits: Limits,
    table: Table<'s, N::Local, S, O::Transfer, MAX>,
    /// The earliest deadline of a session, or before.
    sweep_at: Instant,
    /// The time when that deadline had passed while datagrams still waited.
    overdue: Option<Instant>,
    /// A transfer may have DATA to prepare.
    may_prepare: bool,
    ticks: Ticks,
    /// ERRORs outside any transfer.
    errors: Quota<MAX>,
}

impl<'s, N: Net, S: Storage, O: Observer, const MAX: usize> Server<'s, N, S, O, MAX> {
    /// A server of at most as many transfers as `places` has, and at most `MAX`.
    pub fn new(net: N, storage: S, observer: O, limits: Limits, places: &'s mut [Slot<N, S, O>]) -> Self {
        let table = Table::new(places);
        let (sweep_at, overdue, ticks) = (Instant::MAX, None, Ticks::default());
        let (may_prepare, errors) = (false, Quota::new());
        Self { net, storage, observer, limits, table, sweep_at, overdue, may_prepare, ticks, errors }
    }

    /// Sorts peers by this random key, before the first transfer. Without it a forger of addresses can choose them so that each
    /// look-up in a large table is long.
    pub fn set_key(&mut self, key: u64) {
        self.table.set_key(key);
    }

    /// Serves until the network fails or is told to stop. A later call goes on with the same transfers.
    ///
    /// # Errors
    ///
    /// The network's.
    pub async fn run(&mut self) -> Result<Infallible, N::Error> {
        loop {
            self.turn().await?;
        }
    }

    /// Handles one datagram, or what is due before one comes: the deadlines of sessions and the observer's tick.
    ///
    /// # Errors
    ///
    /// The network's.
    pub async fn turn(&mut self) -> Result<(), N::Error> {
        let Self { net, storage, observer, limits, table, .. } = self;
        let due = self.sweep_at.min(self.ticks.next(observer));
        let deadline = if self.may_prepare { Instant::ZERO } else { due };
        let (now, decision, heard) = match net.recv(deadline).await? {
            Some(datagram) => {
                let asked = N::address(datagram.local);
                (datagram.at, decide(table, storage, observer, limits, datagram, asked).await, true)
            }
            None => (net.now(), Decision::Act(Action::Nothing), false),
        };
        // Not to be kept while anything is waited for.
        let action = match decision {
            Decision::Act(action) => action,
            Decision::Hold => {
                self.net.hold();
                Action::Nothing
            }
            Decision::Begin(beginning) => self.begin(now, beginning),
        };
        match action {
            Action::Nothing => {}
            Action::Drive(place) => self.drive(place, now).await,
            Action::Answer { from, to, error, instead_of } => {
                if self.errors.admit(now, to.ip().to_bits() ^ error.kind(), error.most(), ERRORS_SPAN) {
                    send(&mut self.net, from, to, &error.packet()).await;
                }
                if let Some(place) = instead_of {
                    self.end(place, now, Outcome::Superseded);
                }
            }
        }
        if N::PREPARES && !heard {
            self.may_prepare = self.may_prepare && self.prepare().await;
        }
        while let Some(peer) = self.storage.resumed() {
            self.net.release(peer);
            if let Some(place) = self.table.find(peer) {
                self.drive(place, now).await;
            }
        }
        if now >= self.sweep_at {
            // After a delay (a slow disk, a suspended machine) many answers wait, and all deadlines have passed: read the
            // answers first, or packets that were answered are sent again. But no longer than `HEAR_FIRST`.
            let overdue = *self.overdue.get_or_insert(now);
            if !heard || now.since(overdue) >= HEAR_FIRST {
                self.overdue = None;
                self.sweep(now).await;
            }
        }
        self.ticks.tell(now, &mut self.observer);
        Ok(())
    }

    /// Ends all transfers with an ERROR, so that no client waits for the server.
    ///
    /// # Errors
    ///
    /// The network's.
    pub async fn stop(&mut self) -> Result<(), N::Error> {
        let now = self.net.now();
        for place in 0..self.table.places() {
            let Some(session) = self.table.session(place) else { continue };
            if session.complete().is_none() {
                send(&mut self.net, session.local, session.peer, &STOPPED.packet()).await;
            }
            self.end(place, now, Outcome::Stopped);
        }
        self.net.recv(Instant::ZERO).await.map(drop) // flushes
    }

    /// The storage, to change what is served; transfers under way keep the files that they opened.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// The network.
    pub fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// The observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The number of transfers.
    pub fn transfers(&self) -> usize {
        self.table.len()
    }

    /// Gives a transfer a port and a place.
    fn begin(&mut self, now: Instant, beginning: Beginning<N::Local, S, O::Transfer>) -> Action<N::Local> {
        let Beginning { at, peer, fingerprint, opened, options, mut context, yields } = beginning;
        if let Some(place) = self.table.find(peer) {
            self.end(place, now, Outcome::Superseded);
        } else if let Some(place) = yields {
            self.end(place, now, Outcome::Displaced);
        }
        let Some(local) = self.net.open(at, peer) else {
            let rejected = Rejected { peer, why: Rejection::NoPort };
            self.observer.observe(now, &Event::Rejected(rejected), Some(&mut context));
            return Action::Nothing;
        };
        let limits = self.limits.within(self.net.max_payload(at, peer));
        let (terms, _) = limits.agree(&options, None);
        let transfer = match opened {
            Opened::Read(source) => Transfer::Out(Sender::serve(&limits, &options, source.len()), source),
            Opened::Write(sink) => Transfer::In(Receiver::accept(&limits, &options), sink),
        };
        let (direction, len) = match &transfer {
            Transfer::Out(_, source) => (Direction::Read, Some(source.len())),
            Transfer::In(..) => (Direction::Write, options.transfer_size),
        };
        let started = Started { peer, direction, len, terms };
        self.observer.observe(now, &Event::Started(started), Some(&mut context));
        let session = Session {
            peer,
            local,
            fingerprint,
            began: now,
            link: None,
            heard: now,
            until: Instant::MAX,
            told: false,
            told_stall: false,
            told_mebibytes: 0,
            early_terminate: false,
            prepared: None,
            context,
            transfer,
        };
        match self.table.insert(session) {
            Some(place) => Action::Drive(place),
            // `decide` has seen room for it.
            None => {
                self.net.close(local);
                Action::Nothing
            }
        }
    }

    /// Drives a session until it waits or is over.
    async fn drive(&mut self, place: usize, now: Instant) {
        let Some(session) = self.table.session(place) else { return };
        let route = Route { from: session.local, to: session.peer, request: None };
        if session.until == Instant::MAX {
            // The storage was waited for, not the client.
            session.transfer.resume(now);
        }
        self.may_prepare = N::PREPARES;
        match session.transfer.drive(&mut self.net, route, &mut session.prepared, now).await {
            Progress::Waits(until) => {
                session.until = until;
                self.sweep_at = self.sweep_at.min(until);
                if O::HEARS_STALLS
                    && let Some(stalled) = session.stalls(now)
                {
                    self.observer.observe(now, &Event::Stalled(stalled), Some(&mut session.context));
                }
                if O::HEARS_PROGRESS
                    && let Some(progress) = session.progresses()
                {
                    self.observer.observe(now, &Event::Progress(progress), Some(&mut session.context));
                }
                if let Some(bytes) = session.complete()
                    && !session.told
                {
                    session.told = true;
                    let report = session.report(Outcome::Complete { bytes });
                    self.observer.observe(now, &Event::Finished(report), Some(&mut session.context));
                }
            }
            Progress::Later => session.until = Instant::MAX,
            Progress::Over(outcome) => self.end(place, now, outcome),
        }
    }

    /// Prepares a transfer's next DATA. Whether another transfer may have one, too.
    async fn prepare(&mut self) -> bool {
        let mut has_prepared = false;
        for place in 0..self.table.places() {
            let Some(session) = self.table.session(place) else { continue };
            let likely = session.transfer.likely(&session.prepared);
            match likely {
                None => {}
                Some(_) if has_prepared => return true,
                Some(likely) => {
                    let route = Route { from: session.local, to: session.peer, request: None };
                    let Session { transfer, prepared, .. } = session;
                    has_prepared = transfer.prepare(&mut self.net, route, likely, prepared).await;
                }
            }
        }
        false
    }

    fn end(&mut self, place: usize, now: Instant, outcome: Outcome) {
        let Some(mut session) = self.table.remove(place) else { return };
        self.net.close(session.local);
        if !session.told {
            let report = session.report(outcome);
            self.observer.observe(now, &Event::Finished(report), Some(&mut session.context));
        }
    }

    /// Drives every session whose deadline has passed. A few microseconds for a thousand sessions, and at most a
    /// hundred times a second, so that no timer has to be kept while blocks flow.
    async fn sweep(&mut self, now: Instant) {
        self.sweep_at = Instant::MAX;
        for place in 0..self.table.places() {
            match self.table.session(place) {
                Some(session) if session.until <= now => self.drive(place, now).await,
                Some(session) => self.sweep_at = self.sweep_at.min(session.until),
                None => {}
            }
        }
        self.sweep_at = self.sweep_at.max(now + SWEEP_INTERVAL);
        if self.table.len() == 0 {
            self.sweep_at = Instant::MAX;
        }
    }
}

impl<N: Net, S: Storage, O: Observer, const MAX: usize> fmt::Debug for Server<'_, N, S, O, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, table, sweep_at, .. } = self;
        f.debug_struct("Server")
            .field("limits", limits)
            .field("transfers", &table.len())
            .field("places", &table.places())
            .field("sweep_at", sweep_at)
            .finish_non_exhaustive()
    }
}

const STOPPED: ErrorText = ErrorText { code: ErrorCode::NOT_DEFINED, text: "the server was stopped" };

/// The span for which ERRORs to one address are counted.
const ERRORS_SPAN: Duration = Duration::from_secs(1);

const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// The longest time that waiting datagrams go before deadlines: more than a thousand clients' datagrams take.
const HEAR_FIRST: Duration = Duration::from_millis(100);
