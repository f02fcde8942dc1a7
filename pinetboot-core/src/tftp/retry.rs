//! The retry policy: the waits between attempts, and the end of them.

use core::time::Duration;

use crate::Instant;

/// The first wait for the other side, and the number of retries.
///
/// The wait doubles with every try in a row, up to [`RetryPolicy::MAX_WAIT`], and is back at the start with every packet
/// that moves the transfer on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RetryPolicy {
    timeout_ms: u32,
    retries: u8,
}

impl RetryPolicy {
    /// The longest wait, unless the client asked for a longer one (RFC 2349).
    pub const MAX_WAIT: Duration = Duration::from_secs(8);

    /// Waits `timeout` at first (1 ms to 255 s, clamped) and sends again at most `retries` times in a row.
    ///
    /// A server should not go below a second: Pi 4 firmware of 2021 hangs on a DATA packet that it gets twice
    /// (reported, raspberrypi/firmware issue 1631).
    pub const fn new(timeout: Duration, retries: u8) -> Self {
        let millis = timeout.as_millis();
        let timeout_ms = if millis == 0 {
            1
        } else if millis > 255_000 {
            255_000
        } else {
            millis as u32
        };
        Self { timeout_ms, retries }
    }

    /// The same number of tries with another first wait.
    #[must_use]
    pub const fn with_timeout(self, timeout: Duration) -> Self {
        Self::new(timeout, self.retries)
    }

    /// The wait before the first retry.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms as u64)
    }

    /// The number of retries in a row.
    pub const fn retries(&self) -> u8 {
        self.retries
    }
}

/// A second, then five retries: 1 + 2 + 4 + 8 + 8 + 8 seconds, about as long as a Pi waits for one file (30 s).
impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), 5)
    }
}

/// The deadline of one transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    policy: RetryPolicy,
    tries: u8,
    deadline: Instant,
}

impl Retry {
    pub(super) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, tries: 0, deadline: Instant::MAX }
    }

    /// A packet left at `now`: the wait for its answer begins.
    pub(super) const fn arm(&mut self, now: Instant) {
        self.arm_within(now, self.wait());
    }

    /// The same with a shorter wait, in microseconds.
    pub(super) const fn arm_within(&mut self, now: Instant, wait: u32) {
        let wait = if wait < self.wait() { wait } else { self.wait() };
        self.deadline = Instant::from_micros(now.as_micros().saturating_add(wait as u64));
    }

    /// The time since the last packet left, in microseconds.
    pub(super) const fn waited(&self, now: Instant) -> u32 {
        (self.wait() as u64).saturating_sub(self.left(now)) as u32
    }

    /// The transfer made progress.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The last ACK left at `now`: wait as long as the other side may take to notice its loss. Clients in use take five or six
    /// seconds.
    pub(super) fn linger(&mut self, now: Instant) {
        // A second more, or a peer that waits as long as we would is always just too late.
        let longest = RetryPolicy::MAX_WAIT + Duration::from_secs(1);
        self.deadline = now + longest.max(self.policy.timeout().saturating_mul(2));
    }

    pub(super) const fn policy(&self) -> RetryPolicy {
        self.policy
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Whether half of the wait or more is over.
    pub(super) const fn half_over(&self, now: Instant) -> bool {
        self.left(now) <= self.wait() as u64 / 2
    }

    /// Whether anything was sent again since the transfer last moved on.
    pub(super) const fn tried(&self) -> bool {
        self.tries > 0
    }

    /// Counts one more wait in vain. A peer is `proven` once it has answered; until then its address may be forged.
    pub(super) fn again(&mut self, now: Instant, proven: bool) -> Again {
        let at_most = if proven { u8::MAX } else { UNPROVEN_WAITS };
        if self.tries >= self.policy.retries.min(at_most) {
            return Again::Over;
        }
        self.tries += 1;
        if proven || self.tries <= UNPROVEN_RETRIES {
            return Again::Send;
        }
        self.arm(now);
        Again::Wait
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The wait for an answer, in microseconds: at most 255 s.
    const fn wait(&self) -> u32 {
        let RetryPolicy { timeout_ms, .. } = self.policy;
        let tries = if self.tries < 16 { self.tries } else { 16 };
        let doubled = timeout_ms.saturating_mul(1 << tries);
        let longest = RetryPolicy::MAX_WAIT.as_millis() as u32;
        let longest = if timeout_ms > longest { timeout_ms } else { longest };
        (if doubled < longest { doubled } else { longest }) * 1000
    }

    /// Microseconds until the deadline.
    const fn left(&self, now: Instant) -> u64 {
        self.deadline.as_micros().saturating_sub(now.as_micros())
    }
}

/// What follows a wait in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The packet is sent again.
    Send,
    /// The peer may still answer, or repeat its request: a Pi does every 2 s, U-Boot, tftp-hpa and atftp every 5 s. Then the
    /// packet is sent again.
    Wait,
    /// There have been enough.
    Over,
}

/// The retries of the first packet to a peer that has not answered yet.
const UNPROVEN_RETRIES: u8 = 1;

/// The waits for the first answer, less one.
const UNPROVEN_WAITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_gives_up() {
        let mut retry = Retry::new(RetryPolicy::default());
        let mut waits = std::vec::Vec::new();
        loop {
            retry.arm(Instant::ZERO);
            waits.push(retry.deadline().as_micros() / 1_000_000);
            if retry.again(Instant::ZERO, true) == Again::Over {
                break;
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn lingers_longer_than_any_wait() {
        let mut other = Retry::new(RetryPolicy::default());
        while other.again(Instant::ZERO, true) != Again::Over {}
        other.arm(Instant::ZERO);
        let mut retry = Retry::new(RetryPolicy::default());
        retry.linger(Instant::ZERO);
        assert!(retry.deadline() > other.deadline());
    }

    #[test]
    fn the_most_patient_gives_up_too() {
        let mut retry = Retry::new(RetryPolicy::new(Duration::ZERO, u8::MAX));
        assert_eq!((0..1000).filter(|_| retry.again(Instant::ZERO, true) == Again::Send).count(), 255);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_not_cut() {
        let mut retry = Retry::new(RetryPolicy::default().with_timeout(Duration::from_secs(20)));
        retry.again(Instant::ZERO, true);
        retry.arm(Instant::ZERO);
        assert_eq!(retry.deadline(), Instant::from_millis(20_000));
    }
}
