//! Observers: logs, timelines, counters and LEDs, told by the loops what happens.
//!
//! An observer keeps nothing by peer: what belongs to one transfer is its [`Observer::Transfer`], which the session
//! holds. Nor does an observer need a timer: the loop tells [`Event::Tick`] when the observer asked for it.

use core::time::Duration;

use crate::{Event, Instant};

/// A value that is told what happens. Called from the loop: be quick.
///
/// The observer `()` is told nothing, at no cost; `(A, B)` is two observers, each told everything.
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
    /// What the observer keeps of one transfer. The server makes one for each request that it accepts, and its session
    /// holds it until the end. `()` takes no room.
    type Transfer: Default;

    /// `event` happened at `now`. `transfer` is the context of the transfer that the event belongs to, and `None` for an
    /// event that belongs to none.
    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Self::Transfer>);

    /// When to be told [`Event::Tick`] at the latest; [`Instant::MAX`] is never. Asked each turn, so be quick.
    ///
    /// A moment that is not after the last tick means 10 ms after it: a loop tells at most 100 ticks a second, so that an
    /// observer whose moment stays in the past neither keeps the loop from waiting for datagrams nor delays a transfer.
    fn wake_at(&self) -> Instant {
        Instant::MAX
    }
}

impl Observer for () {
    type Transfer = ();

    #[inline]
    fn observe(&mut self, _: Instant, _: &Event<'_>, _: Option<&mut ()>) {}
}

impl<O: Observer> Observer for &mut O {
    type Transfer = O::Transfer;

    #[inline]
    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut O::Transfer>) {
        (**self).observe(now, event, transfer);
    }

    #[inline]
    fn wake_at(&self) -> Instant {
        (**self).wake_at()
    }
}

/// Each is told everything, the other's ticks included.
impl<A: Observer, B: Observer> Observer for (A, B) {
    type Transfer = (A::Transfer, B::Transfer);

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

/// A loop's ticks: when the next is due, and no more than 100 a second.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ticks {
    not_before: Instant,
}

impl Ticks {
    /// When the observer is told the next.
    #[inline]
    pub(crate) fn next(self, observer: &impl Observer) -> Instant {
        observer.wake_at().max(self.not_before)
    }

    /// Tells one if it is due.
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
