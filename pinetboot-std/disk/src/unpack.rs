//! Compressed images: unpacked once, into a sparse file in a directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pinetboot_image::{Container, write_sparse};
use sha2::{Digest, Sha256};

use crate::fingerprint::Fingerprint;
use crate::image::{Access, lock};

/// The path of an image's unpacked content: `path` itself if the image is not compressed, otherwise a file in `directory`, which is
/// made unless it is there from an earlier call for the same file.
///
/// Pages of zeros become holes. The checksums of xz, gzip, zstd, bzip2 and zip are compared. The unpacked file gets the time of the
/// compressed one, so that an overlay still fits when the directory was emptied and the image is unpacked again. An image that changed gets another
/// file; the old one stays, because overlays may stand on it. A process that is killed leaves a file `.part`, which the next call
/// overwrites.
///
/// `progress` is called before each read with the bytes of the compressed file read so far; an error that it returns ends the call.
///
/// # Errors
///
/// The system's; `WouldBlock` while another process unpacks the same image; `FileTooLarge` beyond `most` bytes of unpacked content; a wrong checksum,
/// a file that ends early, or an archive without an image.
pub fn unpack(
    path: &Path,
    directory: &Path,
    most: u64,
    progress: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut packed = File::open(path)?;
    let container = Container::recognise(&mut packed)?;
    if container == Container::Raw {
        return Ok(path.to_owned());
    }
    let target = directory.join(name(path, &Fingerprint::of(&packed)?));
    if target.try_exists()? {
        return Ok(target);
    }
    let part_path = target.with_extension("part");
    let part = OpenOptions::new().write(true).create(true).truncate(false).open(&part_path)?;
    lock(&part, Access::ReadWrite)?;
    // Another process may have been quicker.
    if target.try_exists()? {
        return Ok(target);
    }
    part.set_len(0)?;
    let modified = packed.metadata()?.modified()?;
    let mut len = 0;
    let mut sink = |piece: &[u8]| {
        let end = len + piece.len() as u64;
        if end > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the unpacked image has more than {most} bytes"),
            ));
        }
        write_sparse(&part, piece, len)?;
        len = end;
        Ok(())
    };
    let unpacked = container.unpack(Counted { file: packed, progress }, &mut sink);
    let finished = unpacked.and_then(|()| {
        part.set_len(len)?;
        part.set_modified(modified)?;
        part.sync_all()?;
        fs::rename(&part_path, &target)?;
        File::open(directory)?.sync_all()
    });
    if finished.is_err() {
        // Its space is needed elsewhere, on a full disk above all.
        let _removed = fs::remove_file(&part_path);
    }
    finished.map(|()| target)
}

/// The name of the unpacked file: the image's, and a part of its fingerprint's hash.
fn name(path: &Path, fingerprint: &Fingerprint) -> String {
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.split(".img").next().unwrap_or_default();
    let hash = Sha256::digest(fingerprint.emit());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hash}.img")
}

/// A file, and where its reader is.
struct Counted<P> {
    file: File,
    progress: P,
}

impl<P: FnMut(u64) -> io::Result<()>> Read for Counted<P> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.progress)(self.file.stream_position()?)?;
        self.file.read(buf)
    }
}

impl<P> Seek for Counted<P> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn packed(directory: &Path) -> (PathBuf, Vec<u8>) {
        let mut content = vec![0; 5 << 20];
        content[1000..300_000].fill(7);
        content[4 << 20..].fill(9);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&content).unwrap();
        let path = directory.join("os.img.gz");
        fs::write(&path, encoder.finish().unwrap()).unwrap();
        (path, content)
    }

    #[test]
    fn an_image_is_unpacked_once() {
        let directory = tempfile::tempdir().unwrap();
        let (path, content) = packed(directory.path());
        let mut seen = Vec::new();
        let first = unpack(&path, directory.path(), u64::MAX, |at| {
            seen.push(at);
            Ok(())
        });
        let first = first.unwrap();
        assert!(fs::read(&first).unwrap() == content);
        assert!(fs::metadata(&first).unwrap().blocks() * 512 < 3 << 20, "holes for zeros");
        assert_eq!(seen.last().copied(), Some(fs::metadata(&path).unwrap().len()));
        let again = unpack(&path, directory.path(), u64::MAX, |_| Err(io::Error::other("read again")));
        assert_eq!(again.unwrap(), first);
        let fingerprint = Fingerprint::of(&File::open(&first).unwrap()).unwrap();
        fs::remove_file(&first).unwrap();
        let second = unpack(&path, directory.path(), u64::MAX, |_| Ok(())).unwrap();
        assert_eq!(Fingerprint::of(&File::open(second).unwrap()).unwrap(), fingerprint, "overlays still fit");
        let raw = unpack(&first, directory.path(), u64::MAX, |_| Ok(())).unwrap();
        assert_eq!(raw, first, "an image without compression stays where it is");
    }

    #[test]
    fn damage_and_endless_content_leave_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = packed(directory.path());
        let endless = unpack(&path, directory.path(), 1 << 20, |_| Ok(())).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
        let stopped =
            unpack(&path, directory.path(), u64::MAX, |_| Err(io::Error::other("stopped"))).unwrap_err();
        assert_eq!(stopped.to_string(), "stopped");
        let mut bytes = fs::read(&path).unwrap();
        let crc = bytes.len() - 8;
        bytes[crc] ^= 1;
        fs::write(&path, bytes).unwrap();
        unpack(&path, directory.path(), u64::MAX, |_| Ok(())).unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the compressed image alone");
    }
}
