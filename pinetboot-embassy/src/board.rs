//! The parts of a board besides the network: an LED and a watchdog.

use crate::liveness::Liveness;

/// The board's LED and watchdog, for [`run`](crate::run).
pub trait Board {
    /// Turns the status LED on or off.
    fn led(&mut self, on: bool);

    /// Feeds the watchdog. Called at least every two seconds, as long as the loops and the Ethernet driver are alive.
    fn feed(&mut self);

    /// Whether a card is in the slot that cannot be read.
    fn card_is_unreadable(&self) -> bool {
        false
    }

    /// The Ethernet driver's liveness, if it has one.
    fn ethernet(&self) -> Option<&Liveness> {
        None
    }
}

/// The blink pattern of the status LED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedPattern {
    /// No cable: dark, but for a short flash.
    NoLink,
    /// Ready: lit, but for a short gap.
    Ready,
    /// Transfers run: blinks quickly.
    Busy,
    /// A transfer failed a moment ago: blinks slowly.
    Failed,
    /// The configuration is wrong: blinks very slowly.
    Misconfigured,
    /// The card cannot be read: dark, but for a flash every two seconds.
    CardUnreadable,
}

impl LedPattern {
    /// The times for which the LED is lit and then dark, in milliseconds.
    pub(crate) const fn lit_and_dark(self) -> (u64, u64) {
        match self {
            Self::NoLink => (50, 450),
            Self::Ready => (450, 50),
            Self::Busy => (50, 50),
            Self::Failed => (250, 250),
            Self::Misconfigured => (1000, 1000),
            Self::CardUnreadable => (100, 1800),
        }
    }
}
