//! The file system behind the procedures of NFSv3, as a trait.
//!
//! Implementations: a directory of this machine ([`DirectoryTree`](super::DirectoryTree)), and a tree in memory (`MemoryTree`, with
//! the feature `testing`). The types are RFC 1813's with names of this crate; the procedures convert them to the codec's. Each
//! method may be called from many threads at once and may block.

mod attributes;
mod changes;
mod error;
mod rights;

use core::fmt;

pub use self::attributes::{Attributes, Device, FileKind, Time};
pub use self::changes::{CreateHow, Node, SetAttributes, SetTime, Stable};
pub use self::error::{FsError, Result};
pub use self::rights::Rights;

/// A file system to serve.
///
/// Names are single components as the client sent them, proven to be 1 to 255 bytes without `/` and NUL; only
/// [`lookup`](Self::lookup) ever gets `.` and `..`. The implementation checks permissions, for the given `caller`.
pub trait FileSystem: Send + Sync {
    /// The top directory.
    fn root(&self) -> FileId;

    /// The disk that calls wait for, as a number: the calls on one disk hold at most a share of the server's workers, so that a disk
    /// that hangs delays no call to another. [`DirectoryTree`](super::DirectoryTree) returns the device number (`st_dev`). File
    /// systems of the same number share the bound.
    fn disk(&self) -> u64 {
        0
    }

    /// Attributes of a file, readable without a permission.
    ///
    /// # Errors
    ///
    /// [`FsError::Stale`] if the file is gone, as from all methods.
    fn attributes(&self, file: &FileId) -> Result<Attributes>;

    /// The rights in `wanted` that the caller has.
    ///
    /// # Errors
    ///
    /// The file system's; a denied permission is an answer, not an error.
    fn access(&self, caller: &Caller, file: &FileId, wanted: Rights) -> Result<Rights>;

    /// Changes attributes.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn set_attributes(&self, caller: &Caller, file: &FileId, changes: &SetAttributes) -> Result<()>;

    /// The file of this name. `..` of the root is the root.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn lookup(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<Found>;

    /// The target of a symbolic link, which is not followed.
    ///
    /// # Errors
    ///
    /// [`FsError::Invalid`] if the file is not a symbolic link.
    fn read_link(&self, caller: &Caller, link: &FileId) -> Result<Vec<u8>>;

    /// Reads from `offset` on until `into` is full or the file ends; returns the number of bytes. The owner of a file may always
    /// read it: an NFS client checks modes at open(2), which a server never sees.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn read(&self, caller: &Caller, file: &FileId, offset: u64, into: &mut [u8]) -> Result<usize>;

    /// Writes all of `data`, as durably as `stable` says. The owner of a file may always write it.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn write(&self, caller: &Caller, file: &FileId, offset: u64, data: &[u8], stable: Stable) -> Result<()>;

    /// Makes unstable writes durable.
    ///
    /// # Errors
    ///
    /// The file system's; unstable writes may be lost then.
    fn commit(&self, file: &FileId, offset: u64, count: u32) -> Result<()>;

    /// Makes a regular file. A repeated exclusive create with the same verifier succeeds again.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn create(&self, caller: &Caller, dir: &FileId, name: &[u8], how: &CreateHow) -> Result<Found>;

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn make_directory(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        with: &SetAttributes,
    ) -> Result<Found>;

    /// Makes a symbolic link to `target`, any bytes.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn make_symlink(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        target: &[u8],
        with: &SetAttributes,
    ) -> Result<Found>;

    /// Makes a device, a FIFO or a socket.
    ///
    /// # Errors
    ///
    /// [`FsError::BadKind`] if the file system does not support this kind.
    fn make_node(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        node: Node,
        with: &SetAttributes,
    ) -> Result<Found>;

    /// Removes a file of any kind but a directory.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn remove(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn remove_directory(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Renames a file atomically, replacing a file of the new name.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn rename(&self, caller: &Caller, from: (&FileId, &[u8]), to: (&FileId, &[u8])) -> Result<()>;

    /// Makes a hard link.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn link(&self, caller: &Caller, file: &FileId, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Hands out the entries of a directory after `from`, until `take` refuses one or the directory ends. With `full` entries have
    /// their [`Found`], if available.
    ///
    /// # Errors
    ///
    /// The file system's. A cookie stays valid while other entries come and go.
    fn list(
        &self,
        caller: &Caller,
        dir: &FileId,
        from: Place,
        full: bool,
        take: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<Listed>;

    /// The used and free space.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn usage(&self) -> Result<Usage>;

    /// Called every few seconds, to release unused resources.
    fn maintain(&self) {}

    /// Releases all descriptors; the next call opens files again. For a file system without calls, called by the owner of the
    /// [`Export`](super::Export).
    fn rest(&self) {}
}

/// The identity of a file in its file system: a few bytes that stay the same over a rename and a restart of the server.
///
/// [`Handles`](super::Handles) seals ids, so an implementation gets only its own ids back, though the file may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl FileId {
    /// Most bytes: a handle of 64 bytes without the seal.
    pub const MAX_LEN: usize = 50;

    /// An id of these bytes; `None` if they are too long.
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { len: u8::try_from(id.len()).ok()?, bytes })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}

/// The user of a call, as the credentials say and the export allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups, 16 at most (RFC 5531, appendix A).
    pub groups: Vec<u32>,
}

impl Caller {
    /// Root, in no other group.
    pub const ROOT: Self = Self { uid: 0, gid: 0, groups: Vec::new() };

    /// The user nobody.
    pub const NOBODY: Self = Self { uid: 65_534, gid: 65_534, groups: Vec::new() };
}

/// A file and its current attributes.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file.
    pub id: FileId,
    /// Its attributes.
    pub attributes: Attributes,
}

/// An entry of a directory.
#[derive(Debug)]
pub struct DirectoryEntry<'a> {
    /// The file's number within its file system, as in [`Attributes::file_number`].
    pub file_number: u64,
    /// Its name; may be `.` or `..`.
    pub name: &'a [u8],
    /// The place after this entry.
    pub cookie: u64,
    /// The file; `None` if not requested, or unavailable: a mount point of another file system, or a removed entry.
    pub found: Option<Found>,
}

/// The place in a directory at which a listing continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// An entry's [`cookie`](DirectoryEntry::cookie), or 0 for the beginning.
    pub cookie: u64,
    /// [`Listed::verifier`] of the answer with the cookie; 0 for the beginning.
    pub verifier: u64,
}

/// The end of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The verifier to send with the cookies.
    pub verifier: u64,
    /// The listing reached the end of the directory.
    pub end: bool,
}

/// The space and the limits of a file system.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Total bytes.
    pub bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes for users other than root.
    pub available_bytes: u64,
    /// Most files.
    pub files: u64,
    /// Files that may still be made.
    pub free_files: u64,
    /// Longest name, in bytes.
    pub name_max: u32,
    /// Most hard links of a file.
    pub link_max: u32,
}
