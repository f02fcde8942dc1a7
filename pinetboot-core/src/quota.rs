//! Bounds how often the same is done for one peer, in fixed memory.

use core::time::Duration;

use crate::Instant;

/// Counts what is done for each key in a span of time: ERRORs sent to an address, messages answered, lines logged.
///
/// A key has one of four counters, of `N` in all. While others use these four, the keys share a counter: a crowd of keys is then
/// bounded together, and in all no more is done than `N` times the bound.
///
/// ```
/// use core::time::Duration;
/// use pinetboot_core::{Instant, Quota};
///
/// let mut quota = Quota::<64>::new();
/// let twice_a_second = |quota: &mut Quota<64>, now| quota.admit(now, 7, 2, Duration::from_secs(1));
/// let now = Instant::ZERO;
/// assert_eq!([0; 3].map(|_| twice_a_second(&mut quota, now)), [true, true, false]);
/// assert!(twice_a_second(&mut quota, now + Duration::from_secs(1)));
/// ```
#[derive(Debug)]
pub struct Quota<const N: usize> {
    counters: [Counter; N],
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    key: u32,
    count: u32,
    /// The end of the span that is counted.
    until: Instant,
}

impl<const N: usize> Quota<N> {
    /// Nothing was done yet.
    pub const fn new() -> Self {
        const { assert!(N > 0) };
        Self { counters: [Counter { key: 0, count: 0, until: Instant::ZERO }; N] }
    }

    /// Counts one more for this key. `false` if `most` were counted within the span: nothing is to be done. The span begins with
    /// the first.
    pub fn admit(&mut self, now: Instant, key: u32, most: u32, span: Duration) -> bool {
        let first = (key.wrapping_mul(GOLDEN) >> 16) as usize;
        let mut chosen = first % N;
        for place in (first..first + WAYS).map(|place| place % N) {
            match self.counters.get(place) {
                Some(counter) if counter.key == key => {
                    chosen = place;
                    break;
                }
                Some(counter) if counter.until <= now => chosen = place,
                _ => {}
            }
        }
        let Some(counter) = self.counters.get_mut(chosen) else { return false };
        if counter.until <= now {
            *counter = Counter { key, count: 0, until: now + span };
        }
        counter.count = counter.count.saturating_add(1);
        counter.count <= most
    }
}

impl<const N: usize> Default for Quota<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// 2^32 divided by the golden ratio: spreads keys that differ in few bits (Knuth).
const GOLDEN: u32 = 0x9e37_79b1;

/// The counters that a key may have.
const WAYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_key_has_its_own_bound() {
        let mut quota = Quota::<256>::new();
        for key in 0..64 {
            let admitted = (0..10).filter(|_| quota.admit(Instant::ZERO, key, 3, SECOND)).count();
            assert_eq!(admitted, 3, "{key}");
        }
        assert!(!quota.admit(Instant::from_millis(999), 7, 3, SECOND));
        assert!(quota.admit(Instant::from_millis(1000), 7, 3, SECOND));
    }

    #[test]
    fn a_crowd_is_bounded_in_all() {
        let mut quota = Quota::<16>::new();
        let mut admitted = 0;
        for key in 0..100_000 {
            admitted += usize::from(quota.admit(Instant::from_micros(key), key as u32, 5, SECOND));
        }
        assert!(admitted <= 16 * 5, "{admitted}");
    }

    #[test]
    fn a_small_quota_is_shared() {
        let mut quota = Quota::<1>::new();
        assert_eq!((0..9).filter(|key| quota.admit(Instant::ZERO, *key, 4, SECOND)).count(), 4);
    }
}
