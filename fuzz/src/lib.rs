//! The parts that fuzz targets share: an input is read as a schedule of events and their times.
//!
//! An input begins with a target's own [`Setup`] and goes on with events, each a letter and its fields, so that
//! a captured datagram can be put into a corpus file unchanged (`fuzz/README.md` has the layout).

use core::time::Duration;

use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use pinetboot_core::tftp::{Limits, RetryPolicy};
use pinetboot_nfs::{Export, FileId, Handles, MemoryTree, NfsConfig, Offline, OneExport};

/// One thing that happens to a machine.
#[derive(Debug)]
pub enum Event<'a> {
    /// `p`: a datagram comes in. Two bytes of length, and the datagram.
    Datagram(&'a [u8]),
    /// `t`: time passes. Two bytes, in milliseconds.
    Pass(Duration),
    /// `a`: the caller gives up. Two bytes, the error code.
    Abort(u16),
    /// `f`: the datagrams after this come from another peer, and to another port of ours. One byte each.
    From {
        /// Which peer.
        peer: u8,
        /// Which port of ours.
        port: u8,
    },
}

/// Numbers are little-endian. Any other letter ends the schedule.
impl<'a> Arbitrary<'a> for Event<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        match u.bytes(1)? {
            b"p" => {
                let len = u16::arbitrary(u)?;
                u.bytes(len.into()).map(Event::Datagram)
            }
            b"t" => Ok(Event::Pass(Duration::from_millis(u16::arbitrary(u)?.into()))),
            b"a" => u16::arbitrary(u).map(Event::Abort),
            b"f" => Ok(Event::From { peer: u8::arbitrary(u)?, port: u8::arbitrary(u)? }),
            _ => Err(arbitrary::Error::IncorrectFormat),
        }
    }
}

/// The setup of the side under test: 10 bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    block_size: u16,
    window_size: u16,
    timeout_ms: u32,
    retries: u8,
    /// A choice with a meaning per target.
    pub choice: u8,
}

impl Setup {
    /// A server's limits. Windows are kept below 256 blocks, so that one input does not take long.
    pub fn limits(&self) -> Limits {
        Limits::default()
            .with_block_size(self.block_size)
            .with_window_size(self.window_size % 256)
            .with_retry(self.retry_policy())
    }

    /// The retry policy of the side under test.
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy::new(Duration::from_millis(self.timeout_ms.into()), self.retries)
    }
}

/// The next event of the schedule; `None` for good after the last.
pub fn next<'a>(input: &mut Unstructured<'a>) -> Option<Event<'a>> {
    let event = if input.is_empty() { None } else { Event::arbitrary(input).ok() };
    if event.is_none() {
        *input = Unstructured::new(&[]);
    }
    event
}

/// An NFS server of one empty tree in memory, that answers NFS by UDP or does not.
pub fn nfs_server(udp: bool) -> Offline {
    let tree = Arc::new(MemoryTree::new(1 << 20));
    let export = Export { id: 1, path: "/".into(), tree, read_only: false, root_squash: false };
    let config = NfsConfig { udp, ..NfsConfig::new(Handles::new(NFS_KEY)) };
    Offline::new(config, Arc::new(OneExport::new(export))).expect("the system has random numbers")
}

/// A handle of that server: 1 is the root's, the others are given in order.
pub fn nfs_handle(number: u64) -> Vec<u8> {
    let file = FileId::new(&number.to_be_bytes()).expect("eight bytes fit");
    Handles::new(NFS_KEY).seal(1, &file)
}

/// The head of a call; its arguments are to follow.
pub fn nfs_call(xid: u32, program: u32, version: u32, procedure: u32, user: Option<(u32, u32)>) -> Vec<u8> {
    let credentials = match user {
        Some((uid, gid)) => vec![1, 20, 0, 0, uid, gid, 0],
        None => vec![0, 0],
    };
    let head = [xid, 0, 2, program, version, procedure].into_iter().chain(credentials).chain([0, 0]);
    head.flat_map(u32::to_be_bytes).collect()
}

const NFS_KEY: [u8; 16] = [7; 16];
