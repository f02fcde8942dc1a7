//! Whether to stay awake for the next datagram.

use std::time::Duration;

/// Decides for how long to look for the next datagram before sleeping.
///
/// To be woken takes the kernel 10 to 50 microseconds, and costs more of a processor than to look meanwhile. So while
/// datagrams come sooner than that, one after the other, sleeping between them serves nobody: it is slower and no
/// thriftier. One Pi does not ask that fast (a Pi 5 takes 440 microseconds from block to block), a rack of them does, and
/// so does a virtual machine or a test on the same host.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// For so long in any case, while there are transfers; by what was usual lately, unless it is said.
    fixed: Option<Duration>,
    /// How long the waits were of late.
    usual: Duration,
}

impl BusyPoll {
    pub(super) const fn new(fixed: Option<Duration>) -> Self {
        Self { fixed, usual: Duration::MAX }
    }

    /// For how long the next wait is to be spent awake.
    pub(super) fn time(&self) -> Duration {
        match self.fixed {
            Some(time) => time,
            None if self.usual <= WAKING => WAKING,
            None => Duration::ZERO,
        }
    }

    /// A wait took so long, awake or asleep.
    pub(super) fn waited(&mut self, wait: Duration) {
        // No single one says much: a wait that was long is forgotten after some short ones.
        let wait = wait.min(4 * WAKING);
        self.usual = (self.usual.min(4 * WAKING) * 7 + wait) / 8;
    }
}

/// About what it takes to be woken.
const WAKING: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    fn after(waits: &[(u64, usize)]) -> Duration {
        let mut busy_poll = BusyPoll::new(None);
        for (micros, count) in waits {
            (0..*count).for_each(|_| busy_poll.waited(Duration::from_micros(*micros)));
        }
        busy_poll.time()
    }

    #[test]
    fn stays_awake_only_for_what_comes_soon() {
        assert_eq!(after(&[]), NEVER);
        assert_eq!(after(&[(10, 1)]), NEVER, "once is no habit");
        assert_eq!(after(&[(10, 20)]), WAKING);
        assert_eq!(after(&[(40, 30)]), WAKING);
        assert_eq!(after(&[(440, 1000)]), NEVER, "a Pi 5");
        assert_eq!(after(&[(10, 20), (5_000_000, 1)]), WAKING, "nor is a client that is gone");
        assert_eq!(after(&[(10, 1000), (440, 10)]), NEVER);
        assert_eq!(after(&[(10, 20), (440, 10), (10, 20)]), WAKING);
    }

    #[test]
    fn does_as_it_is_told() {
        for time in [NEVER, Duration::from_micros(20), Duration::from_secs(1)] {
            let mut busy_poll = BusyPoll::new(Some(time));
            assert_eq!(busy_poll.time(), time);
            (0..100).for_each(|_| busy_poll.waited(Duration::from_micros(5)));
            assert_eq!(busy_poll.time(), time);
        }
    }
}
