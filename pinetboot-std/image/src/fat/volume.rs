//! The boot sector, the table, and chains of clusters (sections "Boot Sector and BPB" and "FAT Data Structure").

use crate::read_at::{u16_at, u32_at};
use crate::{ImageError, Part, ReadAt};

/// The layout of a file system, checked to agree with itself. Offsets are bytes of the partition.
#[derive(Debug)]
pub(super) struct Volume<R> {
    pub(super) partition: Part<R>,
    width: Width,
    table: u64,
    root: Root,
    /// The offset of cluster 2.
    data: u64,
    /// Bytes in a cluster: a power of two, 512 at least.
    cluster_len: u64,
    /// The first number that is no cluster's.
    end: u32,
}

/// Bits of a number in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

#[derive(Debug, Clone, Copy)]
enum Root {
    /// FAT12 and FAT16: a fixed area, by offset and length.
    Area(u64, u64),
    /// FAT32: a chain, by its first cluster.
    Chain(u32),
}

/// The start of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Root,
    /// Beneath the root: its first cluster.
    Cluster(u32),
}

impl<R: ReadAt> Volume<R> {
    pub(super) fn open(partition: Part<R>) -> Result<Self, ImageError> {
        let mut sector = [0; 512];
        partition.read_exact_at(&mut sector, 0)?;
        Self::parse(&sector, partition)
            .ok_or(ImageError::Corrupt("its boot partition holds no FAT file system"))
    }

    fn parse(sector: &[u8; 512], partition: Part<R>) -> Option<Self> {
        let half = |at| u16_at(sector, at).map(u64::from);
        let word = |at| u32_at(sector, at).map(u64::from);
        let sector_len = half(11)?;
        let [_, _, per_cluster, ..] = *sector.get(11..)?.first_chunk::<4>()?;
        let (reserved, tables, root_entries) = (half(14)?, u64::from(*sector.get(16)?), half(17)?);
        let total = half(19).filter(|total| *total > 0).or(word(32))?;
        let short_table = half(22)?;
        let table_len = if short_table > 0 { short_table } else { word(36)? };
        let is_sound = sector.ends_with(&[0x55, 0xaa])
            && [512, 1024, 2048, 4096].contains(&sector_len)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && table_len > 0;
        if !is_sound {
            return None;
        }
        let root_area = reserved + tables * table_len;
        let data = root_area + (root_entries * ENTRY_LEN).div_ceil(sector_len);
        let clusters = total.checked_sub(data)? / u64::from(per_cluster);
        let width = match clusters {
            _ if short_table == 0 => Width::Fat32,
            ..=MOST_FAT12 => Width::Fat12,
            _ => Width::Fat16,
        };
        // With mirroring off, the low bits of the flags name the table in use.
        let flags = half(40)?;
        let active = if width == Width::Fat32 && flags & 0x80 != 0 { flags & 0xf } else { 0 };
        let table = (reserved + active * table_len) * sector_len;
        let in_table = table_len * sector_len * 8 / width.bits();
        let end = (clusters + 2).min(in_table).min(width.first_special());
        let root = match width {
            Width::Fat32 => Root::Chain(u32_at(sector, 44)?),
            Width::Fat12 | Width::Fat16 => Root::Area(root_area * sector_len, root_entries * ENTRY_LEN),
        };
        Some(Self {
            partition,
            width,
            table,
            root,
            data: data * sector_len,
            cluster_len: u64::from(per_cluster) * sector_len,
            end: u32::try_from(end).ok()?,
        })
    }

    /// How many clusters the volume has.
    pub(super) fn clusters(&self) -> u64 {
        u64::from(self.end).saturating_sub(2)
    }

    /// The first cluster of a directory entry. FAT12 and FAT16 have another use for the high half.
    pub(super) fn first_cluster(&self, high: u16, low: u16) -> u32 {
        let high = if self.width == Width::Fat32 { high } else { 0 };
        u32::from(high) << 16 | u32::from(low)
    }

    /// The fixed area of a root directory, by offset and length; else the chain of a directory.
    pub(super) fn directory(&self, place: Place) -> (Option<(u64, u64)>, Chain) {
        match (place, self.root) {
            (Place::Root, Root::Area(offset, len)) => (Some((offset, len)), Chain::new(0)),
            (Place::Root, Root::Chain(first)) | (Place::Cluster(first), _) => (None, Chain::new(first)),
        }
    }

    fn checked(&self, cluster: u32) -> Result<u32, ImageError> {
        if (2..self.end).contains(&cluster) { Ok(cluster) } else { Err(BAD_CLUSTER) }
    }

    fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - 2) * self.cluster_len
    }

    /// The cluster that follows in a chain; `None` at its end.
    fn next(&self, cluster: u32, window: &mut Window) -> Result<Option<u32>, ImageError> {
        let number = u64::from(cluster);
        let next = match self.width {
            Width::Fat12 => {
                let pair = u16::from_le_bytes(window.get(self, self.table + number + number / 2)?);
                u32::from(if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 })
            }
            Width::Fat16 => u16::from_le_bytes(window.get(self, self.table + number * 2)?).into(),
            Width::Fat32 => u32::from_le_bytes(window.get(self, self.table + number * 4)?) & 0x0fff_ffff,
        };
        if u64::from(next) >= self.width.first_special() + 8 {
            Ok(None)
        } else {
            self.checked(next).map(Some)
        }
    }
}

impl Width {
    const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// The first number with another meaning than a cluster; 8 later begin the marks of a chain's end.
    const fn first_special(self) -> u64 {
        match self {
            Self::Fat12 => 0xff0,
            Self::Fat16 => 0xfff0,
            Self::Fat32 => 0x0fff_fff0,
        }
    }
}

/// A chain of clusters being read.
#[derive(Debug)]
pub(super) struct Chain {
    /// The cluster to come; `None` after the last one.
    next: Option<u32>,
    window: Window,
}

impl Chain {
    /// The chain from a cluster on, which need not be valid; 0 is the empty chain.
    pub(super) const fn new(first: u32) -> Self {
        Self { next: if first == 0 { None } else { Some(first) }, window: Window::new() }
    }

    /// The next clusters that lie together, by offset and length, up to the one with byte `most`; `None` after the last one.
    pub(super) fn next_run<R: ReadAt>(
        &mut self,
        volume: &Volume<R>,
        most: u64,
        budget: &mut u64,
    ) -> Result<Option<(u64, u64)>, ImageError> {
        let Some(first) = self.next else { return Ok(None) };
        let mut last = volume.checked(first)?;
        let mut len = 0;
        loop {
            *budget = budget.checked_sub(1).ok_or(USED_TWICE)?;
            len += volume.cluster_len;
            self.next = volume.next(last, &mut self.window)?;
            if self.next != Some(last + 1) || len >= most {
                return Ok(Some((volume.offset(first), len)));
            }
            last += 1;
        }
    }
}

/// A piece of the table, so that numbers side by side take one read.
#[derive(Debug)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    const fn new() -> Self {
        Self { at: 0, bytes: Vec::new() }
    }

    fn get<R: ReadAt, const N: usize>(&mut self, volume: &Volume<R>, at: u64) -> Result<[u8; N], ImageError> {
        if let Some(bytes) = self.held(at) {
            return Ok(bytes);
        }
        let len = volume.partition.len().saturating_sub(at).min(WINDOW);
        self.bytes.resize(len as usize, 0);
        self.at = at;
        volume.partition.read_exact_at(&mut self.bytes, at)?;
        self.held(at).ok_or(BAD_CLUSTER)
    }

    fn held<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..)?.first_chunk().copied()
    }
}

const BAD_CLUSTER: ImageError = ImageError::Corrupt("its boot partition has an invalid cluster number");
const USED_TWICE: ImageError = ImageError::Corrupt("its boot partition uses clusters more than once");
/// Bytes of an entry of a directory.
const ENTRY_LEN: u64 = 32;
/// The most clusters of FAT12, as Linux counts.
const MOST_FAT12: u64 = 0xff4;
/// Bytes of the table that are read at once.
const WINDOW: u64 = 4096;
