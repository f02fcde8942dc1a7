//! The kinds of file systems, by what of them the kernel answers from memory.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::beneath::beneath_by;

/// How far a call may go for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The kernel's memory: the call never waits for a disk.
    Memory,
    /// The disk: the call may take long, or never return.
    Disk,
}

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// In memory.
    Memory,
    /// On a disk, with names and bytes in the kernel's caches.
    Cached,
    /// Any other: a network file system or FUSE, where the kernel may ask a server about each name and each opening, and
    /// those that stand on others (overlay).
    Remote,
}

impl Medium {
    /// The kind of an open directory. This may wait for a disk.
    pub(super) fn of(directory: impl AsFd) -> Self {
        match fstatfs(directory).map(|system| system.filesystem_type()) {
            Ok(TMPFS_MAGIC) => Self::Memory,
            // The kernel's read_iter of these has FMODE_NOWAIT, and their dentries need no revalidation.
            Ok(EXT4_SUPER_MAGIC | XFS_SUPER_MAGIC | BTRFS_SUPER_MAGIC | F2FS_SUPER_MAGIC) => Self::Cached,
            _ => Self::Remote,
        }
    }

    /// Opens the file at `place` beneath `root`; `EAGAIN`: it is not known without the disk.
    pub(super) fn open(
        self,
        reach: Reach,
        root: &OwnedFd,
        place: &Path,
        flags: OFlag,
    ) -> Result<OwnedFd, Errno> {
        let here = match (reach, self) {
            (Reach::Disk, _) => return beneath_by(root, place, flags, ResolveFlag::empty()),
            (Reach::Memory, Self::Memory) => ResolveFlag::empty(),
            (Reach::Memory, Self::Cached) => ResolveFlag::from_bits_retain(RESOLVE_CACHED),
            (Reach::Memory, Self::Remote) => return Err(Errno::EAGAIN),
        };
        // Another file system may be mounted below.
        beneath_by(root, place, flags, here | ResolveFlag::RESOLVE_NO_XDEV).map_err(|errno| match errno {
            Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::EACCES
            | Errno::ELOOP
            | Errno::ENAMETOOLONG
            | Errno::EMFILE
            | Errno::ENFILE => errno,
            // EXDEV: another file system, or a link out of the tree. EINVAL: Linux before 5.12.
            _ => Errno::EAGAIN,
        })
    }

    /// Fills `bytes` from `offset` on; false: the bytes are not in memory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn read(self, reach: Reach, file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        match (reach, self) {
            (Reach::Disk, _) | (Reach::Memory, Self::Memory) => {
                file.read_exact_at(bytes, offset).map(|()| true)
            }
            // "RWF_NOWAIT: Do not wait for data which is not immediately available. If this flag is specified, the
            // preadv2() system call will return instantly if it would have to read data from the backing storage"
            // (readv(2)).
            (Reach::Memory, Self::Cached) => {
                let len = bytes.len();
                Ok(preadv2(file, &mut [IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT) == Ok(len))
            }
            (Reach::Memory, Self::Remote) => Ok(bytes.is_empty()),
        }
    }
}

/// openat2(2): "Make the open operation fail unless all path components are already present in the kernel's lookup cache."
/// nix has no name for it.
pub(super) const RESOLVE_CACHED: u64 = 0x20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_cached_file_needs_no_disk() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.txt"), "arm_64bit=1").unwrap();
        let root = OwnedFd::from(File::open(directory.path()).unwrap());
        let medium = Medium::of(&root);
        if medium == Medium::Remote {
            return; // a container's overlay
        }
        let open = |name: &str| medium.open(Reach::Memory, &root, Path::new(name), OFlag::O_RDONLY);
        let file = File::from(open("config.txt").unwrap());
        let mut bytes = [0; 11];
        if medium.read(Reach::Memory, &file, 0, &mut bytes).unwrap() {
            assert_eq!(&bytes, b"arm_64bit=1");
        }
        assert!(!fs::exists(directory.path().join("missing")).unwrap());
        assert_eq!(open("missing").map(drop), Err(Errno::ENOENT));
    }

    #[test]
    fn another_file_system_is_left_to_the_disk() {
        let root = OwnedFd::from(File::open("/").unwrap());
        let opened = |medium: Medium| medium.open(Reach::Memory, &root, Path::new("proc"), OFlag::O_PATH);
        for medium in [Medium::Memory, Medium::Cached, Medium::Remote] {
            assert_eq!(opened(medium).map(drop), Err(Errno::EAGAIN), "{medium:?}");
        }
        assert_eq!(Medium::of(File::open("/proc").unwrap()), Medium::Remote);
    }
}
