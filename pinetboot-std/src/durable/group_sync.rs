//! Group commit: what several threads wrote reaches the disk by one syncfs(2).
//!
//! A first mount makes some twenty files and directories. With an fsync for each, the journal of the file system is written as often, and
//! a thousand first mounts wait for it 39,000 times. syncfs writes everything that is dirty in the file system, once for all threads
//! that wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::unistd::syncfs;

/// The syncs of a file system, one at a time.
#[derive(Debug)]
pub(crate) struct GroupSync {
    place: PathBuf,
    syncs: Mutex<Syncs>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Syncs {
    /// Kept open: the kernel tells each open file of errors since the last sync through it.
    directory: Option<File>,
    is_running: bool,
    /// The numbers of the last sync that began, and of the last one that ended.
    begun: u64,
    ended: u64,
    /// The last sync that failed.
    failed: Option<(u64, Errno)>,
}

impl GroupSync {
    /// The syncs of this directory's file system. The directory need not exist before the first one.
    pub(crate) fn at(place: &Path) -> Self {
        Self { place: place.to_owned(), syncs: Mutex::default(), ended: Condvar::new() }
    }

    /// Returns once everything that was written before the call is on the disk.
    ///
    /// # Errors
    ///
    /// The system's, also that of other threads' writing in the same sync.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let mut syncs = self.syncs();
        // A sync under way may have passed what was just written.
        let mine = syncs.begun + 1;
        loop {
            if syncs.ended >= mine {
                let failed = syncs.failed.filter(|(number, _)| *number >= mine);
                return failed.map_or(Ok(()), |(_, errno)| Err(errno.into()));
            }
            if syncs.is_running {
                syncs = self.ended.wait(syncs).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let directory = match syncs.directory.take() {
                Some(directory) => directory,
                None => File::open(&self.place)?,
            };
            (syncs.is_running, syncs.begun) = (true, syncs.begun + 1);
            let number = syncs.begun;
            drop(syncs);
            let done = syncfs(&directory);
            syncs = self.syncs();
            (syncs.directory, syncs.is_running, syncs.ended) = (Some(directory), false, number);
            if let Err(errno) = done {
                syncs.failed = Some((number, errno));
            }
            self.ended.notify_all();
        }
    }

    /// The number of syncs.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.syncs().ended
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_wait_share_a_sync_and_none_returns_before_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let sync = GroupSync::at(directory.path());
        thread::scope(|scope| {
            // A sync is under way: none of the others may take it for theirs.
            sync.syncs().is_running = true;
            sync.syncs().begun = 1;
            let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| sync.settle())).collect();
            assert!(waiting.iter().all(|thread| !thread.is_finished()));
            let mut syncs = sync.syncs();
            (syncs.is_running, syncs.ended) = (false, 1);
            drop(syncs);
            sync.ended.notify_all();
            for thread in waiting {
                thread.join().unwrap().unwrap();
            }
        });
        let shared = sync.count() - 1;
        assert!((1..=8).contains(&shared), "{shared}");
        sync.settle().unwrap();
        assert_eq!(sync.count(), shared + 2);
    }

    #[test]
    fn a_failed_sync_fails_those_that_waited_for_it_and_no_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let sync = GroupSync::at(&directory.path().join("none"));
        assert_eq!(sync.settle().unwrap_err().kind(), io::ErrorKind::NotFound);
        let sync = GroupSync::at(directory.path());
        sync.syncs().failed = Some((1, Errno::EIO));
        assert_eq!(sync.settle().unwrap_err().raw_os_error(), Some(Errno::EIO as i32));
        sync.settle().unwrap();
    }
}
