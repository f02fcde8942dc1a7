//! Directory listings under way.
//!
//! A cookie is the position of the kernel's listing (`d_off`), which stays valid on ext4, XFS, btrfs and tmpfs while other entries come
//! and go. On overlayfs it counts the entries of a list that is made when a merged directory is opened, so the open directory is
//! kept until its reader is done: each listing has a number, the verifier.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::io;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::file_system::{DirectoryEntry, FileId, Place};

/// A client's listing of a directory.
#[derive(Debug)]
pub(super) struct Listing {
    dir: OwnedFd,
    id: FileId,
    verifier: u64,
    /// The position at which the listing continues.
    cookie: u64,
    /// The position of the descriptor; `None` if unknown.
    at: Option<u64>,
    used: Instant,
}

/// The listings under way.
#[derive(Debug)]
pub(super) struct Listings {
    idle: Mutex<Vec<Listing>>,
    next: AtomicU64,
}

impl Listings {
    pub(super) fn new() -> io::Result<Self> {
        // Numbers are not reused after a restart.
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        Ok(Self { idle: Mutex::default(), next: AtomicU64::new(u64::from_ne_bytes(random)) })
    }

    /// Continues a listing, or begins a new one.
    pub(super) fn begin(
        &self,
        id: &FileId,
        from: Place,
        open: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<Listing> {
        let Place { cookie, verifier } = from;
        if cookie != 0 {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let known = idle.iter().position(|listing| listing.verifier == verifier && listing.id == *id);
            if let Some(known) = known {
                return Ok(Listing { cookie, ..idle.swap_remove(known) });
            }
        }
        let (dir, used) = (open()?, Instant::now());
        let verifier = if cookie == 0 { self.next.fetch_add(1, Ordering::Relaxed) } else { verifier };
        Ok(Listing { dir, id: *id, verifier, cookie, at: Some(0), used })
    }

    /// Keeps a listing for the next request; returns its verifier.
    pub(super) fn finish(&self, mut listing: Listing) -> u64 {
        let verifier = listing.verifier;
        listing.used = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = idle.iter().enumerate().min_by_key(|(_, listing)| listing.used).map(|(index, _)| index);
        let dropped = oldest.filter(|_| idle.len() >= MOST).map(|oldest| idle.swap_remove(oldest));
        idle.push(listing);
        drop(idle);
        drop(dropped);
        verifier
    }

    /// Drops abandoned listings.
    pub(super) fn maintain(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped: Vec<_> = idle.extract_if(.., |listing| listing.used.elapsed() >= IDLE).collect();
        drop(idle);
        drop(dropped);
    }

    /// Drops all listings: clients continue by their cookies, or begin again.
    pub(super) fn rest(&self) {
        let dropped = core::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dropped);
    }
}

impl Listing {
    /// Hands out entries and their names as C strings, until `take` refuses one; true at the end of the directory.
    pub(super) fn each(
        &mut self,
        mut take: impl FnMut(DirectoryEntry<'_>, &CStr) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if self.at != Some(self.cookie) {
            seek(&self.dir, SeekFrom::Start(self.cookie))?;
        }
        self.at = None;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&self.dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let cookie = entry.next_entry_cookie();
            let name = entry.file_name();
            let entry =
                DirectoryEntry { file_number: entry.ino(), name: name.to_bytes(), cookie, found: None };
            if !take(entry, name)? {
                return Ok(false);
            }
            self.cookie = cookie;
        }
        self.at = Some(self.cookie);
        Ok(true)
    }
}

/// Most listings under way.
const MOST: usize = 128;
const IDLE: Duration = Duration::from_secs(60);
const BUFFER: usize = 16 * 1024;
