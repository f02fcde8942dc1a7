//! The descriptors of served directories: bounded for the process, and closed at rest. A process of its own, since the limit is the
//! process's. Needs root; `.ci/run nfs` runs it.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};
use pinetboot_nfs::{Caller, DirectoryTree, FileSystem, Place};

#[test]
#[ignore = "needs root"]
fn the_tree_with_most_open_files_closes_its_own_and_rest_closes_all() {
    let (many, few) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (0..1000).for_each(|number| fs::write(many.path().join(number.to_string()), "many").unwrap());
    fs::write(few.path().join("file"), "few").unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT as u64, LIMIT as u64).unwrap();
    let (many, few) = (tree(many.path()), tree(few.path()));
    let at_rest = descriptors();
    let file = few.lookup(&Caller::ROOT, &few.root(), b"file").unwrap().id;
    for number in 0..1000 {
        let id = many.lookup(&Caller::ROOT, &many.root(), number.to_string().as_bytes()).unwrap().id;
        let mut content = [0; 4];
        assert_eq!(many.read(&Caller::ROOT, &id, 0, &mut content), Ok(4));
        assert!(descriptors() <= LIMIT * 2 / 3, "{} open", descriptors());
        let mut content = [0; 3];
        assert_eq!(few.read(&Caller::ROOT, &file, 0, &mut content), Ok(3));
    }
    // All that is left is taken by others: one more file opens all the same.
    let mut others = Vec::new();
    while let Ok(other) = fs::File::open("/") {
        others.push(other);
    }
    let id = many.lookup(&Caller::ROOT, &many.root(), b"0").unwrap().id;
    assert_eq!(many.read(&Caller::ROOT, &id, 0, &mut [0; 4]), Ok(4));
    drop(others);

    [&many, &few].into_iter().for_each(FileSystem::rest);
    assert_eq!(descriptors(), at_rest - 2, "the top directories are closed too");
    assert_eq!(few.read(&Caller::ROOT, &file, 0, &mut [0; 3]), Ok(3), "the same file, by the same id");
    let mut names = 0;
    let mut take = |_: pinetboot_nfs::DirectoryEntry<'_>| {
        names += 1;
        true
    };
    few.list(&Caller::ROOT, &few.root(), Place::default(), true, &mut take).unwrap();
    assert_eq!(names, 3);
}

fn tree(path: &Path) -> DirectoryTree {
    DirectoryTree::open(path, 4096).unwrap()
}

fn descriptors() -> usize {
    // Without the one that lists.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

const LIMIT: usize = 150;
