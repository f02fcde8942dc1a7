//! The sender under any schedule of packets, time and aborts: stays within the file, says `Wait` or `Done` in the
//! end, sends an unproven client only a few packets, and is over at last.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use pinetboot_core::Instant;
use pinetboot_core::tftp::{ErrorCode, Outcome, Packet, Sender, Step};
use pinetboot_fuzz::{Event, Setup, next};

struct Trial {
    sender: Sender,
    now: Instant,
    len: u64,
    sent: usize,
}

fuzz_target!(|input: &[u8]| {
    let _ = trial(&mut Unstructured::new(input));
});

/// The schedule is a [`Setup`], the file's length (8 bytes), the request and the events after it.
fn trial(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let setup = Setup::arbitrary(input)?;
    let len = u64::arbitrary(input)?;
    let Some(Event::Datagram(request)) = next(input) else { return Ok(()) };
    let (sender, serves) = match Packet::parse(request) {
        Ok(Packet::Read(request)) => (Sender::serve(&setup.limits(), &request.options, len), true),
        Ok(Packet::Write(request)) => (Sender::put(&request.options, setup.retry_policy(), len), false),
        _ => return Ok(()),
    };
    let mut trial = Trial { sender, now: Instant::ZERO, len, sent: 0 };

    let mut over = trial.settle();
    let mut told = false;
    while let Some(event) = next(input) {
        match event {
            Event::Datagram(datagram) => {
                let Ok(packet) = Packet::parse(datagram) else { continue };
                told = true;
                trial.sender.handle(trial.now, &packet);
            }
            Event::Pass(time) => trial.now = trial.now + time,
            Event::Abort(code) => trial.sender.abort(ErrorCode(code)),
            Event::From { .. } => continue,
        }
        let before = over;
        over = trial.settle();
        if let Ok(outcome) = before {
            assert_eq!(over, Ok(outcome), "what is over stays so");
        }
        // The first packet, three more, and an ERROR.
        assert!(told || !serves || trial.sent <= 5, "{} packets to an unproven client", trial.sent);
        if trial.sent > MANY {
            break;
        }
    }

    for _ in 0..300 {
        let Err(until) = over else { return Ok(()) };
        trial.now = until;
        over = trial.settle();
    }
    panic!("does not give up: {:?}", trial.sender);
}

impl Trial {
    /// Polls until the sender has no more to do: the time until the next poll, or the outcome.
    fn settle(&mut self) -> Result<Outcome, Instant> {
        let (mut packets, mut blocks) = (0, 0);
        loop {
            assert!(packets <= 1 && blocks <= self.sender.window_size().into(), "polls without end");
            assert!(self.sender.acknowledged_bytes() <= self.len);
            match self.sender.poll(self.now) {
                Step::Request(_) | Step::Send(_) => packets += 1,
                Step::SendData { block, offset, len } => {
                    blocks += 1;
                    self.within_the_file(block, offset, len);
                }
                Step::Wait { until } => {
                    assert!(until > self.now, "waits for what has passed");
                    self.sent += packets + blocks;
                    return Err(until);
                }
                Step::Done(outcome) => {
                    if let Outcome::Complete { bytes } = outcome {
                        assert_eq!(bytes, self.len);
                        assert_eq!(self.sender.acknowledged_bytes(), self.len);
                    }
                    self.sent += packets + blocks;
                    return Ok(outcome);
                }
            }
        }
    }

    fn within_the_file(&self, block: u16, offset: u64, len: u16) {
        let block_size = self.sender.block_size();
        assert!(block_size >= 8);
        assert_eq!(offset % u64::from(block_size), 0);
        assert_eq!((offset / u64::from(block_size) + 1) as u16, block);
        let end = offset.checked_add(len.into()).expect("an offset beyond all files");
        assert!(end <= self.len);
        assert!(
            len == block_size || (len < block_size && end == self.len),
            "a short block that is not the last"
        );
    }
}

/// Packets after which an input has shown enough.
const MANY: usize = 20_000;
