//! Files held open between requests: NFS has no open and no close, and opening costs more than reading.
//!
//! Bounded; unused files are closed. A descriptor stays with its file through renames. If this server removes a file's last name, the
//! file is closed at once; if another process does, at the next request or within a minute.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io;

use super::descriptors;
use crate::file_system::FileId;

/// A file, open in up to three ways.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// A descriptor of O_PATH, or of the open(2) that made the file: for all operations but reading and writing.
    place: OwnedFd,
    /// `place` can read and write.
    made_here: bool,
    reader: OnceLock<OwnedFd>,
    writer: OnceLock<OwnedFd>,
    /// The count of the tree's descriptors, with this file's.
    held: Arc<descriptors::Held>,
}

impl OpenFile {
    fn new(place: OwnedFd, made_here: bool, held: Arc<descriptors::Held>) -> Self {
        held.add(1);
        Self { place, made_here, reader: OnceLock::new(), writer: OnceLock::new(), held }
    }

    /// The descriptor that reads. After a write it is the writing one: on overlayfs the first opening for writing copies the file,
    /// and an older descriptor keeps reading the old file.
    pub(super) fn reader(&self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<BorrowedFd<'_>> {
        match self.writing().or_else(|| self.reader.get().map(AsFd::as_fd)) {
            Some(fd) => Ok(fd),
            None => Ok(self.keep(&self.reader, open()?)),
        }
    }

    /// The descriptor that writes.
    pub(super) fn writer(&self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<BorrowedFd<'_>> {
        match self.writing() {
            Some(fd) => Ok(fd),
            None => Ok(self.keep(&self.writer, open()?)),
        }
    }

    fn keep<'a>(&self, cell: &'a OnceLock<OwnedFd>, fd: OwnedFd) -> BorrowedFd<'a> {
        let add = || {
            self.held.add(1);
            fd
        };
        cell.get_or_init(add).as_fd()
    }

    fn writing(&self) -> Option<BorrowedFd<'_>> {
        if self.made_here { Some(self.place.as_fd()) } else { self.writer.get().map(AsFd::as_fd) }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let further = [&self.reader, &self.writer].into_iter().filter(|cell| cell.get().is_some());
        self.held.subtract(1 + further.count());
    }
}

/// The open files of a tree.
#[derive(Debug)]
pub(super) struct OpenFiles {
    shards: [Mutex<HashMap<FileId, Held>>; SHARDS],
    hasher: RandomState,
    most: usize,
    held: Arc<descriptors::Held>,
    /// Held by the one thread that makes room for other trees.
    making_room: Mutex<()>,
}

#[derive(Debug)]
struct Held {
    file: Arc<OpenFile>,
    used: Instant,
}

impl OpenFiles {
    /// Keeps up to `most` files, with up to two descriptors each.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let most = (most / SHARDS).max(2);
        let files = Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            most,
            held: Arc::default(),
            making_room: Mutex::default(),
        };
        let files = Arc::new(files);
        let holder: Arc<dyn descriptors::Holder> = files.clone();
        descriptors::register(Arc::downgrade(&holder));
        files
    }

    /// An open file of a descriptor of O_PATH.
    pub(super) fn place(&self, place: OwnedFd) -> OpenFile {
        OpenFile::new(place, false, self.held.clone())
    }

    /// An open file of a descriptor that reads and writes.
    pub(super) fn made(&self, place: OwnedFd) -> OpenFile {
        OpenFile::new(place, true, self.held.clone())
    }

    pub(super) fn find(&self, id: &FileId) -> Option<Arc<OpenFile>> {
        let mut shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        let held = shard.get_mut(id)?;
        held.used = Instant::now();
        Some(held.file.clone())
    }

    /// Keeps a file; returns the kept one if another thread was faster.
    pub(super) fn keep(&self, id: FileId, file: OpenFile) -> Arc<OpenFile> {
        let mut shard = self.shard(&id).lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let full = shard.len() >= self.most && !shard.contains_key(&id);
        let closed = if full { take_older_half(&mut shard) } else { Vec::new() };
        let kept = shard.entry(id).or_insert_with(|| Held { file: Arc::new(file), used: now }).file.clone();
        drop(shard);
        drop(closed);
        descriptors::fit();
        kept
    }

    pub(super) fn forget(&self, id: &FileId) {
        let forgotten = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Closing a file without a name frees its blocks, which is slow: after the lock is released.
        drop(forgotten);
    }

    /// Closes idle files.
    pub(super) fn maintain(&self) {
        self.close(|shard| shard.extract_if(|_, held| held.used.elapsed() >= IDLE).collect());
    }

    /// Closes all files.
    pub(super) fn close_all(&self) {
        self.close(|shard| shard.drain().collect());
    }

    /// Closes the files that `take` takes from each shard, after the shard's lock is released.
    fn close(&self, take: impl Fn(&mut HashMap<FileId, Held>) -> Vec<(FileId, Held)>) -> usize {
        let taken = self.shards.iter().map(|shard| {
            let taken = take(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
            taken.len()
        });
        taken.sum()
    }

    fn shard(&self, id: &FileId) -> &Mutex<HashMap<FileId, Held>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default();
        self.shards.get(hash).unwrap_or(&self.shards[0])
    }
}

impl descriptors::Holder for OpenFiles {
    fn held(&self) -> usize {
        self.held.now()
    }

    fn close_older_half(&self) -> usize {
        self.making_room.try_lock().map_or(0, |_one_at_a_time| self.close(take_older_half))
    }
}

fn take_older_half(shard: &mut HashMap<FileId, Held>) -> Vec<(FileId, Held)> {
    let mut times: Vec<_> = shard.values().map(|held| held.used).collect();
    if times.is_empty() {
        return Vec::new();
    }
    let middle = times.len() / 2;
    let (_, &mut median, _) = times.select_nth_unstable(middle);
    shard.extract_if(|_, held| held.used <= median).collect()
}

const SHARDS: usize = 16;
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::descriptors::Holder;
    use super::*;

    fn id(number: u32) -> FileId {
        FileId::new(&number.to_be_bytes()).unwrap()
    }

    fn file(files: &OpenFiles) -> OpenFile {
        files.place(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn never_holds_more_than_it_may_and_forgets_the_oldest() {
        let files = OpenFiles::new(10 * SHARDS);
        for number in 0..1000 {
            files.keep(id(number), file(&files));
            assert!(files.find(&id(number)).is_some());
        }
        let held = (0..1000).filter(|&number| files.find(&id(number)).is_some()).count();
        assert!((5 * SHARDS / 2..=10 * SHARDS).contains(&held), "{held}");
        assert!(files.find(&id(0)).is_none());
        assert_eq!(files.held(), held);
    }

    #[test]
    fn descriptors_are_counted_until_they_close() {
        let files = OpenFiles::new(10 * SHARDS);
        let kept = files.keep(id(1), file(&files));
        let open = || Ok(std::fs::File::open("/").unwrap().into());
        kept.reader(open).unwrap();
        kept.writer(open).unwrap();
        files.keep(id(2), files.made(std::fs::File::open("/").unwrap().into()));
        assert_eq!(files.held(), 4);
        files.close_all();
        assert_eq!(files.held(), 3, "a call has the file open");
        drop(kept);
        assert_eq!(files.held(), 0);
    }

    #[test]
    fn what_wrote_reads_from_then_on() {
        let files = OpenFiles::new(1);
        let file = file(&files);
        let open = || Ok(std::fs::File::open("/").unwrap().into());
        let before = std::os::fd::AsRawFd::as_raw_fd(&file.reader(open).unwrap());
        let writer = std::os::fd::AsRawFd::as_raw_fd(&file.writer(open).unwrap());
        assert_ne!(before, writer);
        let after = std::os::fd::AsRawFd::as_raw_fd(&file.reader(|| panic!("it is open")).unwrap());
        assert_eq!(after, writer);
    }
}
