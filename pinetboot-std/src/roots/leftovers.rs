//! The remains of killed processes in a state directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::layer::{ASIDE, HALF_MADE, State, TRIED, lock_directory, remove_tree};

impl State {
    /// Removes the remains of killed processes: half-made layers, and layers put aside for removal. Returns their number. Those of a
    /// running process are locked.
    pub fn remove_leftovers(&self) -> usize {
        let ours = |name: &str| {
            let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_digit());
            name.strip_prefix(HALF_MADE).is_some_and(crate::images::is_name)
                || name.strip_prefix(ASIDE).is_some_and(numbered)
        };
        let pis = self.pis();
        for layer in pis.iter().flat_map(|pi| self.layers_of(*pi)) {
            if layer.is_half_made() && layer.lock().is_ok_and(|lock| lock.is_some()) {
                let _counted_below = layer.put_aside();
            }
        }
        let of_pis = pis.into_iter().flat_map(|pi| directories(&self.pi_dir(pi), ours));
        let tried =
            directories(self.dir(), |name| name.strip_prefix(TRIED).is_some_and(|name| name.len() == 6));
        let leftovers = of_pis.chain(tried);
        leftovers.filter(|place| lock_directory(place).is_ok() && remove_tree(place).is_ok()).count()
    }
}

/// The directories in a directory that have one of our names.
fn directories(of: &Path, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name().to_str().is_some_and(&ours)
    });
    entries.map(|entry| entry.path()).collect()
}
