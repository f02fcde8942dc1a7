//! What every network and every storage must do, as tests to be called from the tests of each (feature `testing`).
//!
//! The loops rely on more than types can say: that a deadline in the past does not wait, that a Pi with a directory of its
//! own gets nothing else. An author of a [`Net`](crate::Net) or a [`Storage`](crate::Storage) calls [`net()`] or
//! [`storage()`] on it:
//!
//! ```
//! use pinetboot_core::conformance;
//! use pinetboot_core::pi::{Lookup, Place, Prefix};
//! use pinetboot_core::{NoUpload, OpenError, OpenRequest, Storage, block_on};
//!
//! /// The files of the suite, in memory.
//! struct InMemory;
//!
//! impl Storage for InMemory {
//!     type File = &'static [u8];
//!     type Upload = NoUpload;
//!     type Refusal = OpenError;
//!
//!     async fn open(&mut self, request: &OpenRequest<'_>) -> Result<&'static [u8], OpenError> {
//!         let lookup = Lookup::new(request.path);
//!         let directories = conformance::FILES.iter().filter_map(|(name, _)| name.split_once('/'));
//!         let mut names = directories.map(|(name, _)| name);
//!         let directory = lookup.place(|pi| names.find(|name| Prefix::parse(name) == Some(pi)));
//!         let name = match directory {
//!             Place::Own(directory) => format!("{directory}/{}", lookup.file()),
//!             Place::Shared => lookup.file().to_string(),
//!         };
//!         let file = conformance::FILES.iter().find(|(there, _)| *there == name);
//!         file.map(|(_, bytes)| *bytes).ok_or(OpenError::NotFound)
//!     }
//! }
//!
//! block_on(conformance::storage(&mut InMemory));
//! ```
//!
//! A suite panics where something is not as it must be, as the assertions of a test do: nothing of this is for programs
//! that serve. It needs neither `std` nor memory to allocate, so a board can run it too.
//!
//! Not tested: what only one implementation can do to itself, as changing a file that is being read, or pulling a cable.

mod net;
mod storage;

pub use net::{End, net};
pub use storage::{FILES, storage};
