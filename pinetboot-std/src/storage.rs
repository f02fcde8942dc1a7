//! Where the boot files are: a directory tree, beneath which everything is looked up by the Pi's rules.

mod shared;
mod tree;
mod upload;

use std::rc::Rc;

use pinetboot_core::{File, OpenError, OpenRequest, Storage};

pub use shared::{Budget, Shared, Version};
pub use tree::{Miss, Tree, TreeError};
pub use upload::{Inbox, Incoming};

/// What `serve` serves: a tree to read from and, if it was told so, a directory to write to.
#[derive(Debug)]
pub struct BootStorage {
    /// Where files are read from.
    pub tree: Rc<Tree>,
    /// Where files are written to; none are taken without it.
    pub inbox: Option<Inbox>,
}

impl Storage for BootStorage {
    type File = Opened;
    type Upload = Incoming;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, OpenError> {
        self.tree.open(&request.path).map(Opened).map_err(|miss| miss.error)
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, OpenError> {
        match &self.inbox {
            Some(inbox) => inbox.create(&request.path, request.len),
            None => Err(OpenError::Denied),
        }
    }
}

/// A file that is being sent; transfers of the same version share it.
#[derive(Debug)]
pub struct Opened(pub Rc<Shared>);

impl File for Opened {
    type Error = std::io::Error;

    fn len(&self) -> u64 {
        self.0.version().len
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, buf)
    }
}
