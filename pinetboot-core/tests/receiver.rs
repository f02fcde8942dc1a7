//! Packet scripts of the side that receives a file, one block at a time.

mod common;

use common::{options, play};
use pinetboot_core::tftp::{Limits, Receiver, RetryPolicy};

/// A client that reads.
fn fetch(asked: &str) -> Receiver {
    Receiver::fetch(&options(asked), RetryPolicy::default())
}

/// A server that is written to, on Ethernet.
fn accept(asked: &str) -> Receiver {
    Receiver::accept(&Limits::default().within(1472), &options(asked))
}

#[test]
fn a_read_without_options_is_answered_by_the_first_block() {
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         0.020 < DATA 2 @512 +88
         0.020 = @512 +88 last
         0.020 > ACK 2",
    );
}

#[test]
fn a_read_with_options_acknowledges_the_oack_as_block_0() {
    play(
        fetch("tsize=0 blksize=1468"),
        "0.000 > RRQ file octet tsize=0 blksize=1468
         0.010 < OACK tsize=1600 blksize=1468
         0.010 > ACK 0
         0.020 < DATA 1 @0 +1468
         0.020 = @0 +1468
         0.020 > ACK 1
         0.030 < DATA 2 @1468 +132
         0.030 = @1468 +132 last
         0.030 > ACK 2",
    );
}

#[test]
fn a_read_goes_by_what_the_server_grants() {
    play(
        fetch("blksize=1468 timeout=2"),
        "0.000 > RRQ file octet blksize=1468 timeout=2
         0.010 < OACK blksize=8 timeout=2
         0.010 > ACK 0
         2.010 > ACK 0 // the timeout that was asked for
         2.020 < DATA 1 @0 +8
         2.020 = @0 +8
         2.020 > ACK 1
         2.030 < DATA 2 @8 +7
         2.030 = @8 +7 last
         2.030 > ACK 2",
    );
}

#[test]
fn a_read_goes_without_options_where_the_server_knows_none() {
    play(
        fetch("tsize=0 blksize=1468"),
        "0.000 > RRQ file octet tsize=0 blksize=1468
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1",
    );
}

#[test]
fn an_empty_block_ends_a_multiple_of_the_block_size_and_an_empty_file() {
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         0.020 < DATA 2 +0
         0.020 = +0 last
         0.020 > ACK 2",
    );
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 +0
         0.010 = +0 last
         0.010 > ACK 1",
    );
}

#[test]
fn a_block_that_comes_again_is_acknowledged_again_and_kept_once() {
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         0.020 < DATA 1 @0 +512
         0.020 > ACK 1
         0.030 < DATA 2 @512 +512
         0.030 = @512 +512
         0.030 > ACK 2
         0.040 < DATA 1 @0 +512 // too old to matter
         0.050 < DATA 4 @1536 +512 // from nowhere
         0.060 < DATA 0 @0 +512",
    );
}

#[test]
fn silence_repeats_the_ack_and_gives_up() {
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         1.010 > ACK 1
         3.010 > ACK 1
         7.010 > ACK 1
        15.010 > ACK 1
        23.010 > ACK 1
        31.010 ! timed out
        32.000 < DATA 2 @512 +88",
    );
}

#[test]
fn the_request_is_repeated_and_given_up() {
    play(
        fetch("tsize=0"),
        "0.000 > RRQ file octet tsize=0
         1.000 > RRQ file octet tsize=0
         3.000 > RRQ file octet tsize=0
         7.000 > RRQ file octet tsize=0
        15.000 > RRQ file octet tsize=0
        23.000 > RRQ file octet tsize=0
        31.000 ! timed out",
    );
}

#[test]
fn an_oack_that_comes_again_means_that_our_ack_was_lost() {
    play(
        fetch("tsize=0"),
        "0.000 > RRQ file octet tsize=0
         0.010 < OACK tsize=600
         0.010 > ACK 0
         0.510 < OACK tsize=600
         0.510 > ACK 0
         0.520 < DATA 1 @0 +512
         0.520 = @0 +512
         0.520 > ACK 1
         0.530 < OACK tsize=600 // only late",
    );
}

/// "Dallying": the last ACK may be lost, and only the one who sent it can send it again. Clients of today wait for it
/// for up to six seconds (tftp-hpa, atftp, U-Boot, curl).
#[test]
fn after_the_last_block_it_stays_to_acknowledge_it_again() {
    play(
        accept(""),
        "0.000 > ACK 0
         0.010 < DATA 1 @0 +100
         0.010 = @0 +100 last
         0.010 > ACK 1
         1.010 < DATA 1 @0 +100
         1.010 > ACK 1
         7.010 < DATA 1 @0 +100
         7.010 > ACK 1
        16.009 .
        16.010 ! complete, 100 bytes",
    );
    play(
        accept("timeout=20"),
        "0.000 > OACK timeout=20
         0.010 < DATA 1 @0 +100
         0.010 = @0 +100 last
         0.010 > ACK 1
        20.010 < DATA 1 @0 +100
        20.010 > ACK 1
        60.010 ! complete, 100 bytes",
    );
}

#[test]
fn nothing_undoes_a_file_that_is_whole() {
    for disturbance in ["< ERROR 0 too late", "< ACK 1", "x 3"] {
        play(
            accept(""),
            &format!(
                "0.000 > ACK 0
                 0.010 < DATA 1 @0 +100
                 0.010 = @0 +100 last
                 0.010 > ACK 1
                 0.020 {disturbance}
                 0.020 ! complete, 100 bytes"
            ),
        );
    }
}

#[test]
fn a_write_is_answered_with_ack_0_or_an_oack() {
    play(
        accept(""),
        "0.000 > ACK 0
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1",
    );
    play(
        accept("tsize=600 blksize=65464 timeout=2 windowsize=1"),
        "0.000 > OACK tsize=600 blksize=1468 timeout=2 windowsize=1
         2.000 > OACK tsize=600 blksize=1468 timeout=2 windowsize=1
         2.010 < DATA 1 @0 +600
         2.010 = @0 +600 last
         2.010 > ACK 1",
    );
}

#[test]
fn a_peer_that_never_answered_gets_two_packets() {
    for (asked, first) in [("", "ACK 0"), ("blksize=1024", "OACK blksize=1024")] {
        play(
            accept(asked),
            &format!(
                "0.000 > {first}
                 1.000 > {first}
                15.000 ! timed out"
            ),
        );
    }
}

#[test]
fn a_block_larger_than_agreed_gets_error_4() {
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < DATA 1 @0 +513
         0.010 > ERROR 4 illegal TFTP operation
         0.010 ! aborted with error 4",
    );
    play(
        fetch("blksize=1468"),
        "0.000 > RRQ file octet blksize=1468
         0.010 < OACK blksize=1024
         0.010 > ACK 0
         0.020 < DATA 1 @0 +1024
         0.020 = @0 +1024
         0.020 > ACK 1
         0.030 < DATA 2 @1024 +1025
         0.030 > ERROR 4 illegal TFTP operation
         0.030 ! aborted with error 4",
    );
}

#[test]
fn packets_that_no_delay_explains_get_error_4() {
    play(
        accept(""),
        "0.000 > ACK 0
         0.010 < ACK 0
         0.010 > ERROR 4 illegal TFTP operation
         0.010 ! aborted with error 4
         0.020 < DATA 1 @0 +512",
    );
    play(
        fetch(""),
        "0.000 > RRQ file octet
         0.010 < ACK 0 // the answer to a write
         0.010 > ERROR 4 illegal TFTP operation
         0.010 ! aborted with error 4",
    );
}

#[test]
fn the_peers_error_ends_it_without_a_word() {
    play(
        fetch("tsize=0"),
        "0.000 > RRQ file octet tsize=0
         0.010 < ERROR 1 file not found
         0.010 ! peer's error 1
         0.020 < OACK tsize=600
         9.000 .",
    );
    play(
        accept(""),
        "0.000 > ACK 0
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         0.020 < ERROR 0 never mind
         0.020 ! peer's error 0
         0.030 < DATA 2 @512 +512",
    );
}

#[test]
fn an_oack_that_lies_gets_error_8() {
    for (asked, answer) in [
        ("blksize=1024", "blksize=1025"),
        ("blksize=1024", "blksize=99999999999999999999"),
        ("", "blksize=512"),
        ("tsize=0", "tsize=600 windowsize=1"),
        ("windowsize=4", "windowsize=5"),
        ("timeout=3", "timeout=2"),
        ("", "timeout=1"),
        ("blksize=1024", "tsize=600"),
    ] {
        let request = if asked.is_empty() { String::new() } else { format!(" {asked}") };
        play(
            fetch(asked),
            &format!(
                "0.000 > RRQ file octet{request}
                 0.010 < OACK {answer}
                 0.010 > ERROR 8 options refused
                 0.010 ! aborted with error 8
                 0.020 < DATA 1 @0 +512"
            ),
        );
    }
}

#[test]
fn the_shell_can_end_it() {
    play(
        accept(""),
        "0.000 > ACK 0
         0.010 < DATA 1 @0 +512
         0.010 = @0 +512
         0.010 > ACK 1
         0.020 x 3
         0.020 > ERROR 3 disk full or allocation exceeded
         0.020 ! aborted with error 3
         0.030 < DATA 2 @512 +512",
    );
}
