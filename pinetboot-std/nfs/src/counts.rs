//! Counts of calls and bytes, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of NFS since the start, by procedure, and the bytes of READ and WRITE.
#[derive(Debug, Default)]
pub struct CallCounts {
    calls: [AtomicU64; NAMES.len()],
    read: AtomicU64,
    written: AtomicU64,
}

impl CallCounts {
    /// The calls of each procedure, by its name in RFC 1813.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.calls.iter().map(|calls| calls.load(Ordering::Relaxed)))
    }

    /// Bytes that clients read.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that clients wrote.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn call(&self, procedure: u32) {
        if let Some(calls) = self.calls.get(procedure as usize) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, bytes: u32) {
        self.written.fetch_add(bytes.into(), Ordering::Relaxed);
    }
}

/// The procedures by their numbers (RFC 1813, section 3).
const NAMES: [&str; 22] = [
    "null",
    "getattr",
    "setattr",
    "lookup",
    "access",
    "readlink",
    "read",
    "write",
    "create",
    "mkdir",
    "symlink",
    "mknod",
    "remove",
    "rmdir",
    "rename",
    "link",
    "readdir",
    "readdirplus",
    "fsstat",
    "fsinfo",
    "pathconf",
    "commit",
];
