//! Counts of requests and bytes, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The requests since the start that succeeded, by command, and the bytes of reads and writes.
#[derive(Debug, Default)]
pub struct RequestCounts {
    requests: [AtomicU64; NAMES.len()],
    read: AtomicU64,
    written: AtomicU64,
}

impl RequestCounts {
    /// The requests of each command.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.requests.iter().map(|requests| requests.load(Ordering::Relaxed)))
    }

    /// Bytes that clients read.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that clients wrote, without those of zeros.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, command: u16, len: u64) {
        if let Some(requests) = self.requests.get(usize::from(command)) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        match command {
            0 => drop(self.read.fetch_add(len, Ordering::Relaxed)),
            1 => drop(self.written.fetch_add(len, Ordering::Relaxed)),
            _ => {}
        }
    }
}

/// The commands by their numbers (NBD protocol, request types).
const NAMES: [&str; 8] =
    ["read", "write", "disconnect", "flush", "trim", "cache", "write-zeroes", "block-status"];
