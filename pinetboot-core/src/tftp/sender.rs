//! The side that sends the file: a server that is read from, a client that writes.

use super::block::{count, widen, wire};
use super::options::{Limits, Options, Terms};
use super::packet::{ErrorCode, Packet};
use super::retry::{Again, Retry, RetryPolicy};
use super::step::{LikelyData, Outcome, Step};
use crate::Instant;

/// Sends one file, block by block. A value without a socket, a clock or bytes of the file.
///
/// > the sender (i.e., the side originating the DATA packets) must never resend the current DATA packet on receipt of a
/// > duplicate ACK. (RFC 1123, section 4.2.3.1)
///
/// In lock-step only a timeout sends a block again. In a window (RFC 7440) an ACK short of the window's end says that
/// a block was lost, and sending goes back to the block after it; so does the same ACK once more. Until the other side has
/// acknowledged all that went out before, no ACK goes back again, for it may answer a block that came twice or late: EDK2
/// acknowledges each of them. If nothing follows such an ACK within some round trips, sending goes back all the same. A client
/// that acknowledges more often than once a window is known by that, and then its ACKs alone never go back. Blocks that went out
/// twice may be acknowledged twice, so the first repeated ACK after them is ignored.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The file's length, in bytes.
    len: u64,
    /// The last block that the other side has, with all before it.
    acked: u64,
    /// The next block to send.
    next: u64,
    /// The highest block ever sent.
    high: u64,
    retry: Retry,
    block_size: u16,
    window_size: u16,
    /// Blocks beyond `acked` that went out before we last went back: until they are acknowledged, no ACK goes back.
    unclear: u16,
    /// From the first packet to its answer, in microseconds.
    round_trip: u32,
    /// ACKs short of what went out, since we last went back.
    early: u8,
    /// The deadline is that of an ACK that did not go back: nothing may follow.
    soon: bool,
    /// Blocks up to `acked` went out twice: an ACK of it may come twice, and then tells of no loss.
    echo: bool,
    /// The other side has answered, or is a server that we asked: its address is not forged.
    proven: bool,
    phase: Phase,
    resent: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Our OACK (or, as a client, our request) waits for its answer.
    Opening {
        say: Opening,
        said: bool,
    },
    /// Blocks go out.
    Transfer,
    /// An ERROR is to be sent, and then it is over.
    Failing(ErrorCode),
    Over(Outcome),
}

#[derive(Clone, Copy, Debug)]
enum Opening {
    OptionAck(Options),
    Request(Options),
}

impl Sender {
    /// A server's answer to a read request: `asked` is what the client asked, `len` the file's length in bytes.
    pub fn serve(limits: &Limits, asked: &Options, len: u64) -> Self {
        let (terms, answer) = limits.agree(asked, Some(len));
        let phase = match answer {
            Some(options) => Phase::Opening { say: Opening::OptionAck(options), said: false },
            None => Phase::Transfer,
        };
        Self::new(&terms, len, phase, false)
    }

    /// A client's write request, asking for `asked`, for a file of `len` bytes. Its `tsize`, if asked, becomes `len`.
    pub fn put(asked: &Options, retry: RetryPolicy, len: u64) -> Self {
        let asked = Options { transfer_size: asked.transfer_size.map(|_| len), ..asked.within_window() };
        let phase = Phase::Opening { say: Opening::Request(asked), said: false };
        Self::new(&Terms::plain(retry), len, phase, true)
    }

    fn new(terms: &Terms, len: u64, phase: Phase, proven: bool) -> Self {
        Self {
            len,
            acked: 0,
            next: 1,
            high: 0,
            retry: Retry::new(terms.retry),
            block_size: terms.block_size,
            window_size: terms.window_size,
            unclear: 0,
            round_trip: UNKNOWN_ROUND_TRIP,
            early: 0,
            soon: false,
            echo: false,
            proven,
            phase,
            resent: 0,
        }
    }

    /// Takes in a packet from the other side of this transfer. The caller has checked the packet's address.
    pub fn handle(&mut self, now: Instant, packet: &Packet<'_>) {
        let phase = match self.phase {
            Phase::Failing(_) | Phase::Over(_) => return,
            phase => phase,
        };
        match (packet, phase) {
            // An ERROR is never answered (RFC 1350, section 7): it ends the transfer, quietly.
            (Packet::Error { code, .. }, _) => self.phase = Phase::Over(Outcome::PeerError(*code)),
            (Packet::Ack { block: 0 }, Phase::Opening { said: true, .. }) => self.begin(now),
            (Packet::OptionAck(answer), Phase::Opening { say: Opening::Request(asked), said: true }) => {
                match Terms::agreed(&asked, answer, self.retry.policy()) {
                    Some(terms) => {
                        self.block_size = terms.block_size;
                        self.window_size = terms.window_size;
                        self.retry = Retry::new(terms.retry);
                        self.begin(now);
                    }
                    None => self.abort(ErrorCode::OPTIONS_REFUSED),
                }
            }
            // An ACK of a block not yet sent belongs to an earlier transfer, an OACK that comes late is a duplicate,
            // and so is a request: they are passed over.
            (Packet::Ack { .. }, Phase::Opening { .. }) | (Packet::OptionAck(_), _) => {}
            (Packet::Read(_) | Packet::Write(_), _) => {}
            (Packet::Ack { block }, _) => self.acknowledged(now, *block),
            // > receiving a packet which cannot be explained by a delay or duplication in the network
            // is an error (RFC 1350, section 2).
            (Packet::Data { .. }, _) => self.abort(ErrorCode::ILLEGAL_OPERATION),
        }
    }

    /// The next step. Poll until it is `Wait` or `Done`.
    pub fn poll(&mut self, now: Instant) -> Step {
        if let Phase::Opening { .. } | Phase::Transfer = self.phase
            && self.retry.expired(now)
        {
            if self.soon { self.go_back(now) } else { self.timed_out(now) }
        }
        match self.phase {
            Phase::Over(outcome) => Step::Done(outcome),
            Phase::Failing(code) => {
                self.phase = Phase::Over(Outcome::Aborted(code));
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
            Phase::Transfer
                if self.next <= self.last() && self.next - self.acked <= self.window_size.into() =>
            {
                self.arm(now);
                self.send_next()
            }
            Phase::Opening { .. } | Phase::Transfer => Step::Wait { until: self.retry.deadline() },
        }
    }

    /// The DATA that most likely comes next while this side waits: the block after the last one sent. The other side decides: an
    /// ACK that is lost, or short of the window's end, has another block sent. `None` when no block is left, and before a server
    /// has answered a write request.
    pub fn likely(&self) -> Option<LikelyData> {
        let is_agreed = match self.phase {
            Phase::Opening { say: Opening::OptionAck(_), said } => said,
            Phase::Transfer => true,
            _ => false,
        };
        (is_agreed && self.next <= self.last()).then(|| self.data(self.next))
    }

    /// The client has repeated its request. If the first packet was sent again already, before this moment, and is still unanswered, both
    /// were lost.
    pub(super) fn asked_again(&mut self, now: Instant) {
        if !self.proven && self.retry.tried() && self.retry.waited(now) > 0 {
            self.send_again();
        }
    }

    /// The packet of the last [`poll`](Self::poll) left at `now`, later than `poll` was told, because the bytes took time to
    /// read. The wait for an answer begins now; without this call a slow disk has blocks sent twice.
    pub fn sent(&mut self, now: Instant) {
        self.arm(now);
    }

    /// The bytes of the last [`poll`](Self::poll)'s `SendData` come later: the next `poll` says it again. `resent` is what
    /// [`resent`](Self::resent) was before.
    pub(super) fn put_back(&mut self, resent: u32) {
        self.next -= 1;
        if self.resent == resent {
            self.high -= 1; // the block was new
        }
        self.resent = resent;
    }

    /// Ends the transfer with an ERROR: the file cannot be read, or a packet is malformed.
    pub fn abort(&mut self, code: ErrorCode) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Failing(code);
        }
    }

    /// Bytes that the other side has acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.acked.saturating_mul(self.block_size.into()).min(self.len)
    }

    /// Whether every block has been sent, and only the last ACK is missing.
    pub const fn has_sent_all(&self) -> bool {
        matches!(self.phase, Phase::Transfer) && self.next > self.last()
    }

    /// The number of packets sent again.
    pub const fn resent(&self) -> u32 {
        self.resent
    }

    /// Bytes of payload in every block but the last, as agreed.
    pub const fn block_size(&self) -> u16 {
        self.block_size
    }

    /// Blocks sent before an ACK is waited for, as agreed.
    pub const fn window_size(&self) -> u16 {
        self.window_size
    }

    fn begin(&mut self, now: Instant) {
        self.proven = true;
        if !self.retry.tried() {
            self.round_trip = self.retry.waited(now);
        }
        self.retry.reset();
        self.retry.arm(now); // else an answer taken in late would count as none
        self.phase = Phase::Transfer;
    }

    fn acknowledged(&mut self, now: Instant, block: u16) {
        let block = widen(block, self.acked);
        if block > self.high {
            return; // older than the last one, by the same rule: 16 bits cannot tell
        }
        let recovers = self.unclear > 0;
        if block <= self.acked {
            let is_lost = self.window_size > 1 && !recovers && !self.echo && self.next > self.acked + 1;
            if is_lost {
                self.go_back(now);
            }
            return;
        }
        let more = u16::try_from(block - self.acked).unwrap_or(u16::MAX);
        self.unclear = self.unclear.saturating_sub(more);
        self.acked = block;
        self.proven = true;
        self.echo = recovers || self.retry.tried();
        self.retry.reset();
        self.soon = false;
        if block == self.last() {
            self.phase = Phase::Over(Outcome::Complete { bytes: self.len });
        }
        self.next = self.next.max(block + 1);
        if self.next > block + 1 {
            if !recovers && self.early < EARLY {
                return self.go_back(now);
            }
            self.early = self.early.saturating_add(1);
            self.soon = true;
        }
        self.arm(now);
    }

    /// Sends again from the block after the last acknowledged one.
    fn go_back(&mut self, now: Instant) {
        self.send_unacknowledged();
        if self.early < EARLY {
            self.early = 0;
        }
        self.soon = false;
        self.arm(now);
    }

    fn arm(&mut self, now: Instant) {
        if self.soon {
            self.retry.arm_within(now, self.round_trip.saturating_mul(ROUND_TRIPS).max(SOONEST));
        } else {
            self.retry.arm(now);
        }
    }

    fn send_next(&mut self) -> Step {
        let block = self.next;
        self.next += 1;
        if block <= self.high {
            self.resent = self.resent.saturating_add(1);
        } else {
            self.high = block;
        }
        let LikelyData { block, offset, len } = self.data(block);
        Step::SendData { block, offset, len }
    }

    fn data(&self, block: u64) -> LikelyData {
        let offset = (block - 1) * u64::from(self.block_size);
        let len = (self.len - offset).min(self.block_size.into()) as u16;
        LikelyData { block: wire(block), offset, len }
    }

    fn timed_out(&mut self, now: Instant) {
        match self.retry.again(now, self.proven) {
            Again::Send => self.send_again(),
            Again::Wait => {}
            Again::Over => self.phase = Phase::Over(Outcome::TimedOut),
        }
    }

    fn send_again(&mut self) {
        match &mut self.phase {
            Phase::Opening { said, .. } => {
                *said = false;
                self.resent = self.resent.saturating_add(1);
            }
            _ => self.send_unacknowledged(),
        }
    }

    fn send_unacknowledged(&mut self) {
        self.next = self.acked + 1;
        self.unclear = u16::try_from(self.high - self.acked).unwrap_or(u16::MAX);
    }

    const fn last(&self) -> u64 {
        count(self.len, self.block_size)
    }
}

/// The round trip in microseconds, if the first packet was sent more than once.
const UNKNOWN_ROUND_TRIP: u32 = 25_000;
/// Round trips without an ACK after which a block is taken for lost.
const ROUND_TRIPS: u32 = 4;
/// The same time at least, in microseconds: the other side may be busy.
const SOONEST: u32 = 10_000;
/// ACKs short of what went out, after going back, that show a client which acknowledges more often than once a window. One that
/// keeps to RFC 7440 sends one, for a block that was lost once more.
const EARLY: u8 = 2;
