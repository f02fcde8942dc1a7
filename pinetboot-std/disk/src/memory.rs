//! A disk in memory, for tests and fuzzing.

use std::sync::{PoisonError, RwLock};

use crate::disk::{Disk, DiskError, Extent, check};

/// A disk in memory, without holes.
#[derive(Debug)]
pub(crate) struct MemoryDisk(RwLock<Vec<u8>>);

impl MemoryDisk {
    /// A disk with this content.
    pub(crate) const fn new(content: Vec<u8>) -> Self {
        Self(RwLock::new(content))
    }

    fn change(&self, offset: u64, len: u64, change: impl FnOnce(&mut [u8])) -> Result<(), DiskError> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        check(content.len() as u64, offset, len)?;
        let from = usize::try_from(offset).map_err(|_| DiskError::OutOfRange)?;
        let len = usize::try_from(len).map_err(|_| DiskError::OutOfRange)?;
        change(content.get_mut(from..from + len).ok_or(DiskError::OutOfRange)?);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        check(content.len() as u64, offset, buf.len() as u64)?;
        let from = usize::try_from(offset).map_err(|_| DiskError::OutOfRange)?;
        buf.copy_from_slice(content.get(from..from + buf.len()).ok_or(DiskError::OutOfRange)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.change(offset, bytes.len() as u64, |place| place.copy_from_slice(bytes))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _allocate: bool) -> Result<(), DiskError> {
        self.change(offset, len, |place| place.fill(0))
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.change(offset, len, |_| ())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        check(self.len(), offset, len)?;
        if len == 0 { Err(DiskError::OutOfRange) } else { Ok(Extent { len, allocated: true, zero: false }) }
    }
}
