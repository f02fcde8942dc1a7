//! Whether this server has heard what came to it: the loops that read packets of Pis, asked before a silence is told.
//!
//! ```text
//! a deadline passes -> Ears::listen -> each loop handles what came -> the silence is one
//!                                   -> one of them does not, or lost a message -> the silence begins anew
//! ```
//!
//! A message may wait in the queue of a busy or stopped server, or be dropped because that is full. So the clock of the boot machines
//! ([`Bus::keep_time`](crate::bus::Bus::keep_time)) asks first.
//!
//! Not done: what an interface drops before the system has it, and how late the process of NFS is. TCP loses nothing.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::Control;

/// A loop that reads messages of Pis.
pub trait Ear: Send {
    /// Asks the loop to show that it has handled all that came; never waits.
    fn ask(&self);

    /// Whether the loop has shown that.
    fn has_heard(&self) -> bool;

    /// Messages that the system or the loop dropped, since the start.
    fn lost(&self) -> u64;
}

/// The loops of a server.
#[derive(Default)]
pub(crate) struct Ears(Mutex<Vec<Known>>);

struct Known {
    name: String,
    ear: Box<dyn Ear>,
    /// Lost messages, as known.
    lost: u64,
}

/// The loop that did not hear all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unheard {
    /// The loop's name.
    pub(crate) by: String,
    /// Lost messages; none if messages wait.
    pub(crate) lost: u64,
}

impl Ears {
    /// Adds a loop.
    pub(crate) fn add(&self, name: String, ear: Box<dyn Ear>) {
        let lost = ear.lost();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Known { name, ear, lost });
    }

    /// Waits until each loop has handled all that came before, but no longer than [`LATE`].
    ///
    /// # Errors
    ///
    /// A loop that did not, or lost a message since the last call.
    pub(crate) fn listen(&self) -> Result<(), Unheard> {
        let mut ears = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        ears.iter().for_each(|known| known.ear.ask());
        let mut unheard = Ok(());
        let mut pause = SHORTEST;
        for known in ears.iter() {
            while !known.ear.has_heard() {
                if began.elapsed() >= LATE {
                    return Err(Unheard { by: known.name.clone(), lost: 0 });
                }
                thread::sleep(pause);
                pause = (2 * pause).min(LONGEST);
            }
        }
        for known in ears.iter_mut() {
            let lost = known.ear.lost();
            let more = lost.saturating_sub(std::mem::replace(&mut known.lost, lost));
            if more > 0 {
                unheard = Err(Unheard { by: known.name.clone(), lost: more });
            }
        }
        unheard
    }
}

impl Ear for Control {
    fn ask(&self) {
        self.ask_heard();
    }

    fn has_heard(&self) -> bool {
        Self::has_heard(self)
    }

    fn lost(&self) -> u64 {
        Self::lost(self)
    }
}

impl fmt::Debug for Ears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ears").finish_non_exhaustive()
    }
}

/// A server is late if a message waits that long: half of the time after which a Pi repeats a request for a file.
pub(crate) const LATE: Duration = Duration::from_secs(1);

const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A loop that has heard when asked so often, and what it lost.
    #[derive(Clone, Default)]
    struct Loop(Arc<(AtomicU64, AtomicU64)>);

    impl Ear for Loop {
        fn ask(&self) {}

        fn has_heard(&self) -> bool {
            let before = self.0.0.load(Ordering::Relaxed);
            self.0.0.store(before.saturating_sub(1), Ordering::Relaxed);
            before == 0
        }

        fn lost(&self) -> u64 {
            self.0.1.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_loop_is_waited_for_and_a_loss_is_told_once() {
        let (ears, tftp, dhcp) = (Ears::default(), Loop::default(), Loop::default());
        assert_eq!(ears.listen(), Ok(()));
        ears.add("tftp 0".into(), Box::new(tftp.clone()));
        ears.add("dhcp eth0".into(), Box::new(dhcp.clone()));
        tftp.0.0.store(5, Ordering::Relaxed);
        assert_eq!(ears.listen(), Ok(()));
        dhcp.0.1.store(3, Ordering::Relaxed);
        assert_eq!(ears.listen(), Err(Unheard { by: "dhcp eth0".into(), lost: 3 }));
        assert_eq!(ears.listen(), Ok(()));
        tftp.0.0.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(ears.listen(), Err(Unheard { by: "tftp 0".into(), lost: 0 }));
    }
}
