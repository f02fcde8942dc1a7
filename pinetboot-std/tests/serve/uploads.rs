//! Files that clients write: only where they may, whole or not at all.

use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;

use crate::common::fetch::{put, refused};
use crate::common::{Folder, Peer, Serving, content, difference, fetch};

fn serving(uploads: &Folder, options: &[&str]) -> (Folder, Serving) {
    let tree = Folder::tree(&[]);
    let upload = ["--allow-upload", uploads.path().to_str().unwrap()];
    let serving = Serving::start(&tree, &[&upload, options].concat());
    (tree, serving)
}

#[test]
fn no_client_writes_unless_allowed() {
    let tree = Folder::tree(&[]);
    let before = tree.names();
    let serving = Serving::start(&tree, &[]);
    for name in ["new", "config.txt", "../new"] {
        assert_eq!(put(serving.address(), name, Options::default(), b"x"), Err(refused(2)), "{name}");
    }
    let log = serving.stop();
    assert_eq!(tree.names(), before);
    assert!(log.contains("WARN 127.0.0.1 requested to write new"), "{log}");
}

#[test]
fn every_length_comes_whole() {
    for mode in [&[][..], &["--single-port"]] {
        let uploads = Folder::new(&[]);
        let (_tree, serving) = serving(&uploads, mode);
        for len in [0, 1, 7, 8, 9, 511, 512, 513, 1467, 1468, 1469, 200_000] {
            for (block_size, window_size) in
                [(None, None), (Some(1468), None), (Some(1468), Some(16)), (Some(65464), None)]
            {
                let name = format!("{len}-{}-{}", block_size.unwrap_or(0), window_size.unwrap_or(0));
                let sent = content(&name, len);
                let mut options = Options::default().with_transfer_size(0);
                (options.block_size, options.window_size) = (block_size, window_size);
                put(serving.address(), &name, options, &sent).unwrap();
                assert_eq!(difference(&uploads.read(&name), &sent), None, "{name}");
            }
        }
        let log = serving.stop();
        assert!(log.contains("127.0.0.1 uploaded 200000-1468-16: 200.00 kB in "), "{log}");
    }
}

#[test]
fn block_numbers_roll_over() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &[]);
    let sent = content("long", 65536 * 8 + 3);
    let options = Options::default().with_block_size(8).with_window_size(16);
    put(serving.address(), "long", options, &sent).unwrap();
    assert_eq!(difference(&uploads.read("long"), &sent), None);
    serving.stop();
}

#[test]
fn an_existing_file_stays_by_default() {
    let files: &[(&str, &[u8])] = &[("there", b"old"), ("directory/x", b"")];
    let uploads = Folder::new(files);
    symlink("nowhere", uploads.join("link")).unwrap();
    let (_tree, serving) = serving(&uploads, &[]);
    for name in ["there", "link", "directory"] {
        assert_eq!(put(serving.address(), name, Options::default(), b"new"), Err(refused(6)), "{name}");
    }
    assert_eq!(uploads.read("there"), b"old");
    // Two at once: the one that is whole first stays.
    let (mut first, mut second) = (Peer::of(serving.address()), Peer::of(serving.address()));
    first.exchange("WRQ race octet", "ACK 0");
    second.exchange("WRQ race octet", "ACK 0");
    first.exchange("DATA 1 +5", "ACK 1");
    second.say("DATA 1 +9");
    assert!(second.hear().starts_with("ERROR "));
    assert_eq!(uploads.read("race"), [0; 5]);
    serving.stop();
    assert_eq!(uploads.names(), ["directory", "link", "race", "there"]);
}

#[test]
fn an_existing_file_is_replaced_in_one_step_if_allowed() {
    let uploads = Folder::new(&[("there", &[b'o'; 1000])]);
    let outside = Folder::new(&[("secret", b"secret")]);
    symlink(outside.join("secret"), uploads.join("link")).unwrap();
    // The directory that is served and that takes files may be the same.
    let serving =
        Serving::start(&uploads, &["--allow-upload", uploads.path().to_str().unwrap(), "--overwrite"]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ there octet", "ACK 0");
    peer.exchange("DATA 1 +512", "ACK 1");
    assert_eq!(fetch(serving.address(), "there", Options::default()).unwrap(), [b'o'; 1000], "not yet");
    peer.exchange("DATA 2 +88", "ACK 2");
    assert_eq!(fetch(serving.address(), "there", Options::default()).unwrap(), [0; 600]);
    put(serving.address(), "link", Options::default(), b"mine").unwrap();
    assert_eq!(outside.read("secret"), b"secret", "the link is replaced, not what it leads to");
    assert_eq!(uploads.read("link"), b"mine");
    serving.stop();
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let around = Folder::new(&[("secret", b"secret"), ("outside/secret", b"secret"), ("uploads/sub/x", b"")]);
    let outside = around.join("outside");
    let outside = outside.to_str().unwrap();
    for (name, target) in
        [("uploads/up", ".."), ("uploads/root", "/"), ("uploads/out", outside), ("uploads/in", "sub")]
    {
        symlink(target, around.join(name)).unwrap();
    }
    let uploads = around.join("uploads");
    let tree = Folder::tree(&[]);
    let serving =
        Serving::start(&tree, &["--allow-upload", uploads.to_str().unwrap(), "--overwrite", "--single-port"]);
    for (name, code) in [
        ("../secret", 2),
        ("sub/../../secret", 2),
        ("..", 2),
        ("..\\secret", 2),
        ("up/secret", 2),
        ("out/secret", 2),
        ("out/new", 2),
        (&format!("root{outside}/secret"), 2),
        ("missing/file", 1),
        ("sub/x/file", 1),
        // Beneath the directory an absolute name is a name like any other.
        ("/out/secret", 2),
        (&format!("{outside}/secret"), 1),
    ] {
        assert_eq!(put(serving.address(), name, Options::default(), b"evil"), Err(refused(code)), "{name}");
    }
    put(serving.address(), "sub/file", Options::default(), b"fine").unwrap();
    put(serving.address(), "in/file2", Options::default(), b"fine").unwrap();
    put(serving.address(), "//sub//file3", Options::default(), b"fine").unwrap();
    serving.stop();
    for secret in ["secret", "outside/secret"] {
        assert_eq!(around.read(secret), b"secret");
    }
    assert_eq!(around.names(), ["outside", "secret", "uploads"]);
    assert!(!around.join("outside/new").exists());
    for file in ["uploads/sub/file", "uploads/sub/file2", "uploads/sub/file3"] {
        assert_eq!(around.read(file), b"fine", "{file}");
    }
}

#[test]
fn nothing_is_left_of_what_is_broken_off() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &[]);
    let begin = |name: &str| {
        let mut peer = Peer::of(serving.address());
        peer.exchange(&format!("WRQ {name} octet"), "ACK 0");
        peer.exchange("DATA 1 +512", "ACK 1");
        assert!(!uploads.join(name).exists());
        peer
    };
    begin("ended-by-error").say("ERROR 3 no more");
    let mut left = begin("left-for-another");
    left.exchange("WRQ another octet", "ACK 0");
    left.say("ERROR 0 neither");
    serving.settle();
    // Another thread removes the files.
    let began = Instant::now();
    while !uploads.names().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", uploads.names());
        thread::yield_now();
    }
    let mut peer = begin("ended-by-sigterm");
    serving.signal(Signal::SIGTERM);
    assert!(peer.hear().starts_with("ERROR 0 "));
    assert_eq!(serving.wait().code, Some(0));
    assert_eq!(uploads.names(), [""; 0]);
}

#[test]
fn the_last_block_once_more_is_acknowledged_once_more() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &[]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet tsize=600", "OACK tsize=600");
    peer.exchange("DATA 1 +512", "ACK 1");
    peer.exchange("DATA 1 +512", "ACK 1");
    peer.exchange("DATA 2 +88", "ACK 2");
    // The file is complete, and logged, although the server may have to acknowledge it once more.
    let line = serving.wait_for_log("uploaded up: 600 B in 0.0");
    assert!(line.contains("INFO"), "{line}");
    peer.exchange("DATA 2 +88", "ACK 2");
    assert_eq!(uploads.read("up"), [0; 600]);
    let log = serving.stop();
    assert_eq!(log.matches("uploaded up").count(), 1, "{log}");
}

#[test]
fn what_cannot_fit_is_refused_at_once() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &[]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet tsize=18446744073709551615", "ERROR 3 no space left");
    serving.stop();
    assert_eq!(uploads.names(), [""; 0]);
}

#[test]
fn text_goes_through_netascii_both_ways() {
    let uploads = Folder::new(&[("text", b"one\ntwo\r\n\rthree")]);
    let serving = Serving::start(&uploads, &["--allow-upload", uploads.path().to_str().unwrap()]);
    let mut peer = Peer::of(serving.address());
    peer.say("RRQ text netascii tsize=0");
    assert_eq!(peer.hear(), "OACK tsize=19", "its length on the wire");
    peer.say("ACK 0");
    assert_eq!(peer.hear_data(1), b"one\r\ntwo\r\0\r\n\r\0three");
    peer.say("ACK 1");
    peer.exchange("WRQ back NetASCII", "ACK 0");
    peer.send(b"\0\x03\0\x01one\r\ntwo\r\0\r\n\r\0three", peer.transfer.unwrap());
    assert_eq!(peer.hear(), "ACK 1");
    assert_eq!(uploads.read("back"), uploads.read("text"));
    serving.stop();
}

#[test]
fn no_more_comes_than_a_file_may_have() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &["--upload-max-size", "1kB"]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet tsize=1001", "ERROR 3 no space left");
    let mut peer = Peer::of(serving.address());
    // The bytes count, not the announced length.
    peer.exchange("WRQ up octet tsize=10", "OACK tsize=10");
    peer.exchange("DATA 1 +512", "ACK 1");
    peer.say("DATA 2 +489");
    assert!(peer.hear().starts_with("ERROR 3 "));
    put(serving.address(), "whole", Options::default(), &[7; 1000]).unwrap();
    let log = serving.stop();
    assert_eq!(uploads.names(), ["whole"]);
    let why = "the file is larger than --upload-max-size, 1.00 kB";
    assert!(log.contains(&format!("requested to write up: no space left, {why}")), "{log}");
    assert!(log.contains(&format!("cannot keep up from 127.0.0.1: {why}")), "{log}");
}

#[test]
fn a_name_that_is_refused_is_told_why() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &[]);
    let mut peer = Peer::of(serving.address());
    peer.exchange(&format!("WRQ {} octet", "n".repeat(256)), "ERROR 0 name too long");
    for name in [".hidden", ".pinetboot-abcdef.part", "-rf"] {
        assert_eq!(put(serving.address(), name, Options::default(), b"x"), Err(refused(2)), "{name}");
    }
    let log = serving.stop();
    assert_eq!(uploads.names(), [""; 0]);
    assert!(
        log.contains("requested to write -rf: access denied, names that begin with a dot or a dash"),
        "{log}"
    );
    assert!(log.contains("name too long, the name is longer than 255 bytes"), "{log}");
}

#[test]
fn the_reserve_of_the_disk_stays_free() {
    let uploads = Folder::new(&[]);
    let (_tree, serving) = serving(&uploads, &["--disk-reserve", "1EiB"]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet", "ACK 0");
    peer.say("DATA 1 +5");
    assert!(peer.hear().starts_with("ERROR 3 "));
    let log = serving.stop();
    assert_eq!(uploads.names(), [""; 0]);
    assert!(log.contains("the disk is full, except for the server's reserve"), "{log}");
}

#[test]
fn the_remains_of_a_killed_server_are_removed_at_the_start() {
    let uploads = Folder::new(&[]);
    let (_tree, first) = serving(&uploads, &[]);
    let mut peer = Peer::of(first.address());
    peer.exchange("WRQ up octet", "ACK 0");
    // Another thread makes the file, once there is enough to write.
    let blocks = (1..).take_while(|_| uploads.names().is_empty());
    blocks.for_each(|block| peer.exchange(&format!("DATA {block} +512"), &format!("ACK {block}")));
    assert_eq!(uploads.names().len(), 1);
    // A server that runs keeps its own.
    let (_tree, second) = serving(&uploads, &[]);
    second.stop();
    assert_eq!(uploads.names().len(), 1);
    first.signal(Signal::SIGKILL);
    first.wait();
    let (_tree, third) = serving(&uploads, &[]);
    let log = third.stop();
    assert_eq!(uploads.names(), [""; 0]);
    assert!(log.contains("removed the temporary files of killed processes in"), "{log}");
}
