//! The files of a tree in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use crate::file_system::{
    Attributes, Caller, Device, FileId, FileKind, Found, FsError, Result, SetAttributes, SetTime, Time,
};

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) by_number: HashMap<u64, Inode>,
    pub(super) next: u64,
    pub(super) used: usize,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) attributes: Attributes,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    File { bytes: Vec<u8>, verifier: Option<[u8; 8]> },
    Directory { entries: BTreeMap<Vec<u8>, Name>, parent: u64 },
    Link(Vec<u8>),
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) node: u64,
    /// Never reused, so that it stays valid when other entries are removed.
    pub(super) cookie: u64,
}

impl Nodes {
    pub(super) fn node(&mut self, number: u64) -> Result<&mut Inode> {
        self.by_number.get_mut(&number).ok_or(FsError::Stale)
    }

    pub(super) fn found(&mut self, number: u64) -> Result<Found> {
        let attributes = self.node(number)?.attributes;
        Ok(Found { id: id(number), attributes })
    }

    pub(super) fn entries(&mut self, dir: u64) -> Result<&mut BTreeMap<Vec<u8>, Name>> {
        match &mut self.node(dir)?.content {
            Content::Directory { entries, .. } => Ok(entries),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub(super) fn parent(&mut self, dir: u64) -> Result<u64> {
        match &self.node(dir)?.content {
            Content::Directory { parent, .. } => Ok(*parent),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub(super) fn named(&mut self, dir: u64, name: &[u8]) -> Result<Name> {
        self.entries(dir)?.get(name).copied().ok_or(FsError::NotFound)
    }

    pub(super) fn bytes(&mut self, file: u64) -> Result<&mut Vec<u8>> {
        match &mut self.node(file)?.content {
            Content::File { bytes, .. } => Ok(bytes),
            Content::Directory { .. } => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }

    /// Whether `dir` is `above`, or beneath it.
    pub(super) fn is_within(&mut self, mut dir: u64, above: u64) -> Result<bool> {
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

    pub(super) fn add(&mut self, kind: FileKind, mode: u32, caller: &Caller, content: Content) -> u64 {
        let number = self.next;
        self.next += 1;
        let size = if let Content::Link(target) = &content { target.len() as u64 } else { 0 };
        let now = Time::from(SystemTime::now());
        let attributes = Attributes {
            kind,
            mode,
            links: if kind == FileKind::Directory { 1 } else { 0 },
            uid: caller.uid,
            gid: caller.gid,
            size,
            used: size,
            device: Device::default(),
            file_number: number,
            accessed: now,
            modified: now,
            changed: now,
        };
        self.by_number.insert(number, Inode { attributes, content });
        number
    }

    pub(super) fn enter(&mut self, dir: u64, name: &[u8], node: u64) -> Result<()> {
        let cookie = self.next + FIRST_COOKIE;
        self.next += 1;
        self.entries(dir)?.insert(name.into(), Name { node, cookie });
        self.touch(dir);
        self.node(node)?.attributes.links += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let Name { node, .. } = self.entries(dir)?.remove(name).ok_or(FsError::NotFound)?;
        self.touch(dir);
        let gone = self.node(node)?;
        gone.attributes.links -= 1;
        let last = if gone.attributes.kind == FileKind::Directory { 1 } else { 0 };
        if gone.attributes.links <= last {
            if let Content::File { bytes, .. } = &gone.content {
                self.used -= bytes.len();
            }
            self.by_number.remove(&node);
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, file: u64, size: usize, room: usize) -> Result<()> {
        let others = self.used - self.bytes(file)?.len();
        if others.checked_add(size).is_none_or(|used| used > room) {
            return Err(FsError::NoSpace);
        }
        self.bytes(file)?.resize(size, 0);
        self.used = others + size;
        let attributes = &mut self.node(file)?.attributes;
        (attributes.size, attributes.used) = (size as u64, size as u64);
        Ok(())
    }

    pub(super) fn change(&mut self, file: u64, changes: &SetAttributes, room: usize) -> Result<()> {
        if let Some(size) = changes.size {
            self.resize(file, usize::try_from(size).map_err(|_| FsError::TooLarge)?, room)?;
        }
        self.touch(file);
        let attributes = &mut self.node(file)?.attributes;
        attributes.mode = changes.mode.map_or(attributes.mode, |mode| mode & 0o7777);
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        if let SetTime::To(time) = changes.accessed {
            attributes.accessed = time;
        }
        if let SetTime::To(time) = changes.modified {
            attributes.modified = time;
        }
        Ok(())
    }

    /// Sets the time of change to now.
    pub(super) fn touch(&mut self, number: u64) {
        if let Ok(node) = self.node(number) {
            let now = Time::from(SystemTime::now());
            (node.attributes.modified, node.attributes.changed) = (now, now);
        }
    }
}

pub(super) fn id(number: u64) -> FileId {
    FileId::new(&number.to_be_bytes()).unwrap_or_else(|| unreachable!("eight bytes fit"))
}

pub(super) fn number(id: &FileId) -> Result<u64> {
    id.as_bytes().try_into().map(u64::from_be_bytes).map_err(|_| FsError::Stale)
}

pub(super) const ROOT: u64 = 1;
/// The first cookie after those of `.` and `..`.
const FIRST_COOKIE: u64 = 2;
