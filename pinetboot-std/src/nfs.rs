//! An NFSv3 server, for the root file systems of machines that boot from the network.

mod export;
mod file_system;
mod tree;

pub use self::export::{Absent, Export, Exports, MountError, OneExport};
pub use self::file_system::{Caller, Entry, FileId, FileSystem, Found, Listed, Place, Result, Usage};
pub use self::tree::{DirectoryTree, OpenError};
