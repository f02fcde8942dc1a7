//! The part of FAT32 that boot files need: finding files and reading them (Microsoft's FAT specification, version 1.03).
//!
//! No byte of a card is trusted: no content makes this module panic, loop without end or read outside the volume.
//! Contiguous clusters are read at once, since a card takes longer to begin than to go on.
//!
//! `embedded-sdmmc`, which speaks to the card, has a file system too, for single files at a time: it opens none twice, reads
//! one block after the other, and a damaged card makes it panic.
//!
//! Not done: writing; FAT12, FAT16 and exFAT; a second FAT where the first cannot be read; names in other scripts than
//! Latin that differ in case alone.

use core::fmt;
use core::ops::Range;

use embedded_sdmmc::{Block, BlockDevice, BlockIdx};

/// The reason why a card or file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Error {
    /// The card does not answer, or with errors.
    Device,
    /// The card has no FAT32 volume.
    NotFat32,
    /// The file system contradicts itself.
    Damaged,
    /// The file or the card changed since the file was opened.
    Changed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the card does not answer, or wrongly",
            Self::NotFat32 => "no FAT32 file system on the card",
            Self::Damaged => "the file system is damaged",
            Self::Changed => "the file was changed meanwhile, or the card",
        })
    }
}

/// The parts of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// The first block of the table, and of cluster 2.
    table: u32,
    data: u32,
    /// Blocks in a cluster: a power of two.
    cluster: u32,
    /// The first number past the clusters.
    end: u32,
    root: u32,
    /// The random serial number, which tells volumes apart.
    id: u32,
}

/// A file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) is_directory: bool,
    pub(crate) len: u32,
    first: u32,
    /// Time and date of its last write.
    written: [u8; 4],
    /// Where the entry itself is: its block, and its place in that.
    at: (u32, usize),
}

/// A file being read, and the place in its chain of clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    first: u32,
    /// The cluster's index in the file, and its number.
    now: (u32, u32),
}

impl Volume {
    /// Looks for a volume: the first FAT32 partition, or all of the card.
    pub(crate) fn find<D: BlockDevice>(blocks: &mut Blocks<D>) -> Result<Self, Error> {
        let first = blocks.get(0)?;
        if bytes(first, 510) != [0x55, 0xaa] {
            return Err(Error::NotFat32);
        }
        if let Some(volume) = Self::parse(first, 0) {
            return Ok(volume);
        }
        let mut partitions = first.get(446..510).unwrap_or_default().chunks_exact(16);
        let partition = partitions.find(|partition| matches!(partition.get(4), Some(0x0b | 0x0c)));
        let start =
            partition.map(|partition| u32::from_le_bytes(bytes(partition, 8))).ok_or(Error::NotFat32)?;
        Self::parse(blocks.get(start)?, start).ok_or(Error::NotFat32)
    }

    /// Reads a boot sector (section "Boot Sector and BPB"). A FAT32's is the one that has no entries for the root directory
    /// and says the table's length in 32 bits.
    fn parse(sector: &[u8; 512], start: u32) -> Option<Self> {
        let half = |at| u32::from(u16::from_le_bytes(bytes(sector, at)));
        let word = |at| u32::from_le_bytes(bytes(sector, at));
        let [per_cluster, _, _, tables] = bytes(sector, 13);
        let is_fat32 = bytes(sector, 510) == [0x55, 0xaa]
            && half(11) == Block::LEN_U32
            && half(17) == 0
            && half(22) == 0
            && word(36) != 0;
        if !is_fat32 || !per_cluster.is_power_of_two() {
            return None;
        }
        let cluster = u32::from(per_cluster);
        let (reserved, total, table_len) = (half(14), word(32), word(36));
        let before_data = table_len.checked_mul(u32::from(tables))?.checked_add(reserved)?;
        start.checked_add(total)?; // so no block of it is past the last number
        let clusters = total.checked_sub(before_data)? / cluster;
        // The table bounds the number of clusters, and the highest numbers have other meanings.
        let end = clusters.checked_add(2)?.min(table_len.saturating_mul(PER_BLOCK)).min(0x0fff_fff0);
        let volume = Self {
            table: start + reserved,
            data: start + before_data,
            cluster,
            end,
            root: word(44),
            id: word(67),
        };
        volume.clusters().contains(&volume.root).then_some(volume)
    }

    /// Looks for a file or directory beneath the root, or beneath another directory. Case does not matter.
    pub(crate) fn look_up<'n, D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        beneath: Option<&Entry>,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Option<Entry>, Error> {
        let mut found = None;
        let mut directory = Some(beneath.map_or(self.root, |entry| entry.first));
        for name in names {
            let Some(cluster) = directory else { return Ok(None) };
            let Some(entry) = self.look_in(blocks, cluster, name)? else { return Ok(None) };
            directory = entry.is_directory.then_some(entry.first);
            found = Some(entry);
        }
        Ok(found)
    }

    fn look_in<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        directory: u32,
        name: &str,
    ) -> Result<Option<Entry>, Error> {
        let mut chain = Chain::of(directory);
        let mut long = LongName::default();
        for index in 0..DIRECTORY_BLOCKS {
            let Some(run) = self.run(blocks, &mut chain, index, 1)? else { return Ok(None) };
            let block = blocks.get(run.start)?;
            for (place, entry) in block.chunks_exact(32).enumerate() {
                match (entry[0], entry[11]) {
                    (0x00, _) => return Ok(None),
                    (0xe5, _) => long = LongName::default(),
                    (_, attributes) if attributes & 0x3f == LONG_NAME => long.part(entry, name),
                    (_, attributes) if attributes & VOLUME_LABEL != 0 => long = LongName::default(),
                    _ => {
                        if long.is_of(entry) || short_name_is(entry, name) {
                            return Ok(Some(self.entry(entry, (run.start, place))));
                        }
                        long = LongName::default();
                    }
                }
            }
        }
        Err(Error::Damaged)
    }

    /// Whether a file's directory entry is unchanged.
    pub(crate) fn still_has<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        file: &Entry,
    ) -> Result<bool, Error> {
        let (block, place) = file.at;
        let now = blocks.get(block)?.chunks_exact(32).nth(place).map(|entry| self.entry(entry, file.at));
        Ok(now.as_ref() == Some(file))
    }

    /// The place of a file's blocks, from the one of that index on: as many of `most` as lie together. `None` past its last
    /// cluster.
    pub(crate) fn run<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        chain: &mut Chain,
        index: u32,
        most: u32,
    ) -> Result<Option<Range<u32>>, Error> {
        let cluster = index / self.cluster;
        if cluster < chain.now.0 {
            *chain = Chain::of(chain.first);
        }
        while chain.now.0 < cluster {
            let Some(next) = self.next(blocks, chain.now.1)? else { return Ok(None) };
            chain.now = (chain.now.0 + 1, next);
        }
        let number = chain.now.1;
        if !self.clusters().contains(&number) {
            return Err(Error::Damaged);
        }
        let within = index % self.cluster;
        let start = self.data + (number - 2) * self.cluster + within;
        let mut count = self.cluster - within;
        let mut last = number;
        while count < most && self.next(blocks, last)? == Some(last + 1) {
            last += 1;
            count += self.cluster;
        }
        Ok(Some(start..start + count.min(most)))
    }

    /// The cluster that follows in a chain; `None` at its end.
    fn next<D: BlockDevice>(&self, blocks: &mut Blocks<D>, cluster: u32) -> Result<Option<u32>, Error> {
        if !self.clusters().contains(&cluster) {
            return Err(Error::Damaged);
        }
        let block = blocks.get(self.table + cluster / PER_BLOCK)?;
        let next = u32::from_le_bytes(bytes(block, (cluster % PER_BLOCK) as usize * 4)) & 0x0fff_ffff;
        match next {
            0x0fff_fff8.. => Ok(None),
            next if self.clusters().contains(&next) => Ok(Some(next)),
            _ => Err(Error::Damaged),
        }
    }

    fn clusters(&self) -> Range<u32> {
        2..self.end
    }

    fn entry(&self, entry: &[u8], at: (u32, usize)) -> Entry {
        let [high_low, high_high] = bytes(entry, 20);
        let [low_low, low_high] = bytes(entry, 26);
        let first = u32::from_le_bytes([low_low, low_high, high_low, high_high]) & 0x0fff_ffff;
        let is_directory = entry.get(11).is_some_and(|attributes| attributes & DIRECTORY != 0);
        Entry {
            is_directory,
            len: u32::from_le_bytes(bytes(entry, 28)),
            // A directory's ".." says 0 where it means the root.
            first: if is_directory && first == 0 { self.root } else { first },
            written: bytes(entry, 22),
            at,
        }
    }
}

impl Chain {
    fn of(first: u32) -> Self {
        Self { first, now: (0, first) }
    }

    /// The file's, at its beginning.
    pub(crate) fn of_file(file: &Entry) -> Self {
        Self::of(file.first)
    }
}

/// A long name, in the entries before the one that it is the name of: its last part comes first (section "Long Directory
/// Entries").
#[derive(Default)]
struct LongName {
    /// The part that comes next, down to 1; 0 after the last.
    next: u8,
    /// The checksum of the short name that the long name belongs to.
    checksum: u8,
    matches: bool,
}

impl LongName {
    /// Compares a part with that of a name. Only whether they match is kept.
    fn part(&mut self, entry: &[u8], name: &str) {
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
    fn is_of(&self, entry: &[u8]) -> bool {
        let sum = |sum: u8, byte: &u8| sum.rotate_right(1).wrapping_add(*byte);
        self.matches && self.next == 0 && self.checksum == entry[..11].iter().fold(0, sum)
    }
}

/// Compares a name with the 8.3 one of an entry.
fn short_name_is(entry: &[u8], name: &str) -> bool {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let padded = |field: &[u8], part: &str| field.trim_ascii_end().eq_ignore_ascii_case(part.as_bytes());
    !stem.is_empty() && padded(&entry[..8], stem) && padded(&entry[8..11], extension)
}

fn fold(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |unit| unit.to_ascii_lowercase().into())
}

/// `N` bytes of a block from `at` on; zeros if the block is shorter.
fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// A device, and a few blocks of its tables and directories.
pub(crate) struct Blocks<D> {
    device: D,
    /// How many blocks it has.
    total: u32,
    held: [Block; HELD],
    /// The numbers of the held blocks.
    which: Range<u32>,
}

impl<D: BlockDevice> Blocks<D> {
    pub(crate) fn new(device: D) -> Self {
        Self { device, total: 0, held: [const { Block { contents: [0; Block::LEN] } }; HELD], which: 0..0 }
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// Forgets the held blocks, and asks the device for its length again.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.which = 0..0;
        self.total = self.device.num_blocks().map_err(|_| Error::Device)?.0;
        Ok(())
    }

    /// Whether the device still answers. Held blocks do not count.
    pub(crate) fn is_there(&mut self) -> bool {
        self.which = 0..0;
        self.get(0).is_ok()
    }

    /// A block; and some after it are held for the next questions.
    fn get(&mut self, block: u32) -> Result<&[u8; 512], Error> {
        if !self.which.contains(&block) {
            self.which = 0..0;
            let left = self.total.checked_sub(block).ok_or(Error::Damaged)?;
            let room = self.held.get_mut(..HELD.min(left as usize)).unwrap_or_default();
            let count = room.len() as u32;
            self.device.read(room, BlockIdx(block)).map_err(|_| Error::Device)?;
            self.which = block..block + count;
        }
        let place = block.wrapping_sub(self.which.start) as usize;
        self.held
            .get(place)
            .filter(|_| self.which.contains(&block))
            .map(|block| &block.contents)
            .ok_or(Error::Damaged)
    }

    /// Reads blocks of a file.
    pub(crate) fn read(&mut self, into: &mut [Block], from: u32) -> Result<(), Error> {
        if self.total.checked_sub(from).is_none_or(|left| (left as usize) < into.len()) {
            return Err(Error::Damaged);
        }
        self.device.read(into, BlockIdx(from)).map_err(|_| Error::Device)
    }
}

/// Entries of the table in a block.
const PER_BLOCK: u32 = Block::LEN_U32 / 4;

/// Blocks held at a time.
const HELD: usize = 4;

/// Characters in one part of a long name.
const UNITS: usize = 13;

/// The longest directory: 65,536 entries.
const DIRECTORY_BLOCKS: u32 = 65_536 * 32 / Block::LEN_U32;

const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
