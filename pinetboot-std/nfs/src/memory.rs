//! A file system in memory, for tests: needs no privileges, stores nothing on disk, and checks no permissions.

mod nodes;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use self::nodes::{Content, Name, Nodes, ROOT, id, number};
use super::file_system::{
    Attributes, Caller, CreateHow, Device, DirectoryEntry, FileId, FileKind, FileSystem, Found, FsError,
    Listed, Node, Place, Result, Rights, SetAttributes, Stable, Usage,
};

/// A tree in memory.
#[derive(Debug)]
pub struct MemoryTree {
    nodes: Mutex<Nodes>,
    disk: u64,
    room: usize,
    failing: AtomicUsize,
    frozen: Mutex<bool>,
    thawed: Condvar,
    waiting: AtomicUsize,
}

impl MemoryTree {
    /// An empty tree for about `room` bytes, and a file for every hundred of them.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let mut nodes = Nodes { by_number: HashMap::new(), next: ROOT, used: 0 };
        let directory = Content::Directory { entries: BTreeMap::new(), parent: ROOT };
        nodes.add(FileKind::Directory, 0o755, &Caller::ROOT, directory);
        Self {
            nodes: Mutex::new(nodes),
            disk: NEXT_DISK.fetch_add(1, Ordering::Relaxed),
            room,
            failing: AtomicUsize::new(0),
            frozen: Mutex::new(false),
            thawed: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Makes the next commits fail, like a failing disk.
    pub fn fail_commits(&self, count: usize) {
        self.failing.store(count, Ordering::SeqCst);
    }

    /// Makes writes wait, like a disk that does not answer, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Carries out the waiting writes.
    pub fn thaw(&self) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.thawed.notify_all();
    }

    /// The number of waiting writes.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn wait_for_thaw(&self) {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *frozen {
            frozen = self.thawed.wait(frozen).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn with<T>(&self, id: &FileId, act: impl FnOnce(&mut Nodes, u64) -> Result<T>) -> Result<T> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = number(id)?;
        if nodes.by_number.contains_key(&number) { act(&mut nodes, number) } else { Err(FsError::Stale) }
    }

    fn make(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        kind: FileKind,
        with: &SetAttributes,
        content: Content,
    ) -> Result<Found> {
        self.with(dir, |nodes, dir| {
            if nodes.by_number.len() * BYTES_PER_FILE >= self.room {
                return Err(FsError::NoSpace);
            }
            if nodes.entries(dir)?.contains_key(name) {
                return Err(FsError::Exists);
            }
            let number = nodes.add(kind, 0o644, caller, content);
            nodes.enter(dir, name, number)?;
            nodes.change(number, with, self.room)?;
            nodes.found(number)
        })
    }
}

impl FileSystem for MemoryTree {
    fn root(&self) -> FileId {
        id(ROOT)
    }

    fn disk(&self) -> u64 {
        self.disk
    }

    fn attributes(&self, file: &FileId) -> Result<Attributes> {
        self.with(file, |nodes, file| Ok(nodes.found(file)?.attributes))
    }

    fn access(&self, _: &Caller, file: &FileId, wanted: Rights) -> Result<Rights> {
        self.with(file, |_, _| Ok(wanted))
    }

    fn set_attributes(&self, _: &Caller, file: &FileId, changes: &SetAttributes) -> Result<()> {
        self.with(file, |nodes, file| nodes.change(file, changes, self.room))
    }

    fn lookup(&self, _: &Caller, dir: &FileId, name: &[u8]) -> Result<Found> {
        self.with(dir, |nodes, dir| {
            let found = match name {
                b"." => nodes.entries(dir).map(|_| dir)?,
                b".." => nodes.parent(dir)?,
                name => nodes.named(dir, name)?.node,
            };
            nodes.found(found)
        })
    }

    fn read_link(&self, _: &Caller, link: &FileId) -> Result<Vec<u8>> {
        self.with(link, |nodes, link| match &nodes.node(link)?.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(FsError::Invalid),
        })
    }

    fn read(&self, _: &Caller, file: &FileId, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.with(file, |nodes, file| {
            let bytes = nodes.bytes(file)?;
            let rest =
                usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            let len = rest.len().min(into.len());
            into.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            Ok(len)
        })
    }

    fn write(&self, _: &Caller, file: &FileId, offset: u64, data: &[u8], _: Stable) -> Result<()> {
        self.wait_for_thaw();
        self.with(file, |nodes, file| {
            let begin = usize::try_from(offset).map_err(|_| FsError::TooLarge)?;
            let end = begin.checked_add(data.len()).ok_or(FsError::TooLarge)?;
            if nodes.bytes(file)?.len() < end {
                nodes.resize(file, end, self.room)?;
            }
            let place = nodes.bytes(file)?.get_mut(begin..end).ok_or(FsError::TooLarge)?;
            place.copy_from_slice(data);
            nodes.touch(file);
            Ok(())
        })
    }

    fn commit(&self, file: &FileId, _: u64, _: u32) -> Result<()> {
        let fewer = |left: usize| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Err(FsError::Io);
        }
        self.with(file, |nodes, file| nodes.bytes(file).map(|_| ()))
    }

    fn create(&self, caller: &Caller, dir: &FileId, name: &[u8], how: &CreateHow) -> Result<Found> {
        let nothing = SetAttributes::default();
        let (with, verifier) = match how {
            CreateHow::Unchecked(with) | CreateHow::Guarded(with) => (with, None),
            CreateHow::Exclusive(verifier) => (&nothing, Some(*verifier)),
        };
        let content = Content::File { bytes: Vec::new(), verifier };
        match self.make(caller, dir, name, FileKind::Regular, with, content) {
            Err(FsError::Exists) => self.with(dir, |nodes, dir| {
                let there = nodes.named(dir, name)?.node;
                let Content::File { verifier: kept, .. } = &nodes.node(there)?.content else {
                    return Err(FsError::Exists);
                };
                match how {
                    CreateHow::Unchecked(with) => {
                        let size = SetAttributes { size: with.size, ..SetAttributes::default() };
                        nodes.change(there, &size, self.room)?;
                    }
                    CreateHow::Exclusive(_) if *kept == verifier => {}
                    _ => return Err(FsError::Exists),
                }
                nodes.found(there)
            }),
            made => made,
        }
    }

    fn make_directory(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        with: &SetAttributes,
    ) -> Result<Found> {
        let content = Content::Directory { entries: BTreeMap::new(), parent: number(dir)? };
        self.make(caller, dir, name, FileKind::Directory, with, content)
    }

    fn make_symlink(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        target: &[u8],
        with: &SetAttributes,
    ) -> Result<Found> {
        self.make(caller, dir, name, FileKind::Symlink, with, Content::Link(target.into()))
    }

    fn make_node(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        node: Node,
        with: &SetAttributes,
    ) -> Result<Found> {
        let (kind, device) = match node {
            Node::CharacterDevice(device) => (FileKind::CharacterDevice, device),
            Node::BlockDevice(device) => (FileKind::BlockDevice, device),
            Node::Socket => (FileKind::Socket, Device::default()),
            Node::Fifo => (FileKind::Fifo, Device::default()),
        };
        let made = self.make(caller, dir, name, kind, with, Content::Other)?;
        self.with(&made.id, |nodes, node| {
            nodes.node(node)?.attributes.device = device;
            nodes.found(node)
        })
    }

    fn remove(&self, _: &Caller, dir: &FileId, name: &[u8]) -> Result<()> {
        self.with(dir, |nodes, dir| {
            let node = nodes.named(dir, name)?.node;
            if matches!(nodes.node(node)?.content, Content::Directory { .. }) {
                return Err(FsError::IsDirectory);
            }
            nodes.leave(dir, name)
        })
    }

    fn remove_directory(&self, _: &Caller, dir: &FileId, name: &[u8]) -> Result<()> {
        self.with(dir, |nodes, dir| {
            let node = nodes.named(dir, name)?.node;
            if !nodes.entries(node)?.is_empty() {
                return Err(FsError::NotEmpty);
            }
            nodes.leave(dir, name)
        })
    }

    fn rename(&self, _: &Caller, from: (&FileId, &[u8]), to: (&FileId, &[u8])) -> Result<()> {
        self.with(from.0, |nodes, from_dir| {
            let to_dir = number(to.0)?;
            let moved = nodes.named(from_dir, from.1)?.node;
            let is_directory = matches!(nodes.node(moved)?.content, Content::Directory { .. });
            if is_directory && nodes.is_within(to_dir, moved)? {
                return Err(FsError::Invalid);
            }
            match nodes.named(to_dir, to.1) {
                Ok(there) if there.node == moved => return Ok(()),
                Ok(there) => match (&nodes.node(there.node)?.content, is_directory) {
                    (Content::Directory { entries, .. }, true) if !entries.is_empty() => {
                        return Err(FsError::NotEmpty);
                    }
                    (Content::Directory { .. }, false) => return Err(FsError::IsDirectory),
                    (Content::Directory { .. }, true) => nodes.leave(to_dir, to.1)?,
                    (_, true) => return Err(FsError::NotDirectory),
                    (_, false) => nodes.leave(to_dir, to.1)?,
                },
                Err(FsError::NotFound) => {}
                Err(status) => return Err(status),
            }
            nodes.enter(to_dir, to.1, moved)?;
            nodes.leave(from_dir, from.1)?;
            if let Content::Directory { parent, .. } = &mut nodes.node(moved)?.content {
                *parent = to_dir;
            }
            Ok(())
        })
    }

    fn link(&self, _: &Caller, file: &FileId, dir: &FileId, name: &[u8]) -> Result<()> {
        self.with(file, |nodes, file| {
            let dir = number(dir)?;
            if matches!(nodes.node(file)?.content, Content::Directory { .. }) {
                return Err(FsError::IsDirectory);
            }
            if nodes.entries(dir)?.contains_key(name) {
                return Err(FsError::Exists);
            }
            nodes.enter(dir, name, file)
        })
    }

    fn list(
        &self,
        _: &Caller,
        dir: &FileId,
        from: Place,
        full: bool,
        take: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<Listed> {
        self.with(dir, |nodes, dir| {
            let mut entries: Vec<_> =
                nodes.entries(dir)?.iter().map(|(name, &entry)| (entry, name.clone())).collect();
            entries.push((Name { node: dir, cookie: 1 }, b".".to_vec()));
            entries.push((Name { node: nodes.parent(dir)?, cookie: 2 }, b"..".to_vec()));
            entries.sort_by_key(|(entry, _)| entry.cookie);
            for (Name { node, cookie }, name) in entries {
                if cookie <= from.cookie {
                    continue;
                }
                let found = if full { nodes.found(node).ok() } else { None };
                if !take(DirectoryEntry { file_number: node, name: &name, cookie, found }) {
                    return Ok(Listed { verifier: VERIFIER, end: false });
                }
            }
            Ok(Listed { verifier: VERIFIER, end: true })
        })
    }

    fn usage(&self) -> Result<Usage> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, files) = (self.room - nodes.used, (self.room / BYTES_PER_FILE) as u64);
        Ok(Usage {
            bytes: self.room as u64,
            free_bytes: free as u64,
            available_bytes: free as u64,
            files,
            free_files: files.saturating_sub(nodes.by_number.len() as u64),
            name_max: 255,
            link_max: u32::MAX,
        })
    }
}

/// Each tree is a disk of its own.
static NEXT_DISK: AtomicU64 = AtomicU64::new(1);

const VERIFIER: u64 = 1;
const BYTES_PER_FILE: usize = 100;
