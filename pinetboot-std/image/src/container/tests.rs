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

/// An archive with one entry of this kind, after a pax header with these records.
fn tar_of(kind: ::tar::EntryType, name: &str, records: &[(&str, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut writer = ::tar::Builder::new(Vec::new());
    writer.append_pax_extensions(records.iter().copied()).unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    if kind.is_symlink() {
        header.set_link_name("other.img").unwrap();
    }
    writer.append_data(&mut header, name, data).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn holes_and_links_in_a_tar_archive() {
    let why = |bytes: &[u8]| unpacked(bytes).unwrap_err().to_string();
    let sparse: [(&str, &[u8]); 2] = [("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"a.img")];
    let file = ::tar::EntryType::Regular;
    assert!(
        why(&tar_of(file, "GNUSparseFile.1/a.img", &sparse, b"1\n0\n512\n"))
            .contains("sparse file in pax format")
    );
    assert!(
        why(&tar_of(::tar::EntryType::Symlink, "a.img", &[], b""))
            .contains("a.img in the tar archive is a link")
    );
    // bsdtar of macOS writes records of its own.
    let mac: [(&str, &[u8]); 2] =
        [("LIBARCHIVE.creationtime", b"1"), ("SCHILY.xattr.com.apple.quarantine", b"x")];
    assert_eq!(unpacked(&tar_of(file, "a.img", &mac, b"image")).unwrap().1, b"image");

    // GNU's old format: a map of the data in the header; 8 KiB of a hole, 512 bytes, and a hole up to 16 KiB.
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNUSparse);
    header.set_path("a.img").unwrap();
    header.set_size(512);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(16384);
    gnu.sparse[0].set_offset(8192);
    gnu.sparse[0].set_length(512);
    gnu.sparse[1].set_offset(16384);
    gnu.sparse[1].set_length(0);
    header.set_cksum();
    let mut writer = ::tar::Builder::new(Vec::new());
    writer.append(&header, &[7; 512][..]).unwrap();
    let (_, content) = unpacked(&writer.into_inner().unwrap()).unwrap();
    assert_eq!((content.len(), &content[8192..8704]), (16384, &[7; 512][..]));
    assert!(content[..8192].iter().chain(&content[8704..]).all(|byte| *byte == 0));
}
