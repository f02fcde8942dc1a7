//! The disk of a Pi while it is in use: one writer ever.
//!
//! The second connection of a Pi takes the disk over, as after a power cut, which the first connection does not notice: no request
//! of the first one reaches the disk then ([`Gate`]).

use core::fmt;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Disk, DiskError, Extent};

use super::place::PiLock;
use crate::disk_mode::DiskMode;

/// The disks in use, by their Pi.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<Prefix, Arc<Slot>>>);

/// The place of a Pi's disk.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Use>>);

/// The use of a disk.
#[derive(Debug)]
pub(super) struct Use {
    disk: Arc<dyn Disk>,
    key: Key,
    _lock: PiLock,
    gate: Arc<Gate>,
}

/// What tells the disk of a Pi from its disk on another image or in another mode.
pub(super) type Key = (DiskMode, PathBuf);

/// A slot that this thread has.
pub(super) struct Held<'a>(MutexGuard<'a, Option<Use>>);

/// The way of one connection to a disk, until another takes it.
pub(super) struct Gate {
    disk: RwLock<Option<Arc<dyn Disk>>>,
    len: u64,
    continuity: Option<String>,
    allows: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

/// Gives the disk back when the connection ends.
#[derive(Debug)]
pub(super) struct Lease {
    slot: Arc<Slot>,
    gate: Arc<Gate>,
}

impl Slots {
    /// The slot of a Pi.
    pub(super) fn of(&self, pi: Prefix) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= slots.capacity() {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(pi).or_default().clone()
    }
}

impl Slot {
    /// Takes the slot; waits for another thread that has it.
    pub(super) fn lock(&self) -> Held<'_> {
        Held(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held<'_> {
    /// The disk, if it is in use.
    pub(super) fn disk(&self, key: &Key) -> Option<Arc<dyn Disk>> {
        self.0.as_ref().filter(|used| used.key == *key).map(|used| used.disk.clone())
    }

    /// Takes the disk for a new connection: from the one that has it, or by `open`. Ends the use of another disk of the Pi. `allows` is
    /// asked for the bytes of each write.
    pub(super) fn take(
        &mut self,
        slot: &Arc<Slot>,
        key: Key,
        open: impl FnOnce() -> Result<(Arc<dyn Disk>, PiLock), String>,
        allows: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Result<(Arc<Gate>, Lease), String> {
        if let Some(used) = &*self.0 {
            used.gate.close();
        }
        let (disk, lock) = match self.0.take() {
            Some(Use { disk, key: before, _lock: lock, .. }) if before == key => (disk, lock),
            another => {
                drop(another);
                open()?
            }
        };
        let gate = Arc::new(Gate {
            len: disk.len(),
            continuity: disk.continuity(),
            disk: RwLock::new(Some(disk.clone())),
            allows: Box::new(allows),
        });
        *self.0 = Some(Use { disk, key, _lock: lock, gate: gate.clone() });
        Ok((gate.clone(), Lease { slot: slot.clone(), gate }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.slot.lock();
        self.gate.close();
        // The disk's file is closed before the next one may open it.
        drop(held.0.take_if(|used| Arc::ptr_eq(&used.gate, &self.gate)));
    }
}

impl Gate {
    /// Ends the way: waits for requests under way, and no other reaches the disk.
    fn close(&self) {
        self.disk.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn through<T>(&self, work: impl FnOnce(&dyn Disk) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let disk: RwLockReadGuard<'_, _> = self.disk.read().unwrap_or_else(PoisonError::into_inner);
        work(disk.as_deref().ok_or(DiskError::Failed)?)
    }

    fn allow(&self, bytes: u64) -> Result<(), DiskError> {
        if (self.allows)(bytes) { Ok(()) } else { Err(DiskError::NoSpace) }
    }
}

impl Disk for Gate {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn continuity(&self) -> Option<String> {
        self.continuity.clone()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.through(|disk| disk.read_at(buf, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.allow(bytes.len() as u64)?;
        self.through(|disk| disk.write_at(bytes, offset))
    }

    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError> {
        self.allow(if allocate { len } else { 0 })?;
        self.through(|disk| disk.write_zeroes(offset, len, allocate))
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.through(|disk| disk.trim(offset, len))
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.through(|disk| disk.flush())
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        self.through(|disk| disk.extent(offset, len))
    }

    fn prefetch(&self, offset: u64, len: u64) {
        let _a_hint = self.through(|disk| {
            disk.prefetch(offset, len);
            Ok(())
        });
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("len", &self.len).finish_non_exhaustive()
    }
}
