//! The refcounts of a qcow2 file, which say which of its clusters are in use: their allocation, and the way back.
//!
//! Clusters are counted as in use some ahead, for one write of refcounts instead of many. What a kill or a power cut leaves of that is found
//! by `leaks`.

use super::mappings::Run;
use super::tables::Tables;
use crate::disk::DiskError;

impl Tables {
    /// Marks up to `most` clusters of the file, in a row, as in use; returns the first and their number.
    pub(super) fn allocate(&mut self, most: u64) -> Result<(u64, u64), DiskError> {
        if self.ahead.count == 0 {
            let run = self.find_free(most.max(AHEAD), false)?;
            self.count(run, 1)?;
            self.free_from = run.first + run.count;
            self.ahead = run;
        }
        let Run { first, count } = self.ahead;
        let taken = count.min(most);
        self.ahead = Run { first: first + taken, count: count - taken };
        Ok((first, taken))
    }

    /// Gives back the clusters that count as in use ahead of their use.
    pub(super) fn settle(&mut self) -> Result<(), DiskError> {
        let ahead = core::mem::replace(&mut self.ahead, Run { first: 0, count: 0 });
        if ahead.count > 0 { self.free(&[ahead]) } else { Ok(()) }
    }

    /// Gives clusters of the file back, to which nothing on the storage device refers.
    pub(super) fn free(&mut self, runs: &[Run]) -> Result<(), DiskError> {
        for run in runs {
            self.count(*run, 0)?;
            self.free_from = self.free_from.min(run.first);
            let bits = self.header.cluster_bits;
            self.medium.punch(run.first << bits, run.count << bits);
        }
        Ok(())
    }

    /// Finds clusters of the file that are not in use: up to `most` in a row, or that many if `all`.
    pub(super) fn find_free(&mut self, most: u64, all: bool) -> Result<Run, DiskError> {
        let per_block = self.header.per_block();
        // Clusters in use beyond the file's end are no sound file's: the file's length bounds the search.
        let end = (self.medium.len()? >> self.header.cluster_bits) + (BATCH + 1) * per_block + 2 * most;
        let (mut at, mut found) = (self.free_from, Run { first: 0, count: 0 });
        while at < end {
            let (index, within) = (at / per_block, at % per_block);
            let Some(block) = self.block(index)? else {
                // The header's cluster is in use: its block exists. A table that lies elsewhere takes the new entry.
                if index == 0 {
                    return Err(DiskError::Damaged);
                }
                self.add_blocks(index)?;
                self.block(index)?.ok_or(DiskError::Damaged)?;
                continue;
            };
            let count = usize::try_from(per_block - within).unwrap_or(SCAN).min(SCAN);
            let mut bytes = [0; SCAN * 2];
            let bytes = bytes.get_mut(..count * 2).unwrap_or_default();
            self.medium.exact(bytes, block + within * 2)?;
            let (counts, _) = bytes.as_chunks::<2>();
            for (cluster, count) in (at..).zip(counts) {
                if *count == [0; 2] {
                    if found.count == 0 {
                        found.first = cluster;
                    }
                    found.count += 1;
                    if found.count == most {
                        return Ok(found);
                    }
                } else if found.count > 0 && !all {
                    return Ok(found);
                } else {
                    found.count = 0;
                }
            }
            at += count as u64;
            if found.count > 0 && !all {
                return Ok(found);
            }
        }
        Err(DiskError::Damaged)
    }

    /// The offset of a block of refcounts.
    pub(super) fn block(&self, index: u64) -> Result<Option<u64>, DiskError> {
        if index >= self.blocks() {
            return Err(DiskError::NoSpace);
        }
        let offset = self.medium.word(self.header.refcounts_offset + index * 8)?;
        if !offset.is_multiple_of(512) { Err(DiskError::Damaged) } else { self.place(offset) }
    }

    /// The blocks of refcounts that the table has room for.
    pub(super) fn blocks(&self) -> u64 {
        self.header.refcounts_clusters * self.header.per_l2()
    }

    /// Adds blocks of refcounts from `index` on, in the first of the clusters that they count. The table gets a block once the block
    /// is on the storage device.
    fn add_blocks(&mut self, index: u64) -> Result<(), DiskError> {
        let mut count = 0;
        while count < BATCH && index + count < self.blocks() && self.block(index + count)?.is_none() {
            count += 1;
        }
        let first = index * self.header.per_block();
        self.leaks.mark(Run { first, count });
        self.zero(first, count)?;
        let used = vec![[0, 1]; usize::try_from(count).unwrap_or(0)];
        self.medium.write_at(used.as_flattened(), first << self.header.cluster_bits)?;
        self.medium.sync()?;
        let entries: Vec<[u8; 8]> =
            (0..count).map(|at| ((first + at) << self.header.cluster_bits).to_be_bytes()).collect();
        Ok(self.medium.write_at(entries.as_flattened(), self.header.refcounts_offset + index * 8)?)
    }

    /// Sets the refcounts of a run, whose blocks are there.
    pub(super) fn count(&mut self, run: Run, refcount: u16) -> Result<(), DiskError> {
        if refcount > 0 {
            self.leaks.mark(run);
        }
        let per_block = self.header.per_block();
        let (mut at, mut left) = (run.first, run.count);
        while left > 0 {
            let within = at % per_block;
            let count = left.min(per_block - within).min(SCAN as u64);
            // A cluster without a refcount is free already.
            if let Some(block) = self.block(at / per_block)? {
                let counts = vec![refcount.to_be_bytes(); usize::try_from(count).unwrap_or(0)];
                self.medium.write_at(counts.as_flattened(), block + within * 2)?;
            }
            (at, left) = (at + count, left - count);
        }
        Ok(())
    }
}

/// Refcounts read at once.
const SCAN: usize = 2048;
/// Blocks of refcounts added at once, for one wait for the storage device.
const BATCH: u64 = 16;
/// Clusters counted as in use at once.
const AHEAD: u64 = 256;
