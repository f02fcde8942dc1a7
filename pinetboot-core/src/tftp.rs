//! The Trivial File Transfer Protocol, without its input and output.
//!
//! | file | holds |
//! |---|---|
//! | `packet.rs` | RFC 1350's packets and RFC 2347's OACK: parse and emit |
//! | `options.rs` | RFC 2348 `blksize`, 2349 `tsize` and `timeout`, 7440 `windowsize`: parse, emit and agree |
//! | `block.rs` | block numbers: 16 bits on the wire, 64 inside |
//! | `retry.rs` | when to send again, and when to give up |
//! | `sender.rs`, `receiver.rs` | the two machines that cover the four roles |
//! | `step.rs` | what a machine wants done next |
//! | `display.rs` | packets and terms as people read them in a log |
//! | `netascii.rs` | RFC 764's line ends, around a file |
//!
//! Not done, on purpose: mode `mail` (obsolete since RFC 1350), and RFC 2090's multicast (nothing that boots asks for
//! it).

mod block;
mod client;
mod decide;
mod display;
pub mod netascii;
mod options;
mod packet;
mod receiver;
mod report;
mod retry;
mod sender;
mod server;
mod session;
mod step;
mod table;
mod transfer;
mod writer;

pub use client::{Client, Probe};
pub use options::{Limits, Options, Terms};
pub use packet::{ErrorCode, Mode, Packet, ParseError, Request};
pub use receiver::{Chunk, Receiver};
pub use report::{Direction, Report, TransferError};
pub use retry::RetryPolicy;
pub use sender::Sender;
pub use server::Server;
pub use session::{Session, Slot};
pub use step::{Outcome, Step};

/// The port that requests are sent to (RFC 1350, section 4).
pub const PORT: u16 = 69;

/// Opcode and block number: what stands before the bytes of a DATA packet.
pub const DATA_HEADER: usize = 4;
