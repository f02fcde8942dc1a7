//! A mounted layer.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::adopt::Mounted;
use super::base_image::BaseImage;
use super::facts::LayerFacts;
use super::layer::{Layer, private_dir};
use super::mounts::Mounts;
use super::overlayfs::directory;

/// A mounted layer; dropping it detaches the mount.
///
/// A layer without calls rests: its lock is free for processes that copy or remove the layer, and the mount goes unless a boot's files
/// are read through it.
#[derive(Debug)]
pub struct Overlay {
    layer: Layer,
    since: Instant,
    mounts: Arc<Mounts>,
    detached: AtomicBool,
    /// The layer's lock, held while `awake`.
    lock: File,
    awake: AtomicBool,
    used: Mutex<Instant>,
    #[cfg_attr(not(feature = "nfs"), expect(dead_code, reason = "exports have it"))]
    has_quota: bool,
}

impl Overlay {
    /// Mounts a layer with a limit in bytes.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be mounted.
    pub(super) fn mount(
        mut layer: Layer,
        base_image: &BaseImage,
        mounts: Arc<Mounts>,
        limit: Option<u64>,
    ) -> io::Result<(Self, Mounted)> {
        let lock = layer.lock()?.ok_or_else(in_use)?;
        for part in [layer.work(), layer.merged()] {
            private_dir(&part)?; // empty directories, which a backup may leave out
        }
        let (mounted, has_quota) = mounts.mount(&layer, base_image, limit)?;
        let adopted = mounted == Mounted::Adopted;
        let now = LayerFacts::new(layer.facts.export, base_image);
        let of_version_1 = layer.facts.content.tree.is_empty();
        let content = if adopted || of_version_1 { now.content } else { layer.facts.content.clone() };
        let facts = LayerFacts { content, ..now };
        if adopted || facts != layer.facts {
            layer.set_facts(facts, !adopted)?;
        }
        let (detached, awake) = (AtomicBool::new(false), AtomicBool::new(true));
        let now = Instant::now();
        let used = Mutex::new(now);
        let overlay = Self { layer, since: now, mounts, detached, lock, awake, used, has_quota };
        Ok((overlay, mounted))
    }

    /// The layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Whether the file system enforces the limit of the layer.
    #[cfg(feature = "nfs")]
    pub(super) const fn has_quota(&self) -> bool {
        self.has_quota
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

    /// The time since the last use.
    pub(super) fn unused_for(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
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
            self.mounts.detach(&self.layer);
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

fn in_use() -> io::Error {
    io::Error::other("another process uses this layer")
}
