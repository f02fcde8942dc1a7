//! The search of a file for [`leaks`](super::leaks): which clusters the tables name, and which of the others count as in use.

use super::leaks::{Leaks, Search};
use super::mappings::Run;
use super::tables::{COMPRESSED, OFFSET, Tables, join, words};
use crate::disk::DiskError;

impl Tables {
    /// Begins the search if it is needed. The file is synced, and has no mapping that waits.
    pub(super) fn begin_search(&mut self) -> Result<(), DiskError> {
        let (bits, cluster) = (self.header.cluster_bits, self.header.cluster());
        if !matches!(self.leaks, Leaks::Unknown) || self.header.is_foreign {
            return Ok(());
        }
        // Clusters that count as in use may be beyond the end of the file.
        let blocks = self.block_clusters()?;
        let clusters = blocks.last().map_or(0, |(index, _)| (index + 1) * self.header.per_block());
        if clusters > MOST {
            return Ok(());
        }
        let mut search = Search::new(clusters).ok_or(DiskError::NoSpace)?;
        search.mark(Run { first: 0, count: 1 });
        let (refcounts, l1) = (self.header.refcounts_offset >> bits, self.header.l1_offset >> bits);
        search.mark(Run { first: refcounts, count: self.header.refcounts_clusters });
        search.mark(Run { first: l1, count: (self.header.l1_entries * 8).div_ceil(cluster) });
        search.mark(self.ahead);
        blocks.iter().for_each(|(_, block)| search.mark(Run { first: *block, count: 1 }));
        self.leaks = Leaks::Searched(search);
        Ok(())
    }

    /// The blocks of refcounts that are there: their indexes, and their clusters.
    fn block_clusters(&self) -> Result<Vec<(u64, u64)>, DiskError> {
        let (mut found, mut bytes, mut at) = (Vec::new(), vec![0; PIECE], 0);
        while at < self.blocks() {
            let count = (self.blocks() - at).min(PIECE as u64 / 8);
            let bytes = bytes.get_mut(..usize::try_from(count * 8).unwrap_or(0)).unwrap_or_default();
            self.medium.padded(bytes, self.header.refcounts_offset + at * 8)?;
            for (index, offset) in (at..).zip(words(bytes)) {
                found.extend(self.place(offset)?.map(|block| (index, block >> self.header.cluster_bits)));
            }
            at += count;
        }
        Ok(found)
    }

    /// Goes on with the search for some tables; returns whether no more is to do. A failure ends the search.
    pub(super) fn search(&mut self, tables: u64) -> bool {
        // Unknown, if the search fails.
        let mut search = match core::mem::replace(&mut self.leaks, Leaks::Unknown) {
            Leaks::Searched(search) => search,
            other => {
                self.leaks = other;
                return true;
            }
        };
        let found = if search.table < self.header.l1_entries {
            self.look(&mut search, tables).map(|()| Vec::new())
        } else {
            self.leaked(&mut search, tables)
        };
        let Ok(leaked) = found else { return true };
        let is_done = search.table >= self.header.l1_entries && search.block >= self.last_block(&search);
        // Before the clusters are given back: they may be allocated again at once.
        self.leaks = if is_done { Leaks::None } else { Leaks::Searched(search) };
        if self.free(&leaked).is_err() {
            self.leaks = Leaks::Unknown;
            return true;
        }
        is_done
    }

    /// Marks what the next L2 tables name.
    fn look(&self, search: &mut Search, tables: u64) -> Result<(), DiskError> {
        let mut bytes = [0; L1_ENTRIES * 8];
        let count =
            usize::try_from(self.header.l1_entries - search.table).unwrap_or(L1_ENTRIES).min(L1_ENTRIES);
        let bytes = bytes.get_mut(..count * 8).unwrap_or_default();
        self.medium.exact(bytes, self.header.l1_offset + search.table * 8)?;
        let mut left = tables;
        for entry in words(bytes) {
            if left == 0 {
                break;
            }
            search.table += 1;
            if let Some(table) = self.place(entry & OFFSET)? {
                search.mark(Run { first: table >> self.header.cluster_bits, count: 1 });
                self.look_at(table, search)?;
                left -= 1;
            }
        }
        Ok(())
    }

    /// Marks what an L2 table names.
    fn look_at(&self, table: u64, search: &mut Search) -> Result<(), DiskError> {
        let mut bytes = vec![0; usize::try_from(self.header.cluster()).unwrap_or(PIECE).min(PIECE)];
        let mut at = 0;
        while at < self.header.cluster() {
            self.medium.exact(&mut bytes, table + at)?;
            for entry in words(&bytes) {
                // A compressed cluster may be in any number of clusters of the file.
                if entry & COMPRESSED != 0 {
                    return Err(DiskError::Damaged);
                }
                if let Some(data) = self.place(entry & OFFSET)? {
                    search.mark(Run { first: data >> self.header.cluster_bits, count: 1 });
                }
            }
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// The clusters without a mark that the next blocks of refcounts count as in use.
    fn leaked(&self, search: &mut Search, blocks: u64) -> Result<Vec<Run>, DiskError> {
        let (per_block, mut leaked) = (self.header.per_block(), Vec::new());
        let mut bytes = vec![0; usize::try_from(per_block * 2).map_err(|_| DiskError::Damaged)?];
        for index in search.block..self.last_block(search).min(search.block + blocks) {
            if let Some(block) = self.block(index)? {
                self.medium.exact(&mut bytes, block)?;
                let (counts, _) = bytes.as_chunks::<2>();
                for (cluster, count) in (index * per_block..search.clusters).zip(counts) {
                    if *count == [0, 1] && !search.is_used(cluster) {
                        join(&mut leaked, Run { first: cluster, count: 1 });
                    }
                }
            }
            search.block = index + 1;
        }
        Ok(leaked)
    }

    fn last_block(&self, search: &Search) -> u64 {
        search.clusters.div_ceil(self.header.per_block()).min(self.blocks())
    }
}

/// Clusters of a file that is searched: the marks take 32 MiB.
const MOST: u64 = 1 << 28;
/// Entries of the L1 table read at once.
const L1_ENTRIES: usize = 512;
const PIECE: usize = 64 << 10;
