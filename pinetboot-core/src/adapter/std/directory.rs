//! A storage on a directory, read-only.

use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};

use crate::pi::{Lookup, Place, Prefix};
use crate::storage::{File, NoUpload, OpenError, OpenRequest, Storage};

/// The boot files beneath a directory. A Pi whose serial number or MAC address names a directory there gets the files of
/// that one alone ([`Lookup::place`]); the other Pis share the rest.
///
/// Symbolic links are followed as long as they stay beneath the directory.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The files beneath `root`.
    ///
    /// # Errors
    ///
    /// `root` does not exist or cannot be read.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        fs::read_dir(&root)?;
        Ok(Self { root })
    }

    /// The name of a Pi's own directory, in whichever case it is written.
    fn own(&self, pi: Prefix) -> Option<String> {
        let names =
            fs::read_dir(&self.root).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| Prefix::parse(name) == Some(pi)).find(|name| self.root.join(name).is_dir())
    }
}

impl Storage for Directory {
    type File = OpenFile;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<OpenFile, OpenError> {
        let lookup = Lookup::new(request.path);
        let directory = match lookup.place(|pi| self.own(pi)) {
            Place::Own(name) => self.root.join(name),
            Place::Shared => self.root.clone(),
        };
        let path = directory.join(lookup.file().to_string()).canonicalize().map_err(refusal)?;
        if !path.starts_with(&self.root) {
            return Err(OpenError::Denied);
        }
        OpenFile::new(fs::File::open(path).map_err(refusal)?).map_err(refusal)
    }
}

/// A file that is open, with the length that it had then. The file is not watched for changes.
#[derive(Debug)]
pub struct OpenFile {
    file: fs::File,
    len: u64,
}

impl OpenFile {
    /// A file that is open for reading.
    ///
    /// # Errors
    ///
    /// The operating system's; [`ErrorKind::NotFound`] for a directory or a device.
    pub fn new(file: fs::File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Self { file, len: metadata.len() })
    }
}

impl File for OpenFile {
    type Error = io::Error;

    fn len(&self) -> u64 {
        self.len
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(buf)
    }
}

fn refusal(error: io::Error) -> OpenError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => OpenError::NotFound,
        ErrorKind::PermissionDenied => OpenError::Denied,
        _ => OpenError::Failed,
    }
}
