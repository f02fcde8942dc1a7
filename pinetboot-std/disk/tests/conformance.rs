//! The suite of the trait `Disk`, on images and overlays in files.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::path::Path;

use pinetboot_disk::conformance::{check_disk, check_read_only};
use pinetboot_disk::{Access, Disk, DiskError, Image, OpenError, Overlay};

const LEN: u64 = 3 << 20;

/// A directory with a base image: data, a hole, data, and less than a whole cluster at the end.
fn with_base() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..1u32 << 20).map(|at| (at / 7) as u8 | 1).collect();
    let base = fs::File::create(directory.path().join("base.img")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&base, &content, 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&base, &content[..700], LEN - 9 * 512).unwrap();
    base.set_len(LEN - 7 * 512 + 100).unwrap();
    directory
}

fn open(directory: &Path, name: &str) -> Overlay {
    Overlay::open(&directory.join(name), directory, Access::ReadWrite).unwrap()
}

#[test]
fn an_image_is_a_disk() {
    let directory = with_base();
    let path = directory.path().join("base.img");
    for seed in 0..2 {
        check_disk(&Image::open(&path, Access::ReadWrite).unwrap(), seed, 100).unwrap();
    }
    let image = Image::open(&path, Access::ReadOnly).unwrap();
    assert_eq!(image.len(), LEN - 7 * 512, "whole sectors");
    check_read_only(&image).unwrap();
}

#[test]
fn an_overlay_is_a_disk_and_leaves_its_base_alone() {
    let directory = with_base();
    let path = directory.path();
    let base = fs::read(path.join("base.img")).unwrap();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), LEN).unwrap();
    for seed in 0..3 {
        check_disk(&open(path, "a.qcow2"), seed, 100).unwrap();
    }
    assert!(!path.join("a.qcow2.log").exists(), "a closed overlay is one file");
    check_read_only(&Overlay::open(&path.join("a.qcow2"), path, Access::ReadOnly).unwrap()).unwrap();
    assert!(fs::read(path.join("base.img")).unwrap() == base);
}

#[test]
fn an_overlay_on_an_overlay_is_a_disk() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), 0).unwrap();
    check_disk(&open(path, "a.qcow2"), 1, 100).unwrap();
    let snapshot = fs::read(path.join("a.qcow2")).unwrap();
    Overlay::create(&path.join("b.qcow2"), Path::new("a.qcow2"), LEN + 5000).unwrap();
    for seed in 0..2 {
        check_disk(&open(path, "b.qcow2"), seed, 80).unwrap();
    }
    assert!(fs::read(path.join("a.qcow2")).unwrap() == snapshot);
}

#[test]
fn a_base_that_changed_is_refused() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), 0).unwrap();
    drop(open(path, "a.qcow2"));
    let base = fs::File::options().write(true).open(path.join("base.img")).unwrap();
    let before = base.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&base, b"x", 1234).unwrap();
    base.set_modified(before).unwrap();
    let refused = Overlay::open(&path.join("a.qcow2"), path, Access::ReadWrite);
    assert!(
        matches!(refused, Err(OpenError::BaseChanged(_))),
        "the content, though its time was set back: {refused:?}"
    );
    std::os::unix::fs::FileExt::write_all_at(&base, &[1], 1234).unwrap();
    base.set_modified(before + std::time::Duration::from_nanos(1)).unwrap();
    let refused = Overlay::open(&path.join("a.qcow2"), path, Access::ReadWrite);
    assert!(matches!(refused, Err(OpenError::BaseChanged(_))), "the time alone: {refused:?}");
}

#[test]
fn a_base_elsewhere_is_refused() {
    let (directory, elsewhere) = (with_base(), with_base());
    let path = directory.path();
    let base = elsewhere.path().join("base.img");
    Overlay::create(&path.join("a.qcow2"), &base, 0).unwrap();
    let refused = Overlay::open(&path.join("a.qcow2"), path, Access::ReadWrite);
    assert!(matches!(refused, Err(OpenError::BaseElsewhere(_))), "{refused:?}");
    Overlay::open(&path.join("a.qcow2"), elsewhere.path(), Access::ReadWrite).unwrap();
}

#[test]
fn a_disk_has_one_writer() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), 0).unwrap();
    let first = open(path, "a.qcow2");
    let second = Overlay::open(&path.join("a.qcow2"), path, Access::ReadWrite);
    assert!(
        matches!(&second, Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock),
        "{second:?}"
    );
    let writer = Image::open(&path.join("base.img"), Access::ReadWrite);
    assert!(writer.is_err(), "the base is in use");
    drop(first);
    open(path, "a.qcow2");
    assert!(Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), 0).is_err(), "never overwritten");
}

#[test]
fn a_disk_can_be_made_longer() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), 0).unwrap();
    let mut overlay = open(path, "a.qcow2");
    overlay.write_at(&[5; 100], 2 << 20).unwrap();
    assert_eq!(overlay.resize(LEN - 4096), Err(DiskError::OutOfRange));
    overlay.resize(20 << 30).unwrap();
    overlay.write_at(&[6; 100], (20 << 30) - 100).unwrap();
    drop(overlay);
    let overlay = open(path, "a.qcow2");
    let mut found = [0; 3];
    for (place, at) in found.iter_mut().zip([2 << 20, (20 << 30) - 101, (20 << 30) - 1]) {
        overlay.read_at(core::slice::from_mut(place), at).unwrap();
    }
    assert_eq!((overlay.len(), found), (20 << 30, [5, 0, 6]));
}
