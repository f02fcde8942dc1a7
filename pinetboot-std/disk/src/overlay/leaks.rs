//! Clusters that count as in use and are not, which a kill or a power cut leaves: found, and given back, while the disk is used.
//!
//! A file that was not closed has its bit of [`AUTOCLEAR_CLOSED`](super::header::AUTOCLEAR_CLOSED) cleared, and is searched: each cluster that
//! a table names is marked, and so is each one that is allocated or replaced from the beginning of the search on; those that count as in use
//! and have no mark then are free. Before the search begins, the file is synced: nothing on the storage device names them either.
//!
//! Not searched, and so left as they are: files of another program with extensions that this crate does not know, as they may use clusters;
//! files of more than 2^28 clusters.

use super::header::Header;
use super::mappings::Run;

/// The search.
#[derive(Debug)]
pub(super) enum Leaks {
    /// There are none.
    None,
    /// There may be some, and they are not searched for.
    Unknown,
    /// Searched for.
    Searched(Search),
}

/// How far a search is.
#[derive(Debug)]
pub(super) struct Search {
    /// A bit for each cluster of the file as it was at the beginning.
    used: Vec<u64>,
    pub(super) clusters: u64,
    /// L2 tables before this one, by their index in the L1 table, are done.
    pub(super) table: u64,
    /// Blocks of refcounts before this one are done.
    pub(super) block: u64,
}

impl Leaks {
    /// Those of a file, by its header.
    pub(super) const fn new(header: &Header) -> Self {
        if header.was_closed() { Self::None } else { Self::Unknown }
    }

    /// Takes clusters for used ones.
    pub(super) fn mark(&mut self, run: Run) {
        if let Self::Searched(search) = self {
            search.mark(run);
        }
    }
}

impl Search {
    /// A search of a file of so many clusters; none is marked yet.
    pub(super) fn new(clusters: u64) -> Option<Self> {
        let used = vec![0; usize::try_from(clusters.div_ceil(64)).ok()?];
        Some(Self { used, clusters, table: 0, block: 0 })
    }

    pub(super) fn mark(&mut self, run: Run) {
        for cluster in run.first..run.first.saturating_add(run.count).min(self.clusters) {
            if let Some(word) = usize::try_from(cluster / 64).ok().and_then(|at| self.used.get_mut(at)) {
                *word |= 1 << (cluster % 64);
            }
        }
    }

    pub(super) fn is_used(&self, cluster: u64) -> bool {
        let word = usize::try_from(cluster / 64).ok().and_then(|at| self.used.get(at));
        word.is_none_or(|word| word >> (cluster % 64) & 1 == 1)
    }
}
