//! The outcome of earlier look-ups, which decides what is tried first: a wrong hint costs a system call, and changes no answer.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Hints about one tree.
#[derive(Debug)]
pub(super) struct Hints {
    /// The directory of the Pi before was a link.
    has_links: AtomicBool,
    /// Hashes of the paths of files too long for [`RecentFiles`](super::RecentFiles), each at the place that the hash names.
    long: Box<[AtomicU32]>,
}

impl Default for Hints {
    fn default() -> Self {
        Self { has_links: AtomicBool::new(false), long: (0..PLACES).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Hints {
    /// Whether the directory of a Pi may be a link.
    pub(super) fn has_links(&self) -> bool {
        self.has_links.load(Ordering::Relaxed)
    }

    pub(super) fn set_has_links(&self, has_links: bool) {
        self.has_links.store(has_links, Ordering::Relaxed);
    }

    /// Whether a file may be a long one.
    pub(super) fn is_long(&self, place: &Path) -> bool {
        let hash = hash(place);
        self.long.get(hash as usize % PLACES).is_some_and(|long| long.load(Ordering::Relaxed) == hash)
    }

    pub(super) fn set_long(&self, place: &Path, is_long: bool) {
        let hash = hash(place);
        if let Some(long) = self.long.get(hash as usize % PLACES)
            && (long.load(Ordering::Relaxed) == hash) != is_long
        {
            long.store(if is_long { hash } else { 0 }, Ordering::Relaxed);
        }
    }
}

/// FNV-1a; not 0, which stands for no path.
fn hash(place: &Path) -> u32 {
    let bytes = place.as_os_str().as_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)) | 1
}

/// Five long files of a boot, of two hundred Pis at once.
const PLACES: usize = 1024;
