//! The requests of the simulated Pi and the answers: the seam between boot and network.

use std::time::Duration;

use pinetboot_core::tftp::{ErrorCode, Options};

use crate::exit::Failed;

/// A server of boot files.
pub(super) trait Fetch {
    /// Requests a file, and ends the transfer before the first byte.
    ///
    /// # Errors
    ///
    /// The reason why the boot cannot continue: no network, no server.
    fn probe(&mut self, name: &str, options: Options) -> Result<Reply, Failed>;

    /// Fetches a file, and keeps its first `keep` bytes.
    ///
    /// # Errors
    ///
    /// The reason why the boot cannot continue: no network, no server.
    fn get(&mut self, name: &str, options: Options, keep: usize) -> Result<Reply, Failed>;
}

/// A request's answer and times.
#[derive(Debug)]
pub(super) struct Reply {
    /// The time of the request, since the start of the boot.
    pub(super) at: Duration,
    /// The duration of the exchange.
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

/// The answer of the server.
#[derive(Debug)]
pub(super) enum Answer {
    /// To a probe: the file exists, with its length in bytes if the server sends one.
    There(Option<u64>),
    /// The whole file.
    Taken(Taken),
    /// An ERROR.
    Refused(ErrorCode),
    /// No answer.
    Silent,
    /// A part of the file.
    Broken {
        /// Bytes that arrived.
        bytes: u64,
        /// The cause of the end.
        why: String,
        /// Whether the transfer took longer than a Pi waits.
        late: bool,
    },
}

/// A fetched file.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// Its first bytes.
    pub(super) kept: Vec<u8>,
    /// Bytes in a block.
    pub(super) block_size: u16,
    /// Whether the server answered the options with an OACK.
    pub(super) options_agreed: bool,
}

impl Taken {
    /// Blocks of the transfer; the last block is never full.
    pub(super) fn blocks(&self) -> u64 {
        self.bytes / u64::from(self.block_size.max(8)) + 1
    }
}
