//! Mode netascii as a wrapper around a file. The machines know nothing of it.
//!
//! On the wire a line ends with CR LF and a CR that ends no line is CR NUL (RFC 764, named by RFC 1350); in the file a
//! line ends with LF.

use crate::storage::{File, Upload};

/// A file in the form that it has on the wire in mode netascii.
///
/// The length on the wire must be known before the first byte, so opening reads the whole file once.
#[derive(Debug)]
pub struct Encoded<F> {
    file: F,
    len: u64,
    /// Where the last read began, and where it ended: the next one is one of the two, unless a window goes back.
    last: Mark,
    next: Mark,
}

/// A place in the file and the same place on the wire.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    raw: u64,
    wire: u64,
    /// The second half of a pair whose first half is before this place.
    pending: Option<u8>,
}

impl<F: File> Encoded<F> {
    /// Reads through `file` to find its length on the wire.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn new(mut file: F) -> Result<Self, F::Error> {
        let mut chunk = [0; CHUNK];
        let (mut raw, mut len) = (0, file.len());
        while raw < file.len() {
            let chunk = upto(&mut chunk, file.len() - raw);
            file.read_exact_at(raw, chunk).await?;
            raw += chunk.len() as u64;
            len += chunk.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
        }
        Ok(Self { file, len, last: Mark::default(), next: Mark::default() })
    }

    /// Moves `mark` on by `count` bytes on the wire, handing each to `take`.
    async fn advance(
        &mut self,
        mut mark: Mark,
        count: u64,
        mut take: impl FnMut(u8),
    ) -> Result<Mark, F::Error> {
        let end = mark.wire.saturating_add(count).min(self.len);
        let mut chunk = [0; CHUNK];
        while mark.wire < end {
            if let Some(second) = mark.pending.take() {
                take(second);
                mark.wire += 1;
                continue;
            }
            let left = (self.file.len() - mark.raw).min(end - mark.wire);
            if left == 0 {
                break; // it has fewer line ends than when it was opened: not the version that was opened
            }
            let chunk = upto(&mut chunk, left);
            self.file.read_exact_at(mark.raw, chunk).await?;
            for &byte in chunk.iter() {
                if mark.wire >= end {
                    break;
                }
                let (first, second) = match byte {
                    b'\n' => (b'\r', Some(b'\n')),
                    b'\r' => (b'\r', Some(0)),
                    other => (other, None),
                };
                take(first);
                mark.raw += 1;
                mark.wire += 1;
                match second {
                    Some(second) if mark.wire < end => {
                        take(second);
                        mark.wire += 1;
                    }
                    pending => mark.pending = pending,
                }
            }
        }
        Ok(mark)
    }
}

impl<F: File> File for Encoded<F> {
    type Error = F::Error;

    fn len(&self) -> u64 {
        self.len
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let from = [self.next, self.last].into_iter().find(|mark| mark.wire == offset);
        let from = match from {
            Some(mark) => mark,
            None => self.advance(Mark::default(), offset, |_| {}).await?,
        };
        let count = buf.len() as u64;
        let mut free = buf.iter_mut();
        self.last = from;
        self.next = self
            .advance(from, count, |byte| {
                if let Some(place) = free.next() {
                    *place = byte;
                }
            })
            .await?;
        free.for_each(|place| *place = 0);
        Ok(())
    }
}

/// A file being written, whose bytes arrive in mode netascii.
#[derive(Debug)]
pub struct Decoded<U> {
    upload: U,
    after_cr: bool,
}

impl<U: Upload> Decoded<U> {
    /// Turns line ends back on their way into `upload`.
    pub const fn new(upload: U) -> Self {
        Self { upload, after_cr: false }
    }
}

impl<U: Upload> Upload for Decoded<U> {
    type Error = U::Error;

    /// Not passed on: the length on the wire is not the file's.
    fn expect(&mut self, _: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn ended(&mut self, message: &[u8]) {
        self.upload.ended(message);
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Self::Error> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.after_cr {
                self.after_cr = false;
                match first {
                    b'\n' => self.upload.write(b"\n").await?,
                    0 => self.upload.write(b"\r").await?,
                    // RFC 764 knows no such pair: keep both rather than lose one.
                    _ => {
                        self.upload.write(b"\r").await?;
                        continue;
                    }
                }
                bytes = rest;
            } else if first == b'\r' {
                self.after_cr = true;
                bytes = rest;
            } else {
                let run = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
                let (run, rest) = bytes.split_at(run);
                self.upload.write(run).await?;
                bytes = rest;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        if self.after_cr {
            self.after_cr = false;
            self.upload.write(b"\r").await?;
        }
        self.upload.finish().await
    }

    fn settled(&mut self) -> Option<Result<(), Self::Error>> {
        self.upload.settled()
    }
}

/// How much is read at a time.
const CHUNK: usize = 256;

fn upto(chunk: &mut [u8; CHUNK], left: u64) -> &mut [u8] {
    let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    chunk.split_at_mut(len).0
}
