//! Pieces of files in memory, within a bound for all files.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that all files of all workers share. Without this bound, many Pis with different trees would use as much memory as
/// all their kernels.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Bytes of all files in memory: 256 MiB, and one more piece of 64 KiB for each file.
    pub const MEMORY: usize = MAX_PIECES_OF_ALL * PIECE;

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_PIECES_OF_ALL
    }

    fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self, pieces: usize) {
        self.0.fetch_sub(pieces, Ordering::Relaxed);
    }
}

/// The pieces of a file that are in memory.
#[derive(Debug)]
pub(super) struct Pieces {
    budget: Budget,
    by_number: Vec<Option<Vec<u8>>>,
    /// Numbers of the pieces in memory, oldest first.
    in_memory: VecDeque<usize>,
}

impl Pieces {
    pub(super) const fn new(budget: Budget) -> Self {
        Self { budget, by_number: Vec::new(), in_memory: VecDeque::new() }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        matches!(self.by_number.get(number), Some(Some(_)))
    }

    /// Makes room for one piece: the oldest goes if `most` are in memory or the budget is spent, but none that is `needed`.
    /// Returns its memory.
    pub(super) fn make_room(&mut self, most: usize, needed: &RangeInclusive<usize>) -> Vec<u8> {
        let mut memory = Vec::new();
        while (self.in_memory.len() >= most || self.budget.is_spent())
            && let Some(oldest) = self.in_memory.iter().position(|number| !needed.contains(number))
            && let Some(number) = self.in_memory.remove(oldest)
        {
            self.budget.give_back(1);
            memory = self.by_number.get_mut(number).and_then(Option::take).unwrap_or_default();
        }
        memory
    }

    /// The number of pieces.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.in_memory.len()
    }

    /// The bytes of a piece; none if it is not in memory.
    pub(super) fn bytes(&self, number: usize) -> &[u8] {
        self.by_number.get(number).and_then(Option::as_deref).unwrap_or_default()
    }

    pub(super) fn keep(&mut self, number: usize, piece: Vec<u8>) {
        if self.by_number.len() <= number {
            self.by_number.resize_with(number + 1, || None);
        }
        if let Some(place) = self.by_number.get_mut(number)
            && place.replace(piece).is_none()
        {
            self.in_memory.push_back(number);
            self.budget.take();
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.budget.give_back(self.in_memory.len());
    }
}

/// Bytes of a piece: few system calls, and little waste for a small file.
pub(super) const PIECE: usize = 64 << 10;
/// Pieces of one file.
pub(super) const MAX_PIECES: usize = 1024;
/// Pieces of a single transfer: a window of 64 Ethernet-sized blocks touches three.
pub(super) const MAX_PIECES_ALONE: usize = 3;
const MAX_PIECES_OF_ALL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(pieces: &mut Pieces, number: usize, most: usize) {
        let needed = number..=number;
        let mut memory = pieces.make_room(most, &needed);
        memory.resize(1, 1);
        pieces.keep(number, memory);
        assert_eq!(pieces.bytes(number), [1]);
    }

    #[test]
    fn forgets_the_oldest_piece_when_there_are_too_many() {
        let mut pieces = Pieces::new(Budget::default());
        (0..10).for_each(|number| keep(&mut pieces, number, 7));
        assert_eq!(pieces.in_memory, [3, 4, 5, 6, 7, 8, 9]);
        assert!(!pieces.has(0));
    }

    #[test]
    fn what_is_needed_stays() {
        let mut pieces = Pieces::new(Budget::default());
        [4, 6, 7].into_iter().for_each(|number| keep(&mut pieces, number, 3));
        let _memory = pieces.make_room(3, &(4..=5));
        pieces.keep(5, Vec::new());
        assert_eq!(pieces.in_memory, [4, 7, 5]);
    }

    #[test]
    fn all_files_together_stay_within_their_budget() {
        let budget = Budget::default();
        let mut files: Vec<_> = (0..8).map(|_| Pieces::new(budget.clone())).collect();
        for number in 0..MAX_PIECES {
            files.iter_mut().for_each(|file| keep(file, number, MAX_PIECES));
        }
        let in_memory: usize = files.iter().map(Pieces::len).sum();
        assert_eq!(in_memory, MAX_PIECES_OF_ALL);
        // When it is spent, a new file gets a piece all the same, and always one.
        let mut another = Pieces::new(budget.clone());
        for number in 0..3 {
            keep(&mut another, number, MAX_PIECES);
            assert_eq!(another.in_memory, [number]);
        }
        drop((files, another));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
