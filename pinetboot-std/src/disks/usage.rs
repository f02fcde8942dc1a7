//! Tells the requests of NBD, and the space of the disks, for metrics.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use std::{fs, io};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::RequestCounts;

use super::place::{DiskPlace, Place};
use crate::bus::Bus;
use crate::events::{Served, Usage};

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct DiskUsage {
    requests: Served,
    spaces: HashMap<(Prefix, String), u64>,
    measured: Option<Instant>,
}

impl DiskUsage {
    /// Tells what is new; the space at most once in [`EVERY`]: that takes a call for each file.
    pub(crate) fn tell(&mut self, counts: &RequestCounts, place: &Place, bus: &Bus) {
        let calls = counts.requests().map(|(name, requests)| (name.into(), requests)).collect();
        let now = Served { calls, read: counts.read_bytes(), written: counts.written_bytes() };
        if now != self.requests {
            bus.emit(None, Usage::Disks(now.clone()));
            self.requests = now;
        }
        if self.measured.is_none_or(|then| then.elapsed() >= EVERY) {
            self.measured = Some(Instant::now());
            let Ok(disks) = place.disks() else { return };
            let mut before = std::mem::take(&mut self.spaces);
            for disk in disks {
                let Ok(bytes) = disk.space() else { continue };
                let key = (disk.pi, disk.image);
                if before.remove(&key) != Some(bytes) {
                    bus.emit(None, Usage::Space { pi: key.0, image: key.1.clone(), is_disk: true, bytes });
                }
                self.spaces.insert(key, bytes);
            }
            for (pi, image) in before.into_keys() {
                bus.emit(None, Usage::Space { pi, image, is_disk: true, bytes: 0 });
            }
        }
    }
}

impl DiskPlace {
    /// The space of the disk with its snapshots, in bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn space(&self) -> io::Result<u64> {
        let snapshots = self.snapshots()?;
        let files = [self.file()].into_iter().chain(snapshots.iter().map(|name| self.snapshot(name)));
        Ok(files.map(|file| fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512)).sum())
    }
}

const EVERY: Duration = Duration::from_secs(60);
