//! Entry arrays and entries.

use std::rc::Rc;

use super::{ENTRY, ENTRY_ARRAY, Journal, JournalError, OBJECT, field};
use crate::read_at::{ReadAt, u32_at, u64_at};

/// An entry: the time of its arrival, and the place of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The number in the sequence of the file.
    pub number: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since the boot began.
    pub monotonic: u64,
    /// The boot's ID.
    pub boot: [u8; 16],
    at: u64,
    len: u64,
}

/// An array of entries: its offset, and the number of its places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    at: u64,
    places: u64,
}

/// The entries of a journal, the newest first. A damaged entry is an error, and the next ones follow.
#[derive(Debug)]
pub struct Entries<'a, R> {
    journal: &'a Journal<R>,
    /// The number of arrays that are left, and of places in the last of them.
    arrays: usize,
    places: u64,
    /// Places that were read, the last one first out.
    read: Vec<u64>,
}

impl<R: ReadAt> Journal<R> {
    /// The chain of entry arrays. Each leads to one behind it, as journald makes them.
    pub(super) fn find_arrays(&self, first: u64) -> Result<Vec<Array>, JournalError> {
        let (mut arrays, mut at) = (Vec::new(), first);
        while at != 0 && arrays.len() < MOST_ARRAYS {
            let mut buf = [0; 24];
            let (_, len, bytes) = match self.object(at, ENTRY_ARRAY, &mut buf) {
                // What comes before a torn end is sound.
                Err(JournalError::Corrupt(_)) if !arrays.is_empty() => break,
                found => found?,
            };
            let next = field(u64_at(bytes, 16))?;
            arrays.push(Array { at, places: len.saturating_sub(24) / self.place_len() });
            // Objects do not overlap: the places are no more than the file has bytes for.
            if next != 0 && next < at.saturating_add(len) {
                break;
            }
            at = next;
        }
        Ok(arrays)
    }

    /// Bytes of an offset in an entry array.
    const fn place_len(&self) -> u64 {
        if self.is_compact { 4 } else { 8 }
    }

    fn entry(&self, at: u64) -> Result<Entry, JournalError> {
        let mut buf = [0; 64];
        let (_, len, bytes) = self.object(at, ENTRY, &mut buf)?;
        Ok(Entry {
            number: field(u64_at(bytes, 16))?,
            realtime: field(u64_at(bytes, 24))?,
            monotonic: field(u64_at(bytes, 32))?,
            boot: *field(bytes.get(40..).and_then(<[u8]>::first_chunk))?,
            at,
            len,
        })
    }

    /// The wanted fields of an entry, in their order; the first one of those with one name. A field that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// If the entry cannot be read.
    pub fn fields(&self, entry: &Entry) -> Result<Vec<Option<Rc<[u8]>>>, JournalError> {
        let mut fields = vec![None; self.wanted.len()];
        let item_len = if self.is_compact { 4 } else { 16 };
        let items = entry.len.saturating_sub(ITEMS).min(MOST_ITEMS * item_len) / item_len;
        let mut bytes = vec![0; (items * item_len) as usize];
        self.source.read_exact_at(&mut bytes, entry.at.saturating_add(ITEMS))?;
        for item in bytes.chunks_exact(item_len as usize) {
            let at = if self.is_compact { u32_at(item, 0).map(u64::from) } else { u64_at(item, 0) };
            let Some((index, value)) = at.and_then(|at| self.data(at)) else { continue };
            if let Some(place) = fields.get_mut(index) {
                place.get_or_insert(value);
            }
        }
        Ok(fields)
    }
}

impl<'a, R: ReadAt> Entries<'a, R> {
    pub(super) fn of(journal: &'a Journal<R>) -> Self {
        let arrays = journal.arrays.len();
        let places = journal.arrays.last().map_or(0, |array| array.places);
        Self { journal, arrays, places, read: Vec::new() }
    }

    /// Reads the places before those that were read; `None` at the start of the journal.
    fn read_more(&mut self) -> Option<Result<(), JournalError>> {
        while self.places == 0 {
            self.arrays = self.arrays.checked_sub(1).filter(|left| *left > 0)?;
            self.places = self.journal.arrays.get(self.arrays - 1)?.places;
        }
        let array = self.journal.arrays.get(self.arrays.checked_sub(1)?)?;
        let len = self.journal.place_len();
        let some = self.places.min(AT_ONCE);
        self.places -= some;
        let mut bytes = vec![0; (some * len) as usize];
        let at = array.at + OBJECT + 8 + self.places * len; // within the file: the array's length was checked
        if let Err(error) = self.journal.source.read_exact_at(&mut bytes, at) {
            return Some(Err(error.into()));
        }
        let place = |place: &[u8]| if len == 4 { u32_at(place, 0).map(u64::from) } else { u64_at(place, 0) };
        // A place without an entry is 0: the array has room for entries to come.
        self.read = bytes.chunks_exact(len as usize).filter_map(place).filter(|at| *at != 0).collect();
        Some(Ok(()))
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(at) = self.read.pop() {
                return Some(self.journal.entry(at));
            }
            if let Err(error) = self.read_more()? {
                return Some(Err(error));
            }
        }
    }
}

/// Offset of the items in an entry.
const ITEMS: u64 = 64;
/// Fields of an entry that are looked at.
const MOST_ITEMS: u64 = 1024;
/// journald doubles the length of each next array.
const MOST_ARRAYS: usize = 65_536;
/// Places that are read at once.
const AT_ONCE: u64 = 4096;
