//! What an overlay is kept in: its file, and the log beside the file. Traits, so that tests can cut every operation short.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::DiskError;
use crate::image::{punch, read_now};

/// A file of any length with random access.
pub(crate) trait Medium: Send + Sync + fmt::Debug {
    /// Reads as many bytes as the file has from `offset` on.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` without waiting for the storage device, or returns `false`.
    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool;

    /// Writes, and extends the file if need be.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Returns once everything written is on the storage device.
    fn sync(&self) -> io::Result<()>;

    /// Gives back the space of a range that nothing refers to.
    fn punch(&self, offset: u64, len: u64);
}

/// The log: written to survive the process, not a power cut.
pub(crate) trait Log: Send + Sync + fmt::Debug {
    /// All of the log; empty if there is none.
    fn load(&self) -> io::Result<Vec<u8>>;

    /// Appends.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Replaces the whole log at once.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;

    /// Removes the log.
    fn remove(&self) -> io::Result<()>;
}

impl dyn Medium {
    /// Fills `buf`; a file that ends before is damaged.
    pub(crate) fn exact(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        if self.read_at(buf, offset)? == buf.len() { Ok(()) } else { Err(DiskError::Damaged) }
    }

    /// Fills `buf`, beyond the end of the file with zeros.
    pub(crate) fn padded(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let read = self.read_at(buf, offset)?;
        buf.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }

    /// The big-endian number at `offset`.
    pub(crate) fn word(&self, offset: u64) -> Result<u64, DiskError> {
        let mut word = [0; 8];
        self.exact(&mut word, offset)?;
        Ok(u64::from_be_bytes(word))
    }
}

/// An overlay's file.
#[derive(Debug)]
pub(crate) struct MediumFile {
    file: File,
    /// The length: the file has one writer, and never becomes shorter.
    len: AtomicU64,
    /// The number of changes that have ended, from 1 on: an earlier process may have made some that are not on the storage device.
    changes: AtomicU64,
    /// The number of changes that are on the storage device.
    synced: AtomicU64,
    /// A sync failed: the kernel has forgotten the pages, so a later sync would succeed without them.
    failed: AtomicBool,
}

impl MediumFile {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let len = AtomicU64::new(file.metadata()?.len());
        let (changes, synced) = (AtomicU64::new(1), AtomicU64::new(0));
        Ok(Self { file, len, changes, synced, failed: AtomicBool::new(false) })
    }
}

impl Medium for MediumFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_up_to(&self.file, buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool {
        read_now(&self.file, buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        self.len.fetch_max(offset.saturating_add(bytes.len() as u64), Ordering::AcqRel);
        // Also what failed may have changed the file.
        self.changes.fetch_add(1, Ordering::AcqRel);
        written
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn sync(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync failed"));
        }
        // A change that ends after this may be on the storage device, too, and counts for the next sync.
        let changes = self.changes.load(Ordering::Acquire);
        if self.synced.load(Ordering::Acquire) < changes {
            self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))?;
            self.synced.fetch_max(changes, Ordering::AcqRel);
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) {
        // Without holes the space is used again all the same.
        let _tried = punch(&self.file, offset, len);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// Reads as many bytes as a file has from `offset` on.
pub(crate) fn read_up_to(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(buf.get_mut(done..).unwrap_or_default(), offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A log in a file, made when the first record is appended.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// The file and its length.
    file: Mutex<Option<(File, u64)>>,
}

impl LogFile {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None) }
    }

    fn file(&self) -> std::sync::MutexGuard<'_, Option<(File, u64)>> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Log for LogFile {
    fn load(&self) -> io::Result<Vec<u8>> {
        match File::open(&self.path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(MOST_LOG).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file();
        if file.is_none() {
            let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
            let len = opened.metadata()?.len();
            *file = Some((opened, len));
        }
        let Some((file, end)) = &mut *file else { return Ok(()) };
        // What a full disk left of a record must not stand before the next.
        file.write_all_at(bytes, *end).inspect_err(|_| drop(file.set_len(*end)))?;
        *end += bytes.len() as u64;
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file();
        if let Some((file, end)) = file.as_mut().filter(|_| bytes.is_empty()) {
            file.set_len(0)?;
            *end = 0;
            return Ok(());
        }
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        fs::write(&new, bytes)?;
        fs::rename(&new, &self.path)?;
        *file = None;
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        *self.file() = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

const MOST_LOG: u64 = 64 << 20;
