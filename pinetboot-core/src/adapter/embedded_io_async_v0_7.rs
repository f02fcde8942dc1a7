//! A file on anything that reads and seeks by the traits of embedded-io-async 0.7.

use embedded_io_async::{Read, ReadExactError, Seek, SeekFrom};

use crate::storage::File;

/// A file that is open for reading, with the length that it had then.
#[derive(Debug)]
pub struct SeekFile<R> {
    reader: R,
    len: u64,
    /// Where the next read begins by itself, if that is known.
    position: Option<u64>,
}

impl<R: Read + Seek> SeekFile<R> {
    /// Seeks to the end of `reader` to learn its length.
    ///
    /// # Errors
    ///
    /// The reader's.
    pub async fn new(mut reader: R) -> Result<Self, R::Error> {
        let len = reader.seek(SeekFrom::End(0)).await?;
        Ok(Self { reader, len, position: Some(len) })
    }
}

impl<R: Read + Seek> File for SeekFile<R> {
    type Error = ReadExactError<R::Error>;

    fn len(&self) -> u64 {
        self.len
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        if self.position.take() != Some(offset) {
            self.reader.seek(SeekFrom::Start(offset)).await?;
        }
        self.reader.read_exact(buf).await?;
        self.position = Some(offset + buf.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use embedded_io_async::ErrorType;

    use super::*;
    use crate::block_on;

    /// Reads three bytes at a time, and counts how often it is moved.
    struct Card {
        bytes: Vec<u8>,
        position: usize,
        seeks: usize,
    }

    impl ErrorType for Card {
        type Error = core::convert::Infallible;
    }

    impl Read for Card {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
            let rest = &self.bytes[self.position.min(self.bytes.len())..];
            let len = rest.len().min(buf.len()).min(3);
            buf[..len].copy_from_slice(&rest[..len]);
            self.position += len;
            Ok(len)
        }
    }

    impl Seek for Card {
        async fn seek(&mut self, to: SeekFrom) -> Result<u64, Self::Error> {
            self.seeks += 1;
            self.position = match to {
                SeekFrom::Start(at) => at as usize,
                SeekFrom::End(at) => self.bytes.len().saturating_add_signed(at as isize),
                SeekFrom::Current(by) => self.position.saturating_add_signed(by as isize),
            };
            Ok(self.position as u64)
        }
    }

    #[test]
    fn reads_from_anywhere_and_seeks_only_when_it_has_to() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut card = Card { bytes: bytes.clone(), position: 0, seeks: 0 };
        let mut file = block_on(SeekFile::new(&mut card)).unwrap();
        assert_eq!(file.len(), 100);
        let mut buf = [0; 40];
        for offset in [0, 40, 10, 50, 60] {
            block_on(file.read_exact_at(offset, &mut buf)).unwrap();
            assert_eq!(buf[..], bytes[offset as usize..][..40]);
        }
        assert!(block_on(file.read_exact_at(61, &mut buf)).is_err());
        assert_eq!(card.seeks, 1 + 4, "0 to 40 and 10 to 50 follow each other; the end was looked for once");
    }
}
