//! The clients that are answered, the addresses of the answers, and the time limits.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;

use crate::common::{Folder, Peer, Serving, fetch, pinetboot};

/// Replies come from the address that was asked, on a host with several addresses too (RFC 1123, section 4.1.3.5).
#[test]
fn answers_come_from_the_address_that_was_asked() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in [&[][..], &["--single-port"]] {
        let mut command = pinetboot();
        command.args(["serve", "--listen", "0.0.0.0", "--tftp-port", "0"]).args(mode).arg(&tree);
        let serving = Serving::start_as(&mut command);
        let port = serving.address().port();
        for ip in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
            let asked = SocketAddrV4::new(ip.parse().unwrap(), port);
            for request in
                ["RRQ file octet", "RRQ file octet blksize=600", "RRQ missing octet", "ACK 7", "WRQ up octet"]
            {
                let mut peer = Peer::of(asked);
                peer.say(request);
                peer.hear();
                let from = peer.transfer.unwrap();
                assert_eq!(from.ip(), asked.ip(), "{request}");
                let own_port = mode.is_empty() && request.starts_with("RRQ file");
                assert_eq!(from.port() != port, own_port, "{request}");
                peer.say("ERROR 0 enough");
            }
            assert_eq!(fetch(asked, "file", Options::default()).unwrap(), [0; 600]);
        }
    }
}

/// An impatient client, or a network that doubles datagrams: the transfer must not begin twice.
#[test]
fn a_request_that_is_repeated_begins_one_transfer() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in ["-v", "--single-port"] {
        let serving = Serving::start(&tree, &["-v", mode][..1 + usize::from(mode != "-v")]);
        let mut peer = Peer::of(serving.address());
        for _ in 0..5 {
            peer.say("RRQ file octet tsize=0");
        }
        serving.settle();
        assert_eq!(peer.heard(), ["OACK tsize=600"], "one answer to five requests");
        let transfer = peer.transfer;
        peer.exchange("ACK 0", "DATA 1 +512");
        peer.say("RRQ file octet tsize=0");
        serving.settle();
        assert_eq!(peer.heard(), [""; 0], "nor one that comes late");
        peer.exchange("ACK 1", "DATA 2 +88");
        assert_eq!(peer.transfer, transfer, "from one port");
        peer.say("ACK 2");
        serving.wait_for_log("fetched file");
        // Now it is a new one.
        peer.exchange("RRQ file octet tsize=0", "OACK tsize=600");
        let log = serving.stop();
        assert_eq!(log.matches("repeats its request").count(), 5, "{log}");
    }
}

#[test]
fn an_intruder_gets_an_error_and_has_no_effect() {
    let tree = Folder::tree(&[("file", &[0; 1200])]);
    let serving = Serving::start(&tree, &[]);
    let (mut peer, mut intruder) = (Peer::of(serving.address()), Peer::of(serving.address()));
    peer.exchange("RRQ file octet", "DATA 1 +512");
    intruder.transfer = peer.transfer;
    for packet in ["ACK 1", "DATA 1 +5", "OACK tsize=1"] {
        intruder.exchange(packet, "ERROR 5 unknown transfer ID");
    }
    intruder.send(&crate::common::peer::bytes("RRQ file octet"), peer.transfer.unwrap());
    assert_eq!(intruder.hear(), "ERROR 5 unknown transfer ID", "requests go to the port that listens");
    intruder.say("ERROR 0 never answered");
    serving.settle();
    assert_eq!(intruder.heard(), [""; 0]);
    peer.exchange("ACK 1", "DATA 2 +512");
    peer.exchange("ACK 2", "DATA 3 +176");
    peer.say("ACK 3");
    serving.wait_for_log("fetched file");
    serving.stop();
}

#[test]
fn a_duplicate_ack_brings_no_data() {
    let tree = Folder::tree(&[("file", &[0; 1200])]);
    let serving = Serving::start(&tree, &[]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("RRQ file octet", "DATA 1 +512");
    peer.exchange("ACK 1", "DATA 2 +512");
    for _ in 0..5 {
        peer.say("ACK 1");
    }
    serving.settle();
    assert_eq!(peer.heard(), [""; 0]);
    peer.exchange("ACK 2", "DATA 3 +176");
    serving.stop();
}

/// A server that was held up (by a slow disk, or a machine that slept) has answers waiting for it: they count, and what
/// they answer is not sent again. A Pi 4's start4.elf hangs on a block that it gets twice.
#[test]
fn a_server_that_was_held_up_hears_before_it_repeats() {
    let tree = Folder::tree(&[("file", &[0; 1200])]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        let mut peers: Vec<_> = (0..20).map(|_| Peer::of(serving.address())).collect();
        for peer in &mut peers {
            peer.exchange("RRQ file octet", "DATA 1 +512");
        }
        serving.hold_up();
        for peer in &peers {
            peer.say("ACK 1");
        }
        // Another server, not held up, sends its block again: a second is over, which is the timeout of both.
        let clock = Serving::start(&tree, &[]);
        let mut unanswered = Peer::of(clock.address());
        unanswered.exchange("RRQ file octet", "DATA 1 +512");
        assert_eq!(unanswered.hear(), "DATA 1 +512");
        clock.stop();
        serving.signal(Signal::SIGCONT);
        serving.settle();
        for peer in &mut peers {
            assert_eq!(peer.heard(), ["DATA 2 +512"]);
        }
        serving.stop();
    }
}

/// A client that never answers gets one packet again, after a second; fifteen seconds after its request its place is free again.
#[test]
fn a_client_that_vanishes_is_given_up() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    let serving = Serving::start(&tree, &["--max-transfers", "2"]);
    let began = Instant::now();
    let mut gone = Peer::of(serving.address());
    gone.exchange("RRQ file octet", "DATA 1 +512");
    let mut silent = Peer::of(serving.address());
    silent.exchange("RRQ file octet timeout=1 tsize=0", "OACK tsize=600 timeout=1");
    drop(gone);
    assert_eq!(silent.hear(), "OACK tsize=600 timeout=1");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let warnings = serving.wait_for_logs(2, "stopped answering");
    assert!(began.elapsed() >= Duration::from_secs(15), "{:?}", began.elapsed());
    for warning in &warnings {
        assert!(warning.contains("WARN 127.0.0.1 stopped answering after 0 B of file"), "{warning}");
    }
    let mut next = Peer::of(serving.address());
    next.exchange("RRQ file octet", "DATA 1 +512");
    assert_eq!(silent.heard(), [""; 0], "no more than that to one who never answered");
    serving.stop();
}

/// The place of a client that does not answer goes to the next client; a full table is silent, and the log has the number.
#[test]
fn a_full_table_is_silent() {
    let tree = Folder::tree(&[("file", &[0; 3000])]);
    let serving = Serving::start(&tree, &["--max-transfers", "1"]);
    let mut gone = Peer::of(serving.address());
    gone.exchange("RRQ file octet", "DATA 1 +512");
    assert_eq!(gone.hear(), "DATA 1 +512", "sent again after a second");
    let mut here = Peer::of(serving.address());
    here.exchange("RRQ file octet", "DATA 1 +512");
    here.exchange("ACK 1", "DATA 2 +512");
    let mut next = Peer::of(serving.address());
    (0..3).for_each(|_| next.say("RRQ file octet"));
    here.exchange("ACK 2", "DATA 3 +512");
    assert_eq!(next.heard(), [""; 0]);
    let warning = serving.wait_for_logs(1, "unanswered requests").remove(0);
    assert!(
        warning.contains("WARN all transfers are in use, unanswered requests in 10 s: 3. Raise"),
        "{warning}"
    );
    serving.stop();
}

#[test]
fn clients_that_never_answer_leave_descriptors_to_others() {
    let names: Vec<_> = (0..100).map(|number| format!("file{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"content"[..])).collect();
    let tree = Folder::tree(&files);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pinetboot")]);
    command.args(["serve", "-v", "--listen", "127.0.0.1", "--tftp-port", "0"]).arg(tree.path());
    let serving = Serving::start_as(&mut command);
    let silent: Vec<_> = names
        .iter()
        .map(|name| {
            let peer = Peer::of(serving.address());
            peer.say(&format!("RRQ {name} octet"));
            peer
        })
        .collect();
    serving.settle();
    for name in &names {
        assert_eq!(fetch(serving.address(), name, Options::default()).unwrap(), b"content", "{name}");
    }
    drop(silent);
    let log = serving.stop();
    assert!(log.contains("the limit of 128 open files is too low: it allows 32 transfers."), "{log}");
    assert!(!log.contains("cannot open a port") && !log.contains("input/output"), "{log}");
}
