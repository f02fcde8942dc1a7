//! The archive for the firmware: plain ustar (POSIX.1-1988), regular files only.
//!
//! No directories, links, long names or extended headers: a name has at most 255 bytes, of which the last 100 hold its
//! last component. Times and owners are zero, so that the same files give the same bytes.

use std::io::Read;

use tar::{Archive, Builder, EntryType, Header};

use super::files::PackFiles;
use crate::exit::{Exit, Failed};

/// A file in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Length in bytes.
    pub(super) len: u64,
}

/// The length in bytes of an archive of files with these lengths.
pub(super) fn len(files: impl Iterator<Item = u64>) -> u64 {
    files.map(|len| BLOCK + len.next_multiple_of(BLOCK)).sum::<u64>() + END
}

pub(super) fn write(tree: &PackFiles) -> Result<Vec<u8>, Failed> {
    let mut builder = Builder::new(Vec::new());
    for file in &tree.files {
        let failed = |error: std::io::Error| {
            Failed::new(Exit::Tree, format!("cannot pack {}: {error}", file.path.display()))
        };
        let bytes = file.read().map_err(failed)?;
        let mut header = Header::new_ustar();
        header.set_path(&file.name).map_err(failed)?;
        header.set_size(file.len);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        builder.append(&header, &bytes[..]).map_err(failed)?;
    }
    builder.into_inner().map_err(|error| Failed::new(Exit::Failure, error))
}

/// The files of an archive; an error if the firmware cannot read it.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    let mut end = 0;
    let mut archive = Archive::new(bytes);
    let entries = archive.entries().map_err(|error| error.to_string())?.raw(true);
    for entry in entries {
        // The library's message would quote the unreadable bytes.
        let mut entry = entry.map_err(|_| format!("not an archive from byte {end} on"))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().as_ustar().is_none() {
            return Err(format!("'{name}': no ustar header"));
        }
        if entry.header().entry_type() != EntryType::Regular {
            return Err(format!("'{name}': not a regular file; the firmware reads no others"));
        }
        let mut content = Vec::new();
        let len = entry.size();
        let read = entry.by_ref().take(len).read_to_end(&mut content);
        if read.is_err() || content.len() as u64 != len {
            return Err(format!("'{name}' is cut short"));
        }
        end = (entry.raw_file_position() + len).next_multiple_of(BLOCK);
        members.push(Member { name, len });
    }
    let rest = usize::try_from(end).ok().and_then(|end| bytes.get(end..)).unwrap_or_default();
    if (rest.len() as u64) < END || rest.iter().any(|byte| *byte != 0) {
        return Err("the end of the archive is missing".into());
    }
    Ok(members)
}

/// The content of a file in an archive that [`read`] accepts; of several with that name the last, as for the firmware.
pub(super) fn file(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut found = None;
    for mut entry in Archive::new(bytes).entries().ok()?.raw(true).flatten() {
        if entry.path_bytes() == name.as_bytes() {
            let mut content = Vec::new();
            found = entry.read_to_end(&mut content).ok().map(|_| content);
        }
    }
    found
}

/// The block size of the format, in bytes.
const BLOCK: u64 = 512;

/// Two blocks of zeros end an archive.
const END: u64 = 2 * BLOCK;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pack(names: &[&str]) -> Result<Vec<u8>, Failed> {
        let tree = tempfile::tempdir().unwrap();
        for name in names {
            let path = tree.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        write(&PackFiles::walk(tree.path()).unwrap())
    }

    #[test]
    fn it_is_ustar_by_the_byte_and_as_long_as_foreseen() {
        let bytes = pack(&["config.txt"]).unwrap();
        assert_eq!(bytes.len() as u64, len([10].into_iter()));
        assert_eq!(&bytes[..11], b"config.txt\0");
        assert_eq!(&bytes[124..136], b"00000000012\0"); // 10, in octal
        assert_eq!(&bytes[136..148], b"00000000000\0"); // the time
        assert_eq!(bytes[156], b'0');
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[512..523], b"config.txt\0");
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            - bytes[148..156].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * 32;
        assert_eq!(&bytes[148..156], format!("{sum:07o}\0").as_bytes());
    }

    #[test]
    fn long_names_are_kept_or_refused() {
        let long = format!("{}/{}", "d".repeat(150), "f".repeat(100));
        let bytes = pack(&[&long]).unwrap();
        assert_eq!(read(&bytes).unwrap(), [Member { name: long, len: 251 }]);
        let longer = format!("d/{}", "f".repeat(101));
        assert!(pack(&[&longer]).unwrap_err().message.contains("cannot pack"));
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = pack(&["a", "b"]).unwrap();
        assert_eq!(read(&whole).unwrap().len(), 2);
        for cut in [0, 100, 512, 700, 1024, 1536, 2048, 2560, whole.len() - 1] {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for wrong in [0, 130, 156, 257, 1024 + 149, 2048, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[wrong] ^= 0x11;
            assert!(read(&bytes).is_err(), "changed at {wrong}");
        }
    }
}
