//! Names in directories of exFAT (exFAT specification, sections 6 and 7).

use super::blocks::bytes;
use super::names::fold;

/// A directory's entries, as they come: a file is a set of them.
#[derive(Default)]
pub(super) struct EntrySet {
    /// Entries of the set that are still to come.
    left: u8,
    /// The set's checksum, as computed and as it should be.
    sum: [u16; 2],
    attributes: u16,
    /// The time of its last write, and the checksum.
    stamp: [u8; 6],
    at: (u32, usize),
    stream: Option<Stream>,
    /// Characters of the name that were compared.
    compared: usize,
    matches: bool,
}

/// A set that is whole, and that has the name.
pub(super) struct Found {
    pub(super) is_directory: bool,
    pub(super) stream: Stream,
    pub(super) stamp: [u8; 6],
    /// Where the set begins.
    pub(super) at: (u32, usize),
}

/// The place of a file's bytes.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) first: u32,
    pub(super) len: u64,
    /// Bytes that were written; those after them are not to be read.
    pub(super) valid: u64,
    /// The clusters follow each other, and the table says nothing of them.
    pub(super) contiguous: bool,
    /// Characters of the name.
    name: u8,
}

impl EntrySet {
    /// Takes in the next entry of the directory, which is at this place. The file, once the last entry of the set that has this name is in.
    pub(super) fn take(&mut self, entry: &[u8], at: (u32, usize), name: &str) -> Option<Found> {
        let [kind, secondaries] = bytes(entry, 0);
        match (kind, self.left) {
            (FILE, _) => {
                *self = Self {
                    left: secondaries,
                    sum: [checksum(0, entry, true), u16::from_le_bytes(bytes(entry, 2))],
                    attributes: u16::from_le_bytes(bytes(entry, 4)),
                    stamp: stamp(entry),
                    at,
                    matches: true,
                    ..Self::default()
                };
                return None;
            }
            // In use, and secondary.
            (0xc0.., 1..) => {}
            _ => {
                *self = Self::default();
                return None;
            }
        }
        self.left -= 1;
        self.sum[0] = checksum(self.sum[0], entry, false);
        match kind {
            STREAM => {
                self.stream = Some(Stream {
                    first: u32::from_le_bytes(bytes(entry, 20)),
                    len: u64::from_le_bytes(bytes(entry, 24)),
                    valid: u64::from_le_bytes(bytes(entry, 8)),
                    contiguous: secondaries & NO_FAT_CHAIN != 0, // the same byte is here the flags
                    name: bytes::<1>(entry, 3)[0],
                });
            }
            NAME => self.compare(entry, name),
            _ => {}
        }
        if self.left > 0 {
            return None;
        }
        let Self { sum: [sum, wanted], attributes, stamp, at, stream, .. } = *self;
        let stream =
            stream.filter(|stream| self.matches && sum == wanted && self.compared == stream.name.into())?;
        let whole = self.compared == name.encode_utf16().count();
        whole.then_some(Found { is_directory: attributes & DIRECTORY != 0, stream, stamp, at })
    }

    /// Compares 15 characters of the name, or as many as are left of it.
    fn compare(&mut self, entry: &[u8], name: &str) {
        let len = usize::from(self.stream.map_or(0, |stream| stream.name));
        let mut wanted = name.encode_utf16().skip(self.compared);
        let units = entry.get(2..32).unwrap_or_default().chunks_exact(2);
        for unit in units.take(len.saturating_sub(self.compared)) {
            let unit = u16::from_le_bytes(bytes(unit, 0));
            self.matches &= wanted.next().is_some_and(|want| fold(unit) == fold(want));
            self.compared += 1;
        }
    }
}

/// What tells a file's versions apart, in the first entry of its set: the time of its last write, and the checksum of the set.
pub(super) fn stamp(entry: &[u8]) -> [u8; 6] {
    let ([a, b, c, d], [e, f]) = (bytes(entry, 12), bytes(entry, 2));
    [a, b, c, d, e, f]
}

/// The checksum of a set (section 6.3.3): it leaves out itself, in the first entry.
fn checksum(start: u16, entry: &[u8], first: bool) -> u16 {
    let counted = entry.iter().enumerate().filter(|(at, _)| !first || !matches!(at, 2 | 3));
    counted.fold(start, |sum, (_, byte)| sum.rotate_right(1).wrapping_add((*byte).into()))
}

const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;
const NO_FAT_CHAIN: u8 = 1 << 1;
const DIRECTORY: u16 = 1 << 4;
