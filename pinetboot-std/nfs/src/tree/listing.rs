//! Directories being listed.
//!
//! A cookie is where the kernel's own listing stands (`d_off`), which on ext4, XFS, btrfs and tmpfs stays good while other
//! entries come and go. On overlayfs it counts the entries of a list that is made when a merged directory is opened, so the
//! opened directory is kept until its reader is done: each listing has a number, which is the verifier.

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

/// One client's way through one directory.
#[derive(Debug)]
pub(super) struct Listing {
    dir: OwnedFd,
    id: FileId,
    verifier: u64,
    /// Where it is to go on.
    cookie: u64,
    /// Where the descriptor stands; None if that is not known.
    at: Option<u64>,
    used: Instant,
}

/// Those that are under way.
#[derive(Debug)]
pub(super) struct Listings {
    idle: Mutex<Vec<Listing>>,
    next: AtomicU64,
}

impl Listings {
    pub(super) fn new() -> io::Result<Self> {
        // No number is given out again after a restart.
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        Ok(Self { idle: Mutex::default(), next: AtomicU64::new(u64::from_ne_bytes(random)) })
    }

    /// Goes on where a listing was left, or begins a new one.
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

    /// Keeps it for the next request; its verifier.
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

    /// Lets go of what nobody came back to.
    pub(super) fn maintain(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|listing| listing.used.elapsed() < IDLE);
    }
}

impl Listing {
    /// Hands out entries, and their names as the kernel takes them, until `take` refuses one, or there are no more: true.
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

/// As many clients list directories at once without losing their place.
const MOST: usize = 128;
const IDLE: Duration = Duration::from_secs(60);
const BUFFER: usize = 16 * 1024;
