//! The output of the machines.

use super::{ErrorCode, Options, Packet};
use crate::Instant;

/// The one output of [`Sender`](super::Sender) and [`Receiver`](super::Receiver).
///
/// After every `handle`, `poll` until the step is [`Wait`](Self::Wait) or [`Done`](Self::Done).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the caller has to do each of them")]
pub enum Step {
    /// Send the request (again), with these options. The caller keeps the file's name; the machine does not.
    Request(Options),
    /// Send this packet.
    Send(Packet<'static>),
    /// Send a DATA packet with these bytes of the file as its payload.
    SendData {
        /// The block's number on the wire.
        block: u16,
        /// The offset of its first byte in the file.
        offset: u64,
        /// The number of bytes; fewer than the block size, or none, in the last block.
        len: u16,
    },
    /// Wait until a packet comes or this time passes.
    Wait {
        /// The time to poll again if no packet comes.
        until: Instant,
    },
    /// The transfer is over. Every later poll says the same.
    Done(Outcome),
}

/// The DATA packet that a [`Sender`](super::Sender) most likely sends next: see [`Sender::likely`](super::Sender::likely).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "the fields of `Step::SendData`")]
pub struct LikelyData {
    /// The block's number on the wire.
    pub block: u16,
    /// The offset of its first byte in the file.
    pub offset: u64,
    /// The number of bytes.
    pub len: u16,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "either side ends a transfer, or neither does")]
pub enum Outcome {
    /// The whole file went through and was acknowledged.
    Complete {
        /// The file's length in bytes.
        bytes: u64,
    },
    /// The other side ended the transfer. This is not always a failure: a Pi asks for a file's size and then sends "Early
    /// terminate" (code 0), and other boot ROMs do the same with code 8.
    PeerError(ErrorCode),
    /// This side ended the transfer, with an ERROR of this code.
    Aborted(ErrorCode),
    /// The other side stopped answering.
    TimedOut,
    /// The client sent another request from the same port. The server's loop reports this; no machine does.
    Superseded,
    /// All places were taken, and another client got this one's. The server's loop reports this; no machine does.
    Displaced,
    /// The server was stopped. The server's loop reports this; no machine does.
    Stopped,
}
