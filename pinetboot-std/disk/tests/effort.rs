//! A snapshot, and the return to the image, take the same effort for any disk. One test, as the counters are those of the process.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::path::Path;

use pinetboot_disk::{Access, Disk, Overlay};

/// The reading and writing system calls of this process so far, and their bytes.
fn effort() -> [u64; 4] {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    ["syscr", "syscw", "rchar", "wchar"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap().parse().unwrap()
    })
}

/// The effort of a snapshot of a disk of 16 GB that has a cluster in each of its first `tables` L2 tables.
fn snapshot(directory: &Path, tables: u64) -> [u64; 4] {
    let (disk, snapshot) = (directory.join("disk.qcow2"), directory.join("disk@kept.qcow2"));
    Overlay::create(&disk, Path::new("base.img"), 16_000_000_000).unwrap();
    let overlay = Overlay::open(&disk, directory, Access::ReadWrite).unwrap();
    for table in 0..tables {
        overlay.write_at(&[1; 4096], table << 21).unwrap();
    }
    drop(overlay);
    let before = effort();
    // As `pinetboot disks snapshot` does.
    let overlay = Overlay::open(&disk, directory, Access::ReadWrite).unwrap();
    overlay.flush().unwrap();
    let len = overlay.len();
    drop(overlay);
    fs::hard_link(&disk, &snapshot).unwrap();
    let new = directory.join("new.qcow2");
    Overlay::create(&new, Path::new("disk@kept.qcow2"), len).unwrap();
    fs::rename(&new, &disk).unwrap();
    let after = effort();
    let overlay = Overlay::open(&disk, directory, Access::ReadWrite).unwrap();
    let mut found = [0; 2];
    overlay.read_at(&mut found, (tables - 1) << 21).unwrap();
    assert_eq!(found, [1; 2], "what the snapshot holds");
    drop(overlay);
    [&disk, &snapshot].into_iter().for_each(|file| fs::remove_file(file).unwrap());
    core::array::from_fn(|at| after[at] - before[at])
}

#[test]
fn a_snapshot_takes_the_same_effort_for_any_disk() {
    let directory = tempfile::tempdir().unwrap();
    fs::File::create(directory.path().join("base.img")).unwrap().set_len(16_000_000_000).unwrap();
    // The tables of a full disk of 1 GB, and of one of 16 GB.
    let (small, large) = (snapshot(directory.path(), 477), snapshot(directory.path(), 7629));
    for (small, large) in small.iter().zip(&large) {
        assert!(*large <= small + small / 10 + 300, "{small:?}, {large:?}");
    }
    println!("system calls and bytes, 1 GB and 16 GB: {small:?} {large:?}");
}
