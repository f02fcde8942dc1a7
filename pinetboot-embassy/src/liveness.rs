//! The liveness of the loops: the watchdog is fed while all of them turn.

use core::cell::Cell;
use core::time::Duration;

use pinetboot_core::Instant;

/// The liveness of one loop. The loop reports in whenever it waits for the network, and so at least once a second while
/// nothing happens. A loop that hangs elsewhere does not report in.
#[derive(Debug, Default)]
pub struct Liveness(Cell<Option<Instant>>);

impl Liveness {
    /// How often an idle loop reports in.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

    /// A loop that has not reported in yet, and counts as alive.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The loop reports in.
    pub(crate) fn report(&self, now: Instant) {
        self.0.set(Some(now));
    }

    /// Whether the loop reported in within the last four seconds. A loop that never did has not begun, and counts as alive.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.get().is_none_or(|last| now().since(last) < MISSED)
    }
}

/// The time, on the clock of embassy-time.
pub(crate) fn now() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros())
}

/// Longer than a loop does anything but wait: at worst it reads a block from a card.
const MISSED: Duration = Duration::from_secs(4);
