//! TFTP's facts.

use std::net::SocketAddrV4;

use pinetboot_core::tftp::{Direction, ErrorCode, Options, Outcome, Terms};

use super::Mac;

/// What happened in TFTP. `file` is the name as the client wrote it, with what is not printable escaped.
#[derive(Debug, Clone, PartialEq)]
pub enum Tftp {
    /// A client asks for a file, or wants to write one.
    Requested {
        /// The client.
        peer: SocketAddrV4,
        /// Which of the two.
        direction: Direction,
        /// Which file.
        file: String,
        /// With which options.
        options: Options,
    },
    /// That was answered with an ERROR.
    Refused {
        /// The client.
        peer: SocketAddrV4,
        /// To read or to write.
        direction: Direction,
        /// Which file.
        file: String,
        /// The ERROR's code.
        code: ErrorCode,
        /// The ERROR's text.
        answer: &'static str,
        /// Where the file was looked for.
        place: Option<String>,
        /// The system's reason, where there is more to say than the code does.
        cause: Option<String>,
        /// Whether a boot goes on without the file, as far as its name tells.
        harmless: bool,
    },
    /// A request came again that is being answered.
    Repeated {
        /// The client.
        peer: SocketAddrV4,
    },
    /// A transfer began.
    Started {
        /// The client.
        peer: SocketAddrV4,
        /// The file's length in bytes, if known.
        len: Option<u64>,
        /// The terms agreed on.
        terms: Terms,
    },
    /// A transfer ended.
    Finished(Finished),
    /// The system did not send a datagram.
    NotSent {
        /// The client.
        to: SocketAddrV4,
        /// The system's reason.
        error: String,
        /// This machine's own firewall drops it (`EPERM`).
        firewall: bool,
    },
    /// The system gave no port for a transfer.
    NoPort {
        /// The system's reason.
        error: String,
    },
    /// A datagram belonged to no transfer, or was no TFTP packet.
    Rejected {
        /// Its sender.
        peer: SocketAddrV4,
        /// Why.
        why: String,
    },
}

/// A transfer that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The client.
    pub peer: SocketAddrV4,
    /// The client's MAC address, if the kernel was asked for it and has the client as a neighbour.
    pub mac: Option<Mac>,
    /// The kernel was asked.
    pub looked: bool,
    /// Which way the bytes went.
    pub direction: Direction,
    /// Which file.
    pub file: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The text of the client's ERROR.
    pub message: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Bytes that are known to have arrived.
    pub bytes: u64,
    /// Packets that were sent more than once.
    pub resent: u32,
    /// The client only wanted to know whether the file is there, and how long it is.
    pub probe: bool,
    /// All was sent, and only the last ACK never came.
    pub lacks_last_ack: bool,
}
