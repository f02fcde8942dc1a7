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
}

impl OpenFile {
    pub(super) fn place(place: OwnedFd) -> Self {
        Self { place, made_here: false, reader: OnceLock::new(), writer: OnceLock::new() }
    }

    /// An open file of a descriptor that reads and writes.
    pub(super) fn made(place: OwnedFd) -> Self {
        Self { made_here: true, ..Self::place(place) }
    }

    /// The descriptor that reads. After a write it is the writing one: on overlayfs the first opening for writing copies the file,
    /// and an older descriptor keeps reading the old file.
    pub(super) fn reader(&self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<BorrowedFd<'_>> {
        match self.writing().or_else(|| self.reader.get().map(AsFd::as_fd)) {
            Some(fd) => Ok(fd),
            None => Ok(keep(&self.reader, open()?)),
        }
    }

    /// The descriptor that writes.
    pub(super) fn writer(&self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<BorrowedFd<'_>> {
        match self.writing() {
            Some(fd) => Ok(fd),
            None => Ok(keep(&self.writer, open()?)),
        }
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

/// The open files of a tree.
#[derive(Debug)]
pub(super) struct OpenFiles {
    shards: [Mutex<HashMap<FileId, Held>>; SHARDS],
    hasher: RandomState,
    most: usize,
}

#[derive(Debug)]
struct Held {
    file: Arc<OpenFile>,
    used: Instant,
}

impl OpenFiles {
    /// Keeps up to `most` files, with up to two descriptors each.
    pub(super) fn new(most: usize) -> Self {
        Self { shards: Default::default(), hasher: RandomState::new(), most: (most / SHARDS).max(2) }
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
        if shard.len() >= self.most && !shard.contains_key(&id) {
            forget_older_half(&mut shard);
        }
        shard.entry(id).or_insert_with(|| Held { file: Arc::new(file), used: now }).file.clone()
    }

    pub(super) fn forget(&self, id: &FileId) {
        let forgotten = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Closing a file without a name frees its blocks, which is slow: after the lock is released.
        drop(forgotten);
    }

    /// Closes idle files.
    pub(super) fn maintain(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, held| held.used.elapsed() < IDLE);
        }
    }

    fn shard(&self, id: &FileId) -> &Mutex<HashMap<FileId, Held>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default();
        self.shards.get(hash).unwrap_or(&self.shards[0])
    }
}

fn keep(cell: &OnceLock<OwnedFd>, fd: OwnedFd) -> BorrowedFd<'_> {
    cell.get_or_init(|| fd).as_fd()
}

fn forget_older_half(shard: &mut HashMap<FileId, Held>) {
    let mut times: Vec<_> = shard.values().map(|held| held.used).collect();
    let middle = times.len() / 2;
    let (_, &mut median, _) = times.select_nth_unstable(middle);
    shard.retain(|_, held| held.used > median);
}

const SHARDS: usize = 16;
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> FileId {
        FileId::new(&number.to_be_bytes()).unwrap()
    }

    fn file() -> OpenFile {
        OpenFile::place(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn never_holds_more_than_it_may_and_forgets_the_oldest() {
        let files = OpenFiles::new(10 * SHARDS);
        for number in 0..1000 {
            files.keep(id(number), file());
            assert!(files.find(&id(number)).is_some());
        }
        let held = (0..1000).filter(|&number| files.find(&id(number)).is_some()).count();
        assert!((5 * SHARDS / 2..=10 * SHARDS).contains(&held), "{held}");
        assert!(files.find(&id(0)).is_none());
    }

    #[test]
    fn what_wrote_reads_from_then_on() {
        let file = file();
        let open = || Ok(std::fs::File::open("/").unwrap().into());
        let before = std::os::fd::AsRawFd::as_raw_fd(&file.reader(open).unwrap());
        let writer = std::os::fd::AsRawFd::as_raw_fd(&file.writer(open).unwrap());
        assert_ne!(before, writer);
        let after = std::os::fd::AsRawFd::as_raw_fd(&file.reader(|| panic!("it is open")).unwrap());
        assert_eq!(after, writer);
    }
}
