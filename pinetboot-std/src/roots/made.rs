//! The layers that were made: numbers of their exports, and the Pis that have one.
//!
//! In memory, as reading all records for each new layer costs a second when a thousand Pis boot for the first time. Other processes
//! may make and remove layers meanwhile: a number is random, and a limit is checked with the records of the disk.

use std::collections::HashSet;

use pinetboot_core::pi::Prefix;
use rustix::rand::{GetRandomFlags, getrandom};

use super::layer::State;

/// The layers that were made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Of removed layers too: a Pi may still have a handle of one.
    exports: HashSet<u32>,
    pis: HashSet<Prefix>,
    /// Those of them whose layer is being made.
    making: HashSet<Prefix>,
}

impl Made {
    /// Those of an earlier server.
    pub(super) fn load(state: &State) -> Self {
        let mut made = Self::default();
        made.read(state);
        made
    }

    /// Whether a Pi has a layer, or may have one within a limit of Pis: it counts from now on, and is being made until [`done`](Self::done).
    pub(super) fn admit(&mut self, pi: Prefix, most: usize, state: &State) -> bool {
        if self.pis.len() >= most && !self.pis.contains(&pi) {
            // Layers may be gone.
            self.read(state);
        }
        let admitted = self.pis.len() < most || self.pis.contains(&pi);
        if admitted {
            self.begin(pi);
        }
        admitted
    }

    /// Records that a layer of this Pi is being made.
    pub(super) fn begin(&mut self, pi: Prefix) {
        self.pis.insert(pi);
        self.making.insert(pi);
    }

    /// Records that the layer of a Pi was made, or cannot be made.
    pub(super) fn done(&mut self, pi: Prefix) {
        self.making.remove(&pi);
    }

    /// Records that a Pi has no layer.
    pub(super) fn forget(&mut self, pi: Prefix) {
        self.pis.remove(&pi);
    }

    /// A number for a new export: even, as odd numbers belong to base images.
    pub(super) fn unused_export(&mut self) -> u32 {
        let mut bytes = [0; 4];
        let from = getrandom(&mut bytes, GetRandomFlags::empty()).map_or(2, |_| u32::from_ne_bytes(bytes));
        let mut numbers = (0..=u32::MAX / 2).map(|step| from.wrapping_add(2 * step) & !1);
        let export = numbers.find(|id| *id != 0 && !self.exports.contains(id)).unwrap_or(2);
        self.exports.insert(export);
        export
    }

    fn read(&mut self, state: &State) {
        let layers = state.layers();
        self.exports.extend(layers.iter().map(|layer| layer.facts.export));
        self.pis = layers.iter().map(|layer| layer.pi).chain(self.making.iter().copied()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_each_is_given_once() {
        let mut made = Made::default();
        let numbers: HashSet<_> = (0..10_000).map(|_| made.unused_export()).collect();
        assert_eq!(numbers.len(), 10_000);
        assert!(numbers.iter().all(|number| *number != 0 && number % 2 == 0));
    }

    #[test]
    fn a_limit_counts_the_layers_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::at(directory.path());
        let mut made = Made::load(&state);
        let pi = Prefix::Serial;
        assert!(made.admit(pi(1), 2, &state) && made.admit(pi(2), 2, &state));
        assert!(made.admit(pi(2), 2, &state), "it has one");
        assert!(!made.admit(pi(3), 2, &state), "both are being made");
        made.done(pi(1));
        assert!(made.admit(pi(3), 2, &state), "the first one has no layer on the disk");
    }
}
