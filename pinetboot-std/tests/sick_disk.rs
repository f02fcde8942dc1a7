//! Boot files on a disk that hangs: the client of the hung file waits, or gets an ERROR; all others are served.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

use std::fs;
use std::io::Read;
use std::sync::mpsc;
use std::thread;

use common::{Operation, SickDisk};

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn the_disk_hangs_and_comes_back() {
    let disk = SickDisk::new(&[("config.txt", b"healthy"), ("overlays/hung", b"late")]);
    disk.hang(Operation::Read, "hung");
    let hung = disk.path().join("overlays/hung");
    let (told, came) = mpsc::channel();
    let reader = thread::spawn(move || told.send(fs::read(hung).unwrap()).unwrap());
    disk.wait_for_hanging(1);
    assert_eq!(fs::read(disk.path().join("config.txt")).unwrap(), b"healthy");
    assert!(came.try_recv().is_err());
    disk.release();
    assert_eq!(came.recv().unwrap(), b"late");
    reader.join().unwrap();

    fs::write(disk.path().join(".part"), "new").unwrap();
    fs::rename(disk.path().join(".part"), disk.path().join("new")).unwrap();
    assert_eq!(disk.content("new").unwrap(), b"new");

    disk.hang(Operation::Read, "config.txt");
    let mut file = fs::File::open(disk.path().join("config.txt")).unwrap();
    let reader = thread::spawn(move || file.read(&mut [0; 7]).is_err());
    disk.wait_for_hanging(1);
    drop(disk);
    assert!(reader.join().unwrap(), "EIO");
}
