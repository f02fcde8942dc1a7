//! The Trivial File Transfer Protocol: packets, machines without input and output, and the loops around them.
//!
//! | file | holds |
//! |---|---|
//! | `packet.rs` | RFC 1350's packets and RFC 2347's OACK: parse and emit |
//! | `options.rs` | RFC 2348 `blksize`, 2349 `tsize` and `timeout`, 7440 `windowsize`: parse, emit and agree |
//! | `block.rs` | block numbers: 16 bits on the wire, 64 inside |
//! | `retry.rs` | the retry policy: waits, and when to give up |
//! | `sender.rs`, `receiver.rs` | the two machines that cover the four roles |
//! | `step.rs` | the output of a machine |
//! | `server.rs`, `decide.rs`, `session.rs`, `table.rs` | the server's loop, its decisions, its sessions |
//! | `pressure.rs`, `holders.rs` | whose place a new client gets in a full table; the addresses that hold the most places |
//! | `client.rs` | the client's loop, for one transfer |
//! | `transfer.rs`, `report.rs` | a machine joined to its file, and how the transfer went |
//! | `display.rs` | packets and terms in a log |
//! | `netascii.rs` | RFC 764's line ends, around a file |
//!
//! Not done, on purpose: mode `mail` (obsolete since RFC 1350), and RFC 2090's multicast (no boot client asks for
//! it).

mod block;
mod client;
mod decide;
mod display;
mod holders;
pub mod netascii;
mod options;
mod packet;
mod pressure;
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
pub use step::{LikelyData, Outcome, Step};

/// The port that requests are sent to (RFC 1350, section 4).
pub const PORT: u16 = 69;

/// The header of a DATA packet, opcode and block number, in bytes.
pub const DATA_HEADER: usize = 4;
