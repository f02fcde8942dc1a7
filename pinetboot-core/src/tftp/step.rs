//! What a machine wants done next.

use super::{ErrorCode, Options, Packet};
use crate::Instant;

/// The one output of [`Sender`](super::Sender) and [`Receiver`](super::Receiver).
///
/// After every `handle`, `poll` until it says [`Wait`](Self::Wait) or [`Done`](Self::Done).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the caller has to do each of them")]
pub enum Step {
    /// Send the request (again), with these options. The machine does not keep the file's name; whoever made it does.
    Request(Options),
    /// Send this packet.
    Send(Packet<'static>),
    /// Send a DATA packet: block number on the wire, and which bytes of the file are its payload.
    SendData {
        /// The block's number on the wire.
        block: u16,
        /// Where its bytes begin in the file.
        offset: u64,
        /// How many bytes; fewer than the block size, or none, in the last block.
        len: u16,
    },
    /// Nothing to do until a packet comes or this moment passes.
    Wait {
        /// When to poll again if nothing comes.
        until: Instant,
    },
    /// The transfer is over. Said again if polled again.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "either side ends a transfer, or neither does")]
pub enum Outcome {
    /// All of it went through and was acknowledged.
    Complete {
        /// The file's length.
        bytes: u64,
    },
    /// The other side ended it. Not a failure as such: a Pi asks for a file's size and then says "Early terminate"
    /// (code 0), and other boot ROMs do the same with code 8.
    PeerError(ErrorCode),
    /// We ended it, and told the other side why.
    Aborted(ErrorCode),
    /// The other side fell silent.
    TimedOut,
    /// The client began anew from the same port, with another request. No machine says this; the server loop does.
    Superseded,
}
