//! The small files that were sent last, in memory.
//!
//! A rack of Pis asks for the same dozen files one after the other, and opening a file costs more than all else of a request: the kernel
//! walks up the path for landlock, and allocates the open file. A file in this cache is looked up (`O_PATH`) and checked at each
//! request as any other, but neither opened nor read. The cache holds no descriptor, so it keeps no file system busy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::shared::Version;

/// Whole files, by version.
#[derive(Debug, Default)]
pub(super) struct RecentFiles(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    files: HashMap<Version, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Arc<[u8]>,
    used: u64,
}

impl RecentFiles {
    /// The bytes of a file of this version.
    pub(super) fn find(&self, version: &Version) -> Option<Arc<[u8]>> {
        let Recent { files, uses, .. } = &mut *self.lock();
        let entry = files.get_mut(version)?;
        *uses += 1;
        entry.used = *uses;
        Some(Arc::clone(&entry.bytes))
    }

    /// Whether a file of this version is kept. Not one that changed a moment ago: the file may change again within the same tick of
    /// the file system's clock, and keep its version.
    pub(super) fn keeps(version: &Version, now: SystemTime) -> bool {
        Self::has_room_for(version) && version.is_older_than(now, SETTLED)
    }

    /// Whether a file is short enough to be kept.
    pub(super) fn has_room_for(version: &Version) -> bool {
        version.len <= LARGEST
    }

    /// Keeps the bytes of a file; those that were not used for longest make room.
    pub(super) fn keep(&self, version: Version, bytes: &Arc<[u8]>) {
        let Recent { files, bytes: held, uses } = &mut *self.lock();
        while (files.len() >= MOST || *held + bytes.len() > MOST_BYTES)
            && let Some(oldest) =
                files.iter().min_by_key(|(_, entry)| entry.used).map(|(version, _)| *version)
            && let Some(gone) = files.remove(&oldest)
        {
            *held -= gone.bytes.len();
        }
        *uses += 1;
        *held += bytes.len();
        if let Some(same) = files.insert(version, Entry { bytes: Arc::clone(bytes), used: *uses }) {
            *held -= same.bytes.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files of a tree in memory: a dozen for each model, and those of Pis with a directory of their own.
const MOST: usize = 256;
const MOST_BYTES: usize = 2 << 20;
/// Bytes of the largest of them: a device tree fits.
const LARGEST: u64 = 64 << 10;
/// Time after a change until a file is kept, far above the ticks of any file system's clock (FAT: 2 s).
const SETTLED: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_that_was_not_used_for_longest_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let recent = RecentFiles::default();
        let version = |number: usize| {
            let path = directory.path().join(number.to_string());
            fs::write(&path, "x").unwrap();
            Version::of(&fs::metadata(path).unwrap())
        };
        let versions: Vec<_> = (0..=MOST).map(version).collect();
        let bytes: Arc<[u8]> = b"x"[..].into();
        versions[..MOST].iter().for_each(|version| recent.keep(*version, &bytes));
        assert!(recent.find(&versions[0]).is_some());
        recent.keep(versions[MOST], &bytes);
        assert!(recent.find(&versions[0]).is_some() && recent.find(&versions[1]).is_none());
        assert_eq!(recent.lock().files.len(), MOST);
        let large: Arc<[u8]> = vec![0; MOST_BYTES / 4].into();
        versions[2..10].iter().for_each(|version| recent.keep(*version, &large));
        let kept = recent.lock();
        assert_eq!((kept.files.len(), kept.bytes), (4, MOST_BYTES));
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.txt");
        let file = fs::File::create(&path).unwrap();
        let (version, now) = (Version::of(&file.metadata().unwrap()), SystemTime::now());
        assert!(!RecentFiles::keeps(&version, now));
        assert!(RecentFiles::keeps(&version, now + 2 * SETTLED));
        file.set_len(LARGEST + 1).unwrap();
        let longer = Version::of(&file.metadata().unwrap());
        assert!(!RecentFiles::keeps(&longer, SystemTime::now() + 2 * SETTLED));
    }
}
