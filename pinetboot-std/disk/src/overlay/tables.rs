//! The tables of a qcow2 file: L1 and L2, which map the disk's clusters to the file's, and refcounts, which say which clusters of the file are in use.
//!
//! Pieces of L2 tables are held in memory ([`Cache`]), as they are in the file; all else is read from the file, whose pages the kernel
//! keeps. Every value read is checked before use; what no sound file has is [`DiskError::Damaged`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cache::{Cache, ENTRIES, Piece};
use super::header::{Header, LEN_AT, MOST_L1, MOST_OFFSET, MOST_REFCOUNTS, REFCOUNTS_AT};
use super::leaks::Leaks;
use super::mappings::{Mappings, Run, Target};
use super::medium::Medium;
use crate::disk::DiskError;

/// The tables, and the allocation of clusters.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) header: Header,
    cache: Cache,
    /// No cluster of the file before this one is free.
    pub(super) free_from: u64,
    /// Clusters that count as in use, for the next ones who ask.
    pub(super) ahead: Run,
    /// The search for clusters that count as in use and are not.
    pub(super) leaks: Leaks,
}

/// A piece of an L2 table that is being changed.
struct OpenPiece {
    number: u64,
    /// The offset in the file.
    at: u64,
    bytes: Vec<u8>,
}

/// L2 tables without an entry in the L1 table yet: their clusters in the file, by their index in the L1 table.
pub(super) type NewTables = BTreeMap<u64, u64>;

impl Tables {
    pub(super) fn new(medium: Arc<dyn Medium>, header: Header) -> Self {
        let (cache, ahead, leaks) = (Cache::default(), Run { first: 0, count: 0 }, Leaks::new(&header));
        Self { medium, header, cache, free_from: 0, ahead, leaks }
    }

    /// The target of a cluster of the disk, and the number of clusters, `most` at most, of which that holds.
    pub(super) fn lookup(&self, cluster: u64, most: u64) -> Result<(Target, u64), DiskError> {
        let (number, within) = (cluster / self.entries(), cluster % self.entries());
        let most = most.min(self.entries() - within);
        let piece = match self.cache.get(number) {
            Some(piece) => piece,
            None => self.load(number)?,
        };
        let Some(piece) = piece else { return Ok((Target::Base, most)) };
        let range = usize::try_from(within * 8).ok().zip(usize::try_from((within + most) * 8).ok());
        let bytes = range.and_then(|(from, to)| piece.get(from..to)).unwrap_or_default();
        let mut entries = words(bytes);
        let first = self.target(entries.next().unwrap_or(0))?;
        let mut run = 1;
        for entry in entries {
            if self.target(entry) != Ok(first.plus(run)) {
                break;
            }
            run += 1;
        }
        Ok((first, run))
    }

    /// Entries of a piece of an L2 table: all of a small one.
    const fn entries(&self) -> u64 {
        let all = self.header.per_l2();
        if all < ENTRIES { all } else { ENTRIES }
    }

    /// Reads a piece of an L2 table.
    fn load(&self, number: u64) -> Result<Piece, DiskError> {
        let cluster = number * self.entries();
        let (index, within) = (cluster / self.header.per_l2(), cluster % self.header.per_l2());
        let piece = match self.l2(index)? {
            Some(table) => {
                let mut bytes = vec![0; usize::try_from(self.entries() * 8).map_err(|_| DiskError::Damaged)?];
                self.medium.exact(&mut bytes, table + within * 8)?;
                Some(bytes.into())
            }
            None => None,
        };
        self.cache.put(number, piece.clone());
        Ok(piece)
    }

    /// Gives back the memory that only saves time.
    pub(super) fn rest(&self) {
        self.cache.clear();
    }

    /// Gives a cluster of the file to each L2 table that mappings need and the file lacks, and fills it with zeros. The mappings are sorted.
    pub(super) fn prepare(&mut self, mappings: &Mappings, new: &mut NewTables) -> Result<(), DiskError> {
        let per_l2 = self.header.per_l2();
        let mut next = 0;
        for (cluster, count, _) in mappings.iter() {
            let end = (cluster + count).div_ceil(per_l2);
            for index in next.max(cluster / per_l2)..end {
                if self.l2(index)?.is_none() {
                    let (at, _) = self.allocate(1)?;
                    new.insert(index, at);
                    self.zero(at, 1)?;
                }
            }
            next = next.max(end);
        }
        Ok(())
    }

    /// Enters mappings into the L2 tables, which are there or in `new`. The clusters of the file that were mapped go to `replaced`. Mappings
    /// that are neighbours are written together.
    pub(super) fn map(
        &mut self,
        mappings: &Mappings,
        new: &NewTables,
        replaced: &mut Vec<Run>,
    ) -> Result<(), DiskError> {
        let mut open: Option<OpenPiece> = None;
        for (mut cluster, mut count, mut target) in mappings.iter() {
            while count > 0 {
                let (number, within) = (cluster / self.entries(), cluster % self.entries());
                let run = count.min(self.entries() - within);
                let piece = match open.take() {
                    Some(piece) if piece.number == number => open.insert(piece),
                    other => {
                        self.write_piece(other)?;
                        open.insert(self.open_piece(number, new)?)
                    }
                };
                let places =
                    piece.bytes.chunks_exact_mut(8).skip(usize::try_from(within).unwrap_or(usize::MAX));
                for (at, place) in (0..run).zip(places) {
                    let old = words(place).next().unwrap_or(0);
                    let entry = match target.plus(at) {
                        Target::Base => 0,
                        Target::Zero => ZERO,
                        Target::Data(host) => COPIED | host << self.header.cluster_bits,
                    };
                    let first = (old & OFFSET) >> self.header.cluster_bits;
                    if first > 0 && old & COMPRESSED == 0 && old & OFFSET != entry & OFFSET {
                        let run = Run { first, count: 1 };
                        self.leaks.mark(run);
                        join(replaced, run);
                    }
                    place.copy_from_slice(&entry.to_be_bytes());
                }
                (cluster, count, target) = (cluster + run, count - run, target.plus(run));
            }
        }
        self.write_piece(open)
    }

    /// Reads a piece of an L2 table, to be changed.
    fn open_piece(&self, number: u64, new: &NewTables) -> Result<OpenPiece, DiskError> {
        let cluster = number * self.entries();
        let (index, within) = (cluster / self.header.per_l2(), cluster % self.header.per_l2());
        let table = match new.get(&index) {
            Some(at) => at << self.header.cluster_bits,
            None => self.l2(index)?.ok_or(DiskError::Damaged)?,
        };
        let mut bytes = vec![0; usize::try_from(self.entries() * 8).map_err(|_| DiskError::Damaged)?];
        self.medium.exact(&mut bytes, table + within * 8)?;
        Ok(OpenPiece { number, at: table + within * 8, bytes })
    }

    fn write_piece(&self, piece: Option<OpenPiece>) -> Result<(), DiskError> {
        let Some(OpenPiece { number, at, bytes }) = piece else { return Ok(()) };
        self.cache.forget(number);
        Ok(self.medium.write_at(&bytes, at)?)
    }

    /// Enters new L2 tables into the L1 table.
    pub(super) fn enter(&mut self, new: &NewTables) -> Result<(), DiskError> {
        for (index, at) in new {
            let entry = COPIED | at << self.header.cluster_bits;
            let written = self.medium.write_at(&entry.to_be_bytes(), self.header.l1_offset + index * 8);
            let pieces = self.header.per_l2() / self.entries();
            (index * pieces..(index + 1) * pieces).for_each(|number| self.cache.forget(number));
            written?;
        }
        Ok(())
    }

    /// Makes room in the L1 table for a disk of `len` bytes, and in the refcount table for its clusters, and sets the length.
    /// For a disk that is not in use, with no mappings to come.
    pub(super) fn resize(&mut self, len: u64) -> Result<(), DiskError> {
        let header = &self.header;
        let (cluster, bits) = (header.cluster(), header.cluster_bits);
        let (l1_entries, blocks) = (l1_entries(header, len), refcount_blocks(header, len));
        if l1_entries * 8 > MOST_L1 || blocks * 8 > MOST_REFCOUNTS {
            return Err(DiskError::NoSpace);
        }
        if blocks * 8 > header.refcounts_clusters * cluster {
            let old = Run { first: header.refcounts_offset >> bits, count: header.refcounts_clusters };
            let new = self.move_table(old, header.refcounts_clusters * cluster, blocks * 8)?;
            (self.header.refcounts_offset, self.header.refcounts_clusters) = (new.first << bits, new.count);
            let mut bytes = self.header.refcounts_offset.to_be_bytes().to_vec();
            bytes.extend(u32::try_from(new.count).map_err(|_| DiskError::NoSpace)?.to_be_bytes());
            self.medium.write_at(&bytes, REFCOUNTS_AT)?;
            self.medium.sync()?;
            self.free(&[old])?;
        }
        let header = &self.header;
        let mut old = None;
        if l1_entries > header.l1_entries {
            let from =
                Run { first: header.l1_offset >> bits, count: (header.l1_entries * 8).div_ceil(cluster) };
            let new = self.move_table(from, header.l1_entries * 8, l1_entries * 8)?;
            (self.header.l1_offset, self.header.l1_entries) = (new.first << bits, l1_entries);
            old = Some(from);
        }
        self.header.len = len;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend([0; 4]); // no encryption
        bytes.extend(u32::try_from(self.header.l1_entries).map_err(|_| DiskError::NoSpace)?.to_be_bytes());
        bytes.extend(self.header.l1_offset.to_be_bytes());
        self.medium.write_at(&bytes, LEN_AT)?;
        self.medium.sync()?;
        self.free(old.as_slice())
    }

    /// Copies `used` bytes of a table to a new place with room for `len` bytes, and waits until the copy is on the storage device.
    fn move_table(&mut self, from: Run, used: u64, len: u64) -> Result<Run, DiskError> {
        let bits = self.header.cluster_bits;
        let to = self.find_free(len.div_ceil(1 << bits), true)?;
        self.count(to, 1)?;
        self.zero(to.first, to.count)?;
        let mut bytes = vec![0; PIECE];
        let mut at = 0;
        while at < used {
            let piece = usize::try_from(used - at).unwrap_or(PIECE).min(PIECE);
            let bytes = bytes.get_mut(..piece).unwrap_or_default();
            self.medium.padded(bytes, (from.first << bits) + at)?;
            self.medium.write_at(bytes, (to.first << bits) + at)?;
            at += piece as u64;
        }
        self.medium.sync()?;
        Ok(to)
    }

    /// The offset of the L2 table with this index.
    pub(super) fn l2(&self, index: u64) -> Result<Option<u64>, DiskError> {
        if index >= self.header.l1_entries {
            return Err(DiskError::Damaged);
        }
        let offset = self.medium.word(self.header.l1_offset + index * 8)? & OFFSET;
        self.place(offset)
    }

    /// An offset of a cluster from a table; `None` for 0.
    pub(super) fn place(&self, offset: u64) -> Result<Option<u64>, DiskError> {
        if !offset.is_multiple_of(self.header.cluster()) || offset > MOST_OFFSET {
            return Err(DiskError::Damaged);
        }
        Ok((offset > 0).then_some(offset))
    }

    fn target(&self, entry: u64) -> Result<Target, DiskError> {
        // Compressed clusters are written by conversions, never into a disk in use.
        if entry & COMPRESSED != 0 {
            return Err(DiskError::Damaged);
        }
        let place = self.place(entry & OFFSET)?;
        Ok(match place {
            _ if entry & ZERO != 0 => Target::Zero,
            Some(offset) => Target::Data(offset >> self.header.cluster_bits),
            None => Target::Base,
        })
    }

    /// Fills clusters of the file with zeros.
    pub(super) fn zero(&self, first: u64, count: u64) -> Result<(), DiskError> {
        let zeros = vec![0; usize::try_from(self.header.cluster()).unwrap_or(PIECE)];
        for cluster in first..first + count {
            self.medium.write_at(&zeros, cluster << self.header.cluster_bits)?;
        }
        Ok(())
    }
}

/// Entries of the L1 table of a disk of `len` bytes.
pub(super) const fn l1_entries(header: &Header, len: u64) -> u64 {
    let entries = len.div_ceil(header.cluster()).div_ceil(header.per_l2());
    if entries == 0 { 1 } else { entries }
}

/// Blocks of refcounts for a file that holds all of a disk of `len` bytes, and its tables, with room for clusters that a power
/// cut left marked as in use.
pub(super) const fn refcount_blocks(header: &Header, len: u64) -> u64 {
    let data = len.div_ceil(header.cluster());
    let all = data + data / 4 + 2 * l1_entries(header, len) + 1024;
    all.div_ceil(header.per_block())
}

/// Appends a run, as a part of the last one if it follows that.
pub(super) fn join(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.first + last.count == run.first => last.count += run.count,
        _ => runs.push(run),
    }
}

pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_be_bytes(*word))
}

/// The bits of an entry that are an offset.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The refcount is exactly 1.
const COPIED: u64 = 1 << 63;
pub(super) const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros.
const ZERO: u64 = 1;
const PIECE: usize = 64 << 10;
