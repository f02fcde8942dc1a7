//! The way of mappings: into the log and memory when they are made, and into the tables with a flush.

use core::sync::atomic::Ordering;

use super::mappings::{Mappings, Run, Target};
use super::tables::NewTables;
use super::{Overlay, State, records};
use crate::disk::{Disk, DiskError};

impl Overlay {
    /// Maps clusters, in the log and in memory.
    pub(super) fn record(
        &self,
        state: &mut State,
        cluster: u64,
        count: u64,
        target: Target,
    ) -> Result<(), DiskError> {
        let record = records::record(cluster, count, target);
        let head = if state.records == 0 { &self.log_head[..] } else { &[] };
        self.log.append(&[head, &record].concat())?;
        state.records += 1;
        let State { pending, dropped, .. } = state;
        pending.set(cluster, count, target, dropped);
        Ok(())
    }

    /// Flushes when the mappings outside of the tables have become many.
    pub(super) fn bound(&self) -> Result<(), DiskError> {
        let state = self.read();
        let many = state.pending.runs() > MOST_PENDING || state.records > MOST_PENDING;
        drop(state);
        if many { self.flush() } else { Ok(()) }
    }

    /// Puts the pending mappings into the tables, in an order in which a power cut leaves a sound file at each point.
    pub(super) fn put_into_tables(&self) -> Result<(), DiskError> {
        let mut new = NewTables::new();
        {
            let mut state = self.write();
            let state = &mut *state;
            if let Err(error) = state.tables.prepare(&state.pending, &mut new) {
                let runs: Vec<Run> = new.values().map(|at| Run { first: *at, count: 1 }).collect();
                let _freed = state.tables.free(&runs);
                return Err(error);
            }
            state.flushing = core::mem::take(&mut state.pending);
        }
        // 1. The data, the refcounts and the new L2 tables are there before anything refers to them.
        self.sync()?;
        let mut replaced = {
            let mut state = self.write();
            let State { tables, flushing, dropped, .. } = &mut *state;
            let mut replaced = Vec::new();
            let mapped = tables.map(flushing, &new, &mut replaced).and_then(|()| tables.enter(&new));
            // The log still has the mappings: the disk is whole once it is opened anew.
            mapped.inspect_err(|_| self.failed.store(true, Ordering::Release))?;
            replaced.append(dropped);
            replaced
        };
        // 2. Nothing refers to the replaced clusters before they are given back.
        self.sync()?;
        let mut state = self.write();
        state.flushing = Mappings::default();
        let mut log = Vec::new();
        for (cluster, count, target) in state.pending.iter() {
            log.extend(records::record(cluster, count, target));
        }
        state.records = log.len() / records::RECORD;
        if !log.is_empty() {
            log.splice(..0, self.log_head.iter().copied());
        }
        self.log.replace(&log).inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        replaced.sort_unstable_by_key(|run| run.first);
        state.tables.free(&replaced)
    }

    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.medium.sync().inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        Ok(())
    }
}

/// Mappings outside of the tables, each some 50 bytes of memory. A system flushes every few seconds by itself.
const MOST_PENDING: usize = 32_768;
