//! Packet scripts of windows (RFC 7440): several blocks for one ACK, on both sides.

mod common;

use common::{options, play};
use pinetboot_core::Instant;
use pinetboot_core::tftp::{Limits, Packet, Receiver, RetryPolicy, Sender, Step};

/// A server that is read from: blocks of 512 bytes, windows of 4.
fn serve(len: u64) -> Sender {
    Sender::serve(&Limits::default(), &options("windowsize=4"), len)
}

/// A server that is written to, likewise.
fn accept() -> Receiver {
    Receiver::accept(&Limits::default(), &options("windowsize=4"))
}

/// The script of a sender whose first window is on its way.
const FIRST_WINDOW: &str = "0.000 > OACK windowsize=4
     0.010 < ACK 0
     0.010 > DATA 1 @0 +512
     0.010 > DATA 2 @512 +512
     0.010 > DATA 3 @1024 +512
     0.010 > DATA 4 @1536 +512\n";

/// The script of a receiver that has the first block.
const FIRST_BLOCK: &str = "0.000 > OACK windowsize=4
     0.010 < DATA 1 @0 +512
     0.010 = @0 +512\n";

#[test]
fn a_window_goes_out_at_once_and_the_next_at_its_ack() {
    play(
        serve(3000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 4
             0.020 > DATA 5 @2048 +512
             0.020 > DATA 6 @2560 +440
             0.030 < ACK 6
             0.030 ! complete, 3000 bytes"
        ),
    );
}

#[test]
fn a_window_may_end_with_the_empty_block() {
    play(
        serve(2048),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 4
             0.020 > DATA 5 +0
             0.030 < ACK 5
             0.030 ! complete, 2048 bytes"
        ),
    );
}

#[test]
fn an_ack_within_the_window_goes_back_to_the_block_after_it() {
    // Block 3 was lost.
    play(
        serve(5000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 2
             0.020 > DATA 3 @1024 +512
             0.020 > DATA 4 @1536 +512
             0.020 > DATA 5 @2048 +512
             0.020 > DATA 6 @2560 +512
             0.030 < ACK 6
             0.030 > DATA 7 @3072 +512
             0.030 > DATA 8 @3584 +512
             0.030 > DATA 9 @4096 +512
             0.030 > DATA 10 @4608 +392"
        ),
    );
}

#[test]
fn the_ack_before_the_window_goes_back_to_its_first_block_once() {
    play(
        serve(5000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 0 // block 1 was lost
             0.020 > DATA 1 @0 +512
             0.020 > DATA 2 @512 +512
             0.020 > DATA 3 @1024 +512
             0.020 > DATA 4 @1536 +512
             0.030 < ACK 0 // again: it could go on for ever
             0.040 < ACK 0
             1.020 > DATA 1 @0 +512
             1.020 > DATA 2 @512 +512
             1.020 > DATA 3 @1024 +512
             1.020 > DATA 4 @1536 +512
             1.030 < ACK 0"
        ),
    );
}

#[test]
fn a_lost_last_block_waits_for_the_timeout() {
    play(
        serve(5000),
        &format!(
            "{FIRST_WINDOW}
             1.010 > DATA 1 @0 +512
             1.010 > DATA 2 @512 +512
             1.010 > DATA 3 @1024 +512
             1.010 > DATA 4 @1536 +512
             1.020 < ACK 4
             1.020 > DATA 5 @2048 +512
             1.020 > DATA 6 @2560 +512
             1.020 > DATA 7 @3072 +512
             1.020 > DATA 8 @3584 +512"
        ),
    );
}

/// A NACK doubled on the way sends one window twice. That window may be acknowledged twice, which must not be taken for
/// the next NACK, or everything to the end would go out twice.
#[test]
fn a_doubled_ack_doubles_one_window_and_not_the_rest() {
    play(
        serve(6000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 4
             0.020 > DATA 5 @2048 +512
             0.020 > DATA 6 @2560 +512
             0.020 > DATA 7 @3072 +512
             0.020 > DATA 8 @3584 +512
             0.021 < ACK 4
             0.021 > DATA 5 @2048 +512
             0.021 > DATA 6 @2560 +512
             0.021 > DATA 7 @3072 +512
             0.021 > DATA 8 @3584 +512
             0.030 < ACK 8
             0.030 > DATA 9 @4096 +512
             0.030 > DATA 10 @4608 +512
             0.030 > DATA 11 @5120 +512
             0.030 > DATA 12 @5632 +368
             0.031 < ACK 8 // the same blocks, acknowledged once more
             0.032 < ACK 8
             0.040 < ACK 12
             0.040 ! complete, 6000 bytes"
        ),
    );
}

#[test]
fn a_window_sent_twice_for_a_timeout_may_be_acknowledged_twice() {
    play(
        serve(2500),
        &format!(
            "{FIRST_WINDOW}
             1.010 > DATA 1 @0 +512
             1.010 > DATA 2 @512 +512
             1.010 > DATA 3 @1024 +512
             1.010 > DATA 4 @1536 +512
             1.011 < ACK 4 // late
             1.011 > DATA 5 @2048 +452
             1.020 < ACK 4
             1.030 < ACK 5
             1.030 ! complete, 2500 bytes"
        ),
    );
}

#[test]
fn a_window_is_acknowledged_as_a_whole() {
    play(
        accept(),
        &format!(
            "{FIRST_BLOCK}
             0.011 < DATA 2 @512 +512
             0.011 = @512 +512
             0.012 < DATA 3 @1024 +512
             0.012 = @1024 +512
             0.013 < DATA 4 @1536 +512
             0.013 = @1536 +512
             0.013 > ACK 4
             0.020 < DATA 5 @2048 +512
             0.020 = @2048 +512
             0.021 < DATA 6 @2560 +10
             0.021 = @2560 +10 last
             0.021 > ACK 6"
        ),
    );
}

#[test]
fn a_gap_is_told_once_and_nothing_behind_it_is_kept() {
    play(
        accept(),
        &format!(
            "{FIRST_BLOCK}
             0.012 < DATA 3 @1024 +512
             0.012 > ACK 1
             0.013 < DATA 4 @1536 +512
             0.020 < DATA 2 @512 +512
             0.020 = @512 +512
             0.021 < DATA 3 @1024 +512
             0.021 = @1024 +512
             0.022 < DATA 4 @1536 +512
             0.022 = @1536 +512
             0.023 < DATA 5 @2048 +512 // four since the last ACK
             0.023 = @2048 +512
             0.023 > ACK 5"
        ),
    );
}

#[test]
fn a_gap_before_the_first_block_is_told_by_ack_0() {
    play(
        accept(),
        "0.000 > OACK windowsize=4
         0.011 < DATA 2 @512 +512
         0.011 > ACK 0
         0.012 < DATA 3 @1024 +512
         0.020 < DATA 1 @0 +512
         0.020 = @0 +512",
    );
}

#[test]
fn blocks_from_beyond_the_window_are_no_gap() {
    play(
        accept(),
        &format!(
            "{FIRST_BLOCK}
             0.011 < DATA 6 @2560 +512
             0.012 < DATA 60000 @0 +512"
        ),
    );
}

#[test]
fn a_lost_end_of_the_window_waits_for_the_timeout() {
    play(
        accept(),
        &format!(
            "{FIRST_BLOCK}
             0.011 < DATA 2 @512 +512
             0.011 = @512 +512
             1.011 > ACK 2
             1.012 < DATA 1 @0 +512 // the sender's own timeout
             1.013 < DATA 2 @512 +512 // acknowledged a moment ago
             1.014 < DATA 3 @1024 +512
             1.014 = @1024 +512
             1.015 < DATA 4 @1536 +512
             1.015 = @1536 +512
             1.020 < DATA 5 @2048 +512
             1.020 = @2048 +512
             1.021 < DATA 6 @2560 +512
             1.021 = @2560 +512
             1.021 > ACK 6"
        ),
    );
}

#[test]
fn a_lost_ack_is_sent_again_when_the_window_comes_again() {
    play(
        accept(),
        &format!(
            "{FIRST_BLOCK}
             0.011 < DATA 2 @512 +512
             0.011 = @512 +512
             0.012 < DATA 3 @1024 +512
             0.012 = @1024 +512
             0.013 < DATA 4 @1536 +512
             0.013 = @1536 +512
             0.013 > ACK 4
             0.014 < DATA 4 @1536 +512 // too soon to be that
             0.810 < DATA 1 @0 +512
             0.811 < DATA 2 @512 +512
             0.812 < DATA 3 @1024 +512
             0.813 < DATA 4 @1536 +512
             0.813 > ACK 4"
        ),
    );
}

/// Both machines on a network that doubles one packet: how many blocks are sent in all.
#[test]
fn whichever_packet_is_doubled_at_most_one_window_is_sent_again() {
    const BLOCKS: u64 = 40;
    for doubled in 0..70 {
        let sent = blocks_sent(BLOCKS * 512 - 1, doubled);
        assert!((BLOCKS..=BLOCKS + 4).contains(&sent), "{sent} blocks with packet {doubled} doubled");
    }
}

/// Passes packets on in turn, the one with the number `doubled` twice, and counts the blocks.
fn blocks_sent(len: u64, doubled: usize) -> u64 {
    let (mut sender, mut receiver) =
        (serve(len), Receiver::fetch(&options("windowsize=4"), RetryPolicy::default()));
    let (now, block) = (Instant::from_millis(1), [0; 512]);
    let (mut sent, mut passed) = (0, 0);
    let mut copies = || {
        passed += 1;
        if passed - 1 == doubled { 2 } else { 1 }
    };
    let (mut to_receiver, mut to_sender) = (Vec::new(), Vec::new());
    loop {
        loop {
            let packet = match sender.poll(now) {
                Step::Send(packet) => packet,
                Step::SendData { block: number, len, .. } => {
                    sent += 1;
                    Packet::Data { block: number, payload: &block[..len.into()] }
                }
                _ => break,
            };
            to_receiver.extend(core::iter::repeat_n(packet, copies()));
        }
        while let Step::Send(_) | Step::Request(_) = receiver.poll(now) {}
        for packet in to_receiver.drain(..) {
            receiver.handle(now, &packet);
            while let Step::Send(ack) = receiver.poll(now) {
                to_sender.extend(core::iter::repeat_n(ack, copies()));
            }
        }
        if to_sender.is_empty() {
            assert_eq!(receiver.complete(), Some(len));
            return sent;
        }
        to_sender.drain(..).for_each(|packet| sender.handle(now, &packet));
    }
}

/// Such an ACK may answer a block of the first window that came late: EDK2 acknowledges each block that it does not expect.
#[test]
fn after_going_back_nothing_is_sent_twice_until_all_of_it_is_acknowledged() {
    play(
        serve(5000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 1
             0.020 > DATA 2 @512 +512
             0.020 > DATA 3 @1024 +512
             0.020 > DATA 4 @1536 +512
             0.020 > DATA 5 @2048 +512
             0.021 < ACK 2
             0.021 > DATA 6 @2560 +512
             0.022 < ACK 2
             0.023 < ACK 3
             0.023 > DATA 7 @3072 +512
             0.024 < ACK 7
             0.024 > DATA 8 @3584 +512
             0.024 > DATA 9 @4096 +512
             0.024 > DATA 10 @4608 +392"
        ),
    );
}

#[test]
fn a_block_that_is_lost_twice_is_sent_again_after_four_round_trips() {
    play(
        serve(5000),
        &format!(
            "{FIRST_WINDOW}
             0.020 < ACK 1 // block 2 was lost
             0.020 > DATA 2 @512 +512
             0.020 > DATA 3 @1024 +512
             0.020 > DATA 4 @1536 +512
             0.020 > DATA 5 @2048 +512
             0.030 < ACK 2 // block 3 was lost once more
             0.030 > DATA 6 @2560 +512
             0.070 > DATA 3 @1024 +512
             0.070 > DATA 4 @1536 +512
             0.070 > DATA 5 @2048 +512
             0.070 > DATA 6 @2560 +512
             0.080 < ACK 6
             0.080 > DATA 7 @3072 +512
             0.080 > DATA 8 @3584 +512
             0.080 > DATA 9 @4096 +512
             0.080 > DATA 10 @4608 +392"
        ),
    );
}
