//! The side that receives the file: a client that reads, a server that is written to.

use super::block::wire;
use super::options::{Limits, Options, Terms};
use super::packet::{ErrorCode, Packet};
use super::retry::{Again, Retry, RetryPolicy};
use super::step::{Outcome, Step};
use crate::Instant;

/// Receives one file, block by block, in order and each once. A value without a socket, a clock or a buffer.
///
/// [`handle`](Self::handle) lends the bytes of a block as a [`Chunk`]. The caller keeps them before the next `poll`, which
/// acknowledges them, or calls [`abort`](Self::abort) if it cannot.
///
/// After the last block the receiver waits (a second more than [`RetryPolicy::MAX_WAIT`], or two timeouts if that is
/// more), to acknowledge that block again if the other side repeats it ("dallying", RFC 1350, section 6);
/// [`complete`](Self::complete) says before that that the file is whole.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Blocks received, in order and without a gap.
    received: u64,
    /// Their bytes.
    bytes: u64,
    retry: Retry,
    block_size: u16,
    window_size: u16,
    /// Blocks received since the last ACK.
    unacked: u16,
    ack_due: bool,
    /// A gap after `received` has been told already.
    gap_told: bool,
    /// The other side has sent a block, or is a server that we asked: its address is not forged.
    proven: bool,
    phase: Phase,
    announced: Option<u64>,
    resent: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Our request or OACK waits for its answer.
    Opening {
        say: Opening,
        said: bool,
    },
    /// Blocks come in.
    Transfer,
    /// The last block is here; its ACK may get lost.
    Dallying,
    /// An ERROR is to be sent, and then it is over.
    Failing(ErrorCode),
    Over(Outcome),
}

#[derive(Clone, Copy, Debug)]
enum Opening {
    Request(Options),
    OptionAck(Options),
}

/// The next bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// The bytes; none if the file's length is a multiple of the block size and this is the end.
    pub bytes: &'a [u8],
    /// Whether the file ends with them.
    pub last: bool,
}

impl Receiver {
    /// A client's read request, asking for `asked`.
    pub fn fetch(asked: &Options, retry: RetryPolicy) -> Self {
        let phase = Phase::Opening { say: Opening::Request(asked.within_window()), said: false };
        Self::new(&Terms::plain(retry), phase, None, true)
    }

    /// A server's answer to a write request: `asked` is what the client asked.
    pub fn accept(limits: &Limits, asked: &Options) -> Self {
        let (terms, answer) = limits.agree(asked, None);
        match answer {
            Some(options) => {
                let phase = Phase::Opening { say: Opening::OptionAck(options), said: false };
                Self::new(&terms, phase, asked.transfer_size, false)
            }
            None => Self { ack_due: true, ..Self::new(&terms, Phase::Transfer, None, false) },
        }
    }

    fn new(terms: &Terms, phase: Phase, announced: Option<u64>, proven: bool) -> Self {
        Self {
            received: 0,
            bytes: 0,
            retry: Retry::new(terms.retry),
            block_size: terms.block_size,
            window_size: terms.window_size,
            unacked: 0,
            ack_due: false,
            gap_told: false,
            proven,
            phase,
            announced,
            resent: 0,
        }
    }

    /// Takes in a packet from the other side of this transfer. The caller has checked the packet's address.
    ///
    /// Lends the packet's bytes if they are the next of the file.
    pub fn handle<'p>(&mut self, now: Instant, packet: &Packet<'p>) -> Option<Chunk<'p>> {
        let phase = match self.phase {
            Phase::Failing(_) | Phase::Over(_) => return None,
            phase => phase,
        };
        match (packet, phase) {
            // An ERROR after the last block changes nothing: the file is whole.
            (Packet::Error { .. }, Phase::Dallying) => self.over(Outcome::Complete { bytes: self.bytes }),
            (Packet::Error { code, .. }, _) => self.over(Outcome::PeerError(*code)),
            (Packet::OptionAck(answer), Phase::Opening { say: Opening::Request(asked), said: true }) => {
                match Terms::agreed(&asked, answer, self.retry.policy()) {
                    Some(terms) => {
                        self.block_size = terms.block_size;
                        self.window_size = terms.window_size;
                        self.retry = Retry::new(terms.retry);
                        self.announced = answer.transfer_size;
                        self.phase = Phase::Transfer;
                        self.ack_due = true;
                    }
                    None => self.abort(ErrorCode::OPTIONS_REFUSED),
                }
            }
            // The OACK once more: our ACK of it was lost.
            (Packet::OptionAck(_), Phase::Transfer) if self.received == 0 => self.ack_again(),
            (Packet::OptionAck(_), _) => {}
            (Packet::Data { .. }, Phase::Opening { said: false, .. }) => {}
            (Packet::Data { block, payload }, _) => return self.data(now, *block, payload),
            // A repeated request is the server's to recognise.
            (Packet::Read(_) | Packet::Write(_), _) => {}
            // > receiving a packet which cannot be explained by a delay or duplication in the network
            // is an error (RFC 1350, section 2).
            (Packet::Ack { .. }, _) => self.abort(ErrorCode::ILLEGAL_OPERATION),
        }
        None
    }

    /// The next step. Poll until it is `Wait` or `Done`.
    pub fn poll(&mut self, now: Instant) -> Step {
        if let Phase::Opening { .. } | Phase::Transfer | Phase::Dallying = self.phase
            && self.retry.expired(now)
        {
            self.timed_out(now);
        }
        match self.phase {
            Phase::Over(outcome) => Step::Done(outcome),
            Phase::Failing(code) => {
                self.over(Outcome::Aborted(code));
                Step::Send(Packet::error(code))
            }
            Phase::Opening { say, said: false } => {
                self.phase = Phase::Opening { say, said: true };
                self.retry.arm(now);
                match say {
                    Opening::OptionAck(options) => Step::Send(Packet::OptionAck(options)),
                    Opening::Request(options) => Step::Request(options),
                }
            }
            Phase::Transfer | Phase::Dallying if self.ack_due => {
                self.ack_due = false;
                self.unacked = 0;
                match self.phase {
                    Phase::Dallying => self.retry.linger(now),
                    _ => self.retry.arm(now),
                }
                Step::Send(Packet::Ack { block: wire(self.received) })
            }
            _ => Step::Wait { until: self.retry.deadline() },
        }
    }

    /// The bytes of the last [`handle`](Self::handle) were kept at `now`, later than `handle` was told. The wait for the other
    /// side begins now; without this call a slow disk has ACKs sent twice.
    pub fn kept(&mut self, now: Instant) {
        self.retry.arm(now);
    }

    /// Ends the transfer with an ERROR: the bytes cannot be kept, or a packet is malformed.
    ///
    /// A file whose last block has been acknowledged stays whole.
    pub fn abort(&mut self, code: ErrorCode) {
        match self.phase {
            Phase::Over(_) => {}
            Phase::Dallying if self.unacked == 0 => self.over(Outcome::Complete { bytes: self.bytes }),
            _ => self.phase = Phase::Failing(code),
        }
    }

    /// The file's length in bytes, once the file is whole.
    pub fn complete(&self) -> Option<u64> {
        match self.phase {
            Phase::Dallying => Some(self.bytes),
            Phase::Over(Outcome::Complete { bytes }) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes received so far.
    pub const fn received_bytes(&self) -> u64 {
        self.bytes
    }

    /// The file's length as the other side announced it (`tsize`), known once the options are agreed.
    pub const fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Whether the other side has answered with a packet that was accepted, other than an ERROR.
    pub const fn answered(&self) -> bool {
        matches!(self.phase, Phase::Transfer | Phase::Dallying | Phase::Over(Outcome::Complete { .. }))
    }

    /// The number of packets sent again.
    pub const fn resent(&self) -> u32 {
        self.resent
    }

    /// Bytes of payload in every block but the last, as agreed.
    pub const fn block_size(&self) -> u16 {
        self.block_size
    }

    /// Blocks received before an ACK is sent, as agreed.
    pub const fn window_size(&self) -> u16 {
        self.window_size
    }

    /// As [`Sender::asked_again`](super::sender::Sender::asked_again).
    pub(super) fn asked_again(&mut self, now: Instant) {
        if !self.proven && self.retry.tried() && self.retry.waited(now) > 0 {
            self.send_again();
        }
    }

    fn data<'p>(&mut self, now: Instant, block: u16, payload: &'p [u8]) -> Option<Chunk<'p>> {
        self.proven = true;
        if let Phase::Opening { say: Opening::OptionAck(_), .. } = self.phase {
            self.phase = Phase::Transfer; // whichever block it is, our OACK has arrived
        }
        let ahead = block.wrapping_sub(wire(self.received + 1));
        if ahead == 0 && !matches!(self.phase, Phase::Dallying) {
            return self.next(now, payload);
        }
        if ahead == u16::MAX && self.unacked == 0 && self.received > 0 {
            // The last block once more: our ACK of it was lost. Unless we have only just sent that: then the block was
            // sent twice, and in a window a second ACK would have the next ones sent twice too, and so on to the end.
            let lost = self.window_size == 1 || self.retry.half_over(now);
            if lost || matches!(self.phase, Phase::Dallying) {
                self.ack_again();
            }
        } else if ahead < self.window_size && !self.gap_told && !matches!(self.phase, Phase::Dallying) {
            // A block is missing. One ACK of what came before it brings the sender back (RFC 7440, section 4); one for
            // every block behind the gap would bring it back again and again.
            self.gap_told = true;
            self.ack_again();
        }
        None
    }

    fn next<'p>(&mut self, now: Instant, payload: &'p [u8]) -> Option<Chunk<'p>> {
        if payload.len() > self.block_size.into() {
            self.abort(ErrorCode::ILLEGAL_OPERATION);
            return None;
        }
        let last = payload.len() < self.block_size.into();
        self.received += 1;
        self.bytes += payload.len() as u64;
        self.unacked += 1;
        self.gap_told = false;
        self.ack_due = last || self.unacked >= self.window_size;
        self.phase = if last { Phase::Dallying } else { Phase::Transfer };
        self.retry.reset();
        self.retry.arm(now);
        Some(Chunk { bytes: payload, last })
    }

    fn ack_again(&mut self) {
        self.ack_due = true;
        self.resent = self.resent.saturating_add(1);
    }

    fn timed_out(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Dallying) {
            return self.over(Outcome::Complete { bytes: self.bytes });
        }
        match self.retry.again(now, self.proven) {
            Again::Send => self.send_again(),
            Again::Wait => {}
            Again::Over => self.over(Outcome::TimedOut),
        }
    }

    fn send_again(&mut self) {
        if let Phase::Opening { said, .. } = &mut self.phase {
            *said = false;
            self.resent = self.resent.saturating_add(1);
        } else {
            self.ack_again();
        }
    }

    fn over(&mut self, outcome: Outcome) {
        self.phase = Phase::Over(outcome);
    }
}
