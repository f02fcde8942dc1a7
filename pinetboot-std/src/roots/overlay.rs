//! The overlay of a layer and its base image, mounted where only this process sees it.
//!
//! `index=on,nfs_export=on,redirect_dir=on` (Documentation/filesystems/overlayfs.rst): file handles and inode numbers
//! stay the same when a file is copied up, renamed, or the overlay mounted anew, and a directory of the tree can be renamed.
//!
//! The process has a mount namespace of its own for this. Its mounts end with it, however it ends: nothing is left
//! behind that a restart would have to find, a backup would walk into or a thousand Pis would fill `df` with. To look into
//! one: `nsenter --mount --target PID`.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::layer::Layer;

/// Gives this process a mount namespace of its own. To be called while there is one thread: only those that come later
/// are in it. What others mount outside is still seen.
///
/// # Errors
///
/// The system's: it takes CAP_SYS_ADMIN.
pub fn own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// A layer that is mounted; ends when dropped.
///
/// While its Pi is not heard of it rests: still mounted, so that nothing that is open in it has to be closed, but free for
/// others to copy or remove, who hold its lock meanwhile.
#[derive(Debug)]
pub struct Overlay {
    layer: Layer,
    root: OwnedFd,
    detached: AtomicBool,
    /// Says to others that it is in use, while `awake`.
    lock: File,
    awake: AtomicBool,
    used: Mutex<Instant>,
}

impl Overlay {
    /// Mounts a layer.
    ///
    /// # Errors
    ///
    /// What keeps it from being mounted.
    pub fn mount(layer: Layer) -> io::Result<Self> {
        let lock = layer.lock()?.ok_or_else(in_use)?;
        let merged = layer.merged();
        mount_overlay(&layer.facts.root, &layer.upper(), &layer.work(), &merged)?;
        let root = directory(&merged).inspect_err(|_| detach(&merged))?;
        let (detached, awake) = (AtomicBool::new(false), AtomicBool::new(true));
        Ok(Self { layer, root, detached, lock, awake, used: Mutex::new(Instant::now()) })
    }

    /// The layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The top of the merged tree.
    pub const fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// It is used, now: from here on it is not at rest.
    ///
    /// # Errors
    ///
    /// `NotFound` if it was removed meanwhile, and another kind if someone is at it at the moment.
    pub(super) fn wake(&self) -> io::Result<()> {
        if self.detached.load(Ordering::Acquire) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !self.awake.load(Ordering::Acquire) {
            match self.lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if !self.layer.has_lock(&self.lock) {
                self.detach();
                return Err(io::ErrorKind::NotFound.into());
            }
            self.awake.store(true, Ordering::Release);
        }
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// Has it rest if it was not used for so long.
    pub(super) fn rest_after(&self, unused: Duration) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.elapsed() >= unused && self.awake.swap(false, Ordering::AcqRel) {
            let _never_fails_as_it_is_ours = self.lock.unlock();
        }
    }

    /// Takes it away, though some may hold it still: what they have of it ends.
    pub(super) fn detach(&self) {
        if !self.detached.swap(true, Ordering::AcqRel) {
            detach(&self.layer.merged());
        }
    }

    /// Whether it was taken away.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Mounts an overlay on `base_image`.
///
/// # Errors
///
/// What is missing, in words.
pub(super) fn mount_overlay(base_image: &Path, upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    // By descriptor: no character in a path means anything then, and no path is too long for the options.
    let (lower, upper, work) = (directory(base_image)?, directory(upper)?, directory(work)?);
    let options = format!("lowerdir={},upperdir={},workdir={},{OPTIONS}", fd(&lower), fd(&upper), fd(&work));
    mount(Some("pinetboot"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(in_words)
}

/// Mounts what a Pi sees of its root, to be read: its changes over the base image.
///
/// # Errors
///
/// What is missing, in words.
pub(super) fn mount_to_read(base_image: &Path, upper: &Path, at: &Path) -> io::Result<()> {
    let (lower, upper) = (directory(base_image)?, directory(upper)?);
    // A server may have it mounted, at rest; with an index that would be refused.
    let options = format!("lowerdir={}:{},redirect_dir=follow,index=off", fd(&upper), fd(&lower));
    mount(Some("pinetboot"), at, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .map_err(in_words)
}

/// Takes a mount away from the tree of files at once; who has something open in it may end that.
pub(super) fn detach(at: &Path) {
    // What fails ends with the process: its mounts are in a namespace of its own.
    let _ends_with_the_namespace = umount2(at, MntFlags::MNT_DETACH);
}

fn in_use() -> io::Error {
    io::Error::other("another process uses this layer")
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("{}: {}", path.display(), errno.desc()))
    })
}

fn fd(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

fn in_words(errno: Errno) -> io::Error {
    let why = match errno {
        Errno::EPERM => {
            "mounting requires the capability CAP_SYS_ADMIN: run pinetboot as root; in a container, with --cap-add SYS_ADMIN"
        }
        Errno::ENODEV => "this kernel has no overlayfs: try 'modprobe overlay'",
        Errno::EINVAL => {
            "the file system of the state directory cannot hold overlayfs layers: use a local one such as ext4, xfs or \
             btrfs, not an overlay (a container's own root is one), NFS or FAT"
        }
        Errno::ESTALE => "the layer was made on another base image",
        Errno::EBUSY => "another process has this layer mounted",
        errno => return errno.into(),
    };
    io::Error::new(io::Error::from(errno).kind(), why)
}

const OPTIONS: &str = "index=on,nfs_export=on,redirect_dir=on";
