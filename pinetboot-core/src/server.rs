//! The TFTP server: one loop over a [`Net`] and a [`Storage`].
//!
//! Nothing here knows what network it runs on; a thousand clients on Linux and one on a microcontroller are served by
//! the same lines. A datagram is first understood, while it is still lent (`decide`), and then acted upon.

mod session;
mod table;

use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

pub use session::Session;
use session::{Sink, Source};
use table::Table;

use crate::event::{Direction, Event, PeerError, Refused, Rejected, Rejection, Repeated, Requested, Started};
use crate::observe::{Observer, Ticks};
use crate::storage::{OpenError, OpenRequest, Refusal, Storage};
use crate::tftp::{ErrorCode, Limits, Mode, Options, Outcome, Packet, ParseError, Receiver, Request, Sender};
use crate::transfer::{Progress, Route, Transfer, send};
use crate::{BootPath, Datagram, File, Instant, Net};

/// A TFTP server (RFC 1350, 2347, 2348, 2349, 7440).
///
/// `MAX` bounds the session table and must be a power of two; the places themselves are the caller's
/// ([`Session`]), and there may be fewer. Keep `MAX` at twice the places or more when they are many: the table slows
/// down when nearly full.
pub struct Server<'s, N: Net, S: Storage, O: Observer, const MAX: usize> {
    net: N,
    storage: S,
    observer: O,
    limits: Limits,
    table: Table<'s, N::Local, S, O::Transfer, MAX>,
    /// No session's deadline is before this.
    sweep_at: Instant,
    /// Since when that is over, but not acted upon because datagrams were here.
    overdue: Option<Instant>,
    ticks: Ticks,
}

/// A place for a session of a server over this network, with this storage and this observer.
pub type Place<N, S, O> = Option<Session<<N as Net>::Local, S, <O as Observer>::Transfer>>;

impl<'s, N: Net, S: Storage, O: Observer, const MAX: usize> Server<'s, N, S, O, MAX> {
    /// A server with room for as many transfers as there are `places`, and no more than `MAX`.
    pub fn new(net: N, storage: S, observer: O, limits: Limits, places: &'s mut [Place<N, S, O>]) -> Self {
        let table = Table::new(places);
        let (sweep_at, overdue, ticks) = (Instant::MAX, None, Ticks::default());
        Self { net, storage, observer, limits, table, sweep_at, overdue, ticks }
    }

    /// Serves until the network fails or wants to stop. May be called again after that, and goes on where it was.
    ///
    /// # Errors
    ///
    /// What the network says.
    pub async fn run(&mut self) -> Result<Infallible, N::Error> {
        loop {
            self.turn().await?;
        }
    }

    /// Handles one datagram, or what is due if that comes first: what sessions wait for, and the observer's tick.
    ///
    /// # Errors
    ///
    /// What the network says.
    pub async fn turn(&mut self) -> Result<(), N::Error> {
        let Self { net, storage, observer, limits, table, .. } = self;
        let deadline = self.sweep_at.min(self.ticks.next(observer));
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
            Decision::Begin(beginning) => self.begin(now, beginning),
        };
        match action {
            Action::Nothing => {}
            Action::Drive(place) => self.drive(place, now).await,
            Action::Answer { from, to, error, instead_of } => {
                send(&mut self.net, from, to, &error.packet()).await;
                if let Some(place) = instead_of {
                    self.end(place, now, Outcome::Superseded);
                }
            }
        }
        if now >= self.sweep_at {
            // After a delay of ours (a slow disk, a machine that slept) many answers are here, and all deadlines are
            // over: hear first, or what was answered is sent again. But not for ever.
            let overdue = *self.overdue.get_or_insert(now);
            if !heard || now.since(overdue) >= HEAR_FIRST {
                self.overdue = None;
                self.sweep(now).await;
            }
        }
        self.ticks.tell(now, &mut self.observer);
        Ok(())
    }

    /// Ends all transfers with an ERROR, so that no client waits in vain.
    ///
    /// # Errors
    ///
    /// What the network says.
    pub async fn stop(&mut self) -> Result<(), N::Error> {
        let now = self.net.now();
        for place in 0..self.table.places() {
            let Some(session) = self.table.session(place) else { continue };
            if session.complete().is_none() {
                send(&mut self.net, session.local, session.peer, &STOPPED.packet()).await;
            }
            self.end(place, now, Outcome::Aborted(STOPPED.code));
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

    /// How many transfers there are.
    pub fn transfers(&self) -> usize {
        self.table.len()
    }

    /// Gives a transfer a port and a place.
    fn begin(&mut self, now: Instant, beginning: Beginning<N::Local, S, O::Transfer>) -> Action<N::Local> {
        let Beginning { at, peer, fingerprint, opened, options, mut context } = beginning;
        if let Some(place) = self.table.find(peer) {
            self.end(place, now, Outcome::Superseded);
        } else if self.table.is_full()
            && let Some(place) = self.table.yielding(now)
        {
            self.end(place, now, Outcome::TimedOut);
        }
        let Some(local) = self.net.open(at, peer) else {
            let rejected = Rejected { peer, why: Rejection::NoPort };
            self.observer.observe(now, &Event::Rejected(rejected), Some(&mut context));
            return Action::Answer { from: at, to: peer, error: BUSY, instead_of: None };
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
            heard: now,
            until: Instant::MAX,
            told: false,
            early_terminate: false,
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

    /// Lets a session do what it wants to do now.
    async fn drive(&mut self, place: usize, now: Instant) {
        let Some(session) = self.table.session(place) else { return };
        let route = Route { from: session.local, to: session.peer, request: None };
        match session.transfer.drive(&mut self.net, route, now).await {
            Progress::Waits(until) => {
                session.until = until;
                self.sweep_at = self.sweep_at.min(until);
                if let Some(bytes) = session.complete()
                    && !session.told
                {
                    session.told = true;
                    let report = session.report(Outcome::Complete { bytes });
                    self.observer.observe(now, &Event::Finished(report), Some(&mut session.context));
                }
            }
            Progress::Over(outcome) => self.end(place, now, outcome),
        }
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

/// What a datagram calls for, once it is no longer lent.
enum Decision<L, S: Storage, T> {
    Act(Action<L>),
    Begin(Beginning<L, S, T>),
}

enum Action<L> {
    Nothing,
    /// The session at this place has news.
    Drive(usize),
    /// The sender gets an ERROR, outside any transfer.
    Answer {
        from: L,
        to: SocketAddrV4,
        error: ErrorText,
        /// The session of a client that asked for something else meanwhile.
        instead_of: Option<usize>,
    },
}

/// A transfer about to begin.
struct Beginning<L, S: Storage, T> {
    at: L,
    peer: SocketAddrV4,
    fingerprint: u32,
    opened: Opened<S>,
    options: Options,
    context: T,
}

enum Opened<S: Storage> {
    Read(Source<S::File>),
    Write(Sink<S::Upload>),
}

/// Why a request is refused: what the client is told, and the storage's own words if that refused.
struct Unopened<R> {
    error: ErrorText,
    cause: Option<R>,
}

impl<R: Refusal> From<R> for Unopened<R> {
    fn from(refusal: R) -> Self {
        let error = refusal.error();
        Self { error: ErrorText { code: error.code(), text: error.text() }, cause: Some(refusal) }
    }
}

/// An ERROR, as it is sent.
#[derive(Clone, Copy)]
struct ErrorText {
    code: ErrorCode,
    text: &'static str,
}

impl ErrorText {
    const fn new(code: ErrorCode) -> Self {
        Self { code, text: code.meaning() }
    }

    const fn packet(self) -> Packet<'static> {
        Packet::Error { code: self.code, message: self.text.as_bytes() }
    }

    /// The server refuses by itself.
    const fn refuses<R>(self) -> Unopened<R> {
        Unopened { error: self, cause: None }
    }
}

/// Understands a datagram: which session it belongs to, or what else it calls for.
async fn decide<L, S, O, const MAX: usize>(
    table: &mut Table<'_, L, S, O::Transfer, MAX>,
    storage: &mut S,
    observer: &mut O,
    limits: &Limits,
    datagram: Datagram<'_, L>,
    asked: Option<Ipv4Addr>,
) -> Decision<L, S, O::Transfer>
where
    L: Copy + Eq,
    S: Storage,
    O: Observer,
{
    let Datagram { at: now, local, listening, peer, bytes } = datagram;
    let known =
        table.find(peer).filter(|place| table.session(*place).is_some_and(|session| session.local == local));
    let answer = |code| {
        Decision::Act(Action::Answer { from: local, to: peer, error: ErrorText::new(code), instead_of: None })
    };
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => {
            let event = Event::Rejected(Rejected { peer, why: Rejection::Malformed(error) });
            let Some((place, session)) = known.and_then(|place| Some((place, table.session(place)?))) else {
                observer.observe(now, &event, None);
                let answered = may_be_answered(bytes, error);
                return if answered {
                    answer(ErrorCode::ILLEGAL_OPERATION)
                } else {
                    Decision::Act(Action::Nothing)
                };
            };
            observer.observe(now, &event, Some(&mut session.context));
            session.transfer.abort(ErrorCode::ILLEGAL_OPERATION);
            return Decision::Act(Action::Drive(place));
        }
    };
    trace!("from {}: {}", peer, packet);
    match packet {
        Packet::Read(request) if listening => {
            requested(table, storage, observer, limits, datagram, asked, (Direction::Read, &request)).await
        }
        Packet::Write(request) if listening => {
            requested(table, storage, observer, limits, datagram, asked, (Direction::Write, &request)).await
        }
        packet => match known.and_then(|place| Some((place, table.session(place)?))) {
            Some((place, session)) => {
                session.heard = now;
                // After a file that is whole an ERROR changes nothing, and is not told.
                if let Packet::Error { code, message } = packet
                    && !session.told
                {
                    session.early_terminate = packet == Packet::EARLY_TERMINATE;
                    let event = Event::PeerError(PeerError { peer, code, message });
                    observer.observe(now, &event, Some(&mut session.context));
                }
                session.transfer.handle(now, &packet).await;
                Decision::Act(Action::Drive(place))
            }
            None => {
                let rejected = Rejected { peer, why: Rejection::UnknownTransfer };
                observer.observe(now, &Event::Rejected(rejected), None);
                // > If a source TID does not match, the packet should be discarded as erroneously sent from somewhere
                // > else. An error packet should be sent to the source of the incorrect packet, while not disturbing
                // > the transfer. (RFC 1350, section 4)
                // But never in answer to an ERROR.
                match packet {
                    Packet::Error { .. } => Decision::Act(Action::Nothing),
                    _ => answer(ErrorCode::UNKNOWN_TRANSFER_ID),
                }
            }
        },
    }
}

/// Understands a request: one that came before, one that is refused, or a file to open.
async fn requested<L, S, O, const MAX: usize>(
    table: &mut Table<'_, L, S, O::Transfer, MAX>,
    storage: &mut S,
    observer: &mut O,
    limits: &Limits,
    datagram: Datagram<'_, L>,
    asked: Option<Ipv4Addr>,
    (direction, request): (Direction, &Request<'_>),
) -> Decision<L, S, O::Transfer>
where
    L: Copy + Eq,
    S: Storage,
    O: Observer,
{
    let Datagram { at: now, local, peer, bytes, .. } = datagram;
    let Request { filename, mut options, .. } = *request;
    if request.mode == Mode::Netascii {
        options.window_size = None; // going back in such a file means reading it from its beginning
    }
    let fingerprint = fingerprint(bytes);
    let current = table.find(peer);
    if let Some(session) = current.and_then(|place| table.session(place))
        && session.fingerprint == fingerprint
        && !session.stalled(now)
    {
        observer.observe(now, &Event::Repeated(Repeated { peer }), Some(&mut session.context));
        return Decision::Act(Action::Nothing);
    }
    // Told before the storage is asked, so that it may go by what the observer takes from the request.
    let mut context = O::Transfer::default();
    let requested = Requested { peer, direction, filename, options };
    observer.observe(now, &Event::Requested(requested), Some(&mut context));
    let opened = if current.is_none() && table.is_full() && table.yielding(now).is_none() {
        Err(BUSY.refuses())
    } else {
        open(storage, limits, (peer, asked), direction, request).await
    };
    match opened {
        Ok(opened) => Decision::Begin(Beginning { at: local, peer, fingerprint, opened, options, context }),
        Err(Unopened { error, cause }) => {
            let ErrorText { code, text: reason } = error;
            let cause = cause.as_ref().map(|cause| cause as &dyn Refusal);
            let refused = Refused { peer, direction, filename, code, reason, cause };
            observer.observe(now, &Event::Refused(refused), Some(&mut context));
            Decision::Act(Action::Answer { from: local, to: peer, error, instead_of: current })
        }
    }
}

async fn open<S: Storage>(
    storage: &mut S,
    limits: &Limits,
    (peer, asked): (SocketAddrV4, Option<Ipv4Addr>),
    direction: Direction,
    request: &Request<'_>,
) -> Result<Opened<S>, Unopened<S::Refusal>> {
    let path = BootPath::parse(request.filename)
        .map_err(|error| ErrorText { code: ErrorCode::ACCESS_VIOLATION, text: error.text() }.refuses())?;
    Ok(match direction {
        Direction::Read => {
            let file = storage.open(&OpenRequest { path, peer, asked, len: None }).await?;
            if request.mode == Mode::Netascii && file.len() > limits.netascii_len {
                return Err(TOO_LONG.refuses());
            }
            Opened::Read(Source::new(file, request.mode).await.map_err(|error| {
                debug!("cannot read the file: {}", format_args!("{error:?}"));
                S::Refusal::from(OpenError::Failed)
            })?)
        }
        Direction::Write => {
            let len = request.options.transfer_size;
            let upload = storage.create(&OpenRequest { path, peer, asked, len }).await?;
            Opened::Write(Sink::new(upload, request.mode))
        }
    })
}

/// Whether a datagram that is no TFTP packet gets an ERROR: not if it is cut short, unless it is a request.
fn may_be_answered(bytes: &[u8], error: ParseError) -> bool {
    error != ParseError::Truncated || matches!(bytes, [0, 1 | 2, ..])
}

/// FNV-1a: tells a repeated request from a new one.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

const TOO_LONG: ErrorText =
    ErrorText { code: ErrorCode::NOT_DEFINED, text: "too long for mode netascii, ask in mode octet" };

const STOPPED: ErrorText = ErrorText { code: ErrorCode::NOT_DEFINED, text: "the server was stopped" };

const BUSY: ErrorText = ErrorText { code: ErrorCode::NOT_DEFINED, text: "server busy, try again later" };

const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// For so long what is here goes before deadlines: longer than it takes to hear a thousand clients.
const HEAR_FIRST: Duration = Duration::from_millis(100);
