//! Packet scripts of a client that writes, one block at a time.

mod common;

use common::{options, play};
use pinetboot_core::tftp::{RetryPolicy, Sender};

fn put(asked: &str, len: u64) -> Sender {
    Sender::put(&options(asked), RetryPolicy::default(), len)
}

#[test]
fn a_write_without_options_begins_at_ack_0() {
    play(
        put("", 600),
        "0.000 > WRQ file octet
         0.001 < ACK 1 // nothing was sent yet
         0.010 < ACK 0
         0.010 > DATA 1 @0 +512
         0.011 < ACK 0
         0.020 < ACK 1
         0.020 > DATA 2 @512 +88
         0.030 < ACK 2
         0.030 ! complete, 600 bytes",
    );
}

#[test]
fn a_write_announces_its_length_and_goes_by_the_oack() {
    play(
        put("tsize=0 blksize=1468 timeout=2 windowsize=2", 3000),
        "0.000 > WRQ file octet tsize=3000 blksize=1468 timeout=2 windowsize=2
         0.010 < OACK tsize=3000 blksize=1024 timeout=2
         0.010 > DATA 1 @0 +1024
         2.010 > DATA 1 @0 +1024
         2.020 < ACK 1
         2.020 > DATA 2 @1024 +1024
         2.030 < OACK tsize=3000 blksize=1024 timeout=2 // late
         2.040 < ACK 2
         2.040 > DATA 3 @2048 +952
         2.050 < ACK 3
         2.050 ! complete, 3000 bytes",
    );
}

#[test]
fn a_write_goes_without_options_where_the_server_knows_none() {
    play(
        put("blksize=1468 windowsize=4", 600),
        "0.000 > WRQ file octet blksize=1468 windowsize=4
         0.010 < ACK 0
         0.010 > DATA 1 @0 +512
         0.020 < ACK 1
         0.020 > DATA 2 @512 +88",
    );
}

#[test]
fn a_write_request_is_repeated_and_given_up() {
    play(
        put("", 600),
        "0.000 > WRQ file octet
         1.000 > WRQ file octet
         3.000 > WRQ file octet
         7.000 > WRQ file octet
        15.000 > WRQ file octet
        23.000 > WRQ file octet
        31.000 ! timed out",
    );
}

#[test]
fn an_oack_that_lies_gets_error_8() {
    for (asked, answer) in [
        ("blksize=1024", "blksize=1025"),
        ("blksize=1024", "blksize=70000"),
        ("", "blksize=512"),
        ("blksize=1024", "windowsize=1"),
        ("windowsize=4", "windowsize=5"),
        ("timeout=3", "timeout=2"),
        ("timeout=3", "timeout=4"),
        ("", "timeout=1"),
        ("blksize=1024", "tsize=600"),
    ] {
        let request = if asked.is_empty() { String::new() } else { format!(" {asked}") };
        play(
            put(asked, 600),
            &format!(
                "0.000 > WRQ file octet{request}
                 0.010 < OACK {answer}
                 0.010 > ERROR 8 options refused
                 0.010 ! aborted with error 8
                 0.020 < ACK 0"
            ),
        );
    }
}
