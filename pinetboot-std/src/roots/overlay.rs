//! The overlay of a layer and its base image, mounted in a namespace of this process.
//!
//! `index=on,nfs_export=on,redirect_dir=on` (Documentation/filesystems/overlayfs.rst): file handles and inode numbers
//! stay the same when a file is copied up or renamed, or the overlay mounted again, and directories of the base image can be
//! renamed.
//!
//! The process has its own mount namespace. The mounts end with the process, however that ends: no mount is left for a restart
//! to find, for a backup to walk into, or to fill `df` with a thousand Pis. To inspect a mount: `nsenter --mount --target PID`.

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

/// Moves this process into its own mount namespace. Call this while the process has one thread: only later threads are in the
/// namespace too. Mounts made outside stay visible.
///
/// # Errors
///
/// The system's; the call requires CAP_SYS_ADMIN.
pub fn own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// A mounted layer; dropping it detaches the mount.
///
/// A layer without calls rests: its lock is free for processes that copy or remove the layer, and the mount goes unless a boot's files
/// are read through it.
#[derive(Debug)]
pub struct Overlay {
    layer: Layer,
    since: Instant,
    detached: AtomicBool,
    /// The layer's lock, held while `awake`.
    lock: File,
    awake: AtomicBool,
    used: Mutex<Instant>,
}

impl Overlay {
    /// Mounts a layer.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be mounted.
    pub fn mount(layer: Layer) -> io::Result<Self> {
        let lock = layer.lock()?.ok_or_else(in_use)?;
        let merged = layer.merged();
        mount_overlay(&layer.facts.root, &layer.upper(), &layer.work(), &merged)?;
        let (detached, awake) = (AtomicBool::new(false), AtomicBool::new(true));
        let now = Instant::now();
        Ok(Self { layer, since: now, detached, lock, awake, used: Mutex::new(now) })
    }

    /// The layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Opens the top of the merged tree.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open_root(&self) -> io::Result<OwnedFd> {
        directory(&self.layer.merged())
    }

    /// The time from the mount to the last use.
    pub(super) fn in_use_for(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).duration_since(self.since)
    }

    /// Records a use of the layer, and takes the lock if the layer rests.
    ///
    /// # Errors
    ///
    /// `NotFound` if the layer was removed, and another kind if another process has its lock.
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

    /// Releases the lock if the layer was unused for this time; returns whether it was.
    pub(super) fn rest_after(&self, unused: Duration) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = used.elapsed() >= unused;
        if rests && self.awake.swap(false, Ordering::AcqRel) {
            let _never_fails_as_it_is_ours = self.lock.unlock();
        }
        rests
    }

    /// Detaches the mount, also while files in it are open.
    pub(super) fn detach(&self) {
        if !self.detached.swap(true, Ordering::AcqRel) {
            detach(&self.layer.merged());
        }
    }

    /// Whether the mount was detached.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Mounts an overlay on a base image.
///
/// # Errors
///
/// The missing requirement, as text.
pub(super) fn mount_overlay(base_image: &Path, upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    // By descriptor: no character of a path needs quoting, and no path is too long for the options.
    let (lower, upper, work) = (directory(base_image)?, directory(upper)?, directory(work)?);
    let options = format!("lowerdir={},upperdir={},workdir={},{OPTIONS}", fd(&lower), fd(&upper), fd(&work));
    mount(Some("pinetboot"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(in_words)
}

/// Mounts a Pi's root read-only: its changes over the base image.
///
/// # Errors
///
/// The missing requirement, as text.
pub(super) fn mount_to_read(base_image: &Path, upper: &Path, at: &Path) -> io::Result<()> {
    let (lower, upper) = (directory(base_image)?, directory(upper)?);
    // A server may have the layer mounted, at rest; overlayfs would refuse a second mount with an index.
    let options = format!("lowerdir={}:{},redirect_dir=follow,index=off", fd(&upper), fd(&lower));
    mount(Some("pinetboot"), at, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .map_err(in_words)
}

/// Detaches a mount at once; files that are open in it stay usable.
pub(super) fn detach(at: &Path) {
    // A mount that cannot be detached ends with the process's namespace.
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
