//! L2 tables in memory, in pieces. Bounded for each disk and for the process; an idle disk gives them back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A piece of an L2 table; `None`: the file has no such table.
pub(super) type Piece = Option<Arc<[u8]>>;

/// The pieces of a disk, by their number on the disk.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<u64, Piece>>);

impl Cache {
    pub(super) fn get(&self, number: u64) -> Option<Piece> {
        self.pieces().get(&number).cloned()
    }

    /// Keeps a piece, in the place of another one if there are too many.
    pub(super) fn put(&self, number: u64, piece: Piece) {
        let mut pieces = self.pieces();
        if pieces.len() >= MOST_OF_DISK || HELD.load(Ordering::Relaxed) >= MOST {
            // Any: no order of use is kept for a list that is seldom full.
            let Some(other) = pieces.keys().next().copied() else { return };
            pieces.remove(&other);
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
        if pieces.insert(number, piece).is_none() {
            HELD.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, number: u64) {
        if self.pieces().remove(&number).is_some() {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        let pieces = core::mem::take(&mut *self.pieces());
        HELD.fetch_sub(pieces.len(), Ordering::Relaxed);
    }

    fn pieces(&self) -> MutexGuard<'_, HashMap<u64, Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Entries of a piece, 8 bytes each: a page.
pub(super) const ENTRIES: u64 = 512;
/// Pieces of one disk: 8 MiB, for 4 GiB of the disk with clusters of 4 KiB.
const MOST_OF_DISK: usize = 2048;
/// Pieces of all disks of this process: 64 MiB.
const MOST: usize = 16_384;
/// Pieces that are held.
static HELD: AtomicUsize = AtomicUsize::new(0);
