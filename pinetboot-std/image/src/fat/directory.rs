//! Entries of a directory, with their long names (sections "FAT Directory Structure" and "Long Directory Entries").

use super::volume::{Chain, Place, Volume};
use crate::read_at::{u16_at, u32_at};
use crate::{ImageError, ReadAt};

/// A file or directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// The long name; the short one if the entry has no other.
    pub(super) name: String,
    short_name: String,
    pub(super) is_directory: bool,
    /// The first cluster; 0 for an empty file.
    pub(super) first: u32,
    /// Length in bytes; 0 for a directory.
    pub(super) len: u32,
    /// Modification time in seconds since 1970, the time zone taken for UTC, as Linux does by default.
    pub(super) modified: Option<i64>,
}

impl Entry {
    fn parse<R: ReadAt>(bytes: &[u8], long_name: Option<String>, volume: &Volume<R>) -> Option<Self> {
        let short_name = short_name(bytes)?;
        Some(Self {
            name: long_name.unwrap_or_else(|| short_name.clone()),
            short_name,
            is_directory: bytes.get(11)? & DIRECTORY != 0,
            first: volume.first_cluster(u16_at(bytes, 20)?, u16_at(bytes, 26)?),
            len: u32_at(bytes, 28)?,
            modified: seconds(u16_at(bytes, 24)?, u16_at(bytes, 22)?),
        })
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        [&self.name, &self.short_name]
            .into_iter()
            .any(|own| own.chars().flat_map(char::to_uppercase).eq(name.chars().flat_map(char::to_uppercase)))
    }

    /// Where this directory's entries are. A `..` says 0 for the root.
    pub(super) fn place(&self) -> Result<Place, ImageError> {
        match self.first {
            0 if self.name == ".." => Ok(Place::Root),
            0 => Err(ImageError::Corrupt("its boot partition has a directory without a cluster")),
            first => Ok(Place::Cluster(first)),
        }
    }
}

/// Reads the entries of a directory.
pub(super) struct Entries<'a, R> {
    volume: &'a Volume<R>,
    /// A fixed area that is not read yet.
    area: Option<(u64, u64)>,
    chain: Chain,
    bytes: Vec<u8>,
    /// Where in `bytes` the next entry is.
    at: usize,
    /// Entries read so far.
    count: u32,
    ended: bool,
}

impl<'a, R: ReadAt> Entries<'a, R> {
    pub(super) fn new(volume: &'a Volume<R>, place: Place) -> Self {
        let (area, chain) = volume.directory(place);
        Self { volume, area, chain, bytes: Vec::new(), at: 0, count: 0, ended: false }
    }

    /// The next file or directory, `.` and `..` included; `None` after the last one.
    pub(super) fn next(&mut self, budget: &mut u64) -> Result<Option<Entry>, ImageError> {
        let mut long_name = LongName::default();
        while let Some(bytes) = self.raw(budget)? {
            match (bytes[0], bytes[11]) {
                (0x00, _) => {
                    self.ended = true;
                    return Ok(None);
                }
                (0xe5, _) => long_name = LongName::default(),
                (_, attributes) if attributes & 0x3f == LONG_NAME => long_name.add(&bytes),
                (_, attributes) if attributes & VOLUME_LABEL != 0 => long_name = LongName::default(),
                _ => return Ok(Entry::parse(&bytes, long_name.of(&bytes), self.volume)),
            }
        }
        Ok(None)
    }

    /// The next 32 bytes.
    fn raw(&mut self, budget: &mut u64) -> Result<Option<[u8; 32]>, ImageError> {
        if self.ended {
            return Ok(None);
        }
        if self.at == self.bytes.len() {
            let run = match self.area.take() {
                Some(area) => Some(area),
                None => self.chain.next_run(self.volume, AT_ONCE, budget)?,
            };
            let Some((offset, len)) = run else { return Ok(None) };
            self.bytes.resize(len as usize, 0);
            self.volume.partition.read_exact_at(&mut self.bytes, offset)?;
            self.at = 0;
        }
        self.count += 1;
        if self.count > MOST_ENTRIES {
            return Err(ImageError::Corrupt("its boot partition has a directory with too many entries"));
        }
        let entry = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk).copied();
        self.at += 32;
        Ok(entry)
    }
}

/// A long name, gathered from the entries before the one that has it: the last part comes first.
#[derive(Debug, Default)]
struct LongName {
    /// Parts in the order of the name; empty if none, or some are missing.
    units: Vec<u16>,
    /// The number of the part that must come next; 0 if none.
    next: u8,
    /// Of the short name.
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8; 32]) {
        let (order, checksum) = (entry[0], entry[13]);
        let part = order & 0x3f;
        if order & 0x40 != 0 {
            *self = Self { units: vec![0; usize::from(part) * UNITS], next: part, checksum };
        }
        if part == 0 || part != self.next || part > MOST_PARTS || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        self.next -= 1;
        let units = [1..11, 14..26, 28..32].into_iter().flat_map(|range| entry[range].chunks_exact(2));
        let place = self.units.iter_mut().skip(usize::from(self.next) * UNITS);
        for (place, unit) in place.zip(units) {
            *place = u16_at(unit, 0).unwrap_or_default();
        }
    }

    /// The name, if it is whole and belongs to this entry.
    fn of(self, entry: &[u8; 32]) -> Option<String> {
        let sum = |sum: u8, byte: &u8| sum.rotate_right(1).wrapping_add(*byte);
        let is_whole = self.next == 0 && self.checksum == entry[..11].iter().fold(0, sum);
        let units =
            self.units.split(|unit| *unit == 0).next().filter(|units| is_whole && !units.is_empty())?;
        Some(String::from_utf16_lossy(units))
    }
}

/// `CONFIG.TXT` of `CONFIG  TXT`.
fn short_name(entry: &[u8]) -> Option<String> {
    let lower = *entry.get(12)?;
    let text = |range: std::ops::Range<usize>, is_lower: bool| -> Option<String> {
        let mut field = entry.get(range)?.to_vec();
        if field.first() == Some(&0x05) {
            field[0] = 0xe5; // which would mark a deleted entry
        }
        let chars = field.trim_ascii_end().iter().map(|byte| match *byte {
            0x80.. => char::REPLACEMENT_CHARACTER,
            byte if is_lower => byte.to_ascii_lowercase().into(),
            byte => byte.into(),
        });
        Some(chars.collect())
    };
    let (stem, extension) =
        (text(0..8, lower & LOWER_STEM != 0)?, text(8..11, lower & LOWER_EXTENSION != 0)?);
    Some(if extension.is_empty() { stem } else { format!("{stem}.{extension}") })
}

/// Seconds since 1970; `None` for an impossible month or day.
fn seconds(date: u16, time: u16) -> Option<i64> {
    let (year, month, day) =
        (i64::from(date >> 9) + 1980, i64::from(date >> 5 & 0xf), i64::from(date & 0x1f));
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days since 1970, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let (hours, minutes, pairs) =
        (i64::from(time >> 11), i64::from(time >> 5 & 0x3f), i64::from(time & 0x1f));
    Some(days * 86_400 + hours * 3600 + minutes * 60 + pairs * 2)
}

const LONG_NAME: u8 = 0x0f;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Marks of Windows NT: the stem, or the extension, is in lower case.
const LOWER_STEM: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;
/// Characters in one part of a long name, and the most parts.
const UNITS: usize = 13;
const MOST_PARTS: u8 = 20;
/// The longest directory.
const MOST_ENTRIES: u32 = 65_536;
/// Bytes of a directory that are read at once, unless a cluster has more.
const AT_ONCE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_seconds() {
        let at = |year: u16, month: u16, day: u16, hour: u16, min: u16, sec: u16| {
            seconds((year - 1980) << 9 | month << 5 | day, hour << 11 | min << 5 | (sec / 2))
        };
        assert_eq!(at(1980, 1, 1, 0, 0, 0), Some(315_532_800));
        assert_eq!(at(2024, 2, 29, 23, 59, 58), Some(1_709_251_198));
        assert_eq!(at(2026, 4, 13, 12, 0, 0), Some(1_776_081_600));
        assert_eq!(at(1980, 0, 0, 0, 0, 0), None);
    }

    #[test]
    fn short_names() {
        let name = |bytes: &[u8; 13]| short_name(bytes).unwrap();
        assert_eq!(name(b"CONFIG  TXT\x20\x00"), "CONFIG.TXT");
        assert_eq!(name(b"CONFIG  TXT\x20\x18"), "config.txt");
        assert_eq!(name(b"OVERLAYS   \x10\x08"), "overlays");
        assert_eq!(name(b"\x05BC     D  \x20\x00"), "\u{fffd}BC.D");
        assert_eq!(name(b"..         \x10\x00"), "..");
    }
}
