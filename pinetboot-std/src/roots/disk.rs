//! The disk of roots: its reserve, the warning before it is full, and the layers that use most of it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::stat::fstat;

use super::layer::State;
use super::registry::Registry;
use crate::events::{self, LayerSize};
use crate::space::{self, Reserve, Space};

/// The disk of a state directory, or of a tree of mode `rw`.
#[derive(Debug)]
pub(super) struct Disk {
    place: PathBuf,
    /// The device number (`st_dev`).
    number: u64,
    space: Space,
    /// The warning was given, and the disk did not get emptier since.
    warned: AtomicBool,
    /// The largest layers when they were last counted, largest first.
    largest: Mutex<Vec<LayerSize>>,
}

impl Disk {
    /// The disk of this directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn of(directory: &Path, reserve: Reserve) -> io::Result<Self> {
        let space = Space::of(directory, reserve)?;
        let number = fstat(space.directory())?.st_dev;
        let (place, warned) = (directory.into(), AtomicBool::new(false));
        Ok(Self { place, number, space, warned, largest: Mutex::default() })
    }

    /// The device number.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The space that Pis may fill.
    pub(super) const fn space(&self) -> &Space {
        &self.space
    }

    /// Whether the disk became nearly full since the last call; [`warn`](Self::warn) is due then.
    pub(super) fn became_full(&self) -> bool {
        let Ok(free) = self.space.measure() else { return false };
        match free.percent_used() {
            WARN_AT.. => !self.warned.swap(true, Ordering::Relaxed),
            ..AGAIN_BELOW => {
                self.warned.store(false, Ordering::Relaxed);
                false
            }
            _ => false,
        }
    }

    /// Counts the layers on this disk and emits the warning. Takes seconds to minutes: reads all directories of all layers.
    pub(super) fn warn(&self, state: &State, registry: &Registry) {
        let mut sizes: Vec<_> = state
            .layers()
            .into_iter()
            .filter(|layer| layer.place.metadata().is_ok_and(|place| place.dev() == self.number))
            .map(|layer| LayerSize {
                name: registry.name_of(layer.pi),
                bytes: space::used_by(&layer.upper()),
            })
            .collect();
        sizes.sort_by_key(|size| std::cmp::Reverse(size.bytes));
        sizes.truncate(NAMED);
        self.largest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&sizes);
        let Ok(free) = self.space.measure() else { return };
        let (place, percent) = (self.place.display().to_string(), free.percent_used());
        registry
            .emit(None, events::Root::DiskFilling { place, percent, left: free.for_clients, largest: sizes });
    }

    /// The largest layers, as counted for the last warning.
    pub(super) fn largest(&self) -> Vec<LayerSize> {
        self.largest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Used parts of a hundred at which the warning is given, and below which the next one may be.
const WARN_AT: u64 = 90;
const AGAIN_BELOW: u64 = 85;
/// Layers that a warning names.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_warned_of_once() {
        let directory = tempfile::tempdir().unwrap();
        let full = Reserve::new(Some("1EiB".parse().unwrap()));
        let disk = Disk::of(directory.path(), full).unwrap();
        assert!(disk.became_full() && !disk.became_full());
    }
}
