//! File handles: the export, the file, and a seal.
//!
//! The seal keeps a client from making up handles: without it, a client of one export could reach every file of the file system,
//! and other exports. The key is stored, so handles stay valid after a restart.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nfs3_types::nfs3::NFS3_FHSIZE;
use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher24;

use super::file_system::FileId;

/// Seals and opens handles.
#[derive(Clone)]
pub struct Handles {
    key: [u8; 16],
}

impl Handles {
    /// Handles with this key.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Handles with the key in `directory`; creates a missing key.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub fn load(directory: &Path) -> io::Result<Self> {
        load_key(&directory.join(KEY_FILE)).map(Self::new)
    }

    /// The handle of a file of an export: at most 64 bytes.
    #[must_use]
    pub fn seal(&self, export: u32, file: &FileId) -> Vec<u8> {
        let (handle, len) = self.sealed(export, file);
        handle.into_iter().take(len).collect()
    }

    /// Like [`seal`](Self::seal), without an allocation; the bytes behind the length have no meaning.
    pub(super) fn sealed(&self, export: u32, file: &FileId) -> ([u8; NFS3_FHSIZE], usize) {
        let mut handle = [0; NFS3_FHSIZE];
        let file = file.as_bytes();
        let parts = [&[VERSION][..], &export.to_be_bytes(), &self.seal_of(export, file), file];
        let mut len = 0;
        for part in parts {
            // Always fits: `FileId::MAX_LEN` leaves space for the seal.
            if let Some(place) = handle.get_mut(len..len + part.len()) {
                place.copy_from_slice(part);
            }
            len += part.len();
        }
        (handle, len)
    }

    /// The export and the file of a handle; `None` if it was not sealed with this key.
    #[must_use]
    pub fn open(&self, handle: &[u8]) -> Option<(u32, FileId)> {
        let (&version, rest) = handle.split_first()?;
        let (export, rest) = rest.split_first_chunk()?;
        let (seal, file) = rest.split_first_chunk::<8>()?;
        let export = u32::from_be_bytes(*export);
        // Compared as numbers, in constant time.
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

/// Loads the secret key in a file; creates a missing one, readable by its owner only.
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

/// Writes the key atomically, and never over an existing one.
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
