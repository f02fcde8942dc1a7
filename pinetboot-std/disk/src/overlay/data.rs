//! The disk of an overlay: reads and writes, to clusters that are the disk's own and to new ones.

use super::mappings::{Run, Target};
use super::{FLUSHING, Overlay, State};
use crate::disk::{Disk, DiskError, Extent, FileRange, check};
use crate::image::Access;

impl Overlay {
    /// The target of a cluster, and the number of clusters, `most` at most, of which that holds.
    fn lookup(&self, state: &State, cluster: u64, most: u64) -> Result<(Target, u64), DiskError> {
        let (found, most) = state.pending.get(cluster, most);
        if let Some(target) = found {
            return Ok((target, most));
        }
        let (found, most) = state.flushing.get(cluster, most);
        match found {
            Some(target) => Ok((target, most)),
            None => state.tables.lookup(cluster, most),
        }
    }

    /// The target of the bytes at `offset`, the offset of its first byte in the file, and the number of bytes, `most` at most, of which that holds.
    fn locate(&self, state: &State, offset: u64, most: u64) -> Result<(Target, u64, u64), DiskError> {
        let within = offset & (self.cluster() - 1);
        let clusters = (within + most).div_ceil(self.cluster());
        let (target, run) = self.lookup(state, offset >> self.cluster_bits, clusters)?;
        let at = match target {
            Target::Data(host) => (host << self.cluster_bits) + within,
            _ => 0,
        };
        Ok((target, at, ((run << self.cluster_bits) - within).min(most)))
    }

    /// Fills `buf` from a target.
    fn fetch(&self, target: Target, at: u64, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        match target {
            Target::Data(_) => self.medium.padded(buf, at),
            Target::Zero => {
                buf.fill(0);
                Ok(())
            }
            Target::Base => {
                let in_base = usize::try_from(self.base.len().saturating_sub(offset)).unwrap_or(usize::MAX);
                let (from_base, beyond) = buf.split_at_mut(in_base.min(buf.len()));
                beyond.fill(0);
                if from_base.is_empty() { Ok(()) } else { self.base.read_at(from_base, offset) }
            }
        }
    }

    /// As [`fetch`](Self::fetch), without waiting for the storage device; `false` where that cannot be.
    fn fetch_now(&self, target: Target, at: u64, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        match target {
            Target::Data(_) => Ok(self.medium.read_now(buf, at)),
            Target::Base if offset.saturating_add(buf.len() as u64) <= self.base.len() => {
                self.base.read_now(buf, offset)
            }
            _ => self.fetch(target, at, buf, offset).map(|()| true),
        }
    }

    /// Writes to clusters of the file that are the disk's already; returns the number of bytes up to the first that is not.
    fn write_in_place(&self, state: &State, bytes: &[u8], offset: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let (target, at, len) = self.locate(state, offset + done as u64, rest.len() as u64)?;
            let Target::Data(_) = target else { break };
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            // A damaged file would grow without bounds.
            if at > self.medium.len()? {
                return Err(DiskError::Damaged);
            }
            self.medium.write_at(rest.get(..len).unwrap_or(rest), at)?;
            done += len;
        }
        Ok(done)
    }

    /// Writes to new clusters of the file: the bytes up to the end of the run of clusters that are not the disk's own yet, or of the space
    /// found. Returns their number.
    fn write_anew(&self, state: &mut State, bytes: &[u8], offset: u64) -> Result<usize, DiskError> {
        let (_, _, len) = self.locate(state, offset, bytes.len() as u64)?;
        let within = offset & (self.cluster() - 1);
        let (host, count) = state.tables.allocate((within + len).div_ceil(self.cluster()))?;
        let len = len.min((count << self.cluster_bits) - within);
        let bytes = bytes.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(bytes);
        let run = Run { first: host, count };
        let written = self
            .fill(state, run, bytes, offset)
            .and_then(|()| self.record(state, offset >> self.cluster_bits, count, Target::Data(host)));
        if let Err(error) = written {
            // Nothing refers to them.
            let _freed = state.tables.free(&[run]);
            return Err(error);
        }
        Ok(bytes.len())
    }

    /// Fills clusters of the file: with `bytes`, and before and behind them with the disk's present content.
    fn fill(&self, state: &State, run: Run, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let start = offset & !(self.cluster() - 1);
        let end = offset + bytes.len() as u64;
        let at = run.first << self.cluster_bits;
        for (from, to) in [(start, offset), (end, start + (run.count << self.cluster_bits))] {
            // Less than a cluster each.
            let mut old = vec![0; usize::try_from(to - from).map_err(|_| DiskError::Damaged)?];
            if old.is_empty() {
                continue;
            }
            let (target, in_file, _) = self.locate(state, from, to - from)?;
            self.fetch(target, in_file, &mut old, from)?;
            self.medium.write_at(&old, at + (from - start))?;
        }
        Ok(self.medium.write_at(bytes, at + (offset - start))?)
    }

    /// Maps whole clusters of a range to zeros; returns the range of bytes.
    pub(super) fn zero_clusters(&self, offset: u64, len: u64) -> Result<(u64, u64), DiskError> {
        let end = offset + len;
        let first = offset.div_ceil(self.cluster());
        // The last cluster may be cut off by the disk's end.
        let last = if end == self.len { end.div_ceil(self.cluster()) } else { end >> self.cluster_bits };
        if first >= last {
            return Ok((end, end));
        }
        self.record(&mut self.write(), first, last - first, Target::Zero)?;
        Ok((first << self.cluster_bits, (last << self.cluster_bits).min(end)))
    }
}

impl Disk for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn continuity(&self) -> Option<String> {
        Some(self.continuity.clone())
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        check(self.len, offset, buf.len() as u64)?;
        let state = self.read();
        let (mut rest, mut offset) = (buf, offset);
        while !rest.is_empty() {
            let (target, at, len) = self.locate(&state, offset, rest.len() as u64)?;
            let (piece, behind) = rest.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX));
            self.fetch(target, at, piece, offset)?;
            (rest, offset) = (behind, offset + len);
        }
        Ok(())
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        check(self.len, offset, buf.len() as u64)?;
        let state = self.read();
        let (mut rest, mut offset) = (buf, offset);
        while !rest.is_empty() {
            let (target, at, len) = self.locate(&state, offset, rest.len() as u64)?;
            let (piece, behind) = rest.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX));
            if !self.fetch_now(target, at, piece, offset)? {
                return Ok(false);
            }
            (rest, offset) = (behind, offset + len);
        }
        Ok(true)
    }

    fn in_file(&self, offset: u64, len: u64) -> Option<FileRange> {
        check(self.len, offset, len).ok().filter(|()| len > 0)?;
        let (target, _, len) = self.locate(&self.read(), offset, len).ok()?;
        let len = len.min(self.base.len().checked_sub(offset)?);
        if target == Target::Base { self.base.in_file(offset, len) } else { None }
    }

    fn rest(&self) {
        self.read().tables.rest();
        self.base.rest();
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.writable(offset, bytes.len() as u64)?;
        let mut done = self.write_in_place(&self.read(), bytes, offset)?;
        if done == bytes.len() {
            return Ok(());
        }
        let mut state = self.write();
        while done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let at = offset + done as u64;
            done += match self.write_in_place(&state, rest, at)? {
                0 => self.write_anew(&mut state, rest, at)?,
                written => written,
            };
        }
        drop(state);
        self.bound()
    }

    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError> {
        self.writable(offset, len)?;
        let end = offset + len;
        let (from, to) = if allocate || len == 0 { (end, end) } else { self.zero_clusters(offset, len)? };
        let zeros = vec![0; usize::try_from(len).unwrap_or(PIECE).min(PIECE)];
        for (mut at, end) in [(offset, from), (to, end)] {
            while at < end {
                let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                self.write_at(zeros.get(..piece).unwrap_or_default(), at)?;
                at += piece as u64;
            }
        }
        self.bound()
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.writable(offset, len)?;
        if len > 0 {
            self.zero_clusters(offset, len)?;
        }
        self.bound()
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let _turn = self.flush_turn();
        self.writable(0, 0)?;
        let is_empty = self.read().pending.is_empty();
        let flushed = if is_empty { self.sync() } else { self.put_into_tables() };
        self.search_for_leaks(FLUSHING);
        flushed
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        check(self.len, offset, len)?;
        if len == 0 {
            return Err(DiskError::OutOfRange);
        }
        let state = self.read();
        let (target, _, len) = self.locate(&state, offset, len)?;
        match target {
            Target::Data(_) => Ok(Extent { len, allocated: true, zero: false }),
            Target::Base if offset < self.base.len() => {
                self.base.extent(offset, len.min(self.base.len() - offset))
            }
            _ => Ok(Extent { len, allocated: false, zero: true }),
        }
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.base.prefetch(offset, len);
    }
}

const PIECE: usize = 256 << 10;
