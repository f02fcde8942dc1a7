//! Suites that every network and every storage has to pass, for the tests of each (feature `testing`).
//!
//! The loops rely on more than types can say: that a deadline in the past does not wait, that a Pi with an own directory
//! gets files from that alone. An author of a [`Net`](crate::Net) or a [`Storage`](crate::Storage) calls [`net()`] or
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
//! A suite panics as the assertions of a test do, and is not for programs that serve. It needs neither `std` nor an
//! allocator, so a board can run it too.
//!
//! Not tested: faults that only one implementation can cause, as a file that changes while it is read, or a pulled cable.

mod net;
mod storage;

pub use net::{End, net};
pub use storage::{FILES, storage};
