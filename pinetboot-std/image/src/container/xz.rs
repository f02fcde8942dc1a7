//! xz streams, one after the other.

use std::io::{self, BufRead, Read};
use std::thread;

use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

use super::MEMORY;

/// Decodes with a thread per processor, up to 16, if the file consists of independent blocks, as `xz -T` and so pi-gen writes them.
pub(super) struct Streams<R> {
    /// Between two streams.
    file: Option<R>,
    decoder: Option<XzDecoder<R>>,
}

impl<R: BufRead> Streams<R> {
    pub(super) const fn new(file: R) -> Self {
        Self { file: Some(file), decoder: None }
    }
}

impl<R: BufRead> Read for Streams<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let len = decoder.read(buf)?;
                if len > 0 || buf.is_empty() {
                    return Ok(len);
                }
                self.file = self.decoder.take().map(XzDecoder::into_inner);
                // "Stream Padding" (the .xz file format, 2.2): zeros between the streams, or at the end.
                let Some(file) = &mut self.file else { return Ok(0) };
                while let zeros @ 1.. = file.fill_buf()?.iter().take_while(|byte| **byte == 0).count() {
                    file.consume(zeros);
                }
                if file.fill_buf()?.is_empty() {
                    self.file = None;
                }
            }
            let Some(file) = self.file.take() else { return Ok(0) };
            let stream = MtStreamBuilder::new()
                .threads(thread::available_parallelism().map_or(1, usize::from).min(16) as u32)
                .memlimit_threading(THREADS_MEMORY)
                .memlimit_stop(MEMORY)
                .decoder()?;
            self.decoder = Some(XzDecoder::new_stream(file, stream));
        }
    }
}

/// Memory of all decoder threads together, in bytes; liblzma starts fewer threads beyond it. A block of `xz -9` takes 200 MB.
const THREADS_MEMORY: u64 = 512 << 20;
