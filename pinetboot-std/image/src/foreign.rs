//! What a file is that is no disk image: the reason of its refusal, and the next step.

use crate::ImageError;

/// Bytes from the start that tell what a file is.
pub(crate) const LOOK: usize = 2048;

/// Why an image without a partition table is refused.
pub(crate) fn refusal(start: &[u8]) -> ImageError {
    ImageError::Unsupported(
        what(start).unwrap_or(
            "not a disk image: no partition table. Give the .img as downloaded, compressed or not",
        ),
    )
}

/// A file system without a partition table.
pub(crate) const NO_TABLE_FAT: ImageError = ImageError::Unsupported(
    "a single FAT file system without a partition table, so without a root. Copy its files (mcopy -s -i IMAGE :: DIR) and serve \
     them: pinetboot serve DIR",
);

fn what(start: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
    if start.is_empty() {
        return Some("the file is empty. Download it again");
    }
    let text = start.get(..start.len().min(512)).unwrap_or_default().to_ascii_lowercase();
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if [&b"<!doctype"[..], b"<html", b"<?xml", b"<head"].iter().any(|tag| text.starts_with(tag)) {
        return Some(
            "a web page, not an image: the download answered with a page. Open the address in a browser",
        );
    }
    let known = [
        (0, &b"7z\xbc\xaf\x27\x1c"[..], "a 7z archive. Unpack it first: 7z x FILE"),
        (0, b"Rar!", "a RAR archive. Unpack it first: unrar x FILE"),
        (0, b"LZIP", "compressed by lzip. Unpack it first: lzip -d FILE"),
        (0, b"\x04\x22\x4d\x18", "compressed by lz4. Unpack it first: lz4 -d FILE"),
        (0, b"\x5d\x00\x00", "compressed as .lzma, which has no checksum. Unpack it first: unlzma FILE"),
        (0, b"\xfd7zXZ\0", "compressed twice: unpack it once first (unxz FILE)"),
        (0, b"\x1f\x8b", "compressed twice: unpack it once first (gunzip FILE)"),
        (0, b"\x28\xb5\x2f\xfd", "compressed twice: unpack it once first (unzstd FILE)"),
        (0, b"BZh", "compressed twice, or its bzip2 header is damaged: unpack it first (bunzip2 FILE)"),
        (0, b"PK\x03\x04", "a zip file within a compressed file: unpack it first"),
        (0, b"QFI\xfb", "a qcow2 disk. Convert it first: qemu-img convert -O raw FILE disk.img"),
        (0, b"KDMV", "a VMware disk. Convert it first: qemu-img convert -O raw FILE disk.img"),
        (0, b"vhdxfile", "a VHDX disk. Convert it first: qemu-img convert -O raw FILE disk.img"),
        (
            0,
            b"hsqs",
            "a squashfs file system without a partition table. Unpack it (unsquashfs -d ROOT FILE) and serve it: \
                      pinetboot serve --nfs ROOT",
        ),
        (0, b"\x7fELF", "a program, not an image"),
        (0, b"-----BEGIN", "a text file of keys or signatures, not an image"),
        (
            0x438,
            b"\x53\xef",
            "an ext4 file system without a partition table, so without boot files. Mount it (mount -o loop,ro FILE ROOT) \
                             and serve it: pinetboot serve --nfs ROOT",
        ),
        (1024, b"\x10\x20\xf5\xf2", "an F2FS file system without a partition table"),
        (3, b"EXFAT   ", "an exFAT file system without a partition table, from which no Pi boots"),
    ];
    known.iter().find(|(at, magic, _)| has(*at, magic)).map(|(.., what)| *what)
}
