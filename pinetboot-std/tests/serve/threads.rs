//! Several threads that answer: each client has to do with one of them.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;

use super::crowd::compare;
use crate::common::{Crowd, Fetch, Folder, Peer, Serving, content};

#[test]
fn many_clients_are_served_by_several_threads() {
    let file = content("kernel8.img", 200_000);
    let tree = Folder::tree(&[("kernel8.img", &file)]);
    for mode in [&["--threads", "3", "-q"][..], &["--threads", "3", "--single-port", "-q"]] {
        let serving = Serving::start(&tree, mode);
        for window_size in [None, Some(16)] {
            let mut options = Options::RASPBERRY_PI;
            options.window_size = window_size;
            // From two ports each, as a Pi that has not ended one transfer when it begins the next.
            let clients = (0..120).map(|number| {
                Fetch::new(serving.address(), "kernel8.img", options, compare(&file)).by(client(number / 2))
            });
            let report = Crowd::new(clients).run();
            assert_eq!(report.complete, 120, "{mode:?}: {report:?}");
        }
        (0..3).for_each(|number| serving.settle_with(client(number)));
        assert_eq!(serving.stop(), "", "nothing to warn of");
    }
}

/// Two threads with room for one transfer each show which clients belong to which.
#[test]
fn every_request_of_a_client_goes_to_the_same_thread() {
    let tree = Folder::tree(&[("file", &[7; 200_000])]);
    for mode in [
        &["--threads", "2", "--max-transfers", "2"][..],
        &["--threads", "2", "--max-transfers", "2", "--single-port"],
    ] {
        let serving = Serving::start(&tree, mode);
        let ask = |number| {
            let mut peer = Peer::at(client(number), serving.address());
            peer.say("RRQ file octet");
            let answer = peer.hear_data_or_error(1);
            (peer, answer)
        };
        // As fast as a Pi, or it would have to make room for the next.
        let mut first = Peer::at(client(0), serving.address());
        // The questions below have a bounded rate, and may take longer than the server waits for an ACK by default.
        let options = "blksize=1468 timeout=60 windowsize=64";
        first.exchange(&format!("RRQ file octet {options}"), &format!("OACK {options}"));
        let window = |first: &mut Peer, acknowledged: u16, last: u16| {
            first.say(&format!("ACK {acknowledged}"));
            (acknowledged + 1..=last).for_each(|block| drop(first.hear_data(block)));
        };
        window(&mut first, 0, 64);
        window(&mut first, 64, 128);
        // From another port each time.
        for _ in 0..20 {
            for number in [0, 2, 4] {
                let mut peer = Peer::at(client(number), serving.address());
                peer.say("RRQ file octet");
                serving.settle_with(client(number));
                assert_eq!(peer.heard(), [""; 0], "no place is free where {number} belongs");
            }
            for number in [1, 3, 5] {
                let (peer, answer) = ask(number);
                assert_eq!(answer, Ok(vec![7; 512]), "{number} has a place");
                peer.say("ERROR 0 enough");
            }
        }
        let (mut second, _) = ask(1);
        // The running transfer is unaffected.
        window(&mut first, 128, 137);
        second.say("ACK 1");
        second.hear_data(2);
        let log = serving.stop();
        assert!(log.contains("stopped, open transfers ended: 2"), "of both threads: {log}");
    }
}

#[test]
fn all_threads_reload_and_one_says_so() {
    let tree = Folder::new(&[("file", b"old")]); // warned of: no config.txt
    let serving = Serving::start(&tree, &["--threads", "4"]);
    let moved = Folder::new(&[]);
    std::fs::rename(tree.path(), moved.join("away")).unwrap();
    tree.write("file", b"new");
    serving.signal(Signal::SIGHUP);
    serving.wait_for_log("configuration reloaded");
    for number in 0..16 {
        // The other threads may need a moment more than the one that says so.
        while read(&serving, client(number)) != b"new" {}
    }
    let log = serving.stop();
    assert_eq!(log.matches("configuration reloaded").count(), 1, "{log}");
    assert_eq!(log.matches("no config.txt").count(), 2, "at the start, and when it was read anew: {log}");
}

#[test]
fn a_port_that_is_taken_is_not_shared() {
    let tree = Folder::tree(&[("file", b"")]);
    let serving = Serving::start(&tree, &["--threads", "2"]);
    let port = serving.address().port().to_string();
    let arguments = ["serve", "--listen", "127.0.0.1", "--threads", "2", "--tftp-port", &port];
    let ended = crate::common::run(arguments.into_iter().chain([tree.path().to_str().unwrap()]));
    assert_ne!(ended.code, Some(0));
    assert!(ended.log.contains("holds port "), "{}", ended.log);
    serving.stop();
}

fn read(serving: &Serving, client: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    Fetch::new(serving.address(), "file", Options::default(), |more| bytes.extend_from_slice(more))
        .by(client)
        .run();
    bytes
}

/// Clients number 0, 1, 2.. have addresses that follow one another.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 100 + number)
}
