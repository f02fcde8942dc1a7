//! Names in directories of FAT16 and FAT32.

use super::blocks::bytes;

/// A long name, in the entries before the one that it is the name of: its last part comes first (section "Long Directory
/// Entries").
#[derive(Default)]
pub(super) struct LongName {
    /// The part that comes next, down to 1; 0 after the last.
    next: u8,
    /// The checksum of the short name that the long name belongs to.
    checksum: u8,
    matches: bool,
}

impl LongName {
    /// Compares a part with that of a name. Only whether they match is kept.
    pub(super) fn part(&mut self, entry: &[u8], name: &str) {
        let (order, checksum) = (entry[0], entry[13]);
        let part = order & 0x3f;
        if order & 0x40 != 0 {
            let parts = name.encode_utf16().count().div_ceil(UNITS);
            *self = Self { next: part, checksum, matches: part > 0 && usize::from(part) == parts };
        }
        if part == 0 || part != self.next || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        self.next -= 1;
        let units = [1..11, 14..26, 28..32].into_iter().flat_map(|range| entry[range].chunks_exact(2));
        let units = units.map(|unit| u16::from_le_bytes(bytes(unit, 0)));
        // A zero follows the name's end, and no other character follows the zero.
        let mut wanted = name.encode_utf16().skip(usize::from(part - 1) * UNITS);
        let mut ended = false;
        for unit in units {
            match wanted.next() {
                Some(want) => self.matches &= fold(unit) == fold(want),
                None if ended => {}
                None => {
                    self.matches &= unit == 0;
                    ended = true;
                }
            }
        }
    }

    /// Whether all parts were there and matched, and belong to this entry.
    pub(super) fn is_of(&self, entry: &[u8]) -> bool {
        let sum = |sum: u8, byte: &u8| sum.rotate_right(1).wrapping_add(*byte);
        self.matches && self.next == 0 && self.checksum == entry[..11].iter().fold(0, sum)
    }
}

/// Compares a name with the 8.3 one of an entry.
pub(super) fn short_name_is(entry: &[u8], name: &str) -> bool {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let padded = |field: &[u8], part: &str| field.trim_ascii_end().eq_ignore_ascii_case(part.as_bytes());
    !stem.is_empty() && padded(&entry[..8], stem) && padded(&entry[8..11], extension)
}

pub(super) fn fold(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |unit| unit.to_ascii_lowercase().into())
}

/// Characters in one part of a long name.
const UNITS: usize = 13;
