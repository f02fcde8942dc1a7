//! A served directory that is replaced: by rename, or by a mount over it.
//!
//! The open directory stays the same whatever happens to its path. So the path is looked up again, at most once a second and only
//! when a file is requested: a directory on a network file system has no notifications (inotify(7)).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::fstat;

use super::BootTree;
use super::medium::RESOLVE_CACHED;
use super::tree::TreeError;

/// The looks at the path of a tree.
#[derive(Debug)]
pub(super) struct Looks {
    last: Mutex<Instant>,
    /// The last look found no tree there.
    missing: AtomicBool,
}

/// The outcome of a look.
#[derive(Debug)]
pub(super) enum Look {
    /// The same directory, or none for the second time.
    Same,
    /// Another directory.
    Replaced(BootTree),
    /// No directory that can be served.
    Missing(TreeError),
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), missing: AtomicBool::new(false) }
    }

    /// Whether it is time for a look.
    pub(super) fn are_due(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= EVERY
    }

    /// Whether the path leads to the tree, as far as the kernel knows without a disk; that is a look then.
    pub(super) fn finds_in_memory(&self, tree: &BootTree) -> bool {
        let cached = ResolveFlag::from_bits_retain(RESOLVE_CACHED);
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(cached);
        let found = openat2(AT_FDCWD, tree.path(), how).ok().and_then(|found| fstat(found).ok());
        let same = found.map(|found| (found.st_dev, found.st_ino)) == tree.identity();
        if same && !self.missing.load(Ordering::Relaxed) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return true;
        }
        false
    }

    /// Looks at the path of a tree; may wait for a disk.
    pub(super) fn look(&self, tree: &BootTree) -> Look {
        // Before the look: while one waits for a disk, no other request does.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match same(tree, tree.path()) {
            Some(true) => self.missing.store(false, Ordering::Relaxed),
            _ => match BootTree::open_at(tree.path()) {
                Ok(new) => {
                    self.missing.store(false, Ordering::Relaxed);
                    return Look::Replaced(new);
                }
                Err(error) if !self.missing.swap(true, Ordering::Relaxed) => return Look::Missing(error),
                Err(_) => {}
            },
        }
        Look::Same
    }
}

/// Whether the path leads to the tree; `None` if it leads nowhere.
fn same(tree: &BootTree, path: &Path) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some(tree.identity() == Some((metadata.dev(), metadata.ino())))
}

const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_replaced_directory_is_noticed_and_a_missing_one_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let (live, new) = (directory.path().join("live"), directory.path().join("new"));
        for place in [&live, &new] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("config.txt"), "").unwrap();
        }
        let (tree, looks) = (BootTree::open_at(&live).unwrap(), Looks::new());
        assert!(!looks.are_due());
        assert!(matches!(looks.look(&tree), Look::Same));
        fs::rename(&live, directory.path().join("old")).unwrap();
        let Look::Missing(error) = looks.look(&tree) else { panic!() };
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(matches!(looks.look(&tree), Look::Same));
        fs::rename(&new, &live).unwrap();
        let Look::Replaced(tree) = looks.look(&tree) else { panic!() };
        assert_eq!(tree.path(), live);
        assert!(matches!(looks.look(&tree), Look::Same));
    }
}
