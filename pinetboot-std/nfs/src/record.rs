//! Record marking: messages in a stream (RFC 5531, section 11).
//!
//! Memory grows with received bytes, not with a claimed length, and records are bounded.

use std::io;

use super::reply::LAST_FRAGMENT;

/// The records of a stream.
#[derive(Debug)]
pub(super) struct Records {
    /// Received and not taken bytes: `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Fragments of an unfinished record.
    fragments: Vec<u8>,
    most: usize,
}

/// A whole record.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The result of [`Records::next`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole record is in the given memory.
    Record,
    /// More bytes are needed.
    NotYet,
    /// The record is too long: the stream is unusable.
    TooLong,
}

impl Records {
    /// Records of at most `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, fragments: Vec::new(), most }
    }

    /// Takes the next whole record into `record`.
    pub(super) fn next(&mut self, record: &mut Record) -> Next {
        loop {
            let Some((len, last)) = self.mark() else { return Next::NotYet };
            if len + self.fragments.len() > self.most {
                return Next::TooLong;
            }
            let begin = self.start + MARK;
            if self.end - self.start < MARK + len {
                return Next::NotYet;
            }
            if last && self.fragments.is_empty() && len >= WORTH_SWAPPING && begin + len == self.end {
                // The memory holds this record only: swaps the memory instead of copying the bytes.
                core::mem::swap(&mut self.bytes, &mut record.bytes);
                (record.start, record.end) = (begin, self.end);
                (self.start, self.end) = (0, 0);
                return Next::Record;
            }
            let fragment = self.bytes.get(begin..begin + len).unwrap_or_default();
            if last && self.fragments.is_empty() {
                record.set(fragment);
            } else {
                self.fragments.extend_from_slice(fragment);
            }
            self.start = begin + len;
            if last {
                if !self.fragments.is_empty() {
                    record.set(&core::mem::take(&mut self.fragments));
                }
                return Next::Record;
            }
        }
    }

    /// Whether a whole record was probably received.
    pub(super) fn has_next(&self) -> bool {
        self.mark().is_some_and(|(len, _)| self.end - self.start >= MARK + len)
    }

    /// Held bytes.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.fragments.len()
    }

    /// Calls `read` once; returns the number of bytes.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let wanted = match self.mark() {
            // Reads to the record's end only, so that the memory can be handed on.
            Some((len, _)) if len >= WORTH_SWAPPING => MARK + len.min(self.most),
            _ => USUAL,
        };
        // Uses existing memory; new memory is at most twice the received bytes.
        let room = wanted.min(self.bytes.len().max(2 * self.end).max(USUAL));
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        let read = read(self.bytes.get_mut(self.end..room).unwrap_or_default())?;
        self.end += read;
        Ok(read)
    }

    /// Receives into this memory, if the stream holds none.
    pub(super) fn borrow(&mut self, memory: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            core::mem::swap(&mut self.bytes, memory);
        }
    }

    /// Gives the memory back, if no received byte is left in it: of a thousand connections, those that wait for a call hold none.
    pub(super) fn give_back(&mut self, memory: &mut Vec<u8>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            let other = core::mem::take(&mut self.bytes);
            if memory.is_empty() {
                *memory = other;
            }
        }
    }

    /// Frees the memory, if empty.
    pub(super) fn trim(&mut self) {
        if self.start == self.end {
            (self.bytes, self.start, self.end) = (Vec::new(), 0, 0);
        }
    }

    fn mark(&self) -> Option<(usize, bool)> {
        let mark = self.bytes.get(self.start..self.end)?.first_chunk()?;
        let mark = u32::from_be_bytes(*mark);
        Some(((mark & !LAST_FRAGMENT) as usize, mark & LAST_FRAGMENT != 0))
    }
}

impl Record {
    pub(super) fn message(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Keeps the memory, which is initialised.
    pub(super) fn set(&mut self, message: &[u8]) {
        if self.bytes.len() < message.len() {
            self.bytes.resize(message.len(), 0);
        }
        if let Some(place) = self.bytes.get_mut(..message.len()) {
            place.copy_from_slice(message);
        }
        (self.start, self.end) = (0, message.len());
    }
}

const MARK: usize = 4;
/// Bytes to read at once, unless a longer record is announced.
const USUAL: usize = 16 * 1024;
const WORTH_SWAPPING: usize = 12 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100_000;

    fn marked(message: &[u8], last: bool) -> Vec<u8> {
        let mark = u32::try_from(message.len()).unwrap() | if last { LAST_FRAGMENT } else { 0 };
        [&mark.to_be_bytes(), message].concat()
    }

    #[test]
    fn a_stream_without_a_begun_record_holds_no_memory() {
        let (mut records, mut record, mut memory) = (Records::new(MOST), Record::default(), Vec::new());
        let stream = [marked(b"one", true), marked(b"two", true), marked(b"three", true)].concat();
        let mut rest = stream.as_slice();
        for (step, held) in [(5, true), (2, false), (14, true), (2, false)] {
            records.borrow(&mut memory);
            let (now, later) = rest.split_at(step);
            rest = later;
            records.fill(|room| io::Read::read(&mut &*now, room)).unwrap();
            while records.next(&mut record) == Next::Record {}
            records.give_back(&mut memory);
            assert_eq!((records.held() > 0, memory.is_empty()), (held, held), "{step} bytes more");
        }
        assert_eq!((record.message(), memory.len()), (&b"three"[..], USUAL));
    }

    /// The records of `stream`, received `step` bytes at a time.
    fn records(stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Next) {
        let (mut records, mut record, mut out) = (Records::new(MOST), Record::default(), Vec::new());
        let mut rest = stream;
        loop {
            match records.next(&mut record) {
                Next::Record => out.push(record.message().to_vec()),
                Next::NotYet if rest.is_empty() => return (out, Next::NotYet),
                Next::NotYet => {
                    let read = records.fill(|room| {
                        assert!(!room.is_empty());
                        let len = rest.len().min(step).min(room.len());
                        room[..len].copy_from_slice(&rest[..len]);
                        Ok(len)
                    });
                    rest = &rest[read.unwrap()..];
                    assert!(records.held() <= 2 * MOST);
                }
                Next::TooLong => return (out, Next::TooLong),
            }
        }
    }

    #[test]
    fn however_a_stream_is_cut_the_records_are_the_same() {
        let long = vec![7; 50_000];
        let longest = vec![8; MOST];
        let stream = [
            marked(b"one", true),
            marked(b"", true),
            marked(&long, true),
            marked(b"two", true),
            marked(b"th", false),
            marked(b"", false),
            marked(b"ree", true),
            marked(&longest, true),
            marked(&long, false),
            marked(b"four", true),
        ]
        .concat();
        let expected: Vec<Vec<u8>> = vec![
            b"one".into(),
            b"".into(),
            long.clone(),
            b"two".into(),
            b"three".into(),
            longest,
            [&long[..], b"four"].concat(),
        ];
        for step in [1, 2, 3, 5, 1000, 16_384, 50_007, usize::MAX] {
            assert_eq!(records(&stream, step), (expected.clone(), Next::NotYet), "step {step}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_at_its_mark() {
        assert_eq!(records(&[0xff; 4], 4), (vec![], Next::TooLong));
        let fragments = marked(&vec![0; MOST / 2 + 1], false).repeat(2);
        assert_eq!(records(&fragments, usize::MAX), (vec![], Next::TooLong));
    }

    #[test]
    fn memory_grows_with_what_came_not_with_what_was_announced() {
        let mut records = Records::new(1 << 30);
        let mark = (LAST_FRAGMENT | 1 << 29).to_be_bytes();
        records
            .fill(|room| {
                room[..4].copy_from_slice(&mark);
                Ok(4)
            })
            .unwrap();
        assert_eq!(records.next(&mut Record::default()), Next::NotYet);
        records.fill(|room| Ok(room.len().min(10))).unwrap();
        assert!(records.held() <= 2 * USUAL, "{}", records.held());
    }

    #[test]
    fn many_empty_fragments_do_not_pile_up() {
        let stream = marked(b"", false).repeat(100_000);
        assert_eq!(records(&stream, usize::MAX), (vec![], Next::NotYet));
    }
}
