//! Boot files on a disk that hangs: the client of the hung file waits, or gets an ERROR; all others are served.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Folder, Operation, Peer, Serving, SickDisk, content, difference};
use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;

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

/// A tree with a disk below it that can hang.
struct World {
    tree: Folder,
    nas: SickDisk,
}

impl World {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let tree = Folder::new(&[("config.txt", CONFIG), ("start4.elf", b"cold"), ("nas/.here", b"")]);
        fs::remove_file(tree.path().join("nas/.here")).unwrap();
        let nas = SickDisk::at(&tree.path().join("nas"), files);
        Self { tree, nas }
    }
}

/// Fetches a file with clients of many addresses, whom the kernel assigns to all threads. Each gets each packet once.
#[track_caller]
fn others_get(serving: &Serving, name: &str, expected: &[u8]) {
    assert!(expected.len() < 512);
    let began = Instant::now();
    for host in 1..=16 {
        let mut other = Peer::at(Ipv4Addr::new(127, 0, 1, host), serving.address());
        other.exchange(&format!("RRQ {name} octet"), &format!("DATA 1 +{}", expected.len()));
        other.say("ACK 1");
        serving.settle_with(Ipv4Addr::new(127, 0, 1, host));
        assert!(other.heard().is_empty());
    }
    // A retransmission comes after a second, a Pi repeats its request after two.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn whatever_hangs_of_a_file_holds_up_nobody_else() {
    for threads in ["1", "4"] {
        for (operation, hung) in [
            (Operation::Lookup, "nas/kernel8.img"),
            (Operation::Open, "nas/kernel8.img"),
            (Operation::Read, "nas/kernel8.img"),
            (Operation::Read, "nas/config.txt"),
            (Operation::Open, "nas/cmdline.txt"),
        ] {
            let files: Vec<(&str, &[u8])> =
                ["kernel8.img", "config.txt", "cmdline.txt"].map(|name| (name, &b"late"[..])).into();
            let World { tree, nas } = World::new(&files);
            nas.hang(operation, hung.strip_prefix("nas/").unwrap());
            let serving = Serving::start(tree.path(), &["--threads", threads]);
            let nas = nas; // ends before the server, which could not end
            let mut pi = Peer::of(serving.address());
            pi.say(&format!("RRQ {hung} octet"));
            nas.wait_for_hanging(1);
            others_get(&serving, "config.txt", CONFIG);
            others_get(&serving, "start4.elf", b"cold");
            assert!(pi.heard().is_empty());
            nas.release();
            assert_eq!(pi.hear(), "DATA 1 +4", "{operation:?} of {hung}");
            pi.say("ACK 1");
            serving.stop();
        }
    }
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn a_transfer_waits_in_the_middle_of_its_file() {
    let kernel = content("kernel8.img", 150_000);
    let World { tree, nas } = World::new(&[("kernel8.img", &kernel)]);
    let serving = Serving::start(tree.path(), &[]);
    let nas = nas; // ends before the server, which could not end
    let mut pi = Peer::of(serving.address());
    pi.say("RRQ nas/kernel8.img octet");
    let mut got = pi.hear_data(1);
    nas.hang(Operation::Read, "kernel8.img");
    for block in 2..=128 {
        pi.say(&format!("ACK {}", block - 1));
        got.extend(pi.hear_data(block));
    }
    pi.say("ACK 128"); // the end of the first piece
    nas.wait_for_hanging(1);
    others_get(&serving, "config.txt", CONFIG);
    pi.say("ACK 128");
    serving.settle();
    assert!(pi.heard().is_empty());
    nas.release();
    got.extend(pi.hear_data(129));
    for block in 130..=293 {
        pi.say(&format!("ACK {}", block - 1));
        got.extend(pi.hear_data(block));
    }
    pi.say("ACK 293");
    assert_eq!(difference(&got, &kernel), None);
    let log = serving.stop();
    assert!(log.contains("fetched nas/kernel8.img") && !log.contains("resent packets"), "{log}");
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn who_waits_too_long_gets_an_error_and_the_log_names_the_path() {
    let kernel = content("kernel8.img", 150_000);
    let World { tree, nas } = World::new(&[("kernel8.img", &kernel), ("lost", b"")]);
    let serving = Serving::start(tree.path(), &[]);
    let nas = nas; // ends before the server, which could not end
    let mut reads = Peer::of(serving.address());
    reads.exchange("RRQ nas/kernel8.img octet", "DATA 1 +512");
    nas.hang(Operation::Read, "kernel8.img");
    nas.hang(Operation::Open, "lost");
    for block in 2..=128 {
        reads.exchange(&format!("ACK {}", block - 1), &format!("DATA {block} +512"));
    }
    reads.say("ACK 128");
    let mut opens = Peer::of(serving.address());
    opens.say("RRQ nas/lost octet");
    nas.wait_for_hanging(2);
    for peer in [&mut reads, &mut opens] {
        let answer = peer.hear();
        assert!(answer.starts_with("ERROR 0 "), "{answer}");
    }
    for name in ["nas/kernel8.img", "nas/lost"] {
        serving.wait_for_log(&format!("{name} does not answer for 10 s"));
    }
    others_get(&serving, "config.txt", CONFIG);
    nas.release();
    serving.wait_for_log("nas/kernel8.img answers again");
    reads.exchange("RRQ nas/kernel8.img octet", "DATA 1 +512");
    serving.stop();
}

/// Each name hangs by itself, and each request is another client's.
#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn a_crowd_that_wants_hung_files_holds_up_nobody_else() {
    let World { tree, nas } = World::new(&[]);
    let serving = Serving::start(tree.path(), &[]);
    let nas = nas; // ends before the server, which could not end
    let mut crowd = Vec::new();
    for number in 0..200 {
        let name = format!("hung{number}");
        nas.hang(Operation::Lookup, &name);
        let pi = Peer::at(Ipv4Addr::new(127, 0, 2, number), serving.address());
        pi.say(&format!("RRQ nas/{name} octet"));
        crowd.push(pi);
    }
    nas.wait_for_hanging(1);
    others_get(&serving, "config.txt", CONFIG);
    tree.write("fresh", b"never seen");
    others_get(&serving, "fresh", b"never seen");
    assert!(nas.hanging() <= 4, "{} threads wait for one directory", nas.hanging());
    nas.release();
    for pi in &mut crowd {
        assert_eq!(pi.hear(), "ERROR 1 file not found");
    }
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn closing_holds_up_nobody() {
    let World { tree, nas } = World::new(&[("kernel8.img", b"closed later")]);
    nas.hang(Operation::Flush, "kernel8.img");
    let serving = Serving::start(tree.path(), &[]);
    let nas = nas; // ends before the server, which could not end
    let mut pi = Peer::of(serving.address());
    pi.exchange("RRQ nas/kernel8.img octet", "DATA 1 +12");
    pi.say("ACK 1");
    nas.wait_for_hanging(1);
    others_get(&serving, "config.txt", CONFIG);
    nas.release();
    serving.stop();
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn an_upload_to_a_hung_disk_holds_up_nobody_else() {
    for operation in [Operation::Create, Operation::Write, Operation::Rename] {
        let name = if operation == Operation::Rename { "log" } else { "" };
        let World { tree, nas } = World::new(&[]);
        nas.hang(operation, name);
        let uploads = nas.path().display().to_string();
        let serving = Serving::start(tree.path(), &["--allow-upload", &uploads]);
        let nas = nas; // ends before the server, which could not end
        let mut pi = Peer::of(serving.address());
        pi.exchange("WRQ log octet", "ACK 0");
        pi.exchange("DATA 1 +512", "ACK 1");
        pi.say("DATA 2 +100");
        nas.wait_for_hanging(1);
        others_get(&serving, "config.txt", CONFIG);
        assert!(pi.heard().is_empty(), "{operation:?}");
        nas.release();
        assert_eq!(pi.hear(), "ACK 2", "{operation:?}");
        assert_eq!(nas.content("log").unwrap(), [0; 612]);
        serving.stop();
    }
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn a_reload_from_a_hung_disk_holds_up_nobody() {
    let World { tree, nas } = World::new(&[("pinetboot.toml", b"overwrite = false\n")]);
    let config = nas.path().join("pinetboot.toml").display().to_string();
    let serving = Serving::start(tree.path(), &["--config", &config]);
    let nas = nas; // ends before the server, which could not end
    nas.hang(Operation::Open, "pinetboot.toml");
    serving.signal(Signal::SIGHUP);
    nas.wait_for_hanging(1);
    others_get(&serving, "config.txt", CONFIG);
    nas.release();
    serving.wait_for_log("configuration reloaded");
    serving.stop();
}

#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn a_tree_on_a_slow_network_file_system_is_served_whole() {
    let kernel = content("kernel8.img", 1_000_000);
    let nas = SickDisk::new(&[("kernel8.img", &kernel), ("config.txt", CONFIG)]);
    nas.delay(Operation::Read, "kernel8.img", Duration::from_millis(20));
    let serving = Serving::start(nas.path(), &[]);
    let options = Options::default().with_block_size(1468).with_window_size(16);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let got = common::fetch(serving.address(), "kernel8.img", options).unwrap();
                assert_eq!(difference(&got, &kernel), None);
            });
        }
        others_get(&serving, "config.txt", CONFIG);
    });
    serving.stop();
}

const CONFIG: &[u8] = b"arm_64bit=1\n";
