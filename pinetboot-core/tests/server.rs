//! What the server does with reads, one behaviour at a time.

mod common;

use common::{Lab, Memory};

fn lab() -> Lab {
    Lab::new(Memory::default().with("config.txt", 600).with("kernel.img", 3000).with("empty", 0))
}

#[test]
fn a_read_has_a_port_of_its_own() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet tsize=0 blksize=1468
         0.000 * A: Read config.txt
         0.000 * A: Read begins, 600 bytes by 1468 x 1
         0.000 1001 > A OACK tsize=600 blksize=1468
         0.010 A > 1001 ACK 0
         0.010 1001 > A DATA 1 @0 +600
         0.020 A > 1001 ACK 1
         0.020 * A: Read complete, 600 bytes; 600 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
}

#[test]
fn a_single_port_answers_everything_from_there() {
    let left = lab().single_port().observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 69 > A DATA 1 @0 +512
         0.005 B > 69 RRQ kernel.img octet blksize=1468
         0.005 * B: Read kernel.img
         0.005 * B: Read begins, 3000 bytes by 1468 x 1
         0.005 69 > B OACK blksize=1468
         0.010 A > 69 ACK 1
         0.010 69 > A DATA 2 @512 +88
         0.015 B > 69 ACK 0
         0.015 69 > B DATA 1 @0 +1468
         0.020 A > 69 ACK 2
         0.020 * A: Read complete, 600 bytes; 600 bytes passed, 0 resent",
    );
    assert_eq!(left, 1);
}

#[test]
fn clients_do_not_wait_for_each_other() {
    lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 1001 > A DATA 1 @0 +512
         0.500 B > 69 RRQ config.txt octet
         0.500 1002 > B DATA 1 @0 +512
         1.000 1001 > A DATA 1 @0 +512
         1.500 1002 > B DATA 1 @0 +512
         1.600 A > 1001 ACK 1
         1.600 1001 > A DATA 2 @512 +88
         2.600 1001 > A DATA 2 @512 +88",
    );
}

/// A Pi sends its request again after 2 seconds, from the same port (captured).
#[test]
fn a_repeated_request_is_not_started_twice() {
    lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet tsize=0
         0.000 * A: Read config.txt
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A OACK tsize=600
         0.001 A > 69 RRQ config.txt octet tsize=0
         0.001 * A: repeated
         1.000 1001 > A OACK tsize=600
         2.000 A > 69 RRQ config.txt octet tsize=0
         2.000 * A: repeated
         2.000 1001 > A OACK tsize=600 // twice in vain
         2.010 A > 1001 ACK 0
         2.010 1001 > A DATA 1 @0 +512
         2.020 A > 69 RRQ config.txt octet tsize=0
         2.020 * A: repeated",
    );
}

#[test]
fn the_same_request_from_another_port_is_another_transfer() {
    let left = lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 1001 > A DATA 1 @0 +512
         0.001 A:40001 > 69 RRQ config.txt octet
         0.001 1002 > A:40001 DATA 1 @0 +512",
    );
    assert_eq!(left, 2);
}

#[test]
fn another_request_from_the_same_peer_takes_the_place_of_the_first() {
    for another in ["RRQ kernel.img octet", "RRQ config.txt octet blksize=512", "RRQ config.txt netascii"] {
        let (first, len) = match another {
            "RRQ kernel.img octet" => ("DATA 1 @0 +512", 3000),
            "RRQ config.txt octet blksize=512" => ("OACK blksize=512", 600),
            // The file holds a CR and a LF: 2 x 13 and 2 x 10, and their first bytes are 0.
            _ => ("DATA 1 +512 of other bytes", 604),
        };
        let plain = if another.contains('=') { "" } else { ", no options" };
        let file = another.split(' ').nth(1).unwrap();
        let left = lab().observed().play(&format!(
            "0.000 A > 69 RRQ config.txt octet
             0.000 * A: Read config.txt, no options
             0.000 * A: Read begins, 600 bytes by 512 x 1
             0.000 1001 > A DATA 1 @0 +512
             0.010 A > 69 {another}
             0.010 * A: Read {file}{plain}
             0.010 * A: Read superseded; 0 bytes passed, 0 resent
             0.010 * A: Read begins, {len} bytes by 512 x 1
             0.010 1001 > A {first}"
        ));
        assert_eq!(left, 1);
    }
}

#[test]
fn a_refused_request_ends_what_its_peer_asked_before() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 69 RRQ missing octet
         0.010 * A: Read missing, no options
         0.010 * A: Read missing refused, 1 file not found
         0.010 69 > A ERROR 1 file not found
         0.010 * A: Read superseded; 0 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
}

/// Going back in such a file means reading it from its beginning.
#[test]
fn a_text_has_no_window() {
    lab().play(
        "0.000 A > 69 RRQ config.txt netascii blksize=1024 windowsize=8
         0.000 1001 > A OACK blksize=1024",
    );
}

/// The client was reset, and its boot ROM always begins at the same port.
#[test]
fn the_same_request_after_blocks_and_silence_starts_anew() {
    lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 1001 ACK 1
         0.010 1001 > A DATA 2 @512 +88
         0.900 A > 69 RRQ config.txt octet
         0.900 * A: repeated
         1.009 A > 69 RRQ config.txt octet
         1.009 * A: repeated
         1.010 1001 > A DATA 2 @512 +88
         1.011 A > 69 RRQ config.txt octet
         1.011 * A: Read config.txt, no options
         1.011 * A: Read superseded; 512 bytes passed, 1 resent
         1.011 * A: Read begins, 600 bytes by 512 x 1
         1.011 1001 > A DATA 1 @0 +512",
    );
}

/// As a Pi looks for a file and then takes it (captured).
#[test]
fn a_probe_and_then_the_same_request_from_the_same_port_is_served() {
    for lab in [lab(), lab().single_port()] {
        let port = if lab.ports == 0 { 69 } else { 1001 };
        lab.observed().play(&format!(
            "0.000 A > 69 RRQ config.txt octet tsize=0 blksize=1468
             0.000 * A: Read config.txt
             0.000 * A: Read begins, 600 bytes by 1468 x 1
             0.000 {port} > A OACK tsize=600 blksize=1468
             0.001 A > {port} ERROR 0 Early terminate
             0.001 * A: ends it, 0 Early terminate
             0.001 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
             0.001 A > 69 RRQ config.txt octet tsize=0 blksize=1468
             0.001 * A: Read config.txt
             0.001 * A: Read begins, 600 bytes by 1468 x 1
             0.001 {port} > A OACK tsize=600 blksize=1468
             0.002 A > {port} ACK 0
             0.002 {port} > A DATA 1 @0 +600
             0.003 A > {port} ACK 1
             0.003 * A: Read complete, 600 bytes; 600 bytes passed, 0 resent"
        ));
    }
}

#[test]
fn the_other_ways_to_probe_are_known_too() {
    // EDK2 (captured), and a Pi whose server knows no `tsize`.
    lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet tsize=0 blksize=1468 windowsize=4
         0.000 * A: Read config.txt
         0.000 * A: Read begins, 600 bytes by 1468 x 4
         0.000 1001 > A OACK tsize=600 blksize=1468 windowsize=4
         0.001 A > 1001 ERROR 8 User aborted the transfer
         0.001 * A: ends it, 8 User aborted the transfer
         0.001 * A: Read peer's error 8, a probe; 0 bytes passed, 0 resent
         0.002 A > 69 RRQ config.txt octet
         0.002 * A: Read config.txt, no options
         0.002 * A: Read begins, 600 bytes by 512 x 1
         0.002 1001 > A DATA 1 @0 +512
         0.003 A > 1001 ERROR 0 Early terminate
         0.003 * A: ends it, 0 Early terminate
         0.003 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
         0.004 A > 69 RRQ config.txt octet
         0.004 * A: Read config.txt, no options
         0.004 * A: Read begins, 600 bytes by 512 x 1
         0.004 1001 > A DATA 1 @0 +512
         0.005 A > 1001 ACK 1
         0.005 1001 > A DATA 2 @512 +88
         0.006 A > 1001 ERROR 0 out of memory
         0.006 * A: ends it, 0 out of memory
         0.006 * A: Read peer's error 0; 512 bytes passed, 0 resent",
    );
}

#[test]
fn names_that_are_missing_or_escape_are_refused_at_once() {
    for (name, code, text) in [
        ("pieeprom.sig", 1, "file not found"),
        ("secret.txt", 2, "access denied"),
        ("../config.txt", 2, "the name holds '..'"),
        ("a/../../config.txt", 2, "the name holds '..'"),
        ("..\\config.txt", 2, "the name holds '..'"),
        ("/./", 2, "the name is empty"),
    ] {
        let left = lab().observed().play(&format!(
            "0.000 A > 69 RRQ {name} octet tsize=0
             0.000 * A: Read {name}
             0.000 * A: Read {name} refused, {code} {text}
             0.000 69 > A ERROR {code} {text}
             9.000 ."
        ));
        assert_eq!(left, 0);
    }
}

#[test]
fn loose_spellings_of_a_name_are_served() {
    for name in ["/config.txt", "//config.txt", "./config.txt"] {
        lab().play(&format!(
            "0.000 A > 69 RRQ {name} octet tsize=0
             0.000 1001 > A OACK tsize=600"
        ));
    }
}

#[test]
fn a_client_that_vanishes_gives_its_place_back() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 * A: Read kernel.img, no options
         0.000 * A: Read begins, 3000 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 1001 ACK 1
         0.010 1001 > A DATA 2 @512 +512
         1.010 1001 > A DATA 2 @512 +512
         3.010 1001 > A DATA 2 @512 +512
         7.010 1001 > A DATA 2 @512 +512
        15.010 1001 > A DATA 2 @512 +512
        23.010 1001 > A DATA 2 @512 +512
        31.010 * A: Read timed out; 512 bytes passed, 5 resent
        31.020 A > 1001 ACK 2
        31.020 * A: rejected, UnknownTransfer
        31.020 1001 > A ERROR 5 unknown transfer ID",
    );
    assert_eq!(left, 0);
}

#[test]
fn netascii_is_refused_for_files_longer_than_the_limit() {
    let limits = pinetboot_core::tftp::Limits::default().with_netascii_len(600);
    let play = |script| Lab { limits, ..lab() }.play(script);
    play(
        "0.000 A > 69 RRQ kernel.img netascii
         0.000 69 > A ERROR 0 too long for mode netascii, ask in mode octet",
    );
    play(
        "0.000 A > 69 RRQ config.txt netascii tsize=0
         0.000 1001 > A OACK tsize=604",
    );
    play(
        "0.000 A > 69 RRQ kernel.img octet tsize=0
         0.000 1001 > A OACK tsize=3000",
    );
}

#[test]
fn netascii_turns_line_ends_and_says_so_in_tsize() {
    let text = Memory::default().with_bytes("notes", b"one\ntwo\r\n".to_vec());
    Lab::new(text).play(
        "0.000 A > 69 RRQ notes netascii tsize=0
         0.000 1001 > A OACK tsize=12
         0.010 A > 1001 ACK 0
         0.010 1001 > A DATA 1 \"one\\r\\ntwo\\r\\x00\\r\\n\"
         0.020 A > 1001 ACK 1",
    );
}
