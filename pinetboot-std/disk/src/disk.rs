//! A disk: the trait that every disk implements and the server serves.

use core::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// A disk of a fixed length, with random access by any number of threads at once.
///
/// Every implementation passes the suite `conformance` (feature `testing`), which is this contract in code:
///
/// * A range beyond the end is [`DiskError::OutOfRange`], and nothing of the range is written.
/// * A read sees every write that ended before the read began, by whichever thread.
/// * A write that has ended survives the end of the process, but perhaps no power cut.
/// * A write that ended before a [`flush`](Self::flush) began survives a power cut once the flush has ended. After a power cut,
///   each 512-byte sector of later writes has its old or its new content.
/// * A failed `flush` is final: every later write and flush fails, because the kernel has forgotten which pages did not reach the disk.
///
/// Offsets and lengths are in bytes, of any alignment.
#[expect(clippy::len_without_is_empty, reason = "a length in bytes, not of a collection")]
pub trait Disk: Send + Sync + fmt::Debug {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether writes fail.
    fn is_read_only(&self) -> bool;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`], [`DiskError::Damaged`], or the system's.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError>;

    /// As [`read_at`](Self::read_at), but without waiting for the storage device: `false`, and any content of `buf`, where that cannot be.
    ///
    /// # Errors
    ///
    /// As for [`read_at`](Self::read_at).
    fn read_now(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        let _unused = (buf, offset);
        Ok(false)
    }

    /// The bytes from `offset` on, `len` at most, if they are in a file that does not change: the server lets the kernel send them.
    fn in_file(&self, offset: u64, len: u64) -> Option<FileRange> {
        let _unused = (offset, len);
        None
    }

    /// Gives back the memory that only saves time: called when a client has made no request for some seconds.
    fn rest(&self) {}

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`], [`DiskError::ReadOnly`], [`DiskError::NoSpace`], [`DiskError::Damaged`], or the system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError>;

    /// Writes zeros. Unless `allocate`, the space is given back where possible.
    ///
    /// # Errors
    ///
    /// As for [`write_at`](Self::write_at).
    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError>;

    /// Marks a range as unused: its space is given back where possible, and each byte reads as before or as zero.
    ///
    /// # Errors
    ///
    /// As for [`write_at`](Self::write_at).
    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError>;

    /// Returns once all ended writes are on the storage device (`fdatasync`).
    ///
    /// # Errors
    ///
    /// The system's, for good.
    fn flush(&self) -> Result<(), DiskError>;

    /// The kind of the bytes at `offset`, and the number of the following bytes of the same kind, 1 to `len`.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`] (also for `len` 0), [`DiskError::Damaged`], or the system's.
    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError>;

    /// A text that stays the same as long as this is the same disk, on which each write that was answered is to be read. A machine that
    /// goes on after its server's restart compares the text: a restart of the server's process keeps it, a restart of the server's
    /// machine, which may lose what was not flushed, changes it. `None`: nothing is known.
    fn continuity(&self) -> Option<String> {
        None
    }

    /// Asks the kernel to read a range ahead. Without effect where that is not possible.
    fn prefetch(&self, offset: u64, len: u64) {
        let _unused = (offset, len);
    }
}

/// Bytes of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// The offset in the file.
    pub offset: u64,
    /// The number of bytes.
    pub len: u64,
}

/// Bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The number of bytes.
    pub len: u64,
    /// Whether the bytes take space on the storage device.
    pub allocated: bool,
    /// Whether the bytes are known to be zeros.
    pub zero: bool,
}

/// The reason why an operation on a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// The range ends beyond the disk.
    OutOfRange,
    /// The disk is read-only.
    ReadOnly,
    /// The storage device, the user's quota or the format has no room left.
    NoSpace,
    /// The disk's file holds values that no sound file has.
    Damaged,
    /// An earlier flush failed: writes may be lost. The disk must be opened anew.
    Failed,
    /// The system's error number.
    System(Errno),
}

/// Checks that a range is on a disk of `disk` bytes.
pub(crate) fn check(disk: u64, offset: u64, len: u64) -> Result<(), DiskError> {
    match offset.checked_add(len) {
        Some(end) if end <= disk => Ok(()),
        _ => Err(DiskError::OutOfRange),
    }
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Damaged,
            None => Self::System(Errno::IO),
        }
    }
}

impl From<Errno> for DiskError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            errno => Self::System(errno),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("the range ends beyond the disk"),
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::NoSpace => f.write_str("no space left for the disk's file"),
            Self::Damaged => f.write_str("the disk's file is damaged: check the file with qemu-img check"),
            Self::Failed => {
                f.write_str("an earlier flush failed: end the server and check the storage device")
            }
            Self::System(errno) => write!(f, "{errno}"),
        }
    }
}

impl core::error::Error for DiskError {}
