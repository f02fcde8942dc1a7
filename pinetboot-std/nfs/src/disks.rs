//! The shares of disks: the calls under way on each, so that a disk that hangs leaves workers to calls that do not need it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The calls under way on each disk.
#[derive(Debug, Default)]
pub(super) struct Disks(Mutex<HashMap<u64, usize>>);

/// A call's place on a disk, free again when this is dropped.
#[derive(Debug)]
pub(super) struct OnDisk {
    disks: Arc<Disks>,
    disk: u64,
}

impl Disks {
    /// Takes a place; `None` if the calls on this disk hold their share of the workers.
    pub(super) fn enter(self: &Arc<Self>, disk: u64) -> Option<OnDisk> {
        let mut calls = self.calls();
        if left(&calls, disk) == 0 {
            return None;
        }
        *calls.entry(disk).or_default() += 1;
        drop(calls);
        Some(OnDisk { disks: self.clone(), disk })
    }

    /// Free places of a disk.
    pub(super) fn left(&self, disk: u64) -> usize {
        left(&self.calls(), disk)
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let mut calls = self.disks.calls();
        if let Some(count) = calls.get_mut(&self.disk) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.disk);
            }
        }
    }
}

/// A disk's share: three quarters of the workers that the other disks leave. So the second disk that hangs leaves some, too.
fn left(calls: &HashMap<u64, usize>, disk: u64) -> usize {
    let held = calls.get(&disk).copied().unwrap_or(0);
    let others = calls.values().sum::<usize>() - held;
    (MOST_WORKERS.saturating_sub(others) * 3 / 4).saturating_sub(held)
}

/// Most workers, and so most calls under way of all clients.
pub(super) const MOST_WORKERS: usize = 256;
/// The calls that make an export ready, which may wait for any disk.
pub(super) const MOUNTING: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all places of a disk.
    fn fill(disks: &Arc<Disks>, disk: u64) -> Vec<OnDisk> {
        std::iter::from_fn(|| disks.enter(disk)).collect()
    }

    #[test]
    fn each_disk_that_hangs_leaves_workers_to_the_next() {
        let disks = Arc::new(Disks::default());
        let held: Vec<_> = (1..=4).map(|disk| fill(&disks, disk)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [192, 48, 12, 3]);
        drop(held);
        assert_eq!((disks.left(5), disks.calls().len()), (192, 0));
    }

    #[test]
    fn a_place_is_free_after_its_call() {
        let disks = Arc::new(Disks::default());
        let mut held = fill(&disks, 1);
        assert_eq!(disks.left(1), 0);
        held.pop();
        assert_eq!(disks.left(1), 1);
    }
}
