//! One version of a file, read once for all its transfers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::later::Later;
use super::pieces::{Budget, MAX_PIECES, MAX_PIECES_ALONE, PIECE, Pieces};
use super::pool::Task;
use super::{Disk, Medium, Reach};

/// The open files of a worker, shared so that a thousand Pis at once read each file once.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: HashMap<Version, Weak<SharedFile>>,
    budget: Budget,
}

impl Files {
    pub(super) fn new(budget: Budget) -> Self {
        Self { open: HashMap::new(), budget }
    }

    /// Shares a file with the transfers that have the same version open.
    pub(super) fn share(&mut self, opened: OnDisk, disk: Option<&Disk>) -> Rc<SharedFile> {
        let version = opened.version;
        let shared = self.open.get(&version).and_then(Weak::upgrade).filter(|shared| !shared.is_broken());
        if let Some(shared) = shared {
            if opened.medium == Medium::Remote {
                drop(SharedFile::new(opened, self.budget.clone(), disk.cloned())); // closed by another thread
            }
            return shared;
        }
        if self.open.len() >= self.open.capacity() {
            self.open.retain(|_, file| file.strong_count() > 0);
        }
        let shared = Rc::new(SharedFile::new(opened, self.budget.clone(), disk.cloned()));
        self.open.insert(version, Rc::downgrade(&shared));
        shared
    }
}

/// The version of a file: the same version means the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Length in bytes.
    pub len: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// Change of the inode, which includes name, mode and owner.
    changed: (i64, i64),
}

impl Version {
    /// The current version of a file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether content and inode were last changed before this time span.
    pub(super) fn is_older_than(&self, now: SystemTime, span: Duration) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let before = i64::try_from(now.saturating_sub(span).as_secs()).unwrap_or(i64::MAX);
        self.modified.0 < before && self.changed.0 < before
    }

    /// Whether this is the same inode with the same bytes. The name may be gone: a replaced file stays readable while open.
    fn same_bytes(&self, now: &Self) -> bool {
        (self.device, self.inode, self.len, self.modified) == (now.device, now.inode, now.len, now.modified)
    }
}

/// An open file, not yet shared.
#[derive(Debug)]
pub struct OnDisk {
    pub(super) file: File,
    pub(super) version: Version,
    pub(super) medium: Medium,
    /// Its path, for the log.
    pub(super) place: PathBuf,
    /// Its first bytes, if they have been read already.
    pub(super) first: Option<Vec<u8>>,
}

impl OnDisk {
    /// Reads the whole file; `None`: the bytes are not within this reach.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be read, or the file changed since it was opened.
    pub(super) fn read_whole(&self, reach: Reach) -> io::Result<Option<Vec<u8>>> {
        self.read(reach, 0, vec![0; self.version.len as usize])
    }

    /// Reads the first piece.
    pub(super) fn read_first(&mut self) {
        let memory = vec![0; self.version.len.min(PIECE as u64) as usize];
        // An error shows again when the piece is needed.
        self.first = self.read(Reach::Disk, 0, memory).ok().flatten();
    }

    fn read(&self, reach: Reach, offset: u64, memory: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        read_version(&self.file, (self.medium, reach), &self.version, offset, memory).map(|read| read.ok())
    }
}

/// An open file whose bytes are kept in memory while several read it, at most 64 MiB of them: more than
/// any kernel or initramfs of a Pi.
///
/// A single transfer needs only the current piece and, to resend a window, those before it: their memory is reused. Allocating
/// memory for a piece costs as much as sending it.
///
/// Not a mapping: that would show bytes written over the file in the middle of a transfer, and kill the process when
/// the file is cut short. Each piece is read once and the version checked after it, so that a client gets the bytes of
/// one version or an ERROR, never a mix.
#[derive(Debug)]
pub(super) struct SharedFile {
    /// `None` in its `Drop` alone: another thread must hold the last reference, and close the file.
    file: Option<Arc<File>>,
    version: Version,
    medium: Medium,
    place: PathBuf,
    /// Reads what may wait; `None`: the loop waits.
    disk: Option<Disk>,
    pieces: RefCell<Pieces>,
    /// Pieces that are being read by other threads.
    loads: RefCell<Vec<(usize, Load)>>,
    /// The reason for which this version cannot be read on.
    broken: RefCell<Option<io::Error>>,
}

type Load = Later<io::Result<Vec<u8>>>;

impl SharedFile {
    /// Shares a file, with memory from `budget`.
    pub(super) fn new(opened: OnDisk, budget: Budget, disk: Option<Disk>) -> Self {
        let OnDisk { file, version, medium, place, first } = opened;
        let mut pieces = Pieces::new(budget);
        if let Some(first) = first {
            pieces.keep(0, first);
        }
        Self {
            file: Some(Arc::new(file)),
            version,
            medium,
            place,
            disk,
            pieces: RefCell::new(pieces),
            loads: RefCell::default(),
            broken: RefCell::default(),
        }
    }

    /// The version of the file.
    pub(super) const fn version(&self) -> &Version {
        &self.version
    }

    /// Whether this version cannot be read on.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// Whether [`read`](Self::read) of these bytes does not wait. If not, the client hears of it.
    pub(super) fn is_ready(self: &Rc<Self>, offset: u64, len: usize, client: SocketAddrV4) -> bool {
        let Some(disk) = &self.disk else { return true };
        if len == 0 {
            return true;
        }
        let pieces = (offset / PIECE as u64) as usize..=((offset + len as u64 - 1) / PIECE as u64) as usize;
        let has_all = |pieces: &RangeInclusive<usize>| {
            let in_memory = self.pieces.borrow();
            pieces.clone().all(|number| in_memory.has(number))
        };
        has_all(&pieces)
            || pieces.clone().all(|number| self.fetch(number, &pieces, disk, client)) && has_all(&pieces)
            || self.is_broken()
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be read, or the file changed since it was opened.
    pub(super) fn read(self: &Rc<Self>, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        if let Some(error) = &*self.broken.borrow() {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let mut pieces = self.pieces.borrow_mut();
        while !buf.is_empty() {
            let number = usize::try_from(offset / PIECE as u64).map_err(io::Error::other)?;
            if !pieces.has(number) {
                let memory = pieces.make_room(self.most(), &(number..=number));
                // A loop with other threads has asked `is_ready` before.
                let reach = if self.disk.is_some() { Reach::Memory } else { Reach::Disk };
                let piece = self.load(number, memory, reach)?;
                pieces.keep(number, piece.map_err(|_| io::ErrorKind::WouldBlock)?);
            }
            let piece = pieces.bytes(number);
            let here = piece.get((offset % PIECE as u64) as usize..).unwrap_or_default();
            let len = here.len().min(buf.len());
            let (now, later) = buf.split_at_mut(len);
            if now.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            now.copy_from_slice(here.get(..len).unwrap_or_default());
            offset += len as u64;
            buf = later;
        }
        Ok(())
    }

    /// Gets a piece into memory; false: another thread reads it. `needed` pieces stay in memory.
    fn fetch(
        self: &Rc<Self>,
        number: usize,
        needed: &RangeInclusive<usize>,
        disk: &Disk,
        client: SocketAddrV4,
    ) -> bool {
        let mut pieces = self.pieces.borrow_mut();
        if pieces.has(number) || self.is_broken() {
            return true;
        }
        let mut loads = self.loads.borrow_mut();
        let under_way = loads.iter().position(|(load, _)| *load == number);
        let index = match under_way {
            Some(index) => index,
            None => {
                let memory = pieces.make_room(self.most(), needed);
                match self.load(number, memory, Reach::Memory) {
                    Ok(Ok(piece)) => {
                        pieces.keep(number, piece);
                        return true;
                    }
                    Ok(Err(memory)) => {
                        loads.push((number, self.load_elsewhere(number, memory, disk, client)));
                        loads.len() - 1
                    }
                    Err(error) => {
                        self.broken.replace(Some(error));
                        return true;
                    }
                }
            }
        };
        let Some(result) = loads.get(index).and_then(|(_, load)| load.poll(client)) else { return false };
        loads.swap_remove(index);
        match result {
            Ok(Ok(piece)) => {
                if under_way.is_some() {
                    // Room was made when the reading began; others may have filled it since.
                    pieces.make_room(self.most(), needed);
                }
                pieces.keep(number, piece);
            }
            Ok(Err(error)) => drop(self.broken.replace(Some(error))),
            Err(error) => drop(self.broken.replace(Some(io::Error::other(error)))),
        }
        true
    }

    /// Reads a piece into reused memory; gives the memory back if the bytes are not within this reach.
    fn load(&self, number: usize, memory: Vec<u8>, reach: Reach) -> io::Result<Result<Vec<u8>, Vec<u8>>> {
        let (start, memory) = self.place_of(number, memory);
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        read_version(file, (self.medium, reach), &self.version, start, memory)
    }

    /// Reads a piece on another thread.
    fn load_elsewhere(&self, number: usize, memory: Vec<u8>, disk: &Disk, client: SocketAddrV4) -> Load {
        let (file, version) = (self.file.clone(), self.version);
        let (start, memory) = self.place_of(number, memory);
        let how = (self.medium, Reach::Disk);
        disk.pool.run(self.task(*client.ip()), &disk.arrivals, move || {
            let file = file.ok_or(io::ErrorKind::NotFound)?;
            read_version(&file, how, &version, start, memory).map(Result::unwrap_or_default)
        })
    }

    /// The offset of a piece, and memory of its length.
    fn place_of(&self, number: usize, mut memory: Vec<u8>) -> (u64, Vec<u8>) {
        let start = number as u64 * PIECE as u64;
        memory.resize(self.version.len.saturating_sub(start).min(PIECE as u64) as usize, 0);
        (start, memory)
    }

    fn task(&self, client: Ipv4Addr) -> Task {
        Task { client, place: self.place.clone(), directory: 0, tree: self.version.device }
    }

    fn most(self: &Rc<Self>) -> usize {
        if Rc::strong_count(self) > 1 { MAX_PIECES } else { MAX_PIECES_ALONE }
    }
}

/// Closing a file of a network file system may wait for the server.
impl Drop for SharedFile {
    fn drop(&mut self) {
        let file = self.file.take();
        if let (Medium::Remote, Some(disk)) = (self.medium, &self.disk) {
            disk.pool.discard(&self.task(Ipv4Addr::UNSPECIFIED), file);
        }
    }
}

/// Fills `memory` from a file that must be of this version; gives the memory back if the bytes are not within this reach.
fn read_version(
    file: &File,
    (medium, reach): (Medium, Reach),
    version: &Version,
    offset: u64,
    mut memory: Vec<u8>,
) -> io::Result<Result<Vec<u8>, Vec<u8>>> {
    if !medium.read(reach, file, offset, &mut memory)? {
        return Ok(Err(memory));
    }
    if !version.same_bytes(&Version::of(&file.metadata()?)) {
        return Err(io::Error::other("the file was changed while it was being sent"));
    }
    Ok(Ok(memory))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shared(content: &[u8]) -> (tempfile::NamedTempFile, Rc<SharedFile>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let open = File::open(file.path()).unwrap();
        let opened = opened(open);
        (file, Rc::new(SharedFile::new(opened, Budget::default(), None)))
    }

    fn opened(file: File) -> OnDisk {
        let (version, medium) = (Version::of(&file.metadata().unwrap()), Medium::Remote);
        OnDisk { file, version, medium, place: PathBuf::new(), first: None }
    }

    #[test]
    fn a_file_is_read_once_for_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kernel8.img");
        let mut files = Files::new(Budget::default());
        std::fs::write(&path, "kernel").unwrap();
        let first = files.share(opened(File::open(&path).unwrap()), None);
        assert!(Rc::ptr_eq(&first, &files.share(opened(File::open(&path).unwrap()), None)));
        // Replaced: open transfers keep the old file, new ones get the new file.
        std::fs::write(directory.path().join("new"), "newer!").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        let mut bytes = [0; 6];
        files.share(opened(File::open(&path).unwrap()), None).read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"newer!");
        first.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"kernel");
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn reads_across_pieces() {
        let content = content(3 * PIECE + 5);
        let (_file, shared) = shared(&content);
        for (offset, len) in
            [(0, 1), (PIECE - 1, 2), (PIECE - 100, 2 * PIECE), (3 * PIECE, 5), (3 * PIECE + 5, 0)]
        {
            let mut buf = vec![0; len];
            shared.read(offset as u64, &mut buf).unwrap();
            assert_eq!(buf, content[offset..offset + len]);
        }
        assert!(shared.read(3 * PIECE as u64, &mut [0; 6]).is_err());
    }

    #[test]
    fn keeps_what_others_want_and_no_more_for_one_alone() {
        let content = content(10 * PIECE);
        let (_file, shared) = shared(&content);
        let read_all = || {
            let mut buf = vec![0; content.len()];
            shared.read(0, &mut buf).unwrap();
            assert!(buf == content);
            shared.pieces.borrow().len()
        };
        assert_eq!(read_all(), MAX_PIECES_ALONE);
        let other = Rc::clone(&shared);
        assert_eq!(read_all(), 10);
        drop(other);
        assert_eq!(read_all(), 10, "pieces in memory stay in use");
    }

    #[test]
    fn a_file_changed_in_place_is_an_error_not_a_mix() {
        let (mut file, shared) = shared(&content(2 * PIECE));
        let mut buf = vec![0; PIECE];
        shared.read(0, &mut buf).unwrap();
        // Timestamps are as coarse as the kernel's tick: write until it shows.
        while Version::of(&file.as_file().metadata().unwrap()).same_bytes(&shared.version) {
            file.write_all(b"more").unwrap();
        }
        assert!(shared.read(0, &mut buf).is_ok(), "what is in memory is the old version still");
        assert!(shared.read(PIECE as u64, &mut buf).is_err());
    }

    #[test]
    fn a_file_cut_short_is_an_error() {
        let (file, shared) = shared(&content(2 * PIECE));
        file.as_file().set_len(10).unwrap();
        assert!(shared.read(PIECE as u64, &mut vec![0; PIECE]).is_err());
    }
}
