//! The parts of a board besides the network: an LED and a watchdog.

use crate::console::Action;
use crate::liveness::Liveness;
use crate::report::CardState;

/// The board's LED and watchdog, for [`run`](crate::run).
pub trait Board {
    /// Turns the status LED on or off.
    fn led(&mut self, on: bool);

    /// Feeds the watchdog. Called at least every two seconds, as long as the loops and the Ethernet driver are alive.
    fn feed(&mut self);

    /// The state of the card slot.
    fn card(&self) -> CardState {
        CardState::Absent
    }

    /// Keeps the number of a rule over a reset: a Pi is stuck by it, or none is.
    fn keep(&mut self, rule: Option<u8>) {
        let _ = rule;
    }

    /// Whether the button is held that, held for five seconds, makes the board ignore its configuration. Asked while no transfer is
    /// under way.
    fn is_button_held(&mut self) -> bool {
        false
    }

    /// Does what was typed on the console, or meant by the button.
    fn act(&mut self, action: Action) {
        let _ = action;
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
    /// A Pi does not boot: a flash of the rule's number.
    Stuck(Flash),
    /// The card cannot be read: dark, but for a flash every two seconds.
    CardUnreadable,
    /// Another DHCP server is on the network: lit, but for a gap every two seconds.
    AnotherServer,
}

/// A flash of a number: its tens as long flashes, its ones as short ones, and a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flash {
    Long,
    Short,
    /// After the tens, or after the number.
    Pause,
}

impl Flash {
    /// The flash of a number that is in this place, and the next place.
    pub(crate) const fn of(number: u8, place: u8) -> (Self, u8) {
        let (tens, ones) = (number / 10, number % 10);
        match place {
            place if place < tens => (Self::Long, place + 1),
            // Without tens the number begins with its ones.
            place if place == tens && tens > 0 && ones > 0 => (Self::Pause, place + 1),
            place => {
                let first = if tens > 0 && ones > 0 { tens + 1 } else { tens };
                if place >= first && place < first + ones {
                    (Self::Short, place + 1)
                } else {
                    (Self::Pause, 0)
                }
            }
        }
    }
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
            Self::Stuck(Flash::Long) => (800, 300),
            Self::Stuck(Flash::Short) => (150, 300),
            Self::Stuck(Flash::Pause) => (0, 1200),
            Self::CardUnreadable => (100, 1800),
            Self::AnotherServer => (1800, 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn a_number_is_long_and_short_flashes() {
        let shown = |number| {
            let (mut place, mut shown) = (0, String::new());
            loop {
                let (flash, next) = Flash::of(number, place);
                shown.push(match flash {
                    Flash::Long => '-',
                    Flash::Short => '.',
                    Flash::Pause => ' ',
                });
                place = next;
                if place == 0 {
                    return shown;
                }
            }
        };
        assert_eq!(
            [3, 17, 20, 41, 97].map(shown),
            ["... ", "- ....... ", "-- ", "---- . ", "--------- ....... "]
        );
        // The watchdog is fed after each flash.
        for flash in [Flash::Long, Flash::Short, Flash::Pause] {
            let (lit, dark) = LedPattern::Stuck(flash).lit_and_dark();
            assert!(lit + dark < 2000);
        }
    }
}
