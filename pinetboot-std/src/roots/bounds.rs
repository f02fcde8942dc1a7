//! The space that a Pi's root may take: the reserve of the disk, and a layer's own limit.
//!
//! Where the file system of the layer has project quotas, the kernel refuses what exceeds the limit, and the server only asks for the
//! layer's size, to tell. Elsewhere the limit is counted: each change takes its
//! bytes from a credit, and once the credit is spent the layer is measured as `du` does. So a layer exceeds its limit by some blocks of
//! directories at most, and a Pi that writes the same blocks again is measured again rather than refused.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use pinetboot_core::pi::Prefix;

use super::disk::Disk;
use super::registry::Registry;
use crate::events::{self, Shortage};
use crate::space::{self, Credit, Size};

/// The bounds of one root.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The layer's Pi; `None` for a tree of mode `rw`, whose Pi is not known before its mount.
    pi: Option<Prefix>,
    disk: Arc<Disk>,
    limit: Option<Limit>,
    registry: Registry,
    /// When a refusal, and when a layer near its limit, was told last.
    told: Mutex<[Option<Instant>; 2]>,
}

/// The limit of a layer.
#[derive(Debug)]
pub(super) struct Limit {
    upper: PathBuf,
    bytes: u64,
    /// The file system enforces the limit.
    by_quota: bool,
    credit: Credit,
    /// The earliest time of the next measurement.
    next: Mutex<Option<Instant>>,
}

impl Bounds {
    pub(super) fn new(pi: Option<Prefix>, disk: Arc<Disk>, limit: Option<Limit>, registry: Registry) -> Self {
        Self { pi, disk, limit, registry, told: Mutex::default() }
    }

    /// The limit.
    pub(super) const fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// The disk.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Takes `bytes` for a change.
    ///
    /// # Errors
    ///
    /// The bound that refuses the change.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Shortage> {
        if let Some(limit) = &self.limit {
            if !limit.take(bytes) {
                return Err(Shortage::Limit { limit: limit.bytes });
            }
            if let Some(used) = limit.nearly_reached() {
                self.tell(Shortage::Near { used, limit: limit.bytes });
            }
        }
        if self.disk.space().take(bytes) { Ok(()) } else { Err(Shortage::Reserve) }
    }

    /// Tells of a shortage, once an hour.
    pub(super) fn tell(&self, why: Shortage) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let [refused, near] = &mut *told;
        let last = if matches!(why, Shortage::Near { .. }) { near } else { refused };
        if last.is_some_and(|last| last.elapsed() < TELL_AGAIN) {
            return;
        }
        *last = Some(Instant::now());
        drop(told);
        let largest = if matches!(why, Shortage::Limit { .. }) { Vec::new() } else { self.disk.largest() };
        self.registry.emit(None, events::Root::NoSpace { pi: self.pi, why, largest });
    }
}

impl Limit {
    /// The limit of the layer with this directory of changes.
    pub(super) fn new(upper: PathBuf, size: Size, by_quota: bool) -> Self {
        let credit = Credit::new(Duration::MAX);
        Self { upper, bytes: size.bytes(), by_quota, credit, next: Mutex::default() }
    }

    /// Whether the file system enforces the limit.
    pub(super) const fn is_by_quota(&self) -> bool {
        self.by_quota
    }

    /// The limit in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the layer may still grow by.
    pub(super) fn left(&self) -> u64 {
        self.take(0);
        self.credit.left()
    }

    fn take(&self, bytes: u64) -> bool {
        let is_left = self.credit.take(bytes, || self.measure().map(|used| self.bytes.saturating_sub(used)));
        is_left || self.by_quota
    }

    /// The size of a layer that has nine tenths of its limit.
    fn nearly_reached(&self) -> Option<u64> {
        if self.credit.left() > self.bytes / 10 {
            return None;
        }
        // Writing the same blocks again takes credit, and no space.
        let used = self.measure()?;
        self.credit.set(self.bytes.saturating_sub(used));
        (used >= self.bytes - self.bytes / 10).then_some(used)
    }

    /// Measures the layer, unless that was done a moment ago: a layer with many files takes a second.
    fn measure(&self) -> Option<u64> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        if next.is_some_and(|next| begun < next) {
            return None;
        }
        let used = if self.by_quota { self.by_file_system() } else { space::used_by(&self.upper) };
        *next = Some(begun + (begun.elapsed() * 10).max(AT_MOST_EVERY));
        Some(used)
    }

    /// The size of the layer by its quota, which the file system shows as that of a file system.
    fn by_file_system(&self) -> u64 {
        statvfs(&self.upper).map_or(0, |shown| {
            shown.blocks().saturating_sub(shown.blocks_free()).saturating_mul(shown.fragment_size())
        })
    }
}

/// Time between two lines about the same Pi.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
