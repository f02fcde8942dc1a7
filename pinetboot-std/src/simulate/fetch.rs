//! What the simulated Pi asks its server, and what it hears: the seam between the boot and the network.

use std::time::Duration;

use pinetboot_core::tftp::{ErrorCode, Options};

use crate::exit::Failed;

/// A server to be asked for files.
pub(super) trait Fetch {
    /// Asks for a file, and takes no byte of it.
    ///
    /// # Errors
    ///
    /// What makes going on useless: no network, no server.
    fn probe(&mut self, name: &str, options: Options) -> Result<Reply, Failed>;

    /// Takes a file, and keeps its first `keep` bytes.
    ///
    /// # Errors
    ///
    /// What makes going on useless: no network, no server.
    fn get(&mut self, name: &str, options: Options, keep: usize) -> Result<Reply, Failed>;
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Reply {
    /// When it was made, since the start of the boot.
    pub(super) at: Duration,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

/// What the server said.
#[derive(Debug)]
pub(super) enum Answer {
    /// To a probe: it is there; and its length in bytes, if the server says so.
    There(Option<u64>),
    /// All of it came.
    Taken(Taken),
    /// An ERROR.
    Refused(ErrorCode),
    /// Nothing at all.
    Silent,
    /// A part of it came.
    Broken {
        /// That many bytes.
        bytes: u64,
        /// Why no more.
        why: String,
        /// Whether it took longer than a Pi waits.
        late: bool,
    },
}

/// A file that came.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its length.
    pub(super) bytes: u64,
    /// Its first bytes.
    pub(super) kept: Vec<u8>,
    /// Bytes in a block.
    pub(super) block_size: u16,
    /// Whether the server answered the options with an OACK.
    pub(super) options_agreed: bool,
}

impl Taken {
    /// Blocks that it came in; the last one is never full.
    pub(super) fn blocks(&self) -> u64 {
        self.bytes / u64::from(self.block_size.max(8)) + 1
    }
}
