//! Time as an argument: no machine has a clock.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on a monotonic clock, in microseconds since an origin that the [`Net`](crate::Net) chooses (often its
/// start).
///
/// Arithmetic saturates: adding a duration past the end of the clock gives [`Instant::MAX`], "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than any deadline: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero if this is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The wait from `now` until this deadline: zero for a deadline in the past, and at most `longest`, for timers that take
    /// no longer wait. [`Instant::MAX`] and other far deadlines are waited for in parts.
    pub fn wait_from(self, now: Self, longest: Duration) -> Duration {
        self.since(now).min(longest)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded_at_both_ends() {
        let (now, hour) = (Instant::from_millis(5000), Duration::from_secs(3600));
        assert_eq!(Instant::ZERO.wait_from(now, hour), Duration::ZERO);
        assert_eq!(Instant::from_millis(7000).wait_from(now, hour), Duration::from_secs(2));
        assert_eq!(Instant::MAX.wait_from(now, hour), hour);
    }

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Instant::ZERO.since(Instant::MAX), Duration::ZERO);
        assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
        assert_eq!(Instant::from_millis(1500) - Instant::from_millis(500), Duration::from_secs(1));
    }
}
