//! An overlay: a base image, and what one machine changed, in a file that `qemu-img` reads.
//!
//! # The format
//!
//! qcow2, version 3 (`docs/interop/qcow2.txt` of the project QEMU), with the base as its backing file, so that `qemu-img info`, `check`,
//! `map`, `compare`, `convert` and `rebase` work on it. Clusters of 4 KiB, the block of ext4 and the page of Linux: a write of whole
//! blocks copies nothing from the base. Disks of more than 64 GiB have clusters of 64 KiB. Other programs' files are taken with any size
//! of clusters. A header extension has the base's [`Fingerprint`].
//!
//! Not done, and refused: internal snapshots (an overlay on an overlay is a snapshot), encryption, compressed clusters,
//! external data files, extended L2 entries, refcounts of other than 16 bits, version 2, an overlay without a base.
//!
//! # What survives
//!
//! A Pi goes on when its server is killed and started again, and has no reason to repeat a write that was answered. A write must
//! so survive the process as soon as it is answered, and a power cut as soon as a flush is. The tables of a qcow2 file
//! cannot give both: an entry that is written at once may reach the storage device before its data, and an entry that waits in memory
//! for the next flush is lost with the process. So an answered write is in three places:
//!
//! 1. its data in new clusters of the file, whose refcounts are 1,
//! 2. its mapping in memory,
//! 3. its mapping in the *log*, a file beside the overlay, `NAME.log`, of 32 bytes for each write to new clusters.
//!
//! A flush puts the mappings into the tables, between two `fdatasync`: data and refcounts before the entries that name them, the
//! entries before the clusters that they replaced are given back. Then the log is cut. A flush with no new mapping is one
//! `fdatasync`. The log names the overlay and the machine's boot identifier: after a kill, the next opening carries out
//! the log; after a power cut the log is void, as its data may be missing, and the file's tables are those of the last flush. The file is
//! sound at each point; at worst `qemu-img check` finds clusters that count as in use and are not (`-r leaks` frees them).
//! After a power cut of the server, a Pi that went on has to be started anew: its answered writes that were not flushed are gone.
//!
//! Another program that writes to the file clears an autoclear bit in its header, and so makes the log void, too. An overlay is copied
//! after it is closed: then it has no log.
//!
//! The tests cut runs of operations at every step, by a kill and by a power cut after which any sectors of the writes
//! since the last sync are there.
//!
//! # Why not a library
//!
//! imago 0.2.6 (MIT) reads and writes qcow2 with backing files. 
//! [`Fingerprint`]: crate::Fingerprint

mod header;
mod mappings;
mod medium;
mod records;
#[cfg(feature = "testing")]
mod simulated;
mod tables;
#[cfg(test)]
mod tests;

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::header::{AUTOCLEAR_AT, AUTOCLEAR_LOG, Header, Identity, MOST_NAME};
use self::mappings::{Mappings, Run, Target};
use self::medium::{Log, LogFile, Medium, MediumFile, read_up_to};
#[cfg(feature = "testing")]
pub(crate) use self::simulated::{carry_out, overlay_file};
use self::tables::{NewTables, Tables, l1_entries, refcount_blocks};
use crate::disk::{Disk, DiskError, Extent, check};
use crate::fingerprint::Fingerprint;
use crate::image::{Access, Image, SECTOR, lock};

/// An overlay.
#[derive(Debug)]
pub struct Overlay {
    base: Arc<dyn Disk>,
    medium: Arc<dyn Medium>,
    log: Box<dyn Log>,
    log_head: Vec<u8>,
    access: Access,
    len: u64,
    cluster_bits: u32,
    state: RwLock<State>,
    /// Held by the one thread that flushes.
    flushing: Mutex<()>,
    failed: AtomicBool,
}

#[derive(Debug)]
struct State {
    tables: Tables,
    /// Mappings since the last flush began, as they are in the log.
    pending: Mappings,
    /// Clusters of the file that no mapping names any more, in use until the log does not name them either.
    dropped: Vec<Run>,
    /// Mappings that a flush under way puts into the tables.
    flushing: Mappings,
    /// Records in the log.
    records: usize,
}

/// The reason why an overlay cannot be opened or made.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system's.
    Io(io::Error),
    /// The file's header holds a value that no sound file has.
    Damaged(&'static str),
    /// A sound qcow2 file with something that this crate does not do.
    Unsupported(&'static str),
    /// The base changed since the overlay was made: the overlay would be garbage on it.
    BaseChanged(PathBuf),
    /// The base is outside of the directory of base images and of the overlay's.
    BaseElsewhere(PathBuf),
    /// An operation on the file failed.
    Disk(DiskError),
}

impl Overlay {
    /// Makes an overlay file without changes, for a disk of `len` bytes (rounded up to 512), or of the base's length if that is more.
    /// The file must not exist. A base whose name ends in `.qcow2` is an overlay, any other a raw image. The base's path is kept as it is given: relative to the overlay's directory, unless absolute.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; `AlreadyExists` for an existing file.
    pub fn create(path: &Path, base: &Path, len: u64) -> Result<(), OpenError> {
        let name = base.to_str().filter(|name| !name.is_empty() && name.len() <= MOST_NAME);
        let name =
            name.ok_or(OpenError::Unsupported("a path of the base of more than 1023 bytes, or not UTF-8"))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let file = File::open(directory.join(base))?;
        let identity = Identity { id: random()?, base: Fingerprint::of(&file)? };
        let format = format_of(base);
        let opened = open_base(&directory.join(base), None, 0, format)?;
        let len = len.max(opened.len());
        let cluster_bits = if len <= MOST_SMALL { SMALL_CLUSTER } else { LARGE_CLUSTER };
        let bytes = empty(name, format, identity, len, cluster_bits)?;
        // Whole, or not there at all.
        let mut new = tempfile::NamedTempFile::new_in(if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        })?;
        new.write_all(&bytes)?;
        new.as_file().sync_all()?;
        new.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })?.sync_all()?;
        Ok(())
    }

    /// Opens an overlay, its base, and the base's base if that is an overlay too. Bases are opened read-only, and have to be in
    /// `bases`, in the overlay's directory, or beneath one of them.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; `WouldBlock` if another process has the overlay open.
    pub fn open(path: &Path, bases: &Path, access: Access) -> Result<Self, OpenError> {
        Self::open_at_depth(path, Some(bases), access, 0)
    }

    fn open_at_depth(
        path: &Path,
        bases: Option<&Path>,
        access: Access,
        depth: usize,
    ) -> Result<Self, OpenError> {
        let file = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path)?;
        lock(&file, access)?;
        let header = Header::parse(&start(&file)?)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let base_path = directory.join(&header.base);
        if let Some(bases) = bases {
            let found = base_path.canonicalize()?;
            let own =
                if directory.as_os_str().is_empty() { Path::new(".") } else { directory }.canonicalize()?;
            if !found.starts_with(bases.canonicalize()?) && !found.starts_with(own) {
                return Err(OpenError::BaseElsewhere(base_path));
            }
        }
        let known = header.identity.as_ref().map(|identity| identity.base);
        if let Some(known) = known
            && known != Fingerprint::of(&File::open(&base_path)?)?
        {
            return Err(OpenError::BaseChanged(base_path));
        }
        let base = {
            let format = header.base_format.as_deref().unwrap_or_else(|| format_of(&base_path));
            open_base(&base_path, bases, depth + 1, format)?
        };
        let mut log = path.as_os_str().to_owned();
        log.push(".log");
        Self::assemble(
            base,
            Arc::new(MediumFile::new(file)),
            Box::new(LogFile::new(log.into())),
            header,
            access,
            boot()?,
        )
    }

    /// An overlay of its parts. The log is carried out if it holds.
    fn assemble(
        base: Arc<dyn Disk>,
        medium: Arc<dyn Medium>,
        log: Box<dyn Log>,
        header: Header,
        access: Access,
        boot: [u8; 16],
    ) -> Result<Self, OpenError> {
        // Without this crate's extension the log can name no overlay: such a file has none, and gets one by its length and tables.
        let id = header.identity.as_ref().map_or(0, |identity| identity.id);
        let log_head = records::head(boot, id);
        let holds = header.autoclear & AUTOCLEAR_LOG != 0;
        let logged = if holds { records::parse(&log.load()?, &log_head) } else { Vec::new() };
        let (len, cluster_bits, autoclear) = (header.len, header.cluster_bits, header.autoclear);
        let clusters = len.div_ceil(header.cluster());
        let mut state = State {
            tables: Tables::new(medium.clone(), header),
            pending: Mappings::default(),
            dropped: Vec::new(),
            flushing: Mappings::default(),
            records: 0,
        };
        for (cluster, count, target) in logged {
            if cluster + count > clusters {
                return Err(OpenError::Damaged("the log"));
            }
            state.pending.set(cluster, count, target, &mut state.dropped);
        }
        let overlay = Self {
            base,
            medium,
            log,
            log_head,
            access,
            len,
            cluster_bits,
            state: RwLock::new(state),
            flushing: Mutex::default(),
            failed: AtomicBool::new(false),
        };
        if access == Access::ReadWrite {
            overlay.flush()?;
            overlay.log.remove()?;
            if autoclear != AUTOCLEAR_LOG {
                overlay.medium.write_at(&AUTOCLEAR_LOG.to_be_bytes(), AUTOCLEAR_AT)?;
                overlay.medium.sync()?;
            }
            let mut state = overlay.write();
            let header = &state.tables.header;
            if refcount_blocks(header, len) * 8 > header.refcounts_clusters * header.cluster() {
                // Made by another program, with room for less than the whole disk.
                state.tables.resize(len)?;
            }
        }
        Ok(overlay)
    }

    /// Makes the disk longer: the new bytes read as zeros. Clients see the length when they connect.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfRange`] for less than the present length or a part of a sector, [`DiskError::NoSpace`] beyond the
    /// format's limits, or those of a write.
    pub fn resize(&mut self, len: u64) -> Result<(), DiskError> {
        if len < self.len || !len.is_multiple_of(SECTOR) {
            return Err(DiskError::OutOfRange);
        }
        if self.access == Access::ReadOnly {
            return Err(DiskError::ReadOnly);
        }
        self.flush()?;
        self.write().tables.resize(len)?;
        self.len = len;
        Ok(())
    }

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

    /// Maps clusters, in the log and in memory.
    fn record(&self, state: &mut State, cluster: u64, count: u64, target: Target) -> Result<(), DiskError> {
        let record = records::record(cluster, count, target);
        let head = if state.records == 0 { &self.log_head[..] } else { &[] };
        self.log.append(&[head, &record].concat())?;
        state.records += 1;
        let State { pending, dropped, .. } = state;
        pending.set(cluster, count, target, dropped);
        Ok(())
    }

    /// Maps whole clusters of a range to zeros; returns the range of bytes.
    fn zero_clusters(&self, offset: u64, len: u64) -> Result<(u64, u64), DiskError> {
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

    fn writable(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        check(self.len, offset, len)?;
        if self.access == Access::ReadOnly {
            return Err(DiskError::ReadOnly);
        }
        if self.failed.load(Ordering::Acquire) { Err(DiskError::Failed) } else { Ok(()) }
    }

    /// Flushes when the mappings outside of the tables have become many.
    fn bound(&self) -> Result<(), DiskError> {
        let state = self.read();
        let many = state.pending.runs() > MOST_PENDING || state.records > MOST_PENDING;
        drop(state);
        if many { self.flush() } else { Ok(()) }
    }

    /// Puts the pending mappings into the tables, in an order in which a power cut leaves a sound file at each point.
    fn put_into_tables(&self) -> Result<(), DiskError> {
        let mut new = NewTables::new();
        {
            let mut state = self.write();
            let state = &mut *state;
            for (cluster, count, _) in state.pending.iter() {
                if let Err(error) = state.tables.prepare(cluster, count, &mut new) {
                    let runs: Vec<Run> = new.values().map(|at| Run { first: *at, count: 1 }).collect();
                    let _freed = state.tables.free(&runs);
                    return Err(error);
                }
            }
            state.flushing = core::mem::take(&mut state.pending);
        }
        // 1. The data, the refcounts and the new L2 tables are there before anything refers to them.
        self.sync()?;
        let mut replaced = {
            let mut state = self.write();
            let State { tables, flushing, dropped, .. } = &mut *state;
            let mut replaced = Vec::new();
            let mapped = flushing
                .iter()
                .try_for_each(|(cluster, count, target)| {
                    tables.map(cluster, count, target, &new, &mut replaced)
                })
                .and_then(|()| tables.enter(&new));
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

    fn sync(&self) -> Result<(), DiskError> {
        self.medium.sync().inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        Ok(())
    }

    const fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_turn(&self) -> MutexGuard<'_, ()> {
        self.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Overlay {
    fn len(&self) -> u64 {
        self.len
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
        if is_empty { self.sync() } else { self.put_into_tables() }
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

impl Drop for Overlay {
    fn drop(&mut self) {
        // A failure leaves the log, which the next opening carries out.
        if self.access == Access::ReadWrite && self.flush().is_ok() {
            let _removed = self.log.remove();
        }
    }
}

/// The bytes of an overlay file without changes.
fn empty(
    base: &str,
    format: &str,
    identity: Identity,
    len: u64,
    cluster_bits: u32,
) -> Result<Vec<u8>, OpenError> {
    let len = len.checked_next_multiple_of(SECTOR).ok_or(DiskError::NoSpace)?;
    let mut header = Header {
        cluster_bits,
        len,
        l1_offset: 0,
        l1_entries: 0,
        refcounts_offset: 0,
        refcounts_clusters: 0,
        autoclear: AUTOCLEAR_LOG,
        base: base.to_owned(),
        base_format: Some(format.to_owned()),
        identity: Some(identity),
    };
    let cluster = header.cluster();
    header.l1_entries = l1_entries(&header, len);
    header.refcounts_clusters = (refcount_blocks(&header, len) * 8).div_ceil(cluster);
    if header.l1_entries * 8 > header::MOST_L1 || header.refcounts_clusters * cluster > header::MOST_REFCOUNTS
    {
        return Err(DiskError::NoSpace.into());
    }
    // Header, refcount table, blocks of refcounts, L1 table.
    header.refcounts_offset = cluster;
    let l1_clusters = (header.l1_entries * 8).div_ceil(cluster);
    let tables = 1 + header.refcounts_clusters + l1_clusters;
    let mut blocks = 1;
    while tables + blocks > blocks * header.per_block() {
        blocks += 1;
    }
    header.l1_offset = (1 + header.refcounts_clusters + blocks) * cluster;
    let mut bytes = header.emit();
    bytes.resize(usize::try_from((tables + blocks) * cluster).map_err(|_| DiskError::NoSpace)?, 0);
    let first_block = header.refcounts_offset + header.refcounts_clusters * cluster;
    let mut put = |at: u64, value: &[u8]| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
            place.copy_from_slice(value);
        }
    };
    for block in 0..blocks {
        put(header.refcounts_offset + block * 8, &(first_block + block * cluster).to_be_bytes());
    }
    for used in 0..tables + blocks {
        put(first_block + used * 2, &1u16.to_be_bytes());
    }
    Ok(bytes)
}

/// Opens a base, read-only: a raw image, or an overlay.
fn open_base(
    path: &Path,
    bases: Option<&Path>,
    depth: usize,
    format: &str,
) -> Result<Arc<dyn Disk>, OpenError> {
    if depth > MOST_DEPTH {
        return Err(OpenError::Unsupported("more than 16 overlays on each other"));
    }
    let is_overlay = match format {
        "raw" => false,
        "qcow2" => true,
        _ => return Err(OpenError::Unsupported("a base that is neither raw nor qcow2")),
    };
    if is_overlay {
        Ok(Arc::new(Overlay::open_at_depth(path, bases, Access::ReadOnly, depth)?))
    } else {
        Ok(Arc::new(Image::open(path, Access::ReadOnly)?))
    }
}

/// The format of a base, by its name. Never by its content: a raw image's user may have written a qcow2 header to it, with a base of
/// their choice.
fn format_of(path: &Path) -> &'static str {
    if path.extension().is_some_and(|extension| extension == "qcow2") { "qcow2" } else { "raw" }
}

/// The first 64 KiB of a file, or all of a shorter one.
fn start(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    let len = read_up_to(file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// A number that identifies this run of the machine.
fn boot() -> io::Result<[u8; 16]> {
    let text = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let mut out = [0; 16];
    if digits.len() == 32 {
        for (place, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *place = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
    } else {
        // Unknown: no log holds, as after a power cut.
        out[..8].copy_from_slice(&random()?.to_be_bytes());
    }
    Ok(out)
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_be_bytes(bytes))
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Damaged(what) => write!(f, "the overlay is damaged: {what}"),
            Self::Unsupported(what) => write!(f, "the overlay is not supported: {what}"),
            Self::BaseChanged(path) => write!(
                f,
                "the base image {} changed since the overlay was made: restore the image, or make a new overlay",
                path.display()
            ),
            Self::BaseElsewhere(path) => {
                write!(f, "the base image {} is outside of the directory of images", path.display())
            }
            Self::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OpenError {}

/// Clusters of the size of a page and of a file system's block: a write of 4096 bytes copies nothing from the base.
const SMALL_CLUSTER: u32 = 12;
const LARGE_CLUSTER: u32 = 16;
/// The longest disk with small clusters, in bytes.
const MOST_SMALL: u64 = 64 << 30;
/// Mappings outside of the tables, each some 50 bytes of memory.
const MOST_PENDING: usize = 8192;
const MOST_DEPTH: usize = 16;
const PIECE: usize = 256 << 10;
const HEADER: usize = 64 << 10;
