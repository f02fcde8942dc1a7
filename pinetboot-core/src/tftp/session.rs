//! One transfer of the server, and its files in the mode that the client asked for.

use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use super::netascii::{Decoded, Encoded};
use super::packet::Mode;
use super::report::{Direction, Report};
use super::step::Outcome;
use super::transfer::{Prepared, Transfer};
use crate::event::{Progress, Stalled};
use crate::storage::{File, Storage, Upload};
use crate::{Instant, Net, Observer};

/// A session of the server. The caller provides the memory for the table:
///
/// ```
/// # use pinetboot_core::{Storage, tftp::Session};
/// fn places<S: Storage>() -> [Option<Session<(), S>>; 4] {
///     [const { None }; 4]
/// }
/// ```
///
/// `L` is the network's [`Net::Local`](crate::Net::Local), `T` the observer's context of a transfer
/// ([`Observer::Transfer`](crate::Observer::Transfer)); [`Slot`] names the same by network, storage and observer.
pub struct Session<L, S: Storage, T = ()> {
    pub(super) peer: SocketAddrV4,
    pub(super) local: L,
    /// The fingerprint of the request that began it.
    pub(super) fingerprint: u32,
    pub(super) began: Instant,
    /// The neighbours in the queue of the sessions whose client has not answered; `None` once the client has.
    pub(super) link: Option<Link>,
    /// The time of the peer's last packet.
    pub(super) heard: Instant,
    /// The time to drive it if no packet comes; `MAX` while it waits for the storage.
    pub(super) until: Instant,
    /// The file is whole and the observer knows; the session stays to acknowledge the last block once more.
    pub(super) told: bool,
    /// The observer knows of the peer's silence since its last packet.
    pub(super) told_stall: bool,
    /// The low bits of the mebibytes that the observer knows of.
    pub(super) told_mebibytes: u8,
    /// The client ended it with the text of a Pi's size probe.
    pub(super) early_terminate: bool,
    /// The DATA that the network keeps ready.
    pub(super) prepared: Prepared,
    /// The observer's.
    pub(super) context: T,
    pub(super) transfer: Transfer<Source<S::File>, Sink<S::Upload>>,
}

/// The places of a session's neighbours in the queue of the table.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// The next older session.
    pub(super) older: u16,
    /// The next younger session.
    pub(super) younger: u16,
}

/// A place in the session table of a server over this network, with this storage and this observer.
pub type Slot<N, S, O> = Option<Session<<N as Net>::Local, S, <O as Observer>::Transfer>>;

impl<L, S: Storage, T> Session<L, S, T> {
    pub(super) fn report(&self, outcome: Outcome) -> Report {
        let direction = match self.transfer {
            Transfer::Out(..) => Direction::Read,
            Transfer::In(..) => Direction::Write,
        };
        let mut report = self.transfer.report(self.peer, direction, self.began, outcome);
        report.early_terminate = self.early_terminate;
        report
    }

    /// The file's length if it is whole, and only the ACK of its last block may have to be sent once more.
    pub(super) fn complete(&self) -> Option<u64> {
        match &self.transfer {
            Transfer::Out(..) => None,
            Transfer::In(receiver, _) => receiver.complete(),
        }
    }

    /// Whether a request that repeats the session's own means that the client started over. Otherwise the network doubled a
    /// datagram, or an answer was lost. True once blocks have passed and the client has been silent since.
    pub(super) fn stalled(&self, now: Instant) -> bool {
        let begun = match &self.transfer {
            Transfer::Out(sender, _) => sender.acknowledged_bytes() > 0,
            Transfer::In(receiver, _) => receiver.received_bytes() > 0 || receiver.complete().is_some(),
        };
        begun && now.since(self.heard) >= STALLED
    }

    /// A silence of the client that the observer does not know yet.
    pub(super) fn stalls(&mut self, now: Instant) -> Option<Stalled> {
        if self.told_stall || self.told || now.since(self.heard) < TELL_STALL {
            return None;
        }
        self.told_stall = true;
        let Report { peer, bytes, block_size, began, .. } = self.report(Outcome::TimedOut);
        Some(Stalled { peer, bytes, block_size, after: self.heard.since(began) })
    }

    /// Another mebibyte that the observer does not know yet.
    pub(super) fn progresses(&mut self) -> Option<Progress> {
        let bytes = self.moved();
        let mebibytes = (bytes >> 20) as u8;
        if mebibytes == self.told_mebibytes {
            return None;
        }
        self.told_mebibytes = mebibytes;
        Some(Progress { peer: self.peer, bytes })
    }

    /// Bytes acknowledged by the receiving side.
    fn moved(&self) -> u64 {
        match &self.transfer {
            Transfer::Out(sender, _) => sender.acknowledged_bytes(),
            Transfer::In(receiver, _) => receiver.received_bytes(),
        }
    }

    /// The transfer's progress since it began in bytes per second, after a head start of [`HEAD_START`]; zero if only a last
    /// ACK is missing and the client is silent.
    pub(super) fn pace(&self, now: Instant) -> u64 {
        let (bytes, nothing_left) = match &self.transfer {
            Transfer::Out(sender, _) => (sender.acknowledged_bytes(), sender.has_sent_all()),
            Transfer::In(receiver, _) => (receiver.received_bytes(), receiver.complete().is_some()),
        };
        if nothing_left && now.since(self.heard) >= STALLED {
            return 0;
        }
        let micros = now.as_micros().saturating_sub(self.began.as_micros()).max(1);
        bytes.saturating_add(HEAD_START).saturating_mul(1_000_000) / micros
    }
}

impl<L: fmt::Debug, S: Storage, T> fmt::Debug for Session<L, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, local, began, heard, until, .. } = self;
        f.debug_struct("Session")
            .field("peer", peer)
            .field("local", local)
            .field("began", began)
            .field("heard", heard)
            .field("until", until)
            .finish_non_exhaustive()
    }
}

/// A file to be sent, as it looks on the wire.
pub(super) enum Source<F> {
    Octet(F),
    Netascii(Encoded<F>),
}

impl<F: File> Source<F> {
    pub(super) async fn new(file: F, mode: Mode) -> Result<Self, F::Error> {
        Ok(match mode {
            Mode::Octet => Self::Octet(file),
            Mode::Netascii => Self::Netascii(Encoded::new(file).await?),
        })
    }
}

impl<F: File> File for Source<F> {
    type Error = F::Error;

    fn len(&self) -> u64 {
        match self {
            Self::Octet(file) => file.len(),
            Self::Netascii(file) => file.len(),
        }
    }

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        match self {
            Self::Octet(file) => file.is_ready(offset, len),
            Self::Netascii(_) => true,
        }
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), F::Error> {
        match self {
            Self::Octet(file) => file.read_exact_at(offset, buf).await,
            Self::Netascii(file) => file.read_exact_at(offset, buf).await,
        }
    }
}

/// A file to be received, as it looks on the wire.
pub(super) enum Sink<U> {
    Octet(U),
    Netascii(Decoded<U>),
}

impl<U: Upload> Sink<U> {
    pub(super) fn new(upload: U, mode: Mode) -> Self {
        match mode {
            Mode::Octet => Self::Octet(upload),
            Mode::Netascii => Self::Netascii(Decoded::new(upload)),
        }
    }
}

impl<U: Upload> Upload for Sink<U> {
    type Error = U::Error;

    fn expect(&mut self, len: u64) -> Result<(), U::Error> {
        match self {
            Self::Octet(upload) => upload.expect(len),
            Self::Netascii(upload) => upload.expect(len),
        }
    }

    fn ended(&mut self, message: &[u8]) {
        match self {
            Self::Octet(upload) => upload.ended(message),
            Self::Netascii(upload) => upload.ended(message),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), U::Error> {
        match self {
            Self::Octet(upload) => upload.write(bytes).await,
            Self::Netascii(upload) => upload.write(bytes).await,
        }
    }

    async fn finish(&mut self) -> Result<(), U::Error> {
        match self {
            Self::Octet(upload) => upload.finish().await,
            Self::Netascii(upload) => upload.finish().await,
        }
    }

    fn settled(&mut self) -> Option<Result<(), U::Error>> {
        match self {
            Self::Octet(upload) => upload.settled(),
            Self::Netascii(upload) => upload.settled(),
        }
    }
}

/// A silence to tell the observer of: the third packet sent again in a row goes out after 7 s
/// ([`RetryPolicy`](super::RetryPolicy)).
const TELL_STALL: Duration = Duration::from_secs(6);

/// A client that is alive answers within its own timeout; none is shorter than this.
const STALLED: Duration = Duration::from_secs(1);

/// The slowest transfer that keeps its place under pressure, in bytes per second.
///
/// A Pi takes 750,000 at least: its limit for one file is 30 s, and an initramfs has 22.5 MB. One packet in ten lost in
/// either direction, each for a second, leaves 7000 in blocks of 1468 bytes. At this floor a Pi has 120 kB when its 30 s are
/// over.
pub(super) const FLOOR: u64 = 4096;

/// A transfer without any progress is below [`FLOOR`] after two seconds, when its first packet has been sent twice; a Pi
/// repeats its request after as long.
const HEAD_START: u64 = 2 * FLOOR;
