//! File numbers (`fileid`): one for each file, the same after a restart.
//!
//! A client takes a file of another number for another file, and answers ESTALE to programs that have the former one open or as their
//! directory. The kernel's numbers are stable and unique in one file system. They are not everywhere: an overlay over
//! subvolumes of btrfs has a number twice, and one over several file systems, without `xino`, makes up numbers for directories
//! (Documentation/filesystems/overlayfs.rst, "Inode properties").

use std::hash::Hasher;

use rustix::io;
use siphasher::sip::SipHasher24;

use crate::file_system::FileId;

/// The source and the width of a tree's file numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileNumbers {
    /// Numbers are hashes of the kernel's handles, which are stable and unique on each file system that has handles; otherwise they are
    /// the kernel's.
    pub from_handles: bool,
    /// Numbers have 32 bits, for programs that were built without large files: stat(2) gives those EOVERFLOW for a longer number.
    pub short: bool,
}

impl FileNumbers {
    /// The number of a file with this number of the kernel and this handle.
    pub(super) fn of(self, kernel: u64, id: impl FnOnce() -> io::Result<FileId>) -> u64 {
        let number = match self.from_handles.then(id) {
            Some(Ok(id)) => hash(&id),
            // The file is gone, or the caller may not search the directory: the number of a name that leads nowhere.
            Some(Err(_)) | None => kernel,
        };
        if self.short { shorten(number) } else { number }
    }
}

fn hash(id: &FileId) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(id.as_bytes());
    hasher.finish().max(1)
}

/// Unique for numbers below 2^29 of either layer of an overlay: `xino` marks those of the base image with bit 33, or bit 63 where
/// numbers may be longer than 32 bits.
fn shorten(number: u64) -> u64 {
    let (high, low) = ((number >> 32) as u32, number as u32);
    (low ^ high.rotate_right(2)).max(1).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn short_numbers_tell_both_layers_apart() {
        let numbers = FileNumbers { short: true, ..FileNumbers::default() };
        let all = [1, 2, 0x1_0040, (1 << 29) - 1];
        for mark in [1 << 33, 1 << 63] {
            let short: HashSet<_> =
                all.iter().flat_map(|n| [*n, n | mark]).map(|n| numbers.of(n, || unreachable!())).collect();
            assert_eq!(short.len(), 2 * all.len());
            assert!(short.iter().all(|n| *n != 0 && u32::try_from(*n).is_ok()));
        }
    }

    #[test]
    fn numbers_from_handles_depend_on_the_handle_alone() {
        let numbers = FileNumbers { from_handles: true, ..FileNumbers::default() };
        let of = |kernel, id: &[u8]| numbers.of(kernel, || Ok(FileId::new(id).unwrap()));
        assert_eq!(of(1, b"one"), of(2, b"one"));
        assert_ne!(of(1, b"one"), of(1, b"two"));
    }
}
