//! A file system in memory, for tests: it takes no privileges, forgets everything, and lets everyone do everything.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use nfs3_types::nfs3::{
    createhow3, fattr3, ftype3, mknoddata3, nfsstat3, nfstime3, sattr3, set_atime, set_gid3, set_mode3,
    set_mtime, set_size3, set_uid3, specdata3, stable_how,
};

use super::file_system::{Caller, Entry, FileId, FileSystem, Found, Listed, Place, Result, Usage};

/// A tree, empty at first.
#[derive(Debug)]
pub struct MemoryTree {
    nodes: Mutex<Nodes>,
    room: usize,
    failing: AtomicUsize,
}

#[derive(Debug)]
struct Nodes {
    by_number: HashMap<u64, Node>,
    next: u64,
    used: usize,
}

#[derive(Debug)]
struct Node {
    attributes: fattr3,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File { bytes: Vec<u8>, verifier: Option<[u8; 8]> },
    Directory { entries: BTreeMap<Vec<u8>, Name>, parent: u64 },
    Link(Vec<u8>),
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    node: u64,
    /// Never used again, so that it stays good when other entries go.
    cookie: u64,
}

impl MemoryTree {
    /// With room for about so many bytes, and a file for every hundred of them.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let mut nodes = Nodes { by_number: HashMap::new(), next: ROOT, used: 0 };
        let directory = Content::Directory { entries: BTreeMap::new(), parent: ROOT };
        nodes.add(ftype3::NF3DIR, 0o755, &Caller::ROOT, directory);
        Self { nodes: Mutex::new(nodes), room, failing: AtomicUsize::new(0) }
    }

    /// The next so many commits fail, as if the disk had.
    pub fn fail_commits(&self, count: usize) {
        self.failing.store(count, Ordering::SeqCst);
    }

    fn with<T>(&self, id: &FileId, act: impl FnOnce(&mut Nodes, u64) -> Result<T>) -> Result<T> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = number(id)?;
        if nodes.by_number.contains_key(&number) {
            act(&mut nodes, number)
        } else {
            Err(nfsstat3::NFS3ERR_STALE)
        }
    }

    fn make(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        kind: ftype3,
        with: &sattr3,
        content: Content,
    ) -> Result<Found> {
        self.with(dir, |nodes, dir| {
            if nodes.by_number.len() * BYTES_PER_FILE >= self.room {
                return Err(nfsstat3::NFS3ERR_NOSPC);
            }
            if nodes.entries(dir)?.contains_key(name) {
                return Err(nfsstat3::NFS3ERR_EXIST);
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

    fn attributes(&self, file: &FileId) -> Result<fattr3> {
        self.with(file, |nodes, file| Ok(nodes.found(file)?.attributes))
    }

    fn access(&self, _: &Caller, file: &FileId, wanted: u32) -> Result<u32> {
        self.with(file, |_, _| Ok(wanted & 0x3f))
    }

    fn set_attributes(&self, _: &Caller, file: &FileId, changes: &sattr3) -> Result<()> {
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
            _ => Err(nfsstat3::NFS3ERR_INVAL),
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

    fn write(&self, _: &Caller, file: &FileId, offset: u64, data: &[u8], _: stable_how) -> Result<()> {
        self.with(file, |nodes, file| {
            let begin = usize::try_from(offset).map_err(|_| nfsstat3::NFS3ERR_FBIG)?;
            let end = begin.checked_add(data.len()).ok_or(nfsstat3::NFS3ERR_FBIG)?;
            if nodes.bytes(file)?.len() < end {
                nodes.resize(file, end, self.room)?;
            }
            let place = nodes.bytes(file)?.get_mut(begin..end).ok_or(nfsstat3::NFS3ERR_FBIG)?;
            place.copy_from_slice(data);
            nodes.touch(file);
            Ok(())
        })
    }

    fn commit(&self, file: &FileId, _: u64, _: u32) -> Result<()> {
        let fewer = |left: usize| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Err(nfsstat3::NFS3ERR_IO);
        }
        self.with(file, |nodes, file| nodes.bytes(file).map(|_| ()))
    }

    fn create(&self, caller: &Caller, dir: &FileId, name: &[u8], how: &createhow3) -> Result<Found> {
        let nothing = sattr3::default();
        let (with, verifier) = match how {
            createhow3::UNCHECKED(with) | createhow3::GUARDED(with) => (with, None),
            createhow3::EXCLUSIVE(verifier) => (&nothing, Some(verifier.0)),
        };
        let content = Content::File { bytes: Vec::new(), verifier };
        match self.make(caller, dir, name, ftype3::NF3REG, with, content) {
            Err(nfsstat3::NFS3ERR_EXIST) => self.with(dir, |nodes, dir| {
                let there = nodes.named(dir, name)?.node;
                let Content::File { verifier: kept, .. } = &nodes.node(there)?.content else {
                    return Err(nfsstat3::NFS3ERR_EXIST);
                };
                match how {
                    createhow3::UNCHECKED(with) => {
                        let size = sattr3 { size: with.size, ..sattr3::default() };
                        nodes.change(there, &size, self.room)?;
                    }
                    createhow3::EXCLUSIVE(_) if *kept == verifier => {}
                    _ => return Err(nfsstat3::NFS3ERR_EXIST),
                }
                nodes.found(there)
            }),
            made => made,
        }
    }

    fn make_directory(&self, caller: &Caller, dir: &FileId, name: &[u8], with: &sattr3) -> Result<Found> {
        let content = Content::Directory { entries: BTreeMap::new(), parent: number(dir)? };
        self.make(caller, dir, name, ftype3::NF3DIR, with, content)
    }

    fn make_symlink(
        &self,
        caller: &Caller,
        dir: &FileId,
        name: &[u8],
        target: &[u8],
        with: &sattr3,
    ) -> Result<Found> {
        self.make(caller, dir, name, ftype3::NF3LNK, with, Content::Link(target.into()))
    }

    fn make_node(&self, caller: &Caller, dir: &FileId, name: &[u8], what: &mknoddata3) -> Result<Found> {
        let (kind, with, device) = match what {
            mknoddata3::NF3CHR(of) => (ftype3::NF3CHR, &of.dev_attributes, of.spec.clone()),
            mknoddata3::NF3BLK(of) => (ftype3::NF3BLK, &of.dev_attributes, of.spec.clone()),
            mknoddata3::NF3SOCK(with) => (ftype3::NF3SOCK, with, specdata3::default()),
            mknoddata3::NF3FIFO(with) => (ftype3::NF3FIFO, with, specdata3::default()),
            mknoddata3::default => return Err(nfsstat3::NFS3ERR_BADTYPE),
        };
        let made = self.make(caller, dir, name, kind, with, Content::Other)?;
        self.with(&made.id, |nodes, node| {
            nodes.node(node)?.attributes.rdev = device;
            nodes.found(node)
        })
    }

    fn remove(&self, _: &Caller, dir: &FileId, name: &[u8]) -> Result<()> {
        self.with(dir, |nodes, dir| {
            let node = nodes.named(dir, name)?.node;
            if matches!(nodes.node(node)?.content, Content::Directory { .. }) {
                return Err(nfsstat3::NFS3ERR_ISDIR);
            }
            nodes.leave(dir, name)
        })
    }

    fn remove_directory(&self, _: &Caller, dir: &FileId, name: &[u8]) -> Result<()> {
        self.with(dir, |nodes, dir| {
            let node = nodes.named(dir, name)?.node;
            if !nodes.entries(node)?.is_empty() {
                return Err(nfsstat3::NFS3ERR_NOTEMPTY);
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
                return Err(nfsstat3::NFS3ERR_INVAL);
            }
            match nodes.named(to_dir, to.1) {
                Ok(there) if there.node == moved => return Ok(()),
                Ok(there) => match (&nodes.node(there.node)?.content, is_directory) {
                    (Content::Directory { entries, .. }, true) if !entries.is_empty() => {
                        return Err(nfsstat3::NFS3ERR_NOTEMPTY);
                    }
                    (Content::Directory { .. }, false) => return Err(nfsstat3::NFS3ERR_ISDIR),
                    (Content::Directory { .. }, true) => nodes.leave(to_dir, to.1)?,
                    (_, true) => return Err(nfsstat3::NFS3ERR_NOTDIR),
                    (_, false) => nodes.leave(to_dir, to.1)?,
                },
                Err(nfsstat3::NFS3ERR_NOENT) => {}
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
                return Err(nfsstat3::NFS3ERR_ISDIR);
            }
            if nodes.entries(dir)?.contains_key(name) {
                return Err(nfsstat3::NFS3ERR_EXIST);
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
        take: &mut dyn FnMut(Entry<'_>) -> bool,
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
                if !take(Entry { file_number: node, name: &name, cookie, found }) {
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

impl Nodes {
    fn node(&mut self, number: u64) -> Result<&mut Node> {
        self.by_number.get_mut(&number).ok_or(nfsstat3::NFS3ERR_STALE)
    }

    fn found(&mut self, number: u64) -> Result<Found> {
        let attributes = self.node(number)?.attributes.clone();
        Ok(Found { id: id(number), attributes })
    }

    fn entries(&mut self, dir: u64) -> Result<&mut BTreeMap<Vec<u8>, Name>> {
        match &mut self.node(dir)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            _ => Err(nfsstat3::NFS3ERR_NOTDIR),
        }
    }

    fn parent(&mut self, dir: u64) -> Result<u64> {
        match &self.node(dir)?.content {
            Content::Directory { parent, .. } => Ok(*parent),
            _ => Err(nfsstat3::NFS3ERR_NOTDIR),
        }
    }

    fn named(&mut self, dir: u64, name: &[u8]) -> Result<Name> {
        self.entries(dir)?.get(name).copied().ok_or(nfsstat3::NFS3ERR_NOENT)
    }

    fn bytes(&mut self, file: u64) -> Result<&mut Vec<u8>> {
        match &mut self.node(file)?.content {
            Content::File { bytes, .. } => Ok(bytes),
            Content::Directory { .. } => Err(nfsstat3::NFS3ERR_ISDIR),
            _ => Err(nfsstat3::NFS3ERR_INVAL),
        }
    }

    /// Is `dir` beneath `above`, or the same?
    fn is_within(&mut self, mut dir: u64, above: u64) -> Result<bool> {
        loop {
            if dir == above {
                return Ok(true);
            }
            if dir == ROOT {
                return Ok(false);
            }
            dir = self.parent(dir)?;
        }
    }

    fn add(&mut self, kind: ftype3, mode: u32, caller: &Caller, content: Content) -> u64 {
        let number = self.next;
        self.next += 1;
        let size = if let Content::Link(target) = &content { target.len() as u64 } else { 0 };
        let attributes = fattr3 {
            type_: kind,
            mode,
            nlink: if kind == ftype3::NF3DIR { 1 } else { 0 },
            uid: caller.uid,
            gid: caller.gid,
            size,
            used: size,
            rdev: specdata3::default(),
            fsid: 0,
            fileid: number,
            atime: now(),
            mtime: now(),
            ctime: now(),
        };
        self.by_number.insert(number, Node { attributes, content });
        number
    }

    fn enter(&mut self, dir: u64, name: &[u8], node: u64) -> Result<()> {
        let cookie = self.next + FIRST_COOKIE;
        self.next += 1;
        self.entries(dir)?.insert(name.into(), Name { node, cookie });
        self.touch(dir);
        self.node(node)?.attributes.nlink += 1;
        Ok(())
    }

    fn leave(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let Name { node, .. } = self.entries(dir)?.remove(name).ok_or(nfsstat3::NFS3ERR_NOENT)?;
        self.touch(dir);
        let gone = self.node(node)?;
        gone.attributes.nlink -= 1;
        let last = if gone.attributes.type_ == ftype3::NF3DIR { 1 } else { 0 };
        if gone.attributes.nlink <= last {
            if let Content::File { bytes, .. } = &gone.content {
                self.used -= bytes.len();
            }
            self.by_number.remove(&node);
        }
        Ok(())
    }

    fn resize(&mut self, file: u64, size: usize, room: usize) -> Result<()> {
        let others = self.used - self.bytes(file)?.len();
        if others.checked_add(size).is_none_or(|used| used > room) {
            return Err(nfsstat3::NFS3ERR_NOSPC);
        }
        self.bytes(file)?.resize(size, 0);
        self.used = others + size;
        let attributes = &mut self.node(file)?.attributes;
        (attributes.size, attributes.used) = (size as u64, size as u64);
        Ok(())
    }

    fn change(&mut self, file: u64, changes: &sattr3, room: usize) -> Result<()> {
        if let set_size3::Some(size) = changes.size {
            self.resize(file, usize::try_from(size).map_err(|_| nfsstat3::NFS3ERR_FBIG)?, room)?;
        }
        self.touch(file);
        let attributes = &mut self.node(file)?.attributes;
        if let set_mode3::Some(mode) = changes.mode {
            attributes.mode = mode & 0o7777;
        }
        if let set_uid3::Some(uid) = changes.uid {
            attributes.uid = uid;
        }
        if let set_gid3::Some(gid) = changes.gid {
            attributes.gid = gid;
        }
        if let set_atime::SET_TO_CLIENT_TIME(time) = changes.atime {
            attributes.atime = time;
        }
        if let set_mtime::SET_TO_CLIENT_TIME(time) = changes.mtime {
            attributes.mtime = time;
        }
        Ok(())
    }

    /// It has been changed now.
    fn touch(&mut self, number: u64) {
        if let Ok(node) = self.node(number) {
            (node.attributes.mtime, node.attributes.ctime) = (now(), now());
        }
    }
}

fn id(number: u64) -> FileId {
    FileId::new(&number.to_be_bytes()).unwrap_or_else(|| unreachable!("eight bytes fit"))
}

fn number(id: &FileId) -> Result<u64> {
    id.as_bytes().try_into().map(u64::from_be_bytes).map_err(|_| nfsstat3::NFS3ERR_STALE)
}

fn now() -> nfstime3 {
    SystemTime::now().try_into().unwrap_or_default()
}

const ROOT: u64 = 1;
/// Behind those of `.` and `..`.
const FIRST_COOKIE: u64 = 2;
const VERIFIER: u64 = 1;
const BYTES_PER_FILE: usize = 100;
