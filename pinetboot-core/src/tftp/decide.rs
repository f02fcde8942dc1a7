//! The decision about a datagram, made while the network lends it. No packet leaves from here.

use core::net::{Ipv4Addr, SocketAddrV4};

use super::options::{Limits, Options};
use super::packet::{ErrorCode, Mode, Packet, ParseError, Request};
use super::report::Direction;
use super::session::{Sink, Source};
use super::table::Table;
use crate::event::{PeerError, Refused, Rejected, Rejection, Repeated, Requested};
use crate::observe::{Event, Observer};
use crate::storage::{File, OpenError, OpenRequest, Refusal, Storage};
use crate::{BootPath, Datagram};

/// What the loop does with a datagram once it is no longer lent.
pub(super) enum Decision<L, S: Storage, T> {
    Act(Action<L>),
    /// The storage does not know yet.
    Hold,
    Begin(Beginning<L, S, T>),
}

pub(super) enum Action<L> {
    Nothing,
    /// The session at this place took a packet.
    Drive(usize),
    /// The sender gets an ERROR, outside any transfer.
    Answer {
        from: L,
        to: SocketAddrV4,
        error: ErrorText,
        /// The session of a client that sent another request.
        instead_of: Option<usize>,
    },
}

/// A transfer about to begin.
pub(super) struct Beginning<L, S: Storage, T> {
    pub(super) at: L,
    pub(super) peer: SocketAddrV4,
    pub(super) fingerprint: u32,
    pub(super) opened: Opened<S>,
    pub(super) options: Options,
    pub(super) context: T,
    /// The session of another client that yields its place.
    pub(super) yields: Option<usize>,
}

pub(super) enum Opened<S: Storage> {
    Read(Source<S::File>),
    Write(Sink<S::Upload>),
}

/// A refused request: the ERROR for the client, and the storage's reason if the storage refused.
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

/// Code and text of an ERROR.
#[derive(Clone, Copy)]
pub(super) struct ErrorText {
    pub(super) code: ErrorCode,
    pub(super) text: &'static str,
}

impl ErrorText {
    const fn new(code: ErrorCode) -> Self {
        Self { code, text: code.meaning() }
    }

    /// The kind of the ERROR, in bits that no two addresses of a network differ in alone.
    pub(super) const fn kind(self) -> u32 {
        if self.is_stray() { 1 << 31 } else { 0 }
    }

    /// The ERRORs of this kind to one address in a second. A rack of Pis behind one address (NAT) looks for some hundred files that
    /// do not exist; a packet without a transfer is rare, and a datagram that answers an ERROR makes a loop.
    pub(super) const fn most(self) -> u32 {
        if self.is_stray() { 16 } else { 128 }
    }

    const fn is_stray(self) -> bool {
        matches!(self.code, ErrorCode::ILLEGAL_OPERATION | ErrorCode::UNKNOWN_TRANSFER_ID)
    }

    pub(super) const fn packet(self) -> Packet<'static> {
        Packet::Error { code: self.code, message: self.text.as_bytes() }
    }

    /// The server refuses, not the storage.
    const fn refuses<R>(self) -> Unopened<R> {
        Unopened { error: self, cause: None }
    }
}

/// Parses a datagram and finds its session, or another answer.
pub(super) async fn decide<L, S, O, const MAX: usize>(
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
    if peer.port() < FIRST_CLIENT_PORT {
        let rejected = Rejected { peer, why: Rejection::ServicePort };
        observer.observe(now, &Event::Rejected(rejected), None);
        return Decision::Act(Action::Nothing);
    }
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
            Some((place, mut session)) => {
                if session.link.is_some() {
                    table.answered(place);
                    session = match table.session(place) {
                        Some(session) => session,
                        None => return Decision::Act(Action::Nothing),
                    };
                }
                (session.heard, session.told_stall) = (now, false);
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

/// Decides about a request: a repeated one, a refused one, or a file to open.
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
    if let Some((place, session)) = current.and_then(|place| Some((place, table.session(place)?)))
        && session.fingerprint == fingerprint
        && !session.stalled(now)
    {
        observer.observe(now, &Event::Repeated(Repeated { peer }), Some(&mut session.context));
        session.transfer.asked_again(now);
        return Decision::Act(Action::Drive(place));
    }
    // The observer comes before the storage, which may depend on what the observer records of the request.
    let mut context = O::Transfer::default();
    let requested = Requested { peer, direction, filename, options };
    observer.observe(now, &Event::Requested(requested), Some(&mut context));
    let must_yield = current.is_none() && table.is_full();
    let yields = if must_yield { table.yielding(now, *peer.ip()) } else { None };
    if must_yield && yields.is_none() {
        let rejected = Rejected { peer, why: Rejection::TableFull };
        observer.observe(now, &Event::Rejected(rejected), Some(&mut context));
        return Decision::Act(Action::Nothing);
    }
    match open(storage, limits, (peer, asked), direction, request).await {
        Ok(opened) => {
            Decision::Begin(Beginning { at: local, peer, fingerprint, opened, options, context, yields })
        }
        Err(Unopened { cause: Some(cause), .. }) if cause.error() == OpenError::Later => Decision::Hold,
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
    let mut room = [0; LATIN1_ROOM];
    let path = BootPath::parse_text(request.filename, &mut room)
        .map_err(|error| ErrorText { code: ErrorCode::ACCESS_VIOLATION, text: error.text() }.refuses())?;
    Ok(match direction {
        Direction::Read => {
            let whole = request.mode == Mode::Netascii;
            let file = storage.open(&OpenRequest { path, peer, asked, len: None, whole }).await?;
            if whole && file.len() > limits.netascii_len {
                return Err(TOO_LONG.refuses());
            }
            Opened::Read(Source::new(file, request.mode).await.map_err(|error| {
                debug!("cannot read the file: {}", format_args!("{error:?}"));
                S::Refusal::from(OpenError::Failed)
            })?)
        }
        Direction::Write => {
            let len = request.options.transfer_size;
            let upload = storage.create(&OpenRequest { path, peer, asked, len, whole: false }).await?;
            Opened::Write(Sink::new(upload, request.mode))
        }
    })
}

/// Whether a malformed datagram is answered with an ERROR: a truncated one only if it is a request.
fn may_be_answered(bytes: &[u8], error: ParseError) -> bool {
    error != ParseError::Truncated || matches!(bytes, [0, 1 | 2, ..])
}

/// FNV-1a: tells a repeated request from a new one.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Clients take a port that the system or the program chooses above the well-known ones; a NAT keeps it there.
const FIRST_CLIENT_PORT: u16 = 1024;

/// Room for the UTF-8 form of a name in Latin-1, in bytes: the server's future has it, so longer ones are refused.
const LATIN1_ROOM: usize = 112;

const TOO_LONG: ErrorText =
    ErrorText { code: ErrorCode::NOT_DEFINED, text: "too long for mode netascii, ask in mode octet" };
