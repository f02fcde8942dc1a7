//! One version of a file, read once for all its transfers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Whether this is the same inode with the same bytes. The name may be gone: a replaced file stays readable while open.
    fn same_bytes(&self, now: &Self) -> bool {
        (self.device, self.inode, self.len, self.modified) == (now.device, now.inode, now.len, now.modified)
    }
}

/// The memory that all files of all workers share. Without this bound, many Pis with different trees would use as much memory as
/// all their kernels.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Bytes of all files in memory: 256 MiB, and one more piece of 64 KiB for each file.
    pub const MEMORY: usize = MAX_PIECES_OF_ALL * PIECE;

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_PIECES_OF_ALL
    }

    fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self, pieces: usize) {
        self.0.fetch_sub(pieces, Ordering::Relaxed);
    }
}

/// An open file whose bytes are kept in memory while several read it, at most [`SharedFile::MEMORY`] of them.
///
/// A single transfer needs only the current piece and, to resend a window, those before it: their memory is reused. Allocating
/// memory for a piece costs as much as sending it.
///
/// Not a mapping: that would show bytes written over the file in the middle of a transfer, and kill the process when
/// the file is cut short. Each piece is read once and the version checked after it, so that a client gets the bytes of
/// one version or an ERROR, never a mix.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    version: Version,
    pieces: RefCell<Pieces>,
}

#[derive(Debug)]
struct Pieces {
    budget: Budget,
    by_number: Vec<Option<Vec<u8>>>,
    /// Numbers of the pieces in memory, oldest first.
    in_memory: VecDeque<usize>,
}

impl SharedFile {
    /// Bytes of one file in memory: 64 MiB, more than any kernel or initramfs of a Pi.
    pub const MEMORY: usize = MAX_PIECES * PIECE;

    /// Shares a file of this version, with memory from `budget`.
    pub fn new(file: File, version: Version, budget: Budget) -> Self {
        Self { file, version, pieces: RefCell::new(Pieces::new(budget)) }
    }

    /// The version of the file.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be read, or the file changed since it was opened.
    pub fn read(self: &Rc<Self>, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let most = if Rc::strong_count(self) > 1 { MAX_PIECES } else { MAX_PIECES_ALONE };
        let mut pieces = self.pieces.borrow_mut();
        while !buf.is_empty() {
            let number = usize::try_from(offset / PIECE as u64).map_err(io::Error::other)?;
            let piece = pieces.piece(number, most, |memory| self.load(number, memory))?;
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

    /// Reads a piece into reused memory.
    fn load(&self, number: usize, mut piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let start = number as u64 * PIECE as u64;
        let len = self.version.len.saturating_sub(start).min(PIECE as u64);
        piece.resize(len as usize, 0);
        self.file.read_exact_at(&mut piece, start)?;
        if !self.version.same_bytes(&Version::of(&self.file.metadata()?)) {
            return Err(io::Error::other("the file was changed while it was being sent"));
        }
        Ok(piece)
    }
}

impl Pieces {
    fn new(budget: Budget) -> Self {
        Self { budget, by_number: Vec::new(), in_memory: VecDeque::new() }
    }

    /// The piece of this number. A piece that has to be read replaces the oldest if `most` are in memory or the budget is spent.
    fn piece(
        &mut self,
        number: usize,
        most: usize,
        load: impl FnOnce(Vec<u8>) -> io::Result<Vec<u8>>,
    ) -> io::Result<&[u8]> {
        if self.by_number.len() <= number {
            self.by_number.resize_with(number + 1, || None);
        }
        if !matches!(self.by_number.get(number), Some(Some(_))) {
            let mut memory = Vec::new();
            while (self.in_memory.len() >= most || self.budget.is_spent())
                && let Some(oldest) = self.in_memory.pop_front()
            {
                self.budget.give_back(1);
                memory = self.by_number.get_mut(oldest).and_then(Option::take).unwrap_or_default();
            }
            let piece = load(memory)?;
            self.in_memory.push_back(number);
            self.budget.take();
            if let Some(place) = self.by_number.get_mut(number) {
                *place = Some(piece);
            }
        }
        Ok(self.by_number.get(number).and_then(Option::as_deref).unwrap_or_default())
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.budget.give_back(self.in_memory.len());
    }
}

/// Bytes of a piece: few system calls, and little waste for a small file.
const PIECE: usize = 64 << 10;
const MAX_PIECES: usize = 1024;
/// Pieces of a single transfer: a window of 64 Ethernet-sized blocks touches three.
const MAX_PIECES_ALONE: usize = 3;
const MAX_PIECES_OF_ALL: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shared(content: &[u8]) -> (tempfile::NamedTempFile, Rc<SharedFile>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let open = File::open(file.path()).unwrap();
        let version = Version::of(&open.metadata().unwrap());
        (file, Rc::new(SharedFile::new(open, version, Budget::default())))
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
    fn forgets_the_oldest_piece_when_there_are_too_many() {
        let mut pieces = Pieces::new(Budget::default());
        for number in 0..10 {
            pieces.piece(number, 7, one_byte).unwrap();
        }
        assert_eq!(pieces.in_memory, [3, 4, 5, 6, 7, 8, 9]);
        let mut loads = 0;
        let load = |memory| {
            loads += 1;
            one_byte(memory)
        };
        pieces.piece(0, 7, load).unwrap();
        assert_eq!(loads, 1);
    }

    #[test]
    fn keeps_what_others_want_and_no_more_for_one_alone() {
        let content = content(10 * PIECE);
        let (_file, shared) = shared(&content);
        let read_all = || {
            let mut buf = vec![0; content.len()];
            shared.read(0, &mut buf).unwrap();
            assert!(buf == content);
            shared.pieces.borrow().in_memory.len()
        };
        assert_eq!(read_all(), MAX_PIECES_ALONE);
        let other = Rc::clone(&shared);
        assert_eq!(read_all(), 10);
        drop(other);
        assert_eq!(read_all(), 10, "pieces in memory stay in use");
    }

    #[test]
    fn all_files_together_stay_within_their_budget() {
        let budget = Budget::default();
        let mut files: Vec<_> = (0..8).map(|_| Pieces::new(budget.clone())).collect();
        for number in 0..MAX_PIECES {
            for file in &mut files {
                assert_eq!(file.piece(number, MAX_PIECES, one_byte).unwrap(), [1]);
            }
        }
        let in_memory: usize = files.iter().map(|file| file.in_memory.len()).sum();
        assert_eq!(in_memory, MAX_PIECES_OF_ALL);
        // When it is spent, a new file gets a piece all the same, and always one.
        let mut another = Pieces::new(budget.clone());
        for number in 0..3 {
            another.piece(number, MAX_PIECES, one_byte).unwrap();
            assert_eq!(another.in_memory, [number]);
        }
        drop((files, another));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    fn one_byte(mut memory: Vec<u8>) -> io::Result<Vec<u8>> {
        memory.resize(1, 1);
        Ok(memory)
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
