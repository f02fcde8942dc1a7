//! What a board has besides the network: an LED and a watchdog.

use crate::liveness::Liveness;

/// The few things that [`run`](crate::run) asks of a board.
pub trait Board {
    /// Turns the status LED on or off.
    fn led(&mut self, on: bool);

    /// Keeps the watchdog from biting for a few seconds. Called every two seconds at least, as long as the loops turn and the
    /// Ethernet driver is alive.
    fn feed(&mut self);

    /// The Ethernet driver's liveness, if it has one.
    fn ethernet(&self) -> Option<&Liveness> {
        None
    }
}

/// What the LED shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedPattern {
    /// No cable: dark, but for a short flash.
    NoLink,
    /// Ready: lit, but for a short gap.
    Ready,
    /// Files are on their way: blinks quickly.
    Busy,
    /// A transfer failed a moment ago: blinks slowly.
    Failed,
    /// The configuration is wrong: blinks very slowly.
    Misconfigured,
}

impl LedPattern {
    /// For how many milliseconds the LED is lit, and then dark.
    pub(crate) const fn lit_and_dark(self) -> (u64, u64) {
        match self {
            Self::NoLink => (50, 450),
            Self::Ready => (450, 50),
            Self::Busy => (50, 50),
            Self::Failed => (250, 250),
            Self::Misconfigured => (1000, 1000),
        }
    }
}
