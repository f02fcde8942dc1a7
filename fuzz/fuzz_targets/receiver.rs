//! The receiver under any schedule of packets, time and aborts: lends every block once and in order, acknowledges
//! every lent block, says `Wait` or `Done` in the end, and is over at last.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use pinetboot_core::Instant;
use pinetboot_core::tftp::{ErrorCode, Outcome, Packet, Receiver, Step};
use pinetboot_fuzz::{Event, Setup, next};

struct Trial {
    receiver: Receiver,
    now: Instant,
    blocks: u64,
    bytes: u64,
    whole: bool,
}

fuzz_target!(|input: &[u8]| {
    let _ = trial(&mut Unstructured::new(input));
});

/// The schedule is a [`Setup`], the request and the events after it.
fn trial(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let setup = Setup::arbitrary(input)?;
    let Some(Event::Datagram(request)) = next(input) else { return Ok(()) };
    let receiver = match Packet::parse(request) {
        Ok(Packet::Read(request)) => Receiver::fetch(&request.options, setup.retry_policy()),
        Ok(Packet::Write(request)) => Receiver::accept(&setup.limits(), &request.options),
        _ => return Ok(()),
    };
    let mut trial = Trial { receiver, now: Instant::ZERO, blocks: 0, bytes: 0, whole: false };

    let mut over = trial.settle();
    while let Some(event) = next(input) {
        match event {
            Event::Datagram(datagram) => {
                let Ok(packet) = Packet::parse(datagram) else { continue };
                trial.take(&packet, over.is_ok());
            }
            Event::Pass(time) => trial.now = trial.now + time,
            Event::Abort(code) => trial.receiver.abort(ErrorCode(code)),
            Event::From { .. } => continue,
        }
        let before = over;
        over = trial.settle();
        if let Ok(outcome) = before {
            assert_eq!(over, Ok(outcome), "what is over stays so");
        }
    }

    for _ in 0..300 {
        let Err(until) = over else { return Ok(()) };
        trial.now = until;
        over = trial.settle();
    }
    panic!("does not give up: {:?}", trial.receiver);
}

impl Trial {
    fn take(&mut self, packet: &Packet<'_>, over: bool) {
        let Some(chunk) = self.receiver.handle(self.now, packet) else { return };
        let Packet::Data { block, payload } = *packet else { panic!("a chunk out of {packet:?}") };
        assert!(!over && !self.whole, "a chunk after the end");
        self.blocks += 1;
        self.bytes += payload.len() as u64;
        self.whole = chunk.last;
        assert_eq!(chunk.bytes, payload);
        assert_eq!(block, self.blocks as u16, "out of order");
        assert!(payload.len() <= self.receiver.block_size().into());
        assert_eq!(chunk.last, payload.len() < self.receiver.block_size().into());
    }

    /// Polls until the receiver has no more to do: the time until the next poll, or the outcome.
    fn settle(&mut self) -> Result<Outcome, Instant> {
        for packets in 0.. {
            assert!(packets <= 1, "polls without end");
            assert_eq!(self.receiver.received_bytes(), self.bytes);
            if let Some(bytes) = self.receiver.complete() {
                assert!(self.whole && bytes == self.bytes);
            }
            match self.receiver.poll(self.now) {
                Step::Send(Packet::Ack { block }) => assert_eq!(block, self.blocks as u16),
                Step::Send(Packet::OptionAck(_) | Packet::Error { .. }) | Step::Request(_) => {}
                step @ (Step::Send(_) | Step::SendData { .. }) => panic!("a receiver says {step:?}"),
                Step::Wait { until } => {
                    assert!(until > self.now, "waits for what has passed");
                    return Err(until);
                }
                Step::Done(outcome) => {
                    assert_eq!(self.whole, matches!(outcome, Outcome::Complete { .. }));
                    return Ok(outcome);
                }
            }
        }
        unreachable!()
    }
}
