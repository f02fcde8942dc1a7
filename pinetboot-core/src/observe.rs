//! Observers: logs, timelines, counters and LEDs that receive the loops' events.
//!
//! An observer needs no map of peers: the session holds the observer's context of its transfer ([`Observer::Transfer`]). Nor
//! does it need a timer: the loop sends [`Event::Tick`] at the moment that the observer names.

use core::time::Duration;

use crate::Instant;
use crate::event::{Dhcp, PeerError, Progress, Refused, Rejected, Repeated, Requested, Stalled, Started};
use crate::tftp::Report;

/// Receives a loop's events. The loop waits for each call, so a call must be short.
///
/// `()` ignores all events, at no cost. `(A, B)` is two observers that each receive all events.
///
/// ```
/// use pinetboot_core::{Event, Instant, Observer};
///
/// /// Prints each file's name when its transfer is over.
/// struct Names;
///
/// impl Observer for Names {
///     type Transfer = Vec<u8>;
///
///     fn observe(&mut self, _: Instant, event: &Event<'_>, transfer: Option<&mut Vec<u8>>) {
///         match (event, transfer) {
///             (Event::Requested(requested), Some(name)) => name.extend(requested.filename),
///             (Event::Finished(report), Some(name)) => println!("{}: {:?}", name.escape_ascii(), report.outcome),
///             _ => {}
///         }
///     }
/// }
/// ```
pub trait Observer {
    /// The observer's context of one transfer. The server makes one for each request that it accepts, and the session
    /// holds it until the end. `()` takes no memory.
    type Transfer: Default;

    /// Whether [`Event::Stalled`] is for this observer. Without one the loop has no code for it.
    const HEARS_STALLS: bool = false;

    /// Whether [`Event::Progress`] is for this observer. Without one the loop has no code for it.
    const HEARS_PROGRESS: bool = false;

    /// `event` happened at `now`. `transfer` is the context of the transfer that the event belongs to, and `None` for an
    /// event that belongs to none.
    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Self::Transfer>);

    /// The time of the next [`Event::Tick`]; [`Instant::MAX`] is never. The loop asks in each turn, so the call must be short.
    ///
    /// A time that is not after the last tick means 10 ms after it: a loop sends at most 100 ticks a second, so that a time in
    /// the past neither keeps the loop from waiting for datagrams nor delays a transfer.
    fn wake_at(&self) -> Instant {
        Instant::MAX
    }
}

/// An event of the server's or the responder's loop.
///
/// A peer (address and port) has at most one transfer at a time. What belongs to a transfer comes with the context that
/// the observer keeps of it ([`Observer::Transfer`]).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request came; the storage is asked next. [`Refused`](Self::Refused) or [`Started`](Self::Started) follows, or
    /// [`Rejected`](Self::Rejected) if no place or no port is left, or this again if the storage does not know yet
    /// ([`OpenError::Later`](crate::OpenError::Later)). With the new transfer's context; a transfer that it takes the place
    /// of ends after this, with its own.
    Requested(Requested<'a>),
    /// A request was answered with an ERROR. With the transfer's context, for the last time.
    Refused(Refused<'a>),
    /// A request came again whose transfer runs already. With that transfer's context.
    Repeated(Repeated),
    /// A transfer begins. With its context.
    Started(Started),
    /// The client of a transfer has sent no packet for some seconds, and the last packets were sent to it again; once in such a
    /// silence, and only to observers that hear of it ([`Observer::HEARS_STALLS`]). With the transfer's context.
    Stalled(Stalled),
    /// Another mebibyte of a transfer was acknowledged, only to observers that hear of it ([`Observer::HEARS_PROGRESS`]). With the
    /// transfer's context.
    Progress(Progress),
    /// The client ended a transfer with an ERROR. With the transfer's context, and before its
    /// [`Finished`](Self::Finished).
    PeerError(PeerError<'a>),
    /// A transfer is over; after one that was written, its last block may be acknowledged once more. With the transfer's
    /// context, for the last time.
    Finished(Report),
    /// A datagram was dropped or answered with an ERROR. It changed no transfer, unless the other side of a transfer sent a
    /// malformed packet, which ends the transfer. With the transfer's context then, and when no place or no port is left for a
    /// transfer.
    Rejected(Rejected),
    /// A message of a DHCP client came, and was answered or not.
    Dhcp(Dhcp<'a>),
    /// The time has come that an observer named in [`Observer::wake_at`]: this observer, or another of its pair.
    Tick,
}

impl Observer for () {
    type Transfer = ();

    #[inline]
    fn observe(&mut self, _: Instant, _: &Event<'_>, _: Option<&mut ()>) {}
}

impl<O: Observer> Observer for &mut O {
    type Transfer = O::Transfer;

    const HEARS_STALLS: bool = O::HEARS_STALLS;
    const HEARS_PROGRESS: bool = O::HEARS_PROGRESS;

    #[inline]
    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut O::Transfer>) {
        (**self).observe(now, event, transfer);
    }

    #[inline]
    fn wake_at(&self) -> Instant {
        (**self).wake_at()
    }
}

/// Each receives all events, the other's ticks included.
impl<A: Observer, B: Observer> Observer for (A, B) {
    type Transfer = (A::Transfer, B::Transfer);

    const HEARS_STALLS: bool = A::HEARS_STALLS || B::HEARS_STALLS;
    const HEARS_PROGRESS: bool = A::HEARS_PROGRESS || B::HEARS_PROGRESS;

    #[inline]
    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Self::Transfer>) {
        let (first, second) = transfer.map(|(first, second)| (first, second)).unzip();
        self.0.observe(now, event, first);
        self.1.observe(now, event, second);
    }

    #[inline]
    fn wake_at(&self) -> Instant {
        self.0.wake_at().min(self.1.wake_at())
    }
}

/// A loop's ticks: at most 100 a second.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ticks {
    not_before: Instant,
}

impl Ticks {
    /// The time of the next tick.
    #[inline]
    pub(crate) fn next(self, observer: &impl Observer) -> Instant {
        observer.wake_at().max(self.not_before)
    }

    /// Sends a tick that is due.
    #[inline]
    pub(crate) fn tell(&mut self, now: Instant, observer: &mut impl Observer) {
        let next = self.next(observer);
        if next <= now && next != Instant::MAX {
            self.not_before = now + TICK_INTERVAL;
            observer.observe(now, &Event::Tick, None);
        }
    }
}

const TICK_INTERVAL: Duration = Duration::from_millis(10);
