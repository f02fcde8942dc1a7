//! Transfers of more than 65535 blocks: after block 65535 comes 0.

mod common;

use common::{options, play};
use pinetboot_core::Instant;
use pinetboot_core::tftp::{Limits, Outcome, Packet, Receiver, RetryPolicy, Sender, Step};

/// What a sender said, in order: block and offset.
fn send(sender: &mut Sender, now: Instant) -> Vec<(u16, u64, u16)> {
    let mut sent = Vec::new();
    loop {
        match sender.poll(now) {
            Step::SendData { block, offset, len } => sent.push((block, offset, len)),
            Step::Send(_) | Step::Request(_) => {}
            Step::Wait { .. } | Step::Done(_) => return sent,
        }
    }
}

#[test]
fn a_sender_in_lock_step_rolls_over_to_block_0() {
    for len in [65535 * 512, 65535 * 512 + 1, 65536 * 512, 2 * 65536 * 512 + 513] {
        let mut sender = Sender::serve(&Limits::default(), &options(""), len);
        let now = Instant::from_millis(1);
        let mut bytes = 0;
        for block in 1..=len / 512 + 1 {
            let expected = (block as u16, bytes, (len - bytes).min(512) as u16);
            assert_eq!(send(&mut sender, now), [expected], "{len} bytes");
            bytes += u64::from(expected.2);
            sender.handle(now, &Packet::Ack { block: block as u16 });
        }
        assert_eq!(bytes, len);
        assert_eq!(sender.poll(now), Step::Done(Outcome::Complete { bytes: len }));
        assert_eq!(sender.resent(), 0);
    }
}

#[test]
fn at_the_rollover_a_duplicate_ack_sends_nothing_and_a_timeout_the_right_block() {
    let mut sender = Sender::serve(&Limits::default(), &options(""), 70_000 * 512);
    let now = Instant::from_millis(1);
    for block in 1..=65535 {
        send(&mut sender, now);
        sender.handle(now, &Packet::Ack { block });
    }
    assert_eq!(send(&mut sender, now), [(0, 65535 * 512, 512)]);
    for block in [65535, 65534, 1, 2] {
        sender.handle(now, &Packet::Ack { block });
        assert_eq!(send(&mut sender, now), [], "after ACK {block}");
    }
    assert_eq!(send(&mut sender, Instant::from_millis(1001)), [(0, 65535 * 512, 512)]);
    sender.handle(now, &Packet::Ack { block: 0 });
    assert_eq!(send(&mut sender, now), [(1, 65536 * 512, 512)]);
    sender.handle(now, &Packet::Ack { block: 0 });
    assert_eq!(send(&mut sender, now), []);
}

#[test]
fn a_window_across_the_rollover_goes_back_to_the_right_block() {
    let len = 70_000 * 8;
    let mut sender = Sender::serve(&Limits::default(), &options("blksize=8 windowsize=16"), len);
    let now = Instant::from_millis(1);
    send(&mut sender, now);
    sender.handle(now, &Packet::Ack { block: 0 });
    for block in (16..=65520).step_by(16) {
        assert_eq!(send(&mut sender, now).len(), 16);
        sender.handle(now, &Packet::Ack { block });
    }
    let numbers =
        |sent: Vec<(u16, u64, u16)>| sent.into_iter().map(|(number, ..)| number).collect::<Vec<_>>();
    assert_eq!(send(&mut sender, now).last(), Some(&(0, 65535 * 8, 8)));
    sender.handle(now, &Packet::Ack { block: 65533 });
    let after = [65534, 65535, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
    assert_eq!(numbers(send(&mut sender, now)), after);
    // This may answer a block that came twice: sending goes back only if nothing follows.
    sender.handle(now, &Packet::Ack { block: 65535 });
    assert_eq!(numbers(send(&mut sender, now)), [14, 15]);
    let now = Instant::from_millis(11);
    assert_eq!(numbers(send(&mut sender, now)), (0..16).collect::<Vec<_>>());
    sender.handle(now, &Packet::Ack { block: 15 });
    assert_eq!(send(&mut sender, now).first(), Some(&(16, 65551 * 8, 8)));
}

#[test]
fn a_receiver_rolls_over_to_block_0() {
    for len in [65535 * 512, 65535 * 512 + 1, 65536 * 512] {
        let mut receiver = Receiver::fetch(&options(""), RetryPolicy::default());
        let now = Instant::from_millis(1);
        assert!(matches!(receiver.poll(now), Step::Request(_)));
        let block = [0; 512];
        let mut bytes = 0;
        for number in 1..=len / 512 + 1 {
            let payload = &block[..(len - bytes).min(512) as usize];
            let packet = Packet::Data { block: number as u16, payload };
            let chunk = receiver.handle(now, &packet).expect("bytes to keep");
            assert_eq!(chunk.last, payload.len() < 512);
            assert_eq!(receiver.poll(now), Step::Send(Packet::Ack { block: number as u16 }));
            // The same once more: acknowledged, not kept.
            assert_eq!(receiver.handle(now, &packet), None);
            assert_eq!(receiver.poll(now), Step::Send(Packet::Ack { block: number as u16 }));
            bytes += payload.len() as u64;
        }
        assert_eq!(receiver.complete(), Some(len));
    }
}

#[test]
fn a_receiver_tells_a_gap_across_the_rollover() {
    let mut receiver = Receiver::accept(&Limits::default(), &options("blksize=8 windowsize=4"));
    let now = Instant::from_millis(1);
    let data = |number: u64| Packet::Data { block: number as u16, payload: &[0; 8] };
    assert!(matches!(receiver.poll(now), Step::Send(Packet::OptionAck(_))));
    for number in 1..=65534 {
        assert!(receiver.handle(now, &data(number)).is_some());
        while let Step::Send(_) = receiver.poll(now) {}
    }
    assert_eq!(receiver.handle(now, &data(65536)), None);
    assert_eq!(receiver.poll(now), Step::Send(Packet::Ack { block: 65534 }));
    for number in 65535..=65538 {
        assert!(receiver.handle(now, &data(number)).is_some());
    }
    assert_eq!(receiver.poll(now), Step::Send(Packet::Ack { block: 2 }));
    assert_eq!(receiver.received_bytes(), 65538 * 8);
}

/// Before the first block has come, block 65535 is not one that has been lost an ACK for.
#[test]
fn the_block_before_the_first_is_none() {
    play(
        Receiver::accept(&Limits::default(), &options("windowsize=4")),
        "0.000 > OACK windowsize=4
         0.010 < DATA 0 @0 +512
         0.020 < DATA 65535 @0 +512",
    );
    play(
        Receiver::accept(&Limits::default(), &options("")),
        "0.000 > ACK 0
         0.010 < DATA 0 @0 +512
         0.020 < DATA 65535 @0 +512",
    );
}
