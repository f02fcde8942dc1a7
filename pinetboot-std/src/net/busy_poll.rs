//! Busy-polling: whether to stay awake for the next datagram.

use std::time::Duration;

/// Decides how long to busy-poll before sleeping.
///
/// Waking a thread takes the kernel 10 to 50 microseconds, and costs more processor time than polling meanwhile. While
/// datagrams come sooner than that, sleeping between them is slower and saves nothing. One Pi is not that fast (a Pi 5 takes
/// 440 microseconds from block to block); a rack of Pis is, and so is a virtual machine or a test on the same host.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// Fixed busy-poll time; `None` adapts to recent waits.
    fixed: Option<Duration>,
    /// Moving average of recent waits.
    usual: Duration,
}

impl BusyPoll {
    pub(super) const fn new(fixed: Option<Duration>) -> Self {
        Self { fixed, usual: Duration::MAX }
    }

    /// The busy-poll time of the next wait.
    pub(super) fn time(&self) -> Duration {
        match self.fixed {
            Some(time) => time,
            None if self.usual <= WAKING => WAKING,
            None => Duration::ZERO,
        }
    }

    /// Records the length of a wait, awake or asleep.
    pub(super) fn waited(&mut self, wait: Duration) {
        // A single wait has little weight: some short waits outweigh a long one.
        let wait = wait.min(4 * WAKING);
        self.usual = (self.usual.min(4 * WAKING) * 7 + wait) / 8;
    }
}

/// About the time to wake a thread.
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
    fn polls_only_while_datagrams_come_soon() {
        assert_eq!(after(&[]), NEVER);
        assert_eq!(after(&[(10, 1)]), NEVER, "a single short wait has too little weight");
        assert_eq!(after(&[(10, 20)]), WAKING);
        assert_eq!(after(&[(40, 30)]), WAKING);
        assert_eq!(after(&[(440, 1000)]), NEVER, "a Pi 5");
        assert_eq!(
            after(&[(10, 20), (5_000_000, 1)]),
            WAKING,
            "a single long wait, of a client that is gone"
        );
        assert_eq!(after(&[(10, 1000), (440, 10)]), NEVER);
        assert_eq!(after(&[(10, 20), (440, 10), (10, 20)]), WAKING);
    }

    #[test]
    fn a_fixed_time_does_not_adapt() {
        for time in [NEVER, Duration::from_micros(20), Duration::from_secs(1)] {
            let mut busy_poll = BusyPoll::new(Some(time));
            assert_eq!(busy_poll.time(), time);
            (0..100).for_each(|_| busy_poll.waited(Duration::from_micros(5)));
            assert_eq!(busy_poll.time(), time);
        }
    }
}
