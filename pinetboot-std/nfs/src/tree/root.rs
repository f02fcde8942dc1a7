//! The top directory of a tree, open while the tree is used.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};

use super::identity::act_as_root;
use super::kernel::{self, MountId};
use crate::file_system::FileId;

/// The top directory: closed by [`rest`](Self::rest), and opened again by the next call.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    id: FileId,
    open: RwLock<Option<Arc<OpenRoot>>>,
}

/// The open top directory.
#[derive(Debug)]
pub(super) struct OpenRoot {
    fd: OwnedFd,
    mount: MountId,
}

impl Root {
    /// The top directory at `path`, with its handle.
    pub(super) fn new(path: &Path, fd: OwnedFd) -> io::Result<Self> {
        let (id, mount) = kernel::of_file_in_mount(fd.as_fd())?;
        let open = RwLock::new(Some(Arc::new(OpenRoot { fd, mount })));
        Ok(Self { path: path.into(), id, open })
    }

    pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
        fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    pub(super) const fn id(&self) -> &FileId {
        &self.id
    }

    /// The open directory. A tree at rest opens it as root, so the thread's identity changes.
    pub(super) fn get(&self) -> io::Result<Arc<OpenRoot>> {
        if let Some(open) = &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(open.clone());
        }
        act_as_root().map_err(|_| Errno::PERM)?;
        let fd = Self::open(&self.path)?;
        let (id, mount) = kernel::of_file_in_mount(fd.as_fd())?;
        // Another directory: the mount is gone.
        if id != self.id {
            return Err(Errno::STALE);
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        Ok(open.get_or_insert_with(|| Arc::new(OpenRoot { fd, mount })).clone())
    }

    /// Closes the directory.
    pub(super) fn rest(&self) {
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(closed);
    }
}

impl OpenRoot {
    pub(super) const fn mount(&self) -> MountId {
        self.mount
    }
}

impl AsFd for OpenRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
