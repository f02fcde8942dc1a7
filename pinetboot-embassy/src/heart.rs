//! Whether the loops still turn: what the watchdog is fed by.

use core::cell::Cell;
use core::time::Duration;

use pinetboot_core::Instant;

/// The pulse of one loop. It beats whenever the loop waits for the network, and so at least once in every second while nothing
/// happens; it stops where a loop hangs in anything else.
#[derive(Debug, Default)]
pub struct Heart(Cell<Option<Instant>>);

impl Heart {
    /// How often it beats while there is nothing to do.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

    /// A heart that has yet to beat, and counts as alive until it is missed.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The loop turns.
    pub(crate) fn beat(&self, now: Instant) {
        self.0.set(Some(now));
    }

    /// Whether the loop has turned lately. One that never did has not begun.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.get().is_none_or(|last| now().since(last) < MISSED)
    }
}

/// What time it is.
pub(crate) fn now() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros())
}

/// Longer than anything that a loop does on its way round: it reads a block from a card, at worst.
const MISSED: Duration = Duration::from_secs(4);
