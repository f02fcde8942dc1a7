//! Packet scripts of a server that is read from, one block at a time.

mod common;

use core::time::Duration;

use common::{options, play};
use pinetboot_core::tftp::{Limits, RetryPolicy, Sender};

/// A server that is read from, on Ethernet.
fn serve(asked: &str, len: u64) -> Sender {
    Sender::serve(&Limits::default().within(1472), &options(asked), len)
}

#[test]
fn a_read_without_options_begins_with_the_first_block() {
    play(
        serve("", 1300),
        "0.000 > DATA 1 @0 +512
         0.010 < ACK 1
         0.010 > DATA 2 @512 +512
         0.020 < ACK 2
         0.020 > DATA 3 @1024 +276
         0.030 < ACK 3
         0.030 ! complete, 1300 bytes",
    );
}

#[test]
fn a_read_with_options_begins_with_an_oack_that_ack_0_answers() {
    play(
        serve("tsize=0 blksize=1468", 3000),
        "0.000 > OACK tsize=3000 blksize=1468
         0.010 < ACK 0
         0.010 > DATA 1 @0 +1468
         0.020 < ACK 1
         0.020 > DATA 2 @1468 +1468
         0.030 < ACK 2
         0.030 > DATA 3 @2936 +64
         0.040 < ACK 3
         0.040 ! complete, 3000 bytes",
    );
}

#[test]
fn each_option_is_answered_only_when_asked() {
    for (asked, answered) in [
        ("tsize=0", "tsize=100"),
        ("blksize=8", "blksize=8"),
        ("blksize=1024", "blksize=1024"),
        ("blksize=65464", "blksize=1468"), // what fits
        ("timeout=3", "timeout=3"),
        ("windowsize=7", "windowsize=7"),
        ("windowsize=65535", "windowsize=64"), // what the server wants
        ("blksize=512 timeout=60", "blksize=512 timeout=60"),
        ("tsize=0 timeout=61", "tsize=100"), // too long a wait: refused by silence
        ("tsize=0 blksize=1468 timeout=1 windowsize=4", "tsize=100 blksize=1468 timeout=1 windowsize=4"),
    ] {
        play(serve(asked, 100), &format!("0.000 > OACK {answered}"));
    }
    play(serve("timeout=61", 100), "0.000 > DATA 1 @0 +100");
}

#[test]
fn a_length_that_is_a_multiple_of_the_block_size_ends_with_an_empty_block() {
    play(
        serve("", 1024),
        "0.000 > DATA 1 @0 +512
         0.010 < ACK 1
         0.010 > DATA 2 @512 +512
         0.020 < ACK 2
         0.020 > DATA 3 +0
         0.030 < ACK 3
         0.030 ! complete, 1024 bytes",
    );
}

#[test]
fn a_length_one_below_or_above_a_multiple_needs_no_empty_block() {
    play(
        serve("blksize=8", 15),
        "0.000 > OACK blksize=8
         0.010 < ACK 0
         0.010 > DATA 1 @0 +8
         0.020 < ACK 1
         0.020 > DATA 2 @8 +7
         0.030 < ACK 2
         0.030 ! complete, 15 bytes",
    );
    play(
        serve("blksize=8", 17),
        "0.000 > OACK blksize=8
         0.010 < ACK 0
         0.010 > DATA 1 @0 +8
         0.020 < ACK 1
         0.020 > DATA 2 @8 +8
         0.030 < ACK 2
         0.030 > DATA 3 +1
         0.040 < ACK 3
         0.040 ! complete, 17 bytes",
    );
}

#[test]
fn an_empty_file_is_one_empty_block() {
    play(
        serve("", 0),
        "0.000 > DATA 1 +0
         0.010 < ACK 1
         0.010 ! complete, 0 bytes",
    );
    play(
        serve("tsize=0", 0),
        "0.000 > OACK tsize=0
         0.010 < ACK 0
         0.010 > DATA 1 +0
         0.020 < ACK 1
         0.020 ! complete, 0 bytes",
    );
}

/// The Sorcerer's Apprentice: in lock-step a duplicate ACK never sends a block again, however often it comes.
#[test]
fn duplicate_acks_send_nothing() {
    play(
        serve("", 1300),
        "0.000 > DATA 1 @0 +512
         0.001 < ACK 0 // answers nothing that was asked
         0.010 < ACK 1
         0.010 > DATA 2 @512 +512
         0.011 < ACK 1
         0.012 < ACK 1
         0.013 < ACK 0
         0.020 < ACK 2
         0.020 > DATA 3 @1024 +276
         0.021 < ACK 2
         0.022 < ACK 1
         0.030 < ACK 3
         0.030 ! complete, 1300 bytes
         0.031 < ACK 3",
    );
}

#[test]
fn a_duplicate_ack_0_does_not_send_the_first_block_again() {
    play(
        serve("tsize=0 blksize=1468", 3000),
        "0.000 > OACK tsize=3000 blksize=1468
         0.010 < ACK 0
         0.010 > DATA 1 @0 +1468
         0.011 < ACK 0
         0.900 < ACK 0
         1.010 > DATA 1 @0 +1468",
    );
}

#[test]
fn a_duplicate_ack_does_not_put_the_timeout_off() {
    play(
        serve("", 1300),
        "0.000 > DATA 1 @0 +512
         0.010 < ACK 1
         0.010 > DATA 2 @512 +512
         0.900 < ACK 1
         1.010 > DATA 2 @512 +512",
    );
}

#[test]
fn a_lost_block_is_sent_again_after_a_second_and_ever_more_rarely() {
    play(
        serve("tsize=0", 600),
        "0.000 > OACK tsize=600
         0.010 < ACK 0
         0.010 > DATA 1 @0 +512
         1.009 .
         1.010 > DATA 1 @0 +512
         3.010 > DATA 1 @0 +512
         7.010 > DATA 1 @0 +512
        15.010 > DATA 1 @0 +512
        23.010 > DATA 1 @0 +512
        31.009 .
        31.010 ! timed out
        60.000 < ACK 1",
    );
}

#[test]
fn progress_brings_the_first_wait_back() {
    play(
        serve("", 600),
        "0.000 > DATA 1 @0 +512
         1.000 > DATA 1 @0 +512
         3.010 < ACK 1
         3.010 > DATA 2 @512 +88
         3.020 < ACK 1 // for the block that was only late
         4.010 > DATA 2 @512 +88",
    );
}

/// Such a peer may never have asked: its address may be forged.
#[test]
fn a_peer_that_never_answered_gets_two_packets() {
    for (asked, first) in [("", "DATA 1 @0 +512"), ("tsize=0", "OACK tsize=600")] {
        play(
            serve(asked, 600),
            &format!(
                "0.000 > {first}
                 1.000 > {first}
                15.000 ! timed out"
            ),
        );
    }
}

#[test]
fn the_timeout_that_was_asked_for_is_the_first_wait() {
    play(
        serve("timeout=3", 100),
        "0.000 > OACK timeout=3
         3.000 > OACK timeout=3
         3.010 < ACK 0
         3.010 > DATA 1 @0 +100
         6.010 > DATA 1 @0 +100
        12.010 > DATA 1 @0 +100
        20.010 > DATA 1 @0 +100", // no wait is longer than 8 seconds
    );
    play(
        serve("timeout=20", 100),
        "0.000 > OACK timeout=20
        20.000 > OACK timeout=20", // unless it was asked for
    );
}

/// A shell may be late: what came in by then has come in time.
#[test]
fn an_ack_taken_in_late_is_no_timeout() {
    play(
        serve("tsize=0", 600),
        "0.000 > OACK tsize=600
         1.000 < ACK 0
         1.000 > DATA 1 @0 +512
         2.000 > DATA 1 @0 +512 // the first wait
         4.000 < ACK 1
         4.000 > DATA 2 @512 +88
         5.000 > DATA 2 @512 +88
         7.000 < ACK 2
         7.000 ! complete, 600 bytes",
    );
    let once = Limits::default().with_retry(RetryPolicy::new(Duration::from_secs(1), 0));
    play(
        Sender::serve(&once, &options("tsize=0"), 100),
        "0.000 > OACK tsize=100
         1.000 < ACK 0
         1.000 > DATA 1 @0 +100
         2.000 ! timed out",
    );
}

#[test]
fn the_peers_error_ends_it_without_a_word() {
    play(
        serve("tsize=0 blksize=1468", 3000),
        "0.000 > OACK tsize=3000 blksize=1468
         0.010 < ERROR 0 Early terminate
         0.010 ! peer's error 0
         0.020 < ACK 0
         9.000 .",
    );
    play(
        serve("", 3000),
        "0.000 > DATA 1 @0 +512
         0.010 < ACK 1
         0.010 > DATA 2 @512 +512
         0.020 < ERROR 3 disk full
         0.020 ! peer's error 3
         0.030 < DATA 1 @0 +512
         9.000 .",
    );
}

#[test]
fn packets_that_no_delay_explains_get_error_4() {
    play(
        serve("", 3000),
        "0.000 > DATA 1 @0 +512
         0.010 < DATA 1 @0 +512
         0.010 > ERROR 4 illegal TFTP operation
         0.010 ! aborted with error 4
         0.020 < DATA 1 @0 +512
         9.000 .",
    );
}

#[test]
fn packets_that_a_delay_explains_do_nothing() {
    play(
        serve("tsize=0", 600),
        "0.000 > OACK tsize=600
         0.001 < ACK 3 // of a transfer before this one
         0.002 < RRQ file octet tsize=0
         0.010 < ACK 0
         0.010 > DATA 1 @0 +512
         0.011 < ACK 2 // not sent yet
         0.012 < ACK 65535
         0.013 < OACK tsize=600
         0.014 < WRQ file octet
         0.020 < ACK 1
         0.020 > DATA 2 @512 +88",
    );
}

#[test]
fn the_shell_can_end_it() {
    play(
        serve("", 600),
        "0.000 > DATA 1 @0 +512
         0.010 x 0
         0.010 > ERROR 0 error
         0.010 ! aborted with error 0
         0.020 < ACK 1
         0.030 x 3",
    );
    play(
        serve("", 100),
        "0.000 > DATA 1 @0 +100
         0.010 < ACK 1
         0.010 ! complete, 100 bytes
         0.020 x 0",
    );
}
