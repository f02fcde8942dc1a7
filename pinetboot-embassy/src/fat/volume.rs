//! A volume: its files and directories, and where their blocks are.

use core::ops::Range;

use embedded_sdmmc::{Block, BlockDevice};

use super::blocks::{Blocks, bytes};
use super::error::Error;
use super::exfat::{self, EntrySet, Found};
use super::names::{LongName, short_name_is};

/// The parts of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(super) kind: Kind,
    /// The first block of the table, and of cluster 2.
    pub(super) table: u32,
    pub(super) data: u32,
    /// Blocks in a cluster: a power of two.
    pub(super) cluster: u32,
    /// The first number past the clusters.
    pub(super) end: u32,
    /// The root directory's first cluster; 0 for FAT16.
    pub(super) root: u32,
    /// The random serial number, which tells volumes apart.
    pub(super) id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its root directory has a place of its own: the first block, and the number of blocks.
    Fat16 {
        root: u32,
        root_len: u32,
    },
    Fat32,
    ExFat,
}

/// A file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) is_directory: bool,
    pub(crate) len: u32,
    start: Start,
    /// Time and date of its last write; for exFAT a checksum too.
    stamp: [u8; 6],
    /// Where the entry itself is: its block, and its place in that.
    at: (u32, usize),
}

/// Where the blocks of a file or directory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// FAT16's root directory.
    Root,
    /// A chain of clusters in the table, from this one on.
    Chain(u32),
    /// So many clusters, one after the other.
    Row(u32, u32),
}

/// A file being read, and the place in its chain of clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    start: Start,
    /// The cluster's index in the file, and its number.
    now: (u32, u32),
}

impl Volume {
    /// The volume with no more clusters than a table of this length has, in blocks; `None` if the root directory is not
    /// among them.
    pub(super) fn within(self, table_len: u32) -> Option<Self> {
        // The highest numbers have other meanings.
        let end = self.end.min(table_len.saturating_mul(Block::LEN_U32 / self.number_len()));
        let volume = Self { end, ..self };
        (matches!(self.kind, Kind::Fat16 { .. }) || volume.clusters().contains(&self.root)).then_some(volume)
    }

    /// Bytes of a number in the table.
    const fn number_len(&self) -> u32 {
        match self.kind {
            Kind::Fat16 { .. } => 2,
            Kind::Fat32 | Kind::ExFat => 4,
        }
    }

    const fn root(&self) -> Start {
        match self.kind {
            Kind::Fat16 { .. } => Start::Root,
            Kind::Fat32 | Kind::ExFat => Start::Chain(self.root),
        }
    }

    /// Looks for a file or directory beneath the root, or beneath another directory. Case does not matter.
    pub(crate) fn look_up<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        beneath: Option<&Entry>,
        path: &str,
    ) -> Result<Option<Entry>, Error> {
        let mut found = None;
        let mut directory = Some(beneath.map_or(self.root(), |entry| entry.start));
        for name in path.split('/') {
            let Some(start) = directory else { return Ok(None) };
            let Some(entry) = self.look_in(blocks, start, name)? else { return Ok(None) };
            directory = entry.is_directory.then_some(entry.start);
            found = Some(entry);
        }
        Ok(found)
    }

    fn look_in<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        directory: Start,
        name: &str,
    ) -> Result<Option<Entry>, Error> {
        let mut chain = Chain::of(directory);
        let mut long = LongName::default();
        let mut set = EntrySet::default();
        for index in 0..DIRECTORY_BLOCKS {
            let Some(run) = self.run(blocks, &mut chain, index, 1)? else { return Ok(None) };
            let block = blocks.get(run.start)?;
            for (place, entry) in block.chunks_exact(32).enumerate() {
                let at = (run.start, place);
                if entry[0] == 0 {
                    return Ok(None);
                }
                if self.kind == Kind::ExFat {
                    if let Some(found) = set.take(entry, at, name) {
                        return self.exfat_entry(&found).map(Some);
                    }
                    continue;
                }
                match (entry[0], entry[11]) {
                    (0xe5, _) => long = LongName::default(),
                    (_, attributes) if attributes & 0x3f == LONG_NAME => long.part(entry, name),
                    (_, attributes) if attributes & VOLUME_LABEL != 0 => long = LongName::default(),
                    _ => {
                        if long.is_of(entry) || short_name_is(entry, name) {
                            return Ok(Some(self.entry(entry, at)));
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
        let now = blocks.get(block)?.chunks_exact(32).nth(place);
        Ok(now.is_some_and(|now| match self.kind {
            Kind::ExFat => exfat::stamp(now) == file.stamp,
            Kind::Fat16 { .. } | Kind::Fat32 => self.entry(now, file.at) == *file,
        }))
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
        let (number, clusters) = match (chain.start, self.kind) {
            (Start::Root, Kind::Fat16 { root, root_len }) => {
                return Ok(
                    (index < root_len).then(|| root + index..root + root_len.min(index.saturating_add(most)))
                );
            }
            (Start::Root, _) => return Err(Error::Damaged),
            (Start::Row(_, clusters), _) if cluster >= clusters => return Ok(None),
            (Start::Row(first, clusters), _) => {
                let last = first.checked_add(clusters - 1).ok_or(Error::Damaged)?;
                if !self.clusters().contains(&first) || !self.clusters().contains(&last) {
                    return Err(Error::Damaged);
                }
                (first + cluster, clusters - cluster)
            }
            (Start::Chain(_), _) => (self.follow(blocks, chain, cluster)?, 1),
        };
        if number == 0 {
            return Ok(None);
        }
        if !self.clusters().contains(&number) {
            return Err(Error::Damaged);
        }
        let within = index % self.cluster;
        let start = self.data + (number - 2) * self.cluster + within;
        let mut count = clusters.saturating_mul(self.cluster) - within;
        if matches!(chain.start, Start::Chain(_)) {
            let mut last = number;
            while count < most && self.next(blocks, last)? == Some(last + 1) {
                last += 1;
                count += self.cluster;
            }
        }
        Ok(Some(start..start + count.min(most)))
    }

    /// Goes to the cluster of that index in a chain: its number, or 0 past the end.
    fn follow<D: BlockDevice>(
        &self,
        blocks: &mut Blocks<D>,
        chain: &mut Chain,
        cluster: u32,
    ) -> Result<u32, Error> {
        if cluster < chain.now.0 {
            *chain = Chain::of(chain.start);
        }
        while chain.now.0 < cluster {
            let Some(next) = self.next(blocks, chain.now.1)? else { return Ok(0) };
            chain.now = (chain.now.0 + 1, next);
        }
        match chain.now.1 {
            0 => Err(Error::Damaged),
            number => Ok(number),
        }
    }

    /// The cluster that follows in a chain; `None` at its end.
    fn next<D: BlockDevice>(&self, blocks: &mut Blocks<D>, cluster: u32) -> Result<Option<u32>, Error> {
        if !self.clusters().contains(&cluster) {
            return Err(Error::Damaged);
        }
        let per_block = Block::LEN_U32 / self.number_len();
        let block = blocks.get(self.table + cluster / per_block)?;
        let at = (cluster % per_block * self.number_len()) as usize;
        let (next, end) = match self.kind {
            Kind::Fat16 { .. } => (u16::from_le_bytes(bytes(block, at)).into(), 0xfff8),
            Kind::Fat32 => (u32::from_le_bytes(bytes(block, at)) & 0x0fff_ffff, 0x0fff_fff8),
            Kind::ExFat => (u32::from_le_bytes(bytes(block, at)), u32::MAX),
        };
        match next {
            next if next >= end => Ok(None),
            next if self.clusters().contains(&next) => Ok(Some(next)),
            _ => Err(Error::Damaged),
        }
    }

    const fn clusters(&self) -> Range<u32> {
        2..self.end
    }

    fn entry(&self, entry: &[u8], at: (u32, usize)) -> Entry {
        let [high_low, high_high] = match self.kind {
            Kind::Fat16 { .. } => [0; 2], // something else is there
            Kind::Fat32 | Kind::ExFat => bytes(entry, 20),
        };
        let [low_low, low_high] = bytes(entry, 26);
        let first = u32::from_le_bytes([low_low, low_high, high_low, high_high]) & 0x0fff_ffff;
        let is_directory = entry.get(11).is_some_and(|attributes| attributes & DIRECTORY != 0);
        let [a, b, c, d] = bytes(entry, 22);
        Entry {
            is_directory,
            len: u32::from_le_bytes(bytes(entry, 28)),
            // A directory's ".." says 0 where it means the root.
            start: if is_directory && first == 0 { self.root() } else { Start::Chain(first) },
            stamp: [a, b, c, d, 0, 0],
            at,
        }
    }

    fn exfat_entry(&self, found: &Found) -> Result<Entry, Error> {
        let Found { is_directory, stream, stamp, at } = *found;
        let len = u32::try_from(stream.len).map_err(|_| Error::TooLarge)?;
        if stream.valid != stream.len {
            return Err(Error::Damaged);
        }
        let clusters = len.div_ceil(Block::LEN_U32).div_ceil(self.cluster);
        let start =
            if stream.contiguous { Start::Row(stream.first, clusters) } else { Start::Chain(stream.first) };
        Ok(Entry { is_directory, len, start, stamp, at })
    }
}

impl Chain {
    const fn of(start: Start) -> Self {
        let first = match start {
            Start::Root => 0,
            Start::Chain(first) | Start::Row(first, _) => first,
        };
        Self { start, now: (0, first) }
    }

    /// The file's, at its beginning.
    pub(crate) const fn of_file(file: &Entry) -> Self {
        Self::of(file.start)
    }
}

/// The longest directory: 65,536 entries.
const DIRECTORY_BLOCKS: u32 = 65_536 * 32 / Block::LEN_U32;

const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
