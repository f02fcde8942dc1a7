//! One version of one file, read once for all the transfers that want it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Which bytes a file held when it was opened: the same version means the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Length in bytes.
    pub len: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// Of the inode: also a new name, mode or owner changes it.
    changed: (i64, i64),
}

impl Version {
    /// The version that a file is in now.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether this is the same inode with the same bytes. It may have lost its name since: a file that is replaced by
    /// another is still there for those who have it open.
    fn same_bytes(&self, now: &Self) -> bool {
        (self.device, self.inode, self.len, self.modified) == (now.device, now.inode, now.len, now.modified)
    }
}

/// An open file whose bytes are kept in memory while anyone reads it, at most [`Shared::MEMORY`] of them.
///
/// Not a mapping: that would show bytes written over the file in the middle of a transfer, and kill the process when
/// the file is cut short. Each piece is read once and the version checked after it, so that a client gets the bytes of
/// the version it asked for or an ERROR, never a mix.
#[derive(Debug)]
pub struct Shared {
    file: File,
    version: Version,
    pieces: RefCell<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    by_number: Vec<Option<Box<[u8]>>>,
    /// Numbers of those in memory, oldest first.
    in_memory: VecDeque<usize>,
}

impl Shared {
    /// How much of one file is kept in memory: 64 MiB, more than any kernel or initramfs of a Pi.
    pub const MEMORY: usize = MAX_PIECES * PIECE;

    /// A file to be read in the version that it is in.
    pub fn new(file: File, version: Version) -> Self {
        Self { file, version, pieces: RefCell::default() }
    }

    /// Which version it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or the file is no longer the version that was opened.
    pub fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let mut pieces = self.pieces.borrow_mut();
        while !buf.is_empty() {
            let number = usize::try_from(offset / PIECE as u64).map_err(io::Error::other)?;
            let piece = pieces.piece(number, || self.load(number))?;
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

    fn load(&self, number: usize) -> io::Result<Box<[u8]>> {
        let start = number as u64 * PIECE as u64;
        let len = self.version.len.saturating_sub(start).min(PIECE as u64);
        let mut piece = vec![0; len as usize].into_boxed_slice();
        self.file.read_exact_at(&mut piece, start)?;
        if !self.version.same_bytes(&Version::of(&self.file.metadata()?)) {
            return Err(io::Error::other("the file was changed while it was being sent"));
        }
        Ok(piece)
    }
}

impl Pieces {
    fn piece(&mut self, number: usize, load: impl FnOnce() -> io::Result<Box<[u8]>>) -> io::Result<&[u8]> {
        if self.by_number.len() <= number {
            self.by_number.resize_with(number + 1, || None);
        }
        if !matches!(self.by_number.get(number), Some(Some(_))) {
            let piece = load()?;
            if self.in_memory.len() >= MAX_PIECES
                && let Some(oldest) = self.in_memory.pop_front()
                && let Some(place) = self.by_number.get_mut(oldest)
            {
                *place = None;
            }
            self.in_memory.push_back(number);
            if let Some(place) = self.by_number.get_mut(number) {
                *place = Some(piece);
            }
        }
        Ok(self.by_number.get(number).and_then(Option::as_deref).unwrap_or_default())
    }
}

/// Read at a time: few system calls, and little wasted on a small file.
const PIECE: usize = 64 << 10;
const MAX_PIECES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shared(content: &[u8]) -> (tempfile::NamedTempFile, Shared) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let open = File::open(file.path()).unwrap();
        let version = Version::of(&open.metadata().unwrap());
        (file, Shared::new(open, version))
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
        let mut pieces = Pieces::default();
        for number in 0..MAX_PIECES + 3 {
            pieces.piece(number, || Ok(Box::new([1]))).unwrap();
        }
        assert_eq!(pieces.in_memory.len(), MAX_PIECES);
        let mut loads = 0;
        let load = || {
            loads += 1;
            Ok(vec![1].into_boxed_slice())
        };
        pieces.piece(0, load).unwrap();
        assert_eq!(loads, 1);
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
