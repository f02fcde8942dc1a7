//! Data objects: a field with its value, plain or compressed.

use std::io::Read;
use std::rc::Rc;

use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use ruzstd::decoding::StreamingDecoder;

use super::{DATA, Field, Journal, JournalError, LONGEST_VALUE};
use crate::read_at::{ReadAt, u64_at};

impl<R: ReadAt> Journal<R> {
    /// The field of a data object; `None` if the field is not wanted, or cannot be read.
    pub(super) fn data(&self, at: u64) -> Option<Field> {
        if let Some(known) = self.seen.borrow().get(&at) {
            return known.clone();
        }
        let found = self.read_data(at).ok().flatten();
        let mut seen = self.seen.borrow_mut();
        if seen.len() >= MOST_SEEN {
            seen.clear();
        }
        // A long value is of one entry.
        if found.as_ref().is_none_or(|(_, value)| value.len() <= LONGEST_SEEN) {
            seen.insert(at, found.clone());
        }
        found
    }

    fn read_data(&self, at: u64) -> Result<Option<Field>, JournalError> {
        let mut buf = [0; AT_ONCE];
        let start = if self.is_compact { 72 } else { 64 };
        let (flags, len, bytes) = self.object(at, DATA, &mut buf)?;
        let short = bytes.get(start..).unwrap_or_default();
        let whole = len.saturating_sub(start as u64);
        if flags & COMPRESSED == 0 && !self.wanted.iter().any(|name| is_named(short, name)) {
            return Ok(None); // before a long value is read
        }
        let some = whole.min(MOST_STORED) as usize;
        let stored = match short.get(..some) {
            Some(stored) => stored.to_vec(),
            None => {
                let mut stored = vec![0; some];
                self.source.read_exact_at(&mut stored, at.saturating_add(start as u64))?;
                stored
            }
        };
        let content = match flags & COMPRESSED {
            0 => stored,
            XZ => unpack(XzDecoder::new_stream(
                &*stored,
                Stream::new_stream_decoder(MEMORY, 0).map_err(|_| CANNOT_UNPACK)?,
            ))?,
            LZ4 => unpack_lz4(&stored)?,
            ZSTD => unpack_zstd(&stored)?,
            _ => return Err(CANNOT_UNPACK),
        };
        let named = self.wanted.iter().position(|name| is_named(&content, name));
        Ok(named.and_then(|index| {
            let value = content.get(self.wanted.get(index)?.len() + 1..)?;
            Some((index, Rc::from(value.get(..LONGEST_VALUE).unwrap_or(value))))
        }))
    }
}

/// Whether a content begins with `NAME=`.
fn is_named(content: &[u8], name: &str) -> bool {
    content.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
}

/// The first bytes of a stream. A stream that is cut off yields what comes before.
fn unpack(from: impl Read) -> Result<Vec<u8>, JournalError> {
    let mut content = Vec::new();
    match from.take(MOST_UNPACKED as u64).read_to_end(&mut content) {
        Err(_) if content.is_empty() => Err(CANNOT_UNPACK),
        _ => Ok(content),
    }
}

fn unpack_zstd(stored: &[u8]) -> Result<Vec<u8>, JournalError> {
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.set_max_window_size(MEMORY);
    unpack(StreamingDecoder::new_with_decoder(stored, decoder).map_err(|_| CANNOT_UNPACK)?)
}

/// A block behind its length in 8 bytes (systemd, `compress_blob_lz4`).
fn unpack_lz4(stored: &[u8]) -> Result<Vec<u8>, JournalError> {
    let claimed = u64_at(stored, 0).and_then(|len| usize::try_from(len).ok());
    let claimed = claimed.filter(|len| *len <= MOST_LZ4).ok_or(CANNOT_UNPACK)?;
    // A byte of LZ4 yields 255 at most.
    let block = stored.get(8..).unwrap_or_default();
    if claimed > block.len().saturating_mul(255).saturating_add(64) {
        return Err(CANNOT_UNPACK);
    }
    let mut content = vec![0; claimed];
    let len = lz4_flex::block::decompress_into(block, &mut content).map_err(|_| CANNOT_UNPACK)?;
    content.truncate(len);
    Ok(content)
}

const CANNOT_UNPACK: JournalError = JournalError::Corrupt("a compressed value is damaged");
/// The bits of an object's flags.
const COMPRESSED: u8 = XZ | LZ4 | ZSTD;
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;
/// Bytes of an object that are read first: most values are short.
const AT_ONCE: usize = 512;
/// Bytes of a stored value that are read.
const MOST_STORED: u64 = 256 << 10;
/// Bytes of an unpacked value with its name.
const MOST_UNPACKED: usize = LONGEST_VALUE + 256;
/// Bytes of a value in LZ4, which unpacks as a whole.
const MOST_LZ4: usize = 1 << 20;
/// Memory of a decoder, in bytes.
const MEMORY: u64 = 16 << 20;
/// Data objects that are kept.
const MOST_SEEN: usize = 65_536;
/// Bytes of a value that is kept.
const LONGEST_SEEN: usize = 1024;
