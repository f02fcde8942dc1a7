//! What the procedures of NFSv3 stand on: a file system, as a trait.
//!
//! A directory of this machine is one ([`DirectoryTree`](super::DirectoryTree)), a tree in memory another
//! (`MemoryTree`, with the feature `testing`). The types are RFC 1813's, by names of this crate: those
//! of the codec end where the procedures do. Every method may be called from many threads at once and may block.

mod attributes;
mod changes;
mod error;
mod rights;

use core::fmt;

pub use self::attributes::{Attributes, Device, FileKind, Time};
pub use self::changes::{CreateHow, Node, SetAttributes, SetTime, Stable};
pub use self::error::{FsError, Result};
pub use self::rights::Rights;

/// A file system that can be served.
///
/// Names are single components as the client sent them, proven to be 1 to 255 bytes without `/` and NUL; only
/// [`lookup`](Self::lookup) ever gets `.` and `..`. Permissions are the implementation's to check, for the `caller` given.
pub trait FileSystem: Send + Sync {
    /// The directory at the top.
    fn root(&self) -> FileId;

    /// Attributes of a file; nobody needs a permission to see them.
    ///
    /// # Errors
    ///
    /// [`FsError::Stale`] if there is no such file any more; this one is common to all methods.
    fn attributes(&self, file: &FileId) -> Result<Attributes>;

    /// Which of the rights in `wanted` the caller would be granted.
    ///
    /// # Errors
    ///
    /// Of the file system; a permission denied is an answer, not an error.
    fn access(&self, caller: &Caller, file: &FileId, wanted: Rights) -> Result<Rights>;

    /// Changes attributes.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn set_attributes(&self, caller: &Caller, file: &FileId, changes: &SetAttributes) -> Result<()>;

    /// The file of this name. `..` of the root is the root.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn lookup(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<Found>;

    /// Where a symbolic link points; never followed here.
    ///
    /// # Errors
    ///
    /// [`FsError::Invalid`] if it is none.
    fn read_link(&self, caller: &Caller, link: &FileId) -> Result<Vec<u8>>;

    /// Reads from `offset` on until `into` is full or the file ends; how many bytes that were. The owner of a file may
    /// always read it: an NFS client checks modes when a file is opened, which a server never sees.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn read(&self, caller: &Caller, file: &FileId, offset: u64, into: &mut [u8]) -> Result<usize>;

    /// Writes all of `data`, as durably as `stable` says. The owner of a file may always write it.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn write(&self, caller: &Caller, file: &FileId, offset: u64, data: &[u8], stable: Stable) -> Result<()>;

    /// Makes what was written without `stable` durable.
    ///
    /// # Errors
    ///
    /// Of the file system: what was written may be lost then.
    fn commit(&self, file: &FileId, offset: u64, count: u32) -> Result<()>;

    /// Makes a regular file. An exclusive create that finds the file its own earlier attempt made succeeds again.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn create(&self, caller: &Caller, dir: &FileId, name: &[u8], how: &CreateHow) -> Result<Found>;

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn make_directory(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        with: &SetAttributes,
    ) -> Result<Found>;

    /// Makes a symbolic link to `target`, which may be anything.
    ///
    /// # Errors
    ///
    /// Of the file system.
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
    /// [`FsError::BadKind`] if there are no such files here.
    fn make_node(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        node: Node,
        with: &SetAttributes,
    ) -> Result<Found>;

    /// Removes anything but a directory.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn remove(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn remove_directory(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Gives a file another name, in one step, replacing what had that name.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn rename(&self, caller: &Caller, from: (&FileId, &[u8]), to: (&FileId, &[u8])) -> Result<()>;

    /// Gives a file one more name.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn link(&self, caller: &Caller, file: &FileId, dir: &FileId, name: &[u8]) -> Result<()>;

    /// Hands out the entries of a directory behind `from`, until `take` refuses one or there are no more. With `full` they
    /// have their [`Found`], as far as it is to be had.
    ///
    /// # Errors
    ///
    /// Of the file system. A cookie stays good while other entries come and go.
    fn list(
        &self,
        caller: &Caller,
        dir: &FileId,
        from: Place,
        full: bool,
        take: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<Listed>;

    /// How full it is.
    ///
    /// # Errors
    ///
    /// Of the file system.
    fn usage(&self) -> Result<Usage>;

    /// Called every few seconds: the time to let go of what has not been used for a while.
    fn maintain(&self) {}
}

/// A file as its file system knows it: a few bytes that stay good when it is renamed and when the server starts anew.
///
/// Only what was sealed by [`Handles`](super::Handles) comes back from a client, so an implementation may trust it to be
/// one of its own, though the file may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl FileId {
    /// What fits into a handle of 64 bytes beside the seal.
    pub const MAX_LEN: usize = 50;

    /// None if it is too long.
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

/// On whose behalf something is done, as the request says and the export allows.
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

    /// Nobody in particular.
    pub const NOBODY: Self = Self { uid: 65_534, gid: 65_534, groups: Vec::new() };
}

/// A file, and its attributes at that moment.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which file it is.
    pub id: FileId,
    /// Its attributes.
    pub attributes: Attributes,
}

/// One entry of a directory.
#[derive(Debug)]
pub struct DirectoryEntry<'a> {
    /// The file's number within its file system, as in [`Attributes::file_number`].
    pub file_number: u64,
    /// Its name, `.` and `..` among them.
    pub name: &'a [u8],
    /// The place behind it.
    pub cookie: u64,
    /// None if not asked for, or not to be had: another file system mounted there, the entry just gone.
    pub found: Option<Found>,
}

/// Where in a directory to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// An entry's [`cookie`](DirectoryEntry::cookie), or 0 for the beginning.
    pub cookie: u64,
    /// [`Listed::verifier`] of the answer that the cookie came in; 0 at the beginning.
    pub verifier: u64,
}

/// How a listing ended.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// To be sent along with the cookies.
    pub verifier: u64,
    /// There are no more entries.
    pub end: bool,
}

/// How full a file system is, and what its limits are.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that are free for anyone but root.
    pub available_bytes: u64,
    /// Files that there may be.
    pub files: u64,
    /// Files that there may be yet.
    pub free_files: u64,
    /// Longest name, in bytes.
    pub name_max: u32,
    /// Most names of one file.
    pub link_max: u32,
}
