//! A lock for each Pi: the layers of one Pi are made, mounted and removed one after the other, those of several at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pinetboot_core::pi::Prefix;

/// The locks of Pis that are in use.
#[derive(Debug, Default)]
pub(super) struct PiLocks(Mutex<HashMap<Prefix, Arc<Mutex<()>>>>);

/// The lock of the Pi is held: proof for functions that need it.
#[derive(Debug)]
pub(super) struct Held(());

impl PiLocks {
    /// Does `work` with the lock of a Pi, once it is free.
    pub(super) fn with<T>(&self, pi: Prefix, work: impl FnOnce(&Held) -> T) -> T {
        let lock = self.table().entry(pi).or_default().clone();
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&Held(()));
        drop(held);
        self.forget(pi, lock);
        done
    }

    /// The same if the lock is free; else `None`.
    pub(super) fn try_with<T>(&self, pi: Prefix, work: impl FnOnce(&Held) -> T) -> Option<T> {
        let lock = self.table().entry(pi).or_default().clone();
        let done = match lock.try_lock() {
            Ok(_held) => Some(work(&Held(()))),
            Err(TryLockError::Poisoned(_held)) => Some(work(&Held(()))),
            Err(TryLockError::WouldBlock) => None,
        };
        self.forget(pi, lock);
        done
    }

    /// Forgets a lock that nothing else uses.
    fn forget(&self, pi: Prefix, lock: Arc<Mutex<()>>) {
        let mut table = self.table();
        drop(lock);
        // Clones are made with the table locked.
        if table.get(&pi).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&pi);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Prefix, Arc<Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const ONE: Prefix = Prefix::Serial(1);
    const TWO: Prefix = Prefix::Serial(2);

    #[test]
    fn one_pi_waits_for_itself_and_no_other_does() {
        let locks = PiLocks::default();
        locks.with(ONE, |_| {
            assert!(locks.try_with(ONE, |_| ()).is_none());
            assert!(locks.try_with(TWO, |_| ()).is_some());
        });
        assert!(locks.try_with(ONE, |_| ()).is_some());
        assert!(locks.table().is_empty());
    }

    #[test]
    fn no_two_threads_hold_one_lock() {
        let (locks, barrier, count) = (PiLocks::default(), Barrier::new(4), Mutex::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..1000 {
                        locks.with(ONE, |_| *count.try_lock().unwrap() += 1);
                    }
                });
            }
        });
        assert_eq!(*count.lock().unwrap(), 4000);
        assert!(locks.table().is_empty());
    }
}
