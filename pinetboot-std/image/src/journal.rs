//! The journal of systemd: its entries, the newest first.
//!
//! The layout is that of systemd's "Journal File Format" (docs/JOURNAL_FILE_FORMAT.md): a header, and objects that name each other by
//! their offsets. Read: entry arrays, entries, and data in both layouts (regular and compact), plain or in zstd, XZ or LZ4.
//!
//! Deliberately not: hash tables and their indexes (entries are read in order), and the tags of Forward Secure Sealing. Published
//! readers open directories of this machine by their paths; this one reads from any [`ReadAt`], such as a file of an ext4 on a disk.
//!
//! The file may be hostile, or of a system that lost its power. Each offset and length is checked against the file, entry arrays lead
//! forward only, a value is cut off at [`LONGEST_VALUE`] bytes, and a damaged entry is left out and counted. The header's number of entries is not
//! used: a power cut may leave an old one.

mod data;
mod entries;

use core::cell::RefCell;
use core::fmt;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use crate::read_at::{ReadAt, u32_at, u64_at};

pub use entries::{Entries, Entry};

/// Why a journal cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// Reading failed.
    Io(io::Error),
    /// The file is no journal, or contradicts itself; the text names the structure.
    Corrupt(&'static str),
    /// The file uses features that this reader does not know: the bits of the header.
    Unsupported(u32),
}

/// A journal file.
#[derive(Debug)]
pub struct Journal<R> {
    source: R,
    /// Bytes of the file.
    len: u64,
    /// The number of the file's sequence: entries of files with the same one are in the order of their sequence numbers.
    pub sequence: [u8; 16],
    is_compact: bool,
    /// The arrays of entries, in order.
    arrays: Vec<entries::Array>,
    /// The fields that are read.
    wanted: &'static [&'static str],
    /// The data objects that were read: most are of many entries.
    seen: RefCell<HashMap<u64, Option<Field>>>,
}

/// A field of an entry: the index of its name among those that are wanted, and its value.
type Field = (usize, Rc<[u8]>);

impl<R: ReadAt> Journal<R> {
    /// Opens a journal file of `len` bytes, to read the fields that are `wanted`.
    ///
    /// # Errors
    ///
    /// If the file is no journal, or uses an unknown feature.
    pub fn open(source: R, len: u64, wanted: &'static [&'static str]) -> Result<Self, JournalError> {
        let mut header = [0; HEADER];
        match source.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(JournalError::Corrupt("the file is shorter than a journal's header"));
            }
            read => read?,
        }
        if !header.starts_with(SIGNATURE) {
            return Err(JournalError::Corrupt("the file is no journal"));
        }
        let flags = field(u32_at(&header, 12))?;
        if flags & !KNOWN != 0 {
            return Err(JournalError::Unsupported(flags & !KNOWN));
        }
        let mut journal = Self {
            source,
            len,
            sequence: *field(header.get(72..).and_then(<[u8]>::first_chunk))?,
            is_compact: flags & COMPACT != 0,
            arrays: Vec::new(),
            wanted,
            seen: RefCell::default(),
        };
        journal.arrays = journal.find_arrays(field(u64_at(&header, 176))?)?;
        Ok(journal)
    }

    /// The entries, the newest first.
    pub fn entries(&self) -> Entries<'_, R> {
        Entries::of(self)
    }

    /// Reads an object's start: its kind, its flags and its whole length. `buf` is filled with as many bytes as the object has.
    fn object<'b>(&self, at: u64, kind: u8, buf: &'b mut [u8]) -> Result<(u8, u64, &'b [u8]), JournalError> {
        if !at.is_multiple_of(8) || at < HEADER as u64 {
            return Err(JournalError::Corrupt("an object has an invalid offset"));
        }
        let some = self.len.saturating_sub(at).min(buf.len() as u64) as usize;
        let buf = field(buf.get_mut(..some))?;
        self.source.read_exact_at(buf, at)?;
        let len = field(u64_at(buf, 8))?;
        let [found, flags, ..] = *buf else { return Err(JournalError::Corrupt(TOO_SHORT)) };
        let is_inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if found != kind || len < OBJECT || !is_inside {
            return Err(JournalError::Corrupt("an object is of another kind, or longer than the file"));
        }
        let some = buf.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        Ok((flags, len, field(buf.get(..some))?))
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Corrupt(what) => f.write_str(what),
            Self::Unsupported(bits) => {
                write!(f, "the journal has features that this program does not read: {bits:#x}")
            }
        }
    }
}

impl core::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Corrupt(_) | Self::Unsupported(_) => None,
        }
    }
}

/// A field of a structure; an error if the structure is too short.
fn field<T>(value: Option<T>) -> Result<T, JournalError> {
    value.ok_or(JournalError::Corrupt(TOO_SHORT))
}

/// Bytes of a value that are read.
pub const LONGEST_VALUE: usize = 64 << 10;

const TOO_SHORT: &str = "a structure is too short";
const SIGNATURE: &[u8] = b"LPKSHHRH";
/// Bytes of the header that each version has.
const HEADER: usize = 208;
/// Bytes of an object without content.
const OBJECT: u64 = 16;
/// The bits of `incompatible_flags`: XZ, LZ4, hash with a key, zstd, and the compact layout.
const KNOWN: u32 = 0x1f;
const COMPACT: u32 = 0x10;
/// The kinds of objects.
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;
