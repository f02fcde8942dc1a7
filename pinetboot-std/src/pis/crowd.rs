//! Pis that begin their boots together: a switch powers its ports, or power comes back.

use std::collections::VecDeque;
use std::time::Duration;

/// The last beginnings of boots, and the last seconds with many of them.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    last: VecDeque<Duration>,
    many: Option<(Duration, Duration)>,
}

impl Crowd {
    /// A boot begins.
    pub(super) fn begins(&mut self, now: Duration) {
        self.last.push_back(now);
        if self.last.len() > MANY {
            self.last.pop_front();
        }
        let Some(first) = self.last.front().copied().filter(|_| self.last.len() == MANY) else { return };
        if now.saturating_sub(first) <= TOGETHER {
            let from = self.many.filter(|(_, to)| *to >= first).map_or(first, |(from, _)| from);
            self.many = Some((from, now));
        }
    }

    /// Whether many boots began with the one that began then.
    pub(super) fn holds(&self, began: Duration) -> bool {
        self.many.is_some_and(|(from, to)| (from..=to).contains(&began))
    }
}

/// A small switch with PoE has eight ports.
const MANY: usize = 8;
const TOGETHER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(millis: impl Iterator<Item = u64>) -> Crowd {
        let mut crowd = Crowd::default();
        millis.for_each(|millis| crowd.begins(Duration::from_millis(millis)));
        crowd
    }

    #[test]
    fn many_at_once_are_a_crowd_and_one_after_the_other_are_none() {
        let at_once = crowd((0..20).map(|number| 60_000 + number * 100));
        let holds = |millis| at_once.holds(Duration::from_millis(millis));
        assert_eq!([59_999, 60_000, 61_000, 61_900, 61_901].map(holds), [false, true, true, true, false]);
        let in_turn = crowd((0..20).map(|number| 60_000 + number * 5000));
        assert!((0..20).all(|number| !in_turn.holds(Duration::from_millis(60_000 + number * 5000))));
    }
}
