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
//! sound at each point; at worst `qemu-img check` finds clusters that count as in use and are not, until the overlay is opened again and
//! has found them itself (`leaks`).
//! After a power cut of the server, a Pi that went on has to be started anew: its answered writes that were not flushed are gone.
//!
//! Another program that writes to the file clears an autoclear bit in its header, and so makes the log void, too. An overlay is copied
//! after it is closed: then it has no log.
//!
//! The tests cut runs of operations at every step, by a kill and by a power cut after which any sectors of the writes
//! since the last sync are there.
//!
//! # Why two syncs for new clusters
//!
//! A sync took 3.9 ms and two took 7.7 ms (60 rounds in turn on one ext4, virtual disk; a file that grows or not, holes or none: alike), so one
//! sync would halve the time of a flush of new clusters. It takes records that hold after a power cut without their order: in the
//! overlay's own file, as a second file is a second sync, and with a checksum of each new cluster's data, by which the next opening tells the
//! clusters that reached the storage device. Not done, for what the checksum asks of all other writes: a cluster that is written again in place no longer has its
//! checksum, although its record was flushed. So a cluster with a record could be written only as a new one, and a part of it
//! only after reading the rest, until the log is cut. Writing again after writing new would cost as much as writing new, which is the
//! more frequent case: ext4 writes its journal's blocks and its tables again and again. And the rate of flushed new clusters would come to that of
//! a server that keeps no record, and no further: both wait for one sync.
//!
//! # Why not a library
//!
//! imago 0.2.6 (MIT) reads and writes qcow2 with backing files, but keeps new L2 entries in memory until a flush, as QEMU does, whose
//! guest ends with it: of 2000 writes of 4 KiB that it had answered before a kill, 2000 were lost; of this module's none. The speed
//! is alike: 4 KiB at random to a disk with clusters of 4 KiB, on a busy machine, 29 000 writes a second to new clusters
//! and 61 000 in place; here 26 000 and 87 000. A log would have to know its allocations, which it does not show.
//!
//! [`Fingerprint`]: crate::Fingerprint

mod cache;
mod data;
mod empty;
mod error;
mod flush;
mod header;
mod leaks;
mod mappings;
mod medium;
mod records;
mod refcounts;
mod search;
#[cfg(feature = "testing")]
mod simulated;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use self::empty::empty;
pub use self::error::OpenError;
use self::header::{AUTOCLEAR_AT, AUTOCLEAR_CLOSED, AUTOCLEAR_LOG, Header, Identity, MOST_NAME};
use self::leaks::Leaks;
use self::mappings::{Mappings, Run};
use self::medium::{Log, LogFile, Medium, MediumFile, read_up_to};
#[cfg(feature = "testing")]
pub(crate) use self::simulated::{carry_out, overlay_file};
use self::tables::{Tables, refcount_blocks};
use crate::boot::{Boot, random};
use crate::disk::{Disk, DiskError, check};
use crate::fingerprint::Fingerprint;
use crate::image::{Access, Image, SECTOR, lock};

/// An overlay.
#[derive(Debug)]
pub struct Overlay {
    base: Arc<dyn Disk>,
    medium: Arc<dyn Medium>,
    log: Box<dyn Log>,
    log_head: Vec<u8>,
    continuity: String,
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
        if let Some(bases) = bases
            && !is_beneath(&base_path, bases)
            && !is_beneath(&base_path, directory)
        {
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
            Arc::new(MediumFile::new(file)?),
            Box::new(LogFile::new(log.into())),
            header,
            access,
            Boot::present()?,
        )
    }

    /// An overlay of its parts. The log is carried out if it holds.
    fn assemble(
        base: Arc<dyn Disk>,
        medium: Arc<dyn Medium>,
        log: Box<dyn Log>,
        header: Header,
        access: Access,
        boot: Boot,
    ) -> Result<Self, OpenError> {
        // Without this crate's extension the log can name no overlay: such a file has none, and gets one by its length and tables.
        let id = header.identity.as_ref().map_or(0, |identity| identity.id);
        let log_head = records::head(boot.0, id);
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
            continuity: boot.continuity(id),
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
            // A file that cannot be searched is used as it is.
            let _tried = state.tables.begin_search();
            drop(state);
            overlay.search_for_leaks(OPENING);
        }
        Ok(overlay)
    }

    /// The base that an overlay's file names, and the length of the disk in bytes, without opening either for use.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn look(path: &Path) -> Result<(PathBuf, u64), OpenError> {
        let header = Header::parse(&start(&File::open(path)?)?)?;
        Ok((path.parent().unwrap_or(Path::new("")).join(header.base), header.len))
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

    /// Searches for clusters that count as in use and are not, for some time.
    fn search_for_leaks(&self, within: Duration) {
        let until = Instant::now() + within;
        while !self.write().tables.search(SEARCHED) && Instant::now() < until {}
    }

    /// Leaves a file in which the clusters that count as in use are in use, and says so in the file.
    fn close(&self) -> Result<(), DiskError> {
        self.flush()?;
        self.log.remove()?;
        self.search_for_leaks(CLOSING);
        let mut state = self.write();
        state.tables.settle()?;
        if matches!(state.tables.leaks, Leaks::None) {
            self.medium.sync()?;
            self.medium.write_at(&(AUTOCLEAR_LOG | AUTOCLEAR_CLOSED).to_be_bytes(), AUTOCLEAR_AT)?;
        }
        Ok(())
    }

    fn writable(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        check(self.len, offset, len)?;
        if self.access == Access::ReadOnly {
            return Err(DiskError::ReadOnly);
        }
        if self.failed.load(Ordering::Acquire) { Err(DiskError::Failed) } else { Ok(()) }
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

impl Drop for Overlay {
    fn drop(&mut self) {
        // A failure leaves the log, which the next opening carries out, or clusters that it searches for.
        if self.access == Access::ReadWrite {
            let _closed = self.close();
        }
    }
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

/// Whether a path leads into a directory by its text alone. A server that gave up its privileges may reach a directory by a descriptor
/// (`/proc/self/fd/3`), and not know its path any more.
fn is_beneath(path: &Path, directory: &Path) -> bool {
    let inner = path.strip_prefix(directory).ok().filter(|_| !directory.as_os_str().is_empty());
    inner.is_some_and(|inner| inner.components().all(|part| matches!(part, Component::Normal(_))))
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

/// Clusters of the size of a page and of a file system's block: a write of 4096 bytes copies nothing from the base.
const SMALL_CLUSTER: u32 = 12;
const LARGE_CLUSTER: u32 = 16;
/// The longest disk with small clusters, in bytes.
const MOST_SMALL: u64 = 64 << 30;
const MOST_DEPTH: usize = 16;
/// L2 tables, or blocks of refcounts, that are searched for leaks at once, while no request is carried out.
const SEARCHED: u64 = 16;
/// Time for that search: when the overlay is opened, with each flush, and when the overlay is closed.
const OPENING: Duration = Duration::from_millis(50);
const FLUSHING: Duration = Duration::from_millis(2);
const CLOSING: Duration = Duration::from_millis(200);
const HEADER: usize = 64 << 10;
