//! Random access to bytes: the trait that every reader reads through, and a part of such a source.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Random access to bytes.
///
/// Implemented for files and byte slices, and for references to and boxes of any other implementation.
pub trait ReadAt {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// The source's own; `UnexpectedEof` if the source ends before the last byte.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buf.len()).and_then(|to| self.get(from..to));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Box<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

/// A part of a source, such as a partition. Reads beyond its end fail with `UnexpectedEof`.
#[derive(Debug, Clone, Copy)]
pub struct Part<R> {
    source: R,
    start: u64,
    len: u64,
}

impl<R> Part<R> {
    /// The `len` bytes of `source` from `start` on.
    pub const fn new(source: R, start: u64, len: u64) -> Self {
        Self { source, start, len }
    }

    /// The length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a length in bytes, not of a collection")]
    pub const fn len(&self) -> u64 {
        self.len
    }
}

impl<R: ReadAt> ReadAt for Part<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let at = end.and_then(|_| self.start.checked_add(offset)).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact_at(buf, at)
    }
}

/// The little-endian number at `at`; `None` beyond the end of `bytes`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

/// The little-endian number at `at`; `None` beyond the end of `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The little-endian number at `at`; `None` beyond the end of `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_it_says() {
        let part = Part::new(b"0123456789".as_slice(), 2, 5);
        let mut buf = [0; 3];
        part.read_exact_at(&mut buf, 2).unwrap();
        assert_eq!(&buf, b"456");
        for offset in [3, 5, u64::MAX - 1] {
            let error = part.read_exact_at(&mut buf, offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
        }
        let beyond = Part::new(b"0123".as_slice(), 2, 5);
        assert!(beyond.read_exact_at(&mut buf, 0).is_err(), "the source is shorter than the part");
    }
}
