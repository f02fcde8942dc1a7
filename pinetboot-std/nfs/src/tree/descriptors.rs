//! The descriptors that the trees of this process hold between calls: bounded in all, as the limit of the process is.
//!
//! The tree that holds the most gives up its least recently used files: a client that opens many files closes its own.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, Weak};

use nix::sys::resource::{Resource, getrlimit};
use rustix::io::{self, Errno};

/// The descriptors of one tree.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

impl Held {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
        ALL.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
        ALL.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The open files of a tree.
pub(super) trait Holder: Send + Sync {
    /// The number of descriptors.
    fn held(&self) -> usize;

    /// Closes the least recently used files; returns their number, 0 while another thread closes some.
    fn close_older_half(&self) -> usize;
}

/// Adds a tree to those that give up files.
pub(super) fn register(holder: Weak<dyn Holder>) {
    let mut trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
    trees.retain(|tree| tree.strong_count() > 0);
    trees.push(holder);
}

/// Closes files until all trees together hold no more than their share of the process's limit.
pub(super) fn fit() {
    while ALL.now() > quarter() && make_room() {}
}

/// Runs `open`, and once more after closing files if the process, or the system, has no descriptor left.
pub(super) fn with_room<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match open() {
        Err(Errno::MFILE | Errno::NFILE) if make_room() => open(),
        opened => opened,
    }
}

/// Closes the older half of the files of the tree with most descriptors; false if no file was closed. Closing may wait for a disk that
/// hangs: other threads then take the next tree.
pub(crate) fn make_room() -> bool {
    let trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trees: Vec<_> = trees.iter().filter_map(Weak::upgrade).collect();
    // Once for each: the numbers change meanwhile, and a sort by changing keys panics.
    trees.sort_by_cached_key(|tree| Reverse(tree.held()));
    trees.iter().any(|tree| tree.close_older_half() > 0)
}

/// A quarter of the process's limit, for files that stay open; another is for connections, and the other half for the top directories of
/// trees, files of calls under way and other services.
pub(crate) fn quarter() -> usize {
    static QUARTER: OnceLock<usize> = OnceLock::new();
    *QUARTER.get_or_init(|| {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        usize::try_from(soft).unwrap_or(usize::MAX) / 4
    })
}

static ALL: Held = Held(AtomicUsize::new(0));
static TREES: Mutex<Vec<Weak<dyn Holder>>> = Mutex::new(Vec::new());

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A tree whose files are opened and closed all the time.
    struct Restless(AtomicUsize);

    impl Holder for Restless {
        fn held(&self) -> usize {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            number.wrapping_mul(0x9e37_79b9) % 1000
        }

        fn close_older_half(&self) -> usize {
            0
        }
    }

    #[test]
    fn trees_that_change_meanwhile_are_put_in_order_once() {
        let trees: Vec<Arc<dyn Holder>> =
            (0..500).map(|number| Arc::new(Restless(AtomicUsize::new(number * 7))) as _).collect();
        trees.iter().for_each(|tree| register(Arc::downgrade(tree)));
        for _ in 0..20 {
            let _none_is_open = make_room();
        }
    }
}
