//! A bounded map: a full map drops hearsay before shown values, and of either the oldest first.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The reliability of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// From datagrams with a possibly forged sender.
    Hearsay,
    /// From a client that proved its address.
    Shown,
    /// From a root in use: never dropped.
    InUse,
}

/// A value of a [`Table`].
pub(super) trait Founded: Default {
    fn worth(&self) -> Worth;
}

/// At most `most` values, each with the time of its last use.
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

impl<K: Copy + Eq + Hash, V: Founded> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, rows: HashMap::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.rows.get_mut(key).map(|row| &mut row.value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut().map(|row| &mut row.value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// The value of a key, used now; a new value for a new key. `None`: the table is full of values in use.
    pub(super) fn touch(&mut self, key: K, now: Duration) -> Option<&mut V> {
        if !self.rows.contains_key(&key) && self.rows.len() >= self.most {
            self.make_room();
            if self.rows.len() >= self.most {
                return None;
            }
        }
        let row = self.rows.entry(key).or_insert_with(|| Row { value: V::default(), seen: now });
        row.seen = now;
        Some(&mut row.value)
    }

    /// Drops an eighth of the values at once, so that a flood of made-up keys does not sort the table each time.
    fn make_room(&mut self) {
        let rank = |row: &Row<V>| (row.value.worth(), row.seen);
        let mut ranks: Vec<_> =
            self.rows.values().map(rank).filter(|(worth, _)| *worth < Worth::InUse).collect();
        let share = (self.most / 8).max(1).min(ranks.len());
        if share == 0 {
            return;
        }
        let (_, &mut last, _) = ranks.select_nth_unstable(share - 1);
        let mut left = share;
        self.rows.retain(|_, row| {
            let goes = left > 0 && rank(row) <= last;
            left -= usize::from(goes);
            !goes
        });
    }
}

/// The time of the last report.
impl Founded for Duration {
    fn worth(&self) -> Worth {
        Worth::Hearsay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Value(Option<Worth>);

    impl Founded for Value {
        fn worth(&self) -> Worth {
            self.0.unwrap_or(Worth::Hearsay)
        }
    }

    fn second(number: u32) -> Duration {
        Duration::from_secs(number.into())
    }

    fn table(most: u32, worth: Worth) -> Table<u32, Value> {
        let mut table = Table::new(most as usize);
        for key in 0..most {
            *table.touch(key, second(key)).unwrap() = Value(Some(worth));
        }
        table
    }

    #[test]
    fn what_was_silent_for_longest_makes_room() {
        let mut table = table(16, Worth::Hearsay);
        table.touch(0, second(20));
        table.touch(99, second(21));
        assert!(table.get(&0).is_some() && table.get(&99).is_some());
        assert!(table.get(&1).is_none() && table.get(&2).is_none());
        assert!(table.get(&3).is_some());
    }

    #[test]
    fn hearsay_makes_room_before_what_was_shown() {
        let mut table = table(16, Worth::Shown);
        for key in 100..1000 {
            assert!(table.touch(key, second(key)).is_some());
        }
        // Two went for the first of the flood, which made room for the rest of it.
        let left = (0..16).filter(|key| table.get(key).is_some()).count();
        assert_eq!(left, 14);
    }

    #[test]
    fn what_is_in_use_makes_no_room() {
        let mut table = table(4, Worth::InUse);
        assert!(table.touch(9, second(9)).is_none());
        *table.get_mut(&3).unwrap() = Value(None);
        assert!(table.touch(9, second(9)).is_some());
        assert!(table.get(&3).is_none() && table.get(&0).is_some());
    }

    #[test]
    fn a_flood_of_made_up_keys_costs_a_bounded_amount() {
        let mut table = Table::<u32, Value>::new(4096);
        for key in 0..50_000 {
            assert!(table.touch(key, second(key)).is_some());
        }
        assert!(table.rows.len() <= 4096);
    }
}
