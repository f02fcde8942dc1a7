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

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = ::tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        writer.append_data(&mut header, name, *content).unwrap();
    }
    writer.into_inner().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = ::zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options.compression_method(::zip::CompressionMethod::Deflated)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn each_container_gives_what_was_put_in() {
    let content: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    for (packed, container) in [
        (content.clone(), Container::Raw),
        (gzip(&content), Container::Gzip),
        (xz(&content), Container::Xz),
        (zstd(&content), Container::Zstd),
        (bzip2(&content), Container::Bzip2),
        (zip(&[("readme.txt", b"x"), ("image.img", &content)]), Container::Zip),
        (zip(&[("a/X.IMG", &content), ("__MACOSX/a/._X.IMG", b"x")]), Container::Zip),
        (zip(&[("x.img", &content), ("._x.img", b"x"), ("y.img.xz", b"x")]), Container::Zip),
        (zip(&[("x.img.xz", &xz(&content))]), Container::Zip),
        (zip(&[("x.img.bz2", &bzip2(&content))]), Container::Zip),
        (tar(&[("readme.txt", b"x"), ("./image.img", &content), ("._image.img", b"x")]), Container::Tar),
        (xz(&tar(&[("image.img", &content)])), Container::Xz),
        (gzip(&tar(&[("image.img", &content)])), Container::Gzip),
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
    for pack in [gzip as fn(&[u8]) -> _, xz, zstd, bzip2] {
        assert_eq!(unpacked(&[pack(b"one "), pack(b"two")].concat()).unwrap().1, b"one two");
    }
    // A frame to skip, as pzstd and the seekable format write (RFC 8878, 3.1.2).
    let skipped = [b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec(), zstd(b"one")].concat();
    assert_eq!(unpacked(&skipped).unwrap(), (Container::Zstd, b"one".to_vec()));
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
        ("bzip2", bzip2),
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
fn half_a_file_is_said_to_end_early() {
    let content = content();
    for (name, packed) in [
        ("gzip", gzip(&content)),
        ("xz", xz(&content)),
        ("zstd", zstd(&content)),
        ("bzip2", bzip2(&content)),
        ("tar", tar(&[("a.img", &content)])),
    ] {
        let missing = if name == "tar" {
            vec![2000, packed.len() / 2]
        } else {
            vec![1, 3, 4, 5, 9, 100, packed.len() / 2]
        };
        for missing in missing {
            let error = unpacked(&packed[..packed.len() - missing]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{name}, {missing} bytes less: {error}");
        }
    }
    let packed = zip(&[("a.img", &content)]);
    for missing in [1, 30, 100, packed.len() / 2] {
        let why = unpacked(&packed[..packed.len() - missing]).unwrap_err().to_string();
        assert!(why.contains("damaged or cut off"), "zip, {missing} bytes less: {why}");
    }
}

#[test]
fn bytes_behind_a_container_are_damage() {
    for (name, pack) in [("xz", xz as fn(&[u8]) -> _), ("zstd", zstd)] {
        let why = unpacked(&[pack(b"all"), b"more and more".to_vec()].concat()).unwrap_err();
        assert!(!why.to_string().is_empty(), "{name}");
    }
}

#[test]
fn an_archive_needs_exactly_one_image() {
    let why = |packed: &[u8]| unpacked(packed).unwrap_err().to_string();
    assert!(why(&zip(&[("a.img", b"1"), ("b.img", b"2")])).contains("several images"));
    assert!(why(&zip(&[("a.txt", b"1")])).contains("zip file holds no .img"));
    assert!(why(&zip(&[("a.img", &zip(&[("b.img", b"1")]))])).contains("unpack it first"));
    assert!(why(&tar(&[("a.txt", b"1")])).contains("tar archive holds no .img"));
    assert!(why(&tar(&[("a.img", b"1"), ("b.img", b"2")])).contains("several images"));
    assert!(why(&xz(&tar(&[("./etc/os-release", b"ID=x")]))).contains("serve --nfs ROOT"));
    assert!(why(&gzip(&tar(&[("boot/config.txt", b"")]))).contains("boot files"));
}

#[test]
fn a_large_window_is_read_or_named() {
    // A frame's header with a window of 256 MiB, and one of 2 GiB (RFC 8878, 3.1.1.1.2), each with an empty last block.
    let frame = |exponent: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3][..], &[1, 0, 0]].concat();
    assert_eq!(unpacked(&frame(18)).unwrap().1, b"");
    let why = unpacked(&frame(21)).unwrap_err().to_string();
    assert!(why.contains("2048 MiB") && why.contains("zstd -d --long=31"), "{why}");
}
