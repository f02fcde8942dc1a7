//! Facts about TFTP.

use std::net::SocketAddrV4;
use std::time::Duration;

use pinetboot_core::tftp::{Direction, ErrorCode, Options, Outcome, Terms};

use super::Mac;

/// A fact about TFTP. `file` is the raw name of the request, with unprintable bytes escaped.
#[derive(Debug, Clone, PartialEq)]
pub enum Tftp {
    /// A client requested to read or write a file.
    Requested {
        /// The client.
        peer: SocketAddrV4,
        /// Read or write.
        direction: Direction,
        /// The file.
        file: String,
        /// The requested options.
        options: Options,
    },
    /// A request was answered with an ERROR.
    Refused {
        /// The client.
        peer: SocketAddrV4,
        /// Read or write.
        direction: Direction,
        /// The file.
        file: String,
        /// The ERROR's code.
        code: ErrorCode,
        /// The ERROR's text.
        answer: &'static str,
        /// The path at which the file was looked up.
        place: Option<String>,
        /// The system's reason, if the code alone does not tell it.
        cause: Option<String>,
        /// Whether a boot continues without the file, as far as its name shows.
        harmless: bool,
        /// No bootloader of a Pi asks for the file: a later one does, as U-Boot or GRUB, or another client, as a phone. They ask for
        /// many files that need not exist.
        foreign: bool,
    },
    /// A client repeated a request whose transfer is open.
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
        /// The negotiated terms.
        terms: Terms,
    },
    /// Another mebibyte, or more, of a transfer has arrived.
    Progress {
        /// The client.
        peer: SocketAddrV4,
        /// Bytes that arrived.
        bytes: u64,
    },
    /// A client stopped answering in the middle of a transfer, some seconds ago.
    Stalled {
        /// The client.
        peer: SocketAddrV4,
        /// The file.
        file: String,
        /// Bytes that arrived, as far as known.
        bytes: u64,
        /// Bytes in a block.
        block_size: u16,
        /// The time from the request to the client's last packet.
        after: Duration,
    },
    /// A transfer ended.
    Finished(Finished),
    /// An upload cannot be kept: the client is told that the disk is full or its allocation exceeded.
    UploadFailed {
        /// The file.
        file: String,
        /// The limit that is reached, or the system's reason.
        why: String,
    },
    /// A datagram could not be sent.
    NotSent {
        /// The client.
        to: SocketAddrV4,
        /// The system's reason.
        error: String,
        /// This machine's own firewall dropped the datagram (`EPERM`).
        firewall: bool,
    },
    /// No port could be opened for a transfer.
    NoPort {
        /// The system's reason.
        error: String,
    },
    /// All transfers were in use, and none yielded its place to these requests.
    Unanswered {
        /// The number of requests.
        requests: u64,
        /// The time since the first of them, in seconds.
        seconds: u64,
    },
    /// A datagram belonged to no transfer, or was not a TFTP packet.
    Rejected {
        /// The sender.
        peer: SocketAddrV4,
        /// The reason.
        why: String,
    },
}

/// A finished transfer.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The client.
    pub peer: SocketAddrV4,
    /// The client's MAC address, if the kernel was asked for it and has the client as a neighbour.
    pub mac: Option<Mac>,
    /// The kernel was asked for the MAC address.
    pub looked: bool,
    /// Read or write.
    pub direction: Direction,
    /// The file.
    pub file: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The text of the client's ERROR.
    pub message: Option<String>,
    /// The duration in seconds.
    pub seconds: f64,
    /// Bytes that arrived, as far as known.
    pub bytes: u64,
    /// Packets that were sent more than once.
    pub resent: u32,
    /// The client requested the file's size only, and ended the transfer before the first byte.
    pub probe: bool,
    /// All blocks were sent, and only the last ACK is missing.
    pub lacks_last_ack: bool,
}
