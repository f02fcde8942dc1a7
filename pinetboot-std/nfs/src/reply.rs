//! The memory of a reply: written front to back, and reused without clearing.

use std::io::{self, Write};

use nfs3_types::xdr_codec::Pack;

/// A reply under construction, after four bytes for the record mark (RFC 5531, section 11).
#[derive(Debug)]
pub(super) struct Reply {
    /// Initialised memory, so that reading a file into it needs no zeroing.
    bytes: Vec<u8>,
    len: usize,
}

impl Reply {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; 1024], len: MARK }
    }

    /// Starts a new reply.
    pub(super) fn clear(&mut self) {
        self.len = MARK;
    }

    /// Drops all bytes from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len + MARK);
    }

    /// Written bytes.
    pub(super) fn len(&self) -> usize {
        self.len - MARK
    }

    /// The message.
    pub(super) fn message(&self) -> &[u8] {
        self.bytes.get(MARK..self.len).unwrap_or_default()
    }

    /// The message as a record.
    pub(super) fn record(&mut self) -> &[u8] {
        // A reply is some megabytes at most, far from the mark's 31 bits.
        let mark = u32::try_from(self.len()).unwrap_or_default() | LAST_FRAGMENT;
        if let Some(head) = self.bytes.first_chunk_mut() {
            *head = mark.to_be_bytes();
        }
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Hands out the memory, and continues with other memory.
    pub(super) fn swap_memory(&mut self, other: Vec<u8>) -> Vec<u8> {
        self.len = MARK;
        let taken = core::mem::replace(&mut self.bytes, other);
        self.room(0);
        taken
    }

    pub(super) fn put(&mut self, value: &impl Pack) {
        // No value is too long for its length field, and only memory could run out otherwise.
        let _written = value.pack(self);
    }

    /// A length and the bytes, padded.
    pub(super) fn put_opaque(&mut self, bytes: &[u8]) {
        self.put(&u32::try_from(bytes.len()).unwrap_or_default());
        let padded = bytes.len().next_multiple_of(4);
        let room = self.room(padded);
        let (at, padding) = room.split_at_mut(bytes.len());
        at.copy_from_slice(bytes);
        padding.fill(0);
        self.len += padded;
    }

    /// Overwrites the bytes at `at`.
    pub(super) fn put_at(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at + MARK..at + MARK + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// `len` bytes after the written ones, to fill before [`skip`](Self::skip) adds them.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.bytes.len() < end {
            self.bytes.resize(end.next_power_of_two(), 0);
        }
        self.bytes.get_mut(self.len..end).unwrap_or_default()
    }

    /// Adds the bytes of [`room`](Self::room).
    pub(super) fn skip(&mut self, len: usize) {
        self.len = (self.len + len).min(self.bytes.len());
    }
}

impl Write for Reply {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MARK: usize = 4;
pub(super) const LAST_FRAGMENT: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_mark() {
        let mut reply = Reply::new();
        reply.put(&7u32);
        reply.put_opaque(b"abcde");
        assert_eq!(reply.record(), b"\x80\0\0\x10\0\0\0\x07\0\0\0\x05abcde\0\0\0");
        reply.truncate(4);
        assert_eq!(reply.message(), b"\0\0\0\x07");
        reply.clear();
        assert_eq!(reply.record(), b"\x80\0\0\0");
    }

    #[test]
    fn grows() {
        let mut reply = Reply::new();
        reply.put_opaque(&[1; 5000]);
        assert_eq!(reply.len(), 5004);
        assert_eq!(reply.message()[4..], [1; 5000]);
    }
}
