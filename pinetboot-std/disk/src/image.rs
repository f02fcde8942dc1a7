//! A raw image: the file, or a block device, read and written in place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno as LockError;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{Advice, FallocateFlags, SeekFrom, fadvise, fallocate, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::boot::Boot;
use crate::disk::{Disk, DiskError, Extent, FileRange, check};

/// A raw image.
#[derive(Debug)]
pub struct Image {
    file: Arc<File>,
    len: u64,
    access: Access,
    boot: Boot,
    failed: AtomicBool,
}

/// The way in which a disk is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading, beside any other reader.
    ReadOnly,
    /// For reading and writing. A lock (`flock`) keeps out other writers and readers that lock.
    ReadWrite,
}

impl Image {
    /// Opens an image. A last sector of less than 512 bytes is left out, because a disk has whole sectors.
    ///
    /// # Errors
    ///
    /// The system's; `WouldBlock` if another process has the file open for writing.
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a block device"));
        }
        lock(&file, access)?;
        let len = io::Seek::seek(&mut file, io::SeekFrom::End(0))? / SECTOR * SECTOR;
        Ok(Self { file: Arc::new(file), len, access, boot: Boot::present()?, failed: AtomicBool::new(false) })
    }

    fn writable(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        check(self.len, offset, len)?;
        if self.access == Access::ReadOnly {
            return Err(DiskError::ReadOnly);
        }
        if self.failed.load(Ordering::Acquire) { Err(DiskError::Failed) } else { Ok(()) }
    }

    /// Where, from `offset` on, data or a hole begins; `None` if there is no more, or the file system does not say.
    fn seek(&self, to: SeekFrom) -> Option<u64> {
        // The file's position, which this moves, is used nowhere.
        seek(&*self.file, to).ok()
    }
}

impl Disk for Image {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn continuity(&self) -> Option<String> {
        let file = self.file.metadata().ok()?;
        if self.is_read_only() {
            // No write can be lost; a copy on another server is the same disk if its time is.
            return Some(format!(
                "image of {} bytes, changed at {}.{:09}",
                self.len,
                file.mtime(),
                file.mtime_nsec()
            ));
        }
        Some(self.boot.continuity(file.ino()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        check(self.len, offset, buf.len() as u64)?;
        Ok(self.file.read_exact_at(buf, offset)?)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        check(self.len, offset, buf.len() as u64)?;
        Ok(read_now(&self.file, buf, offset))
    }

    fn in_file(&self, offset: u64, len: u64) -> Option<FileRange> {
        let is_fixed = self.access == Access::ReadOnly && check(self.len, offset, len).is_ok();
        is_fixed.then(|| FileRange { file: self.file.clone(), offset, len })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.writable(offset, bytes.len() as u64)?;
        Ok(self.file.write_all_at(bytes, offset)?)
    }

    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError> {
        self.writable(offset, len)?;
        if len == 0 || !allocate && punch(&self.file, offset, len).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(len).unwrap_or(PIECE).min(PIECE)];
        let mut at = offset;
        while at < offset + len {
            let piece = (zeros.len() as u64).min(offset + len - at);
            let piece_bytes = zeros.get(..usize::try_from(piece).unwrap_or(PIECE)).unwrap_or_default();
            self.file.write_all_at(piece_bytes, at)?;
            at += piece;
        }
        Ok(())
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.writable(offset, len)?;
        match if len == 0 { Ok(()) } else { punch(&self.file, offset, len) } {
            // Trimming is a hint, which this file system cannot take.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.writable(0, 0)?;
        self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        Ok(())
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        check(self.len, offset, len)?;
        if len == 0 {
            return Err(DiskError::OutOfRange);
        }
        let kind = |end: u64, data| Extent {
            len: end.saturating_sub(offset).clamp(1, len),
            allocated: data,
            zero: !data,
        };
        match seek(&*self.file, SeekFrom::Data(offset)) {
            Ok(data) if data > offset => Ok(kind(data, false)),
            Ok(_) => Ok(kind(self.seek(SeekFrom::Hole(offset)).unwrap_or(self.len), true)),
            Err(Errno::NXIO) => Ok(kind(self.len, false)),
            Err(_) => Ok(kind(self.len, true)),
        }
    }

    fn prefetch(&self, offset: u64, len: u64) {
        let _hint = fadvise(&*self.file, offset, core::num::NonZeroU64::new(len), Advice::WillNeed);
    }
}

/// Locks a file for one writer, or for readers: against this crate's users by `flock`, and against QEMU's programs by the locks
/// that these take on single bytes of the file.
pub(crate) fn lock(file: &File, access: Access) -> io::Result<()> {
    let locked = match access {
        Access::ReadOnly => file.try_lock_shared(),
        Access::ReadWrite => file.try_lock(),
    };
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => in_use(),
        TryLockError::Error(error) => error,
    })?;
    // Byte 100 + n: this process uses permission n. Byte 200 + n: this process lets no other use permission n.
    // QEMU looks at the other byte of each that it locks.
    let taken: &[i64] = match access {
        Access::ReadOnly => &[100 + READ, 200 + WRITE, 200 + RESIZE],
        Access::ReadWrite => &[100 + READ, 100 + WRITE, 100 + RESIZE, 200 + WRITE, 200 + RESIZE],
    };
    for byte in taken {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_RDLCK, *byte))) {
            Ok(_) => {}
            Err(LockError::EAGAIN | LockError::EACCES) => return Err(in_use()),
            // A file system without such locks.
            Err(_) => return Ok(()),
        }
    }
    for byte in taken {
        // A read-only file takes no lock for writing; asking for one is allowed.
        let mut asked = byte_lock(libc::F_WRLCK, if *byte < 200 { byte + 100 } else { byte - 100 });
        if fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked)).is_ok() && i32::from(asked.l_type) != libc::F_UNLCK
        {
            return Err(in_use());
        }
    }
    Ok(())
}

fn byte_lock(kind: i32, at: i64) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "the file is in use: a disk has one writer")
}

/// Fills `buf` with what the kernel has in memory, without waiting for the storage device; `false` if that is not all, or the file system
/// cannot say.
pub(crate) fn read_now(file: &File, buf: &mut [u8], offset: u64) -> bool {
    let len = buf.len();
    preadv2(file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) == Ok(len)
}

/// Gives back the space of a range, which then reads as zeros.
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> Result<(), Errno> {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
}

/// Bytes of a sector, the unit of a Pi's card.
pub(crate) const SECTOR: u64 = 512;
const PIECE: usize = 256 << 10;
/// QEMU's permissions (`BLK_PERM_..`).
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;
