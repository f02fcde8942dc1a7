//! Storage of boot files: directory trees, looked up by the Pi's rules, with some files rendered for each Pi.

mod decisions;
mod miss;
mod shared;
mod tree;
mod trees;
mod upload;

use std::rc::Rc;

use pinetboot_core::{File, OpenError, OpenRequest, Storage};

use decisions::Busy;
pub use miss::Miss;
pub use shared::{Budget, SharedFile, Version};
pub use tree::{BootTree, TreeError};
pub use trees::{Base, Sources, Trees};
pub use upload::{Incoming, UploadQuota, UploadRules, Uploads};

/// The storage of `serve`: trees to read, and a directory for uploads if configured.
#[derive(Debug)]
pub struct BootStorage {
    /// The trees to read.
    pub trees: Rc<Trees>,
    /// The directory for uploads; `None`: uploads are refused.
    pub uploads: Option<Uploads>,
}

impl Storage for BootStorage {
    type File = Opened;
    type Upload = Incoming;
    type Refusal = Miss;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Miss> {
        self.trees.open(request)
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Miss> {
        match &self.uploads {
            Some(uploads) => uploads.create(request),
            None => Err(OpenError::Denied.into()),
        }
    }
}

/// An open file of a transfer.
#[derive(Debug)]
pub struct Opened {
    content: Content,
    /// Keeps the decisions of the file's boot in force while the file is open.
    _busy: Option<Busy>,
}

#[derive(Debug)]
enum Content {
    /// A file on disk; transfers of the same version share it.
    OnDisk(Rc<SharedFile>),
    /// A file rendered for this Pi.
    Made(Rc<[u8]>),
}

impl File for Opened {
    type Error = std::io::Error;

    fn len(&self) -> u64 {
        match &self.content {
            Content::OnDisk(file) => file.version().len,
            Content::Made(bytes) => bytes.len() as u64,
        }
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        match &self.content {
            Content::OnDisk(file) => file.read(offset, buf),
            Content::Made(bytes) => {
                let mut bytes: &[u8] = bytes;
                bytes.read_exact_at(offset, buf).await.map_err(std::io::Error::other)
            }
        }
    }
}
