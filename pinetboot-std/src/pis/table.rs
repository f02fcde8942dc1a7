//! A map with a bound: what was not heard of for longest makes room.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// At most `most` values, each with the time of its last sign.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    most: usize,
    rows: HashMap<K, Row<V>>,
}

#[derive(Debug)]
struct Row<V> {
    value: V,
    seen: Duration,
}

impl<K: Copy + Eq + Hash, V: Default> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, rows: HashMap::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.rows.get_mut(key).map(|row| &mut row.value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// The value of a key that gives a sign of life now; a new one if there is none. `stays` keeps values that must not make
    /// room; `None`: all of them have to stay.
    pub(super) fn touch(&mut self, key: K, now: Duration, stays: impl Fn(&V) -> bool) -> Option<&mut V> {
        if !self.rows.contains_key(&key) && self.rows.len() >= self.most {
            self.make_room(stays);
            if self.rows.len() >= self.most {
                return None;
            }
        }
        let row = self.rows.entry(key).or_insert_with(|| Row { value: V::default(), seen: now });
        row.seen = now;
        Some(&mut row.value)
    }

    /// Drops the eighth that was silent for longest, so that a flood of made-up keys does not sort the table each time.
    fn make_room(&mut self, stays: impl Fn(&V) -> bool) {
        let yielding = self.rows.values().filter(|row| !stays(&row.value));
        let mut seen: Vec<Duration> = yielding.map(|row| row.seen).collect();
        let share = (self.most / 8).max(1).min(seen.len());
        if share == 0 {
            return;
        }
        let (_, &mut limit, _) = seen.select_nth_unstable(share - 1);
        let mut left = share;
        self.rows.retain(|_, row| {
            let goes = left > 0 && row.seen <= limit && !stays(&row.value);
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u32) -> Duration {
        Duration::from_secs(number.into())
    }

    #[test]
    fn what_was_silent_for_longest_makes_room() {
        let mut table = Table::<u32, u32>::new(16);
        for key in 0..16 {
            table.touch(key, second(key), |_| false);
        }
        table.touch(0, second(20), |_| false);
        table.touch(99, second(21), |_| false);
        assert!(table.get(&0).is_some() && table.get(&99).is_some());
        assert!(table.get(&1).is_none() && table.get(&2).is_none());
        assert!(table.get(&3).is_some());
    }

    #[test]
    fn what_stays_makes_no_room() {
        let mut table = Table::<u32, u32>::new(4);
        for key in 0..4 {
            *table.touch(key, second(key), |_| false).unwrap() = key;
        }
        assert!(table.touch(9, second(9), |_| true).is_none());
        assert!(table.touch(9, second(9), |value| *value < 3).is_some());
        assert!(table.get(&3).is_none() && table.get(&0).is_some());
    }

    #[test]
    fn a_flood_of_made_up_keys_cost_a_bounded_amount() {
        let mut table = Table::<u32, u32>::new(4096);
        for key in 0..50_000 {
            assert!(table.touch(key, second(key), |_| false).is_some());
        }
        assert!(table.rows.len() <= 4096);
    }
}
