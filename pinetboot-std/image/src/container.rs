//! The container of an image: none, xz, gzip or zstd, or a zip file with one image. The first bytes decide, never the name.
//!
//! Every checksum in the container is compared: xz's (CRC-32, CRC-64 or SHA-256 of each block), gzip's and zip's CRC-32, zstd's
//! XXH64 of each frame. An image without a container has none, nor have `xz --check=none` and `zstd --no-check`: there a
//! damaged byte may stay unnoticed. A file that ends early is an error in each.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::thread;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;
use ruzstd::decoding::StreamingDecoder;
use zip::ZipArchive;

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
    /// A zip file with exactly one `.img`, as pi-gen makes it.
    Zip,
}

impl Container {
    /// Recognises the container by its first 6 bytes, and rewinds `file` to its start. Unknown bytes are [`Raw`](Self::Raw).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn recognise(mut file: impl Read + Seek) -> io::Result<Self> {
        let mut start = Vec::new();
        file.by_ref().take(6).read_to_end(&mut start)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(match start.as_slice() {
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ => Self::Raw,
        })
    }

    /// Unpacks the image from `file`, and calls `sink` with each piece, in order, of 256 KiB at most.
    ///
    /// # Errors
    ///
    /// The system's, the decompressor's, or those of `sink`; a wrong checksum; a file that ends early; a zip file without an `.img`, or with several.
    pub fn unpack(
        self,
        mut file: impl Read + Seek,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Raw => pump(file, sink),
            Self::Xz => unpack_xz(BufReader::with_capacity(PIECE, file), sink),
            Self::Gzip => pump(MultiGzDecoder::new(BufReader::with_capacity(PIECE, file)), sink),
            Self::Zstd => unpack_zstd(BufReader::with_capacity(PIECE, file), sink),
            Self::Zip => {
                file.seek(SeekFrom::Start(0))?;
                unpack_zip(BufReader::with_capacity(PIECE, file), sink)
            }
        }
    }
}

/// Uses a thread per processor, up to 16, if the file consists of independent blocks, as `xz -T` and so pi-gen writes them.
/// Several streams may follow each other.
fn unpack_xz(mut file: impl BufRead, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    loop {
        let stream = MtStreamBuilder::new()
            .threads(thread::available_parallelism().map_or(1, usize::from).min(16) as u32)
            .memlimit_threading(THREADS_MEMORY)
            .memlimit_stop(MEMORY)
            .decoder()?;
        let mut decoder = XzDecoder::new_stream(file, stream);
        pump(&mut decoder, sink)?;
        file = decoder.into_inner();
        // "Stream Padding" (the .xz file format, 2.2): zeros between the streams, or at the end.
        while let zeros @ 1.. = file.fill_buf()?.iter().take_while(|byte| **byte == 0).count() {
            file.consume(zeros);
        }
        if file.fill_buf()?.is_empty() {
            return Ok(());
        }
    }
}

fn unpack_zstd(mut file: impl BufRead, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    while !file.fill_buf()?.is_empty() {
        let mut frame = StreamingDecoder::new(&mut file).map_err(io::Error::other)?;
        pump(&mut frame, sink)?;
        // The decoder computes the checksum, and leaves the comparison to its caller.
        let stored = frame.decoder.get_checksum_from_data();
        if stored.is_some() && stored != frame.decoder.get_calculated_checksum() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the zstd data are damaged: wrong checksum",
            ));
        }
    }
    Ok(())
}

/// Unpacks the only `.img` of a zip file.
fn unpack_zip(file: impl BufRead + Seek, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut archive = ZipArchive::new(file).map_err(io::Error::from)?;
    let mut images = Vec::new();
    for index in 0..archive.len() {
        if archive.by_index(index).map_err(io::Error::from)?.name().is_ok_and(|name| name.ends_with(".img")) {
            images.push(index);
        }
    }
    let image = match images.as_slice() {
        [index] => *index,
        [] => return Err(io::Error::other("the zip file holds no .img")),
        _ => {
            return Err(io::Error::other(
                "the zip file holds several images: unpack one of them and give its path",
            ));
        }
    };
    pump(archive.by_index(image).map_err(io::Error::from)?, sink)
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

const PIECE: usize = 256 << 10;
/// Memory of all decoder threads together, in bytes; liblzma starts fewer threads beyond it. A block of `xz -9` takes 200 MB.
const THREADS_MEMORY: u64 = 512 << 20;
/// Memory at which decoding fails, in bytes. No preset of `xz` needs more than 65 MB in one thread.
const MEMORY: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    fn unpacked(content: &[u8]) -> io::Result<(Container, Vec<u8>)> {
        let mut file = file(content);
        let container = Container::recognise(&mut file)?;
        let mut all = Vec::new();
        container.unpack(file, &mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((container, all))
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, content) in files {
            let options = zip::write::SimpleFileOptions::default();
            writer.start_file(*name, options.compression_method(zip::CompressionMethod::Deflated)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn each_container_gives_what_was_put_in() {
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
        for (packed, container) in [
            (content.clone(), Container::Raw),
            (gzip(&content), Container::Gzip),
            (xz(&content), Container::Xz),
            (zstd(&content), Container::Zstd),
            (zip(&[("readme.txt", b"x"), ("image.img", &content)]), Container::Zip),
        ] {
            let (found, all) = unpacked(&packed).unwrap();
            assert_eq!(found, container);
            assert!(all == content, "{container:?}");
        }
    }

    #[test]
    fn parts_one_after_the_other_are_one_image() {
        let padded = [xz(b"one "), vec![0; 8], xz(b"two")].concat();
        assert_eq!(unpacked(&padded).unwrap().1, b"one two");
        assert_eq!(unpacked(&[gzip(b"one "), gzip(b"two")].concat()).unwrap().1, b"one two");
    }

    /// 200 KB that no compressor shortens much: every byte of the packed form matters.
    fn content() -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 26) as u8 // 6 bits, so that there is a little to compress
        };
        (0..200_000).map(|_| next()).collect()
    }

    #[test]
    fn a_flipped_bit_is_never_a_wrong_byte() {
        let content = content();
        for (name, pack) in [
            ("xz", xz as fn(&[u8]) -> _),
            ("gzip", gzip),
            ("zstd", zstd),
            ("zip", |all| zip(&[("a.img", all)])),
        ] {
            let packed = pack(&content);
            assert!(unpacked(&packed).unwrap().1 == content);
            for flip in 0..100 {
                let mut damaged = packed.clone();
                // Behind the headers, of which some bits have no meaning, like gzip's time.
                let at = 100 + (packed.len() - 200) * flip / 100;
                damaged[at] ^= 1 << (flip % 8);
                let result = unpacked(&damaged).map(|(_, all)| all == content);
                assert!(result.is_err(), "{name}, byte {at} of {}: {result:?}", packed.len());
            }
        }
    }

    #[test]
    fn half_a_file_is_an_error() {
        let content = content();
        for packed in [gzip(&content), xz(&content), zstd(&content), zip(&[("a.img", &content)])] {
            for missing in [1, 3, 4, 5, 9, 100, packed.len() / 2] {
                let cut = &packed[..packed.len() - missing];
                assert!(unpacked(cut).is_err(), "{:?}: {missing} bytes less", &packed[..4]);
            }
        }
        assert!(unpacked(&zip(&[("a.img", b"1"), ("b.img", b"2")])).is_err(), "two images");
        assert!(unpacked(&zip(&[("a.txt", b"1")])).is_err());
    }
}
