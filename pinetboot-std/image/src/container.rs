//! The container of an image: none, xz, gzip, zstd or bzip2, or a zip file or tar archive with one image. The first bytes decide,
//! never the name.
//!
//! Every checksum in the container is compared: xz's (CRC-32, CRC-64 or SHA-256 of each block), gzip's, bzip2's and zip's CRC-32,
//! zstd's XXH64 of each frame. An image without a container has none, nor have tar archives, `xz --check=none` and
//! `zstd --no-check`: there a damaged byte may stay unnoticed. A file that ends early is an error in each.

mod tar;
mod xz;
mod zip;
mod zstd;

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

/// The container of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// No container: the image itself.
    Raw,
    /// One or more `xz` streams.
    Xz,
    /// One or more `gzip` members (RFC 1952).
    Gzip,
    /// One or more `zstd` frames (RFC 8878).
    Zstd,
    /// One or more `bzip2` streams.
    Bzip2,
    /// A zip file with exactly one image, plain or compressed.
    Zip,
    /// A tar archive with exactly one `.img`.
    Tar,
}

impl Container {
    /// Recognises the container by the first 512 bytes, and rewinds `file` to its start. Unknown bytes are [`Raw`](Self::Raw).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn recognise(mut file: impl Read + Seek) -> io::Result<Self> {
        let mut start = Vec::new();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut start)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self::of(&start))
    }

    /// The container that begins with these bytes, 512 of them if there are as many.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Self::Bzip2,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ if tar::begins(start) => Self::Tar,
            _ => Self::Raw,
        }
    }

    /// Unpacks the image from `file`, and calls `sink` with each piece, in order, of 256 KiB at most.
    ///
    /// # Errors
    ///
    /// The system's, the decompressor's, or those of `sink`; a wrong checksum; a file that ends early; a zip file or tar archive
    /// without an image, or with several.
    pub fn unpack(
        self,
        mut file: impl Read + Seek,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        let file = BufReader::with_capacity(PIECE, file);
        if self == Self::Zip { zip::unpack(file, sink) } else { self.unpack_stream(file, sink) }
    }

    /// Like [`unpack`](Self::unpack), from a stream. Not for a zip file, whose directory is at its end.
    ///
    /// # Errors
    ///
    /// As for `unpack`; `Unsupported` for a zip file.
    pub fn unpack_stream(
        self,
        mut stream: impl BufRead,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        // One copy of each decoder for all kinds of streams: it reads pieces of kilobytes.
        let stream: &mut dyn BufRead = &mut stream;
        match self {
            Self::Raw => pump(stream, sink),
            Self::Xz => contents(xz::Streams::new(stream), sink),
            Self::Gzip => contents(MultiGzDecoder::new(stream), sink),
            Self::Zstd => contents(zstd::Frames::new(stream), sink),
            Self::Bzip2 => contents(MultiBzDecoder::new(stream), sink),
            Self::Tar => tar::unpack(stream, sink),
            Self::Zip => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Passes on what was decompressed; of a tar archive, the image in it.
fn contents(mut from: impl Read, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut start = Vec::new();
    from.by_ref().take(BLOCK as u64).read_to_end(&mut start)?;
    let is_tar = tar::begins(&start);
    let all = io::Cursor::new(start).chain(from);
    if is_tar { tar::unpack(all, sink) } else { pump(all, sink) }
}

fn pump(mut from: impl Read, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => sink(&piece[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The image among the names in an archive, by its index; `.img` before a compressed one. macOS adds a `._` file for each.
fn image_among<'n>(names: impl Iterator<Item = &'n str> + Clone, archive: &str) -> io::Result<usize> {
    let is_file = |name: &str| {
        let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
        !last.starts_with("._") && !name.starts_with("__MACOSX/")
    };
    for endings in [&[".img"][..], &[".img.xz", ".img.gz", ".img.zst", ".img.bz2"]] {
        let ends = |name: &str| endings.iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        let mut images =
            names.clone().enumerate().filter(|(_, name)| is_file(name) && ends(name)).map(|(index, _)| index);
        match (images.next(), images.next()) {
            (Some(image), None) => return Ok(image),
            (Some(_), Some(_)) => {
                return Err(io::Error::other(format!(
                    "the {archive} holds several images: unpack one of them and give its path"
                )));
            }
            (None, _) => {}
        }
    }
    Err(io::Error::other(format!("the {archive} holds no .img. An OS image for a Pi's card is needed")))
}

const PIECE: usize = 256 << 10;
/// Bytes by which a container is recognised: a block of tar.
const BLOCK: usize = 512;
/// Memory at which decoding fails, in bytes. No preset of `xz` needs more than 65 MB in one thread.
const MEMORY: u64 = 1 << 30;

#[cfg(test)]
mod tests;
