//! What the server does with writes, one behaviour at a time.

mod common;

use common::{Lab, Memory, content};

/// A server that takes 2000 bytes and has a file already.
fn lab() -> Lab {
    Lab::new(Memory { room: Some(2000), ..Memory::default() }.with("config.txt", 600))
}

#[test]
fn uploads_are_refused_unless_the_storage_takes_them() {
    let left = Lab::new(Memory::default()).observed().play(
        "0.000 A > 69 WRQ log.txt octet tsize=10
         0.000 * A: Write log.txt
         0.000 * A: Write log.txt refused, 2 access denied
         0.000 69 > A ERROR 2 access denied",
    );
    assert_eq!(left, 0);
}

#[test]
fn a_file_is_there_before_its_last_block_is_acknowledged() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.observed().play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 * A: Write log.txt, no options
         0.000 * A: Write begins, unknown bytes by 512 x 1
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ACK 1
         0.020 A > 1001 DATA 2 @512 +88
         0.020 = finish log.txt, 600 bytes
         0.020 1001 > A ACK 2
         0.020 * A: Write complete, 600 bytes; 600 bytes passed, 0 resent
         9.030 .",
    );
    assert_eq!(left, 0);
    assert_eq!(storage.written("log.txt"), Some(content(0..600)));
}

#[test]
fn options_are_agreed_by_an_oack() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.play(
        "0.000 A > 69 WRQ log.txt octet tsize=1000 blksize=65464 timeout=2 windowsize=2
         0.000 = create log.txt
         0.000 1001 > A OACK tsize=1000 blksize=1468 timeout=2 windowsize=2
         0.010 A > 1001 DATA 1 @0 +1000
         0.010 = finish log.txt, 1000 bytes
         0.010 1001 > A ACK 1",
    );
    assert_eq!(storage.written("log.txt"), Some(content(0..1000)));
}

#[test]
fn an_empty_file_is_a_file() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.play(
        "0.000 A > 69 WRQ empty octet
         0.000 = create empty
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 +0
         0.010 = finish empty, 0 bytes
         0.010 1001 > A ACK 1",
    );
    assert_eq!(storage.written("empty"), Some(Vec::new()));
}

#[test]
fn the_last_block_is_acknowledged_again_when_that_was_lost() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +100
         0.010 = finish log.txt, 100 bytes
         0.010 1001 > A ACK 1
         5.010 A > 1001 DATA 1 @0 +100 // tftp-hpa's and atftp's timeout
         5.010 1001 > A ACK 1
        13.010 A > 1001 DATA 1 @0 +100 // the longest wait of a client like ours
        13.010 1001 > A ACK 1
        22.020 .",
    );
    assert_eq!(left, 0);
    assert_eq!(storage.finished.borrow().len(), 1, "finished once");
}

#[test]
fn a_write_failure_ends_it_with_error_3() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.observed().play(
        "0.000 A > 69 WRQ log.txt octet blksize=1468
         0.000 * A: Write log.txt
         0.000 * A: Write begins, unknown bytes by 1468 x 1
         0.000 = create log.txt
         0.000 1001 > A OACK blksize=1468
         0.010 A > 1001 DATA 1 @0 +1468
         0.010 1001 > A ACK 1
         0.020 A > 1001 DATA 2 @1468 +1468
         0.020 1001 > A ERROR 3 disk full or allocation exceeded
         0.020 * A: Write aborted with error 3; 2936 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
    assert_eq!(storage.written("log.txt"), None);
}

#[test]
fn a_failure_at_the_last_block_ends_it_with_error_3_and_no_ack() {
    let failing = Lab { storage: Memory { finish_fails: true, ..lab().storage }, ..lab() };
    let full = Lab { storage: Memory { room: Some(99), ..lab().storage }, ..lab() };
    for lab in [failing, full] {
        let storage = lab.storage.clone();
        let left = lab.observed().play(
            "0.000 A > 69 WRQ log.txt octet
             0.000 * A: Write log.txt, no options
             0.000 * A: Write begins, unknown bytes by 512 x 1
             0.000 = create log.txt
             0.000 1001 > A ACK 0
             0.010 A > 1001 DATA 1 @0 +100
             0.010 1001 > A ERROR 3 disk full or allocation exceeded
             0.010 * A: Write aborted with error 3; 100 bytes passed, 0 resent
             9.000 .",
        );
        assert_eq!(left, 0);
        assert_eq!(storage.written("log.txt"), None);
    }
}

#[test]
fn what_the_storage_refuses_is_told_by_the_error_of_that_meaning() {
    for (request, code, text) in [
        ("log.txt octet tsize=2001", 3, "no space left"),
        ("config.txt octet", 6, "file exists already"),
        ("../log.txt octet", 2, "the name holds '..'"),
    ] {
        lab().play(&format!("0.000 A > 69 WRQ {request}\n0.000 69 > A ERROR {code} {text}"));
    }
}

#[test]
fn a_writer_that_vanishes_leaves_no_file() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.observed().play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 * A: Write log.txt, no options
         0.000 * A: Write begins, unknown bytes by 512 x 1
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ACK 1
         1.010 1001 > A ACK 1
         3.010 1001 > A ACK 1
         7.010 1001 > A ACK 1
        15.010 1001 > A ACK 1
        23.010 1001 > A ACK 1
        31.010 * A: Write timed out; 512 bytes passed, 5 resent",
    );
    assert_eq!(left, 0);
    assert_eq!(storage.written("log.txt"), None);
}

#[test]
fn a_writers_error_leaves_no_file() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ACK 1
         0.020 A > 1001 ERROR 0 never mind
         9.000 .",
    );
    assert_eq!(left, 0);
    assert_eq!(storage.written("log.txt"), None);
}

#[test]
fn a_repeated_write_request_is_not_started_twice() {
    lab().observed().play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 * A: Write log.txt, no options
         0.000 * A: Write begins, unknown bytes by 512 x 1
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.001 A > 69 WRQ log.txt octet
         0.001 * A: repeated
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ACK 1
         0.011 A > 69 WRQ log.txt octet
         0.011 * A: repeated",
    );
}

/// The network doubled it, and the second one came late; the client is still waiting for its last ACK.
#[test]
fn a_repeated_write_request_does_not_undo_what_is_whole() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ACK 1
         0.020 A > 1001 DATA 2 @512 +88
         0.020 = finish log.txt, 600 bytes
         0.020 1001 > A ACK 2
         0.100 A > 69 WRQ log.txt octet
         1.020 A > 1001 DATA 2 @512 +88
         1.020 1001 > A ACK 2",
    );
    assert_eq!(storage.written("log.txt"), Some(content(0..600)));
}

#[test]
fn the_same_write_after_the_first_is_whole_is_another() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.play(
        "0.000 A > 69 WRQ log.txt octet
         0.000 = create log.txt
         0.000 1001 > A ACK 0
         0.010 A > 1001 DATA 1 @0 +10
         0.010 = finish log.txt, 10 bytes
         0.010 1001 > A ACK 1
         2.000 A > 69 WRQ log.txt octet
         2.000 = create log.txt
         2.000 1001 > A ACK 0
         2.010 A > 1001 DATA 1 @0 +20
         2.010 = finish log.txt, 20 bytes
         2.010 1001 > A ACK 1",
    );
    assert_eq!(storage.written("log.txt"), Some(content(0..20)));
}

#[test]
fn netascii_turns_line_ends_back() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.play(
        r#"0.000 A > 69 WRQ notes netascii blksize=8
           0.000 = create notes
           0.000 1001 > A OACK blksize=8
           0.010 A > 1001 DATA 1 "one\r\ntwo"
           0.010 1001 > A ACK 1
           0.020 A > 1001 DATA 2 "1234567\r"
           0.020 1001 > A ACK 2
           0.030 A > 1001 DATA 3 "\n\r\x00x\r"
           0.030 = finish notes, 18 bytes
           0.030 1001 > A ACK 3"#,
    );
    assert_eq!(storage.written("notes"), Some(b"one\ntwo1234567\n\rx\r".to_vec()));
}

#[test]
fn with_a_single_port_stopping_spares_what_is_whole() {
    let lab = lab();
    let storage = lab.storage.clone();
    let left = lab.single_port().observed().play(
        "0.000 A > 69 WRQ whole octet
         0.000 * A: Write whole, no options
         0.000 * A: Write begins, unknown bytes by 512 x 1
         0.000 = create whole
         0.000 69 > A ACK 0
         0.001 B > 69 WRQ half octet
         0.001 * B: Write half, no options
         0.001 * B: Write begins, unknown bytes by 512 x 1
         0.001 = create half
         0.001 69 > B ACK 0
         0.010 A > 69 DATA 1 @0 +10
         0.010 = finish whole, 10 bytes
         0.010 69 > A ACK 1
         0.010 * A: Write complete, 10 bytes; 10 bytes passed, 0 resent
         0.011 B > 69 DATA 1 @0 +512
         0.011 69 > B ACK 1
         0.500 x stop
         0.500 69 > B ERROR 0 the server was stopped
         0.500 * B: Write stopped; 512 bytes passed, 0 resent
         9.000 .",
    );
    assert_eq!(left, 0);
    assert!(storage.written("whole").is_some() && storage.written("half").is_none());
}
