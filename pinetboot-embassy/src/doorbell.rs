//! News for a network that waits.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;

/// Has the `recv` of a [`w5500::Udp`](crate::w5500::Udp) return: rung by the network beside it on the same chip, and by a
/// [`card::Card`](crate::card::Card) that has bytes for a client. Any core may ring.
pub type Doorbell = Signal<CriticalSectionRawMutex, ()>;
