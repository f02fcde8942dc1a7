//! Clients that acknowledge more than RFC 7440 asks for, on a network that reorders packets: each answer costs few packets.

mod common;

use core::time::Duration;
use std::collections::BTreeMap;

use common::options;
use common::rng::Rng;
use pinetboot_core::Instant;
use pinetboot_core::tftp::{Limits, Outcome, Packet, Sender, Step};

/// A client that keeps blocks in order only.
struct Client {
    expected: u64,
    acked: u64,
    window: u64,
    acks: Acks,
    told: bool,
}

/// What a client acknowledges besides the end of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    /// The first block after a gap, once, as RFC 7440 asks.
    Gaps,
    /// Each block that is not the expected one, as EDK2 (MdePkg's MTFTP4, `Mtftp4RrqHandleData`).
    Unexpected,
    /// Each block.
    All,
}

impl Client {
    fn handle(&mut self, block: u64, last: u64) -> Option<u64> {
        if block != self.expected {
            let is_told =
                self.acks == Acks::Gaps && block + 1 != self.expected && (self.told || block < self.expected);
            self.told = true;
            return if is_told { None } else { self.ack(self.expected - 1) };
        }
        self.told = false;
        self.expected += 1;
        let is_due = block == last || self.acks == Acks::All || block - self.acked == self.window;
        if is_due { self.ack(block) } else { None }
    }

    fn ack(&mut self, block: u64) -> Option<u64> {
        self.acked = block;
        Some(block)
    }
}

/// A packet on its way.
enum Flying {
    Data(u64),
    Ack(u64),
}

/// What happens to packets, in thousandths.
#[derive(Clone, Copy, Default)]
struct Weather {
    late: u64,
    lost: u64,
}

/// DATA packets that a file of so many blocks takes, and the time.
fn play(seed: u64, blocks: u64, asked: &str, acks: Acks, weather: Weather) -> (u64, Duration) {
    let mut sender = Sender::serve(&Limits::default(), &options(asked), blocks * 512 - 1);
    let window = u64::from(sender.window_size());
    let mut client = Client { expected: 1, acked: 0, window, acks, told: false };
    let (mut rng, mut now, mut wire, mut count, mut sent) =
        (Rng::new(seed), Instant::ZERO, BTreeMap::new(), 0_u64, 0);
    let mut fly = |wire: &mut BTreeMap<_, _>, at: Instant, packet| {
        count += 1;
        // 12 us on the wire each, so a late one is overtaken by some.
        let late = if rng.chance(weather.late) { 30 + rng.within(0..60) } else { 0 };
        if !rng.chance(weather.lost) {
            wire.insert((at + Duration::from_micros(200 + late), count), packet);
        }
    };
    // When the last packet leaves: one after the other.
    let mut leaves = now;
    loop {
        let until = loop {
            match sender.poll(now) {
                Step::SendData { block, .. } => {
                    sent += 1;
                    leaves = leaves.max(now) + Duration::from_micros(12);
                    fly(&mut wire, leaves, Flying::Data(block.into()));
                }
                // The OACK and its ACK are not lost.
                Step::Send(Packet::OptionAck(_)) => {
                    now = now + Duration::from_micros(400);
                    sender.handle(now, &Packet::Ack { block: 0 });
                }
                Step::Wait { until } => break until,
                Step::Done(outcome) => {
                    assert_eq!(outcome, Outcome::Complete { bytes: blocks * 512 - 1 });
                    return (sent, now.since(Instant::ZERO));
                }
                other => panic!("{other:?}"),
            }
        };
        match wire.first_entry().filter(|first| first.key().0 <= until) {
            None => now = until,
            Some(first) => {
                let ((at, _), packet) = first.remove_entry();
                now = at;
                match packet {
                    Flying::Data(block) => {
                        if let Some(block) = client.handle(block, blocks) {
                            fly(&mut wire, now, Flying::Ack(block));
                        }
                    }
                    Flying::Ack(block) => sender.handle(now, &Packet::Ack { block: block as u16 }),
                }
            }
        }
    }
}

#[test]
fn a_client_like_edk2_gets_few_blocks_twice_when_packets_are_reordered() {
    let weather = Weather { late: 20, lost: 0 };
    let (mut all, mut time) = (0, Duration::ZERO);
    for seed in 0..100 {
        let (sent, took) = play(seed, 1000, "windowsize=4", Acks::Unexpected, weather);
        all += sent;
        time += took;
        assert!(sent < 1300, "seed {seed}: {sent} DATA for 1000 blocks");
    }
    assert!(all <= 1200 * 100, "{all} DATA for 100000 blocks");
    assert!(time < Duration::from_secs(100 * 2), "{time:?}: no timeouts of a second");
}

#[test]
fn a_client_that_acknowledges_each_block_costs_one_window() {
    for (asked, window) in [("windowsize=4", 4), ("windowsize=16", 16), ("windowsize=64", 64)] {
        let (sent, _) = play(0, 1000, asked, Acks::All, Weather::default());
        assert!(sent <= 1000 + window, "{asked}: {sent} DATA for 1000 blocks");
    }
}

/// A resent block that is lost again is sent again after some round trips, not after a timeout of a second.
#[test]
fn losses_in_a_row_cost_few_timeouts() {
    for acks in [Acks::Gaps, Acks::Unexpected] {
        let (mut all, mut time) = (0, Duration::ZERO);
        for seed in 0..50 {
            let (sent, took) = play(seed, 1000, "windowsize=64", acks, Weather { late: 0, lost: 5 });
            all += sent;
            time += took;
        }
        assert!(time / 50 < Duration::from_millis(500), "{:?} for 1000 blocks", time / 50);
        assert!(all / 50 < 1300, "{} DATA for 1000 blocks", all / 50);
    }
}
