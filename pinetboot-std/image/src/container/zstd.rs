//! zstd frames, one after the other (RFC 8878).

use std::error::Error;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::MEMORY;

/// Decodes frames, skips skippable ones, and compares each checksum.
pub(super) struct Frames<R> {
    file: R,
    /// The present frame; `None` between two.
    frame: Option<FrameDecoder>,
}

impl<R: BufRead> Frames<R> {
    pub(super) const fn new(file: R) -> Self {
        Self { file, frame: None }
    }

    /// Begins the next frame; `None` at the end of the file.
    fn begin(&mut self) -> io::Result<Option<FrameDecoder>> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MEMORY);
        while !self.file.fill_buf()?.is_empty() {
            match decoder.init(&mut self.file) {
                Ok(()) => return Ok(Some(decoder)),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut self.file.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(in_words(error)),
            }
        }
        Ok(None)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin()? {
                    Some(frame) => frame,
                    None => return Ok(0),
                },
            };
            while frame.can_collect() == 0 && !frame.is_finished() {
                frame
                    .decode_blocks(&mut self.file, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(in_words)?;
            }
            let len = frame.read(buf)?;
            if len > 0 || buf.is_empty() {
                self.frame = Some(frame);
                return Ok(len);
            }
            // The decoder computes the checksum, and leaves the comparison to its caller.
            let stored = frame.get_checksum_from_data();
            if stored.is_some() && stored != frame.get_calculated_checksum() {
                return Err(damaged("wrong checksum"));
            }
        }
    }
}

/// A decoder's error in words.
fn in_words(error: FrameDecoderError) -> io::Error {
    if let FrameDecoderError::WindowSizeTooBig { requested, .. } = error {
        return io::Error::other(format!(
            "the zstd data need a window of {} MiB (zstd --long), and 1024 MiB is the limit. Unpack the file first: zstd -d --long=31 FILE",
            requested >> 20
        ));
    }
    if let FrameDecoderError::DictNotProvided { .. } = error {
        return io::Error::other(
            "the zstd data need a dictionary. Unpack the file first: zstd -d -D DICTIONARY FILE",
        );
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        {
            return io::ErrorKind::UnexpectedEof.into();
        }
        cause = error.source();
    }
    damaged(match error {
        FrameDecoderError::ReadFrameHeaderError(_) | FrameDecoderError::FrameHeaderError(_) => {
            "invalid frame header"
        }
        _ => "invalid block",
    })
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the zstd data are damaged: {what}"))
}
