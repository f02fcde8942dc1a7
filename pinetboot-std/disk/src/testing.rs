//! The server and the overlays without network and files, for fuzzing.

use std::io::{Cursor, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use crate::exports::OneExport;
use crate::memory::MemoryDisk;
use crate::negotiation::TlsOffer;
use crate::output::{Output, Replies};
use crate::overlay::OpenError;
use crate::server::{greet, negotiate};
use crate::transmission::Next;

/// Answers a client's bytes: the negotiation, then requests to a disk of 1 MiB in memory. Returns the server's bytes.
#[must_use]
pub fn answer(client: &[u8]) -> Vec<u8> {
    let exports = OneExport(Arc::new(MemoryDisk::new(vec![0; 1 << 20])));
    let output = Mutex::new(Output::new(Vec::new()));
    let replies = Replies { output: &output, waits: &|| Ok(()) };
    let mut input = Cursor::new(client);
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut sent = Vec::new();
    let session = greet(&exports, client, TlsOffer::Optional, &mut input, &mut sent)
        .and_then(|mut negotiation| negotiate(&mut negotiation, &mut input, &mut sent, || true));
    if let Ok(Some(session)) = session {
        let mut buffer = Vec::new();
        // A reply may be 32 MiB long, and a request is 28 bytes.
        let mut input = input.take(64 * 28 + (1 << 20));
        while let Ok(Next::Request(received)) = session.receive(&mut input, &mut buffer) {
            if session.perform(&received, &mut buffer, &replies).is_err() {
                break;
            }
        }
    }
    let mut output = replies.lock();
    let _whole = output.flush();
    sent.extend(output.stream());
    sent
}

/// The bytes of an overlay file without changes, for a disk of `len` bytes.
#[must_use]
pub fn overlay_file(len: u64) -> Vec<u8> {
    crate::overlay::overlay_file(len)
}

/// Opens a hostile overlay file of some bytes, with some bytes as its log, and carries out operations: their kind, offset and length.
///
/// # Errors
///
/// The overlay is refused.
pub fn carry_out(file: &[u8], log: &[u8], operations: &[(u8, u64, u16)]) -> Result<(), OpenError> {
    crate::overlay::carry_out(file, log, operations)
}
