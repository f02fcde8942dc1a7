//! A Pi's root as a file system whose changes stay within [`Bounds`].
//!
//! Refused with NFS3ERR_NOSPC is what takes space: new names, longer files, and the first change of a file of the base image, which
//! overlayfs copies into the layer. Removing, and writing over blocks that a file of the layer has, goes on.

use pinetboot_nfs::{
    Attributes, Caller, CreateHow, DirectoryEntry, DirectoryTree, FileId, FileSystem, Found, FsError, Listed,
    Node, Place, Result as FsResult, Rights, SetAttributes, Stable, Time, Usage,
};

use super::bounds::{Bounds, Limit};
use crate::events::Shortage;

/// A bounded root.
#[derive(Debug)]
pub(super) struct BoundedTree {
    tree: DirectoryTree,
    bounds: Bounds,
    /// The time at which the layer was made: a file that was changed since is in the layer, as the base image never changes. The epoch
    /// for a tree without layers.
    made: Time,
}

/// A change that takes space.
struct Change<'a> {
    bytes: u64,
    /// The changed file, if it exists.
    file: Option<&'a FileId>,
    /// The end of the written bytes.
    end: u64,
}

impl BoundedTree {
    pub(super) const fn new(tree: DirectoryTree, bounds: Bounds, made: Time) -> Self {
        Self { tree, bounds, made }
    }

    fn admit(&self, change: &Change<'_>) -> FsResult<()> {
        let file = || self.tree.attributes(change.file?).ok();
        let mut bytes = change.bytes;
        if self.bounds.limit().is_some()
            && let Some(file) = file().filter(|file| !self.is_in_layer(file))
        {
            bytes = bytes.saturating_add(file.used);
        }
        let Err(why) = self.bounds.take(bytes) else { return Ok(()) };
        if file().is_some_and(|file| self.is_in_place(&file, change.end)) {
            return Ok(());
        }
        self.bounds.tell(why);
        Err(FsError::NoSpace)
    }

    /// Takes the space of a new name.
    fn admit_name(&self) -> FsResult<()> {
        self.admit(&Change { bytes: BLOCK, file: None, end: 0 })
    }

    fn is_in_layer(&self, file: &Attributes) -> bool {
        (file.changed.seconds, file.changed.nanoseconds) >= (self.made.seconds, self.made.nanoseconds)
    }

    /// Whether writing up to `end` takes no block: the file is in the layer, as long, and without holes.
    fn is_in_place(&self, file: &Attributes, end: u64) -> bool {
        self.is_in_layer(file)
            && (end == 0 || file.size >= end && file.used.saturating_add(BLOCK) >= file.size)
    }

    /// Tells of a disk that is full in spite of the bounds.
    fn told<T>(&self, result: FsResult<T>) -> FsResult<T> {
        if matches!(result, Err(FsError::NoSpace | FsError::Quota)) {
            // ext4 has EDQUOT for a project's limit, XFS ENOSPC.
            let limit = self.bounds.limit().filter(|limit| limit.is_by_quota());
            let is_reached =
                |limit: &&Limit| result.as_ref().err() == Some(&FsError::Quota) || limit.left() < BLOCK;
            let why = limit.filter(is_reached).map(|limit| Shortage::Limit { limit: limit.bytes() });
            self.bounds.tell(why.unwrap_or(Shortage::Disk));
        }
        result
    }
}

impl FileSystem for BoundedTree {
    fn root(&self) -> FileId {
        self.tree.root()
    }

    /// The disk of the layer: an overlay has a device number of its own, and its calls wait for the layer's disk.
    fn disk(&self) -> u64 {
        self.bounds.disk().number()
    }

    fn attributes(&self, id: &FileId) -> FsResult<Attributes> {
        self.tree.attributes(id)
    }

    fn access(&self, caller: &Caller, id: &FileId, wanted: Rights) -> FsResult<Rights> {
        self.tree.access(caller, id, wanted)
    }

    fn set_attributes(&self, caller: &Caller, id: &FileId, changes: &SetAttributes) -> FsResult<()> {
        self.admit(&Change { bytes: BLOCK, file: Some(id), end: 0 })?;
        self.told(self.tree.set_attributes(caller, id, changes))
    }

    fn lookup(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> FsResult<Found> {
        self.tree.lookup(caller, dir, name)
    }

    fn read_link(&self, caller: &Caller, link: &FileId) -> FsResult<Vec<u8>> {
        self.tree.read_link(caller, link)
    }

    fn read(&self, caller: &Caller, id: &FileId, offset: u64, into: &mut [u8]) -> FsResult<usize> {
        self.tree.read(caller, id, offset, into)
    }

    fn write(&self, caller: &Caller, id: &FileId, offset: u64, data: &[u8], stable: Stable) -> FsResult<()> {
        let bytes = data.len() as u64;
        self.admit(&Change { bytes, file: Some(id), end: offset.saturating_add(bytes) })?;
        self.told(self.tree.write(caller, id, offset, data, stable))
    }

    fn commit(&self, id: &FileId, offset: u64, count: u32) -> FsResult<()> {
        self.told(self.tree.commit(id, offset, count))
    }

    fn create(&self, caller: &Caller, dir: &FileId, name: &[u8], how: &CreateHow) -> FsResult<Found> {
        // A file that exists is opened, and takes no space.
        if let Err(error) = self.admit_name()
            && self.tree.lookup(caller, dir, name).is_err()
        {
            return Err(error);
        }
        self.told(self.tree.create(caller, dir, name, how))
    }

    fn make_directory(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        with: &SetAttributes,
    ) -> FsResult<Found> {
        self.admit_name()?;
        self.told(self.tree.make_directory(caller, dir, name, with))
    }

    fn make_symlink(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        target: &[u8],
        with: &SetAttributes,
    ) -> FsResult<Found> {
        self.admit_name()?;
        self.told(self.tree.make_symlink(caller, dir, name, target, with))
    }

    fn make_node(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        node: Node,
        with: &SetAttributes,
    ) -> FsResult<Found> {
        self.admit_name()?;
        self.told(self.tree.make_node(caller, dir, name, node, with))
    }

    fn remove(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> FsResult<()> {
        self.told(self.tree.remove(caller, dir, name))
    }

    fn remove_directory(&self, caller: &Caller, dir: &FileId, name: &[u8]) -> FsResult<()> {
        self.told(self.tree.remove_directory(caller, dir, name))
    }

    fn rename(&self, caller: &Caller, from: (&FileId, &[u8]), to: (&FileId, &[u8])) -> FsResult<()> {
        let renamed = self.tree.lookup(caller, from.0, from.1).ok().map(|found| found.id);
        self.admit(&Change { bytes: BLOCK, file: renamed.as_ref(), end: 0 })?;
        self.told(self.tree.rename(caller, from, to))
    }

    fn link(&self, caller: &Caller, file: &FileId, dir: &FileId, name: &[u8]) -> FsResult<()> {
        self.admit(&Change { bytes: BLOCK, file: Some(file), end: 0 })?;
        self.admit_name()?;
        self.told(self.tree.link(caller, file, dir, name))
    }

    fn list(
        &self,
        caller: &Caller,
        dir: &FileId,
        from: Place,
        full: bool,
        take: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> FsResult<Listed> {
        self.tree.list(caller, dir, from, full, take)
    }

    /// The space that the bounds leave: `df` on the Pi shows its limit.
    fn usage(&self) -> FsResult<Usage> {
        let mut usage = self.tree.usage()?;
        let left = self.bounds.disk().space().measure().map_or(u64::MAX, |free| free.for_clients);
        usage.available_bytes = usage.available_bytes.min(left);
        if let Some(limit) = self.bounds.limit() {
            let left = limit.left();
            usage.bytes = usage.bytes.min(limit.bytes());
            usage.free_bytes = usage.free_bytes.min(left);
            usage.available_bytes = usage.available_bytes.min(left);
        }
        Ok(usage)
    }

    fn maintain(&self) {
        self.tree.maintain();
    }

    fn rest(&self) {
        self.tree.rest();
    }
}

/// Bytes of a new name: a block of the directory or of the inode's table.
const BLOCK: u64 = 4096;
