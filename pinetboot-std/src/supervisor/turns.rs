//! The loops that the watchdog looks at.

use std::fmt;
use std::time::Duration;

use crate::bus::Bus;
use crate::events::Server;
use crate::net::Control;

/// A loop that shows on request that it turns.
pub trait Turns: Send {
    /// Asks the loop for a turn; never waits.
    fn ask(&self);

    /// Whether the loop has turned since it was asked.
    fn has_turned(&self) -> bool;
}

/// A loop, and whether it showed no turn when it was asked last.
pub(super) struct Watched {
    name: String,
    turns: Box<dyn Turns>,
    stalled: bool,
}

impl Turns for Control {
    fn ask(&self) {
        self.ask_turn();
    }

    fn has_turned(&self) -> bool {
        Self::has_turned(self)
    }
}

/// The bus's clock.
impl Turns for Bus {
    fn ask(&self) {
        self.ask_turn();
    }

    fn has_turned(&self) -> bool {
        Self::has_turned(self)
    }
}

impl Watched {
    pub(super) const fn new(name: String, turns: Box<dyn Turns>) -> Self {
        Self { name, turns, stalled: false }
    }

    /// Whether the loop showed no turn.
    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Looks whether the loop has turned, and asks for the next turn.
    pub(super) fn look(&mut self, interval: Duration) -> Option<Server> {
        let (was_stalled, thread) = (self.stalled, self.name.clone());
        self.stalled = !self.turns.has_turned();
        if !self.stalled {
            self.turns.ask();
        }
        match (was_stalled, self.stalled) {
            (false, true) => Some(Server::LoopStalled { thread, interval }),
            (true, false) => Some(Server::LoopTurns { thread }),
            _ => None,
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("name", &self.name)
            .field("stalled", &self.stalled)
            .finish_non_exhaustive()
    }
}
