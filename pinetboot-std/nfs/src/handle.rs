//! The file handles that clients are given: which export, which file, and a seal.
//!
//! The seal keeps a client from making handles up: without it, someone who may use one export could reach every file of
//! its file system, and other exports. The key is kept, so that handles are good after a restart.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nfs3_types::nfs3::NFS3_FHSIZE;
use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher24;

use super::file_system::FileId;

/// Seals handles and opens them.
#[derive(Clone)]
pub struct Handles {
    key: [u8; 16],
}

impl Handles {
    /// With a key of one's own.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// With the key in `directory`, which is made if there is none yet.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub fn load(directory: &Path) -> io::Result<Self> {
        load_key(&directory.join(KEY_FILE)).map(Self::new)
    }

    /// The handle of a file of an export: 64 bytes at most.
    #[must_use]
    pub fn seal(&self, export: u32, file: &FileId) -> Vec<u8> {
        let (handle, len) = self.sealed(export, file);
        handle.into_iter().take(len).collect()
    }

    /// The same, for many in a row; the bytes behind the length mean nothing.
    pub(super) fn sealed(&self, export: u32, file: &FileId) -> ([u8; NFS3_FHSIZE], usize) {
        let mut handle = [0; NFS3_FHSIZE];
        let file = file.as_bytes();
        let parts = [&[VERSION][..], &export.to_be_bytes(), &self.seal_of(export, file), file];
        let mut len = 0;
        for part in parts {
            // It fits: see below.
            if let Some(place) = handle.get_mut(len..len + part.len()) {
                place.copy_from_slice(part);
            }
            len += part.len();
        }
        (handle, len)
    }

    /// What a handle stands for; None if it was not sealed with this key.
    #[must_use]
    pub fn open(&self, handle: &[u8]) -> Option<(u32, FileId)> {
        let (&version, rest) = handle.split_first()?;
        let (export, rest) = rest.split_first_chunk()?;
        let (seal, file) = rest.split_first_chunk::<8>()?;
        let export = u32::from_be_bytes(*export);
        // Compared as numbers, which takes the same time whatever they are.
        let expected = u64::from_ne_bytes(self.seal_of(export, file));
        (version == VERSION && u64::from_ne_bytes(*seal) == expected).then_some((export, FileId::new(file)?))
    }

    fn seal_of(&self, export: u32, file: &[u8]) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[VERSION]);
        hasher.write(&export.to_be_bytes());
        hasher.write(file);
        hasher.finish().to_be_bytes()
    }
}

impl core::fmt::Debug for Handles {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

/// The secret key in a file, which is made, for its owner alone to read, if there is none yet.
///
/// # Errors
///
/// The system's, with the path.
pub fn load_key(path: &Path) -> io::Result<[u8; 16]> {
    let key = match read_key(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(path).and_then(|()| read_key(path)),
        read => read,
    };
    key.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn read_key(path: &Path) -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

/// Whole or not at all, and never in place of another's.
fn make_key(path: &Path) -> io::Result<()> {
    let mut key = [0; 16];
    getrandom(&mut key, GetRandomFlags::empty())?;
    let new = path.with_added_extension(std::process::id().to_string());
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&new, path));
    let _removed = fs::remove_file(&new);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(()),
        made => made,
    }
}

const KEY_FILE: &str = "nfs-handle.key";
const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 8;
const _: () = assert!(HEAD + FileId::MAX_LEN <= NFS3_FHSIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_it_sealed() {
        let handles = Handles::new([7; 16]);
        let file = FileId::new(b"some file").unwrap();
        let handle = handles.seal(5, &file);
        assert_eq!(handles.open(&handle), Some((5, file)));
        for bit in 0..handle.len() * 8 {
            let mut forged = handle.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(handles.open(&forged), None, "bit {bit}");
        }
        for len in 0..handle.len() {
            assert_eq!(handles.open(&handle[..len]), None, "length {len}");
        }
        assert_eq!(Handles::new([8; 16]).open(&handle), None);
    }

    #[test]
    fn the_longest_handle_fits() {
        let handle = Handles::new([7; 16]).seal(u32::MAX, &FileId::new(&[0xff; FileId::MAX_LEN]).unwrap());
        assert!(handle.len() <= NFS3_FHSIZE);
    }

    #[test]
    fn the_key_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let file = FileId::new(b"some file").unwrap();
        let handle = Handles::load(directory.path()).unwrap().seal(1, &file);
        assert_eq!(Handles::load(directory.path()).unwrap().open(&handle), Some((1, file)));
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [KEY_FILE]);
    }
}
