//! Changes of names and attributes on stable storage before they are answered.
//!
//! > The following data modifying procedures are synchronous: WRITE (with stable flag set to FILE_SYNC), CREATE, MKDIR, SYMLINK, MKNOD,
//! > REMOVE, RMDIR, RENAME, LINK, and COMMIT. .. when a procedure returns to the client, the client can assume that the operation has
//! > completed and any data associated with the request is now on stable storage. (RFC 1813, sections 1.6 and 4.7)
//!
//! A client's own fsync(2) of a directory sends nothing to a server, for that reason. SETATTR is treated likewise, as the kernel's server does
//! (`nfsd_setattr`, fs/nfsd/vfs.c).
//!
//! fsync(2) of the directory does it: journals (ext4, XFS) write the new file with its name, and write what waits at the same time
//! in one commit. On an overlay the upper directory is written (`ovl_dir_fsync`, fs/overlayfs/readdir.c), and of a file the upper one,
//! however it was opened (`ovl_fsync`, fs/overlayfs/file.c).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, OFlags};
use rustix::io::{self, Errno};

use super::DirectoryTree;
use super::open_files::OpenFile;
use crate::file_system::{FileId, FileKind, FsError, Result};

impl DirectoryTree {
    /// Writes a directory's changed names to stable storage.
    pub(super) fn settle_names(&self, id: &FileId, dir: &OpenFile) -> Result<()> {
        if !self.sync {
            return Ok(());
        }
        let open = || self.open_by_id(id, OFlags::RDONLY | OFlags::DIRECTORY);
        dir.reader(open).and_then(|dir| self.sync_file(dir)).map_err(failed)
    }

    /// Writes a file's changed attributes to stable storage.
    pub(super) fn settle_attributes(&self, id: &FileId, file: &OpenFile) -> Result<()> {
        if !self.sync {
            return Ok(());
        }
        match self.stat(id, file)?.kind {
            FileKind::Regular => self.sync_file(self.reader(id, file)?).map_err(failed),
            FileKind::Directory => self.settle_names(id, file),
            // Files that cannot be opened, as symbolic links, or may not, as devices: the whole file system is written.
            _ => self.sync_all().map_err(failed),
        }
    }

    fn sync_file(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        match fs::fsync(file) {
            // fsync(2): "fd is bound to a special file which does not support synchronization", as directories of some file systems.
            Err(Errno::INVAL) => self.sync_all(),
            synced => synced,
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        fs::syncfs(self.root.get()?.as_fd())
    }
}

/// Any failure is the disk's: the change was made, and its durability is unknown.
fn failed(error: Errno) -> FsError {
    match error {
        Errno::STALE => FsError::Stale,
        _ => FsError::Io,
    }
}
