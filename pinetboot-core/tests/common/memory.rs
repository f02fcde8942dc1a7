//! Files in memory, which can be made to fail, or to come later.

use core::cell::RefCell;
use core::fmt;
use core::net::SocketAddrV4;
use std::collections::BTreeMap;
use std::rc::Rc;

use pinetboot_core::pi::{Lookup, Place, Prefix};
use pinetboot_core::{BootPath, File, OpenError, OpenRequest, Refusal, Storage, Upload};

use super::wire::content;

/// A storage in memory. Clones share what they hold.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<String, Opened>,
    /// The bytes that all uploads together may have; none are taken without.
    pub(crate) room: Option<usize>,
    /// Uploads fail when they are finished.
    pub(crate) finish_fails: bool,
    /// What was written and finished, in order.
    pub(crate) finished: Rc<RefCell<Vec<Finished>>>,
    /// What happened, in order.
    pub(crate) notes: Rc<RefCell<Vec<String>>>,
    pub(crate) late: Rc<RefCell<Late>>,
}

/// What comes later.
#[derive(Default)]
pub(crate) struct Late {
    /// Files, and from which offset on they come later; without one, they are not even found before.
    files: BTreeMap<String, Option<u64>>,
    waiting: Vec<(String, SocketAddrV4)>,
    resumed: Vec<SocketAddrV4>,
}

impl Late {
    /// The file is there from now on.
    pub(crate) fn comes(&mut self, name: &str) {
        self.files.remove(name);
        let Self { waiting, resumed, .. } = self;
        resumed.extend(waiting.extract_if(.., |(waits_for, _)| waits_for == name).map(|(_, peer)| peer));
    }

    fn is_late(&mut self, name: &str, peer: SocketAddrV4, end: Option<u64>) -> bool {
        let late = self.files.get(name).is_some_and(|from| match (*from, end) {
            (Some(from), Some(end)) => end > from,
            (from, end) => from.is_none() && end.is_none(),
        });
        if late {
            self.waiting.push((name.into(), peer));
        }
        late
    }
}

impl Memory {
    /// With a file of `len` bytes that tell where they are from.
    pub(crate) fn with(self, name: &str, len: u64) -> Self {
        self.with_bytes(name, content(0..len))
    }

    pub(crate) fn with_bytes(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.insert(name.into(), Opened::new(&bytes, u64::MAX));
        self
    }

    /// The bytes of this file come, or are kept, later from `from` on.
    pub(crate) fn late(self, name: &str, from: u64) -> Self {
        self.late.borrow_mut().files.insert(name.into(), Some(from));
        self
    }

    /// This file is found, or created, later.
    pub(crate) fn lost(self, name: &str) -> Self {
        self.late.borrow_mut().files.insert(name.into(), None);
        self
    }

    /// With a file of `len` bytes that cannot be read from `fails_at` on.
    pub(crate) fn with_failing(mut self, name: &str, len: u64, fails_at: u64) -> Self {
        self.files.insert(name.into(), Opened::new(&content(0..len), fails_at));
        self
    }

    /// Which of the files a Pi gets by this name.
    fn place(&self, path: &BootPath<'_>) -> String {
        let lookup = Lookup::new(*path);
        let mut directories = self.files.keys().filter_map(|name| Some(name.split_once('/')?.0));
        match lookup.place(|pi| directories.find(|name| Prefix::parse(name) == Some(pi))) {
            Place::Own(directory) => format!("{directory}/{}", lookup.file()),
            Place::Shared => lookup.file().to_string(),
        }
    }

    pub(crate) fn written(&self, name: &str) -> Option<Vec<u8>> {
        self.finished.borrow().iter().rfind(|file| file.name == name).map(|file| file.bytes.clone())
    }
}

/// A file that was written.
pub(crate) struct Finished {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Storage for Memory {
    type File = Opened;
    type Upload = Written;
    type Refusal = Miss;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, Miss> {
        let name = self.place(&request.path);
        if name.starts_with("secret") {
            return Err(Miss { error: OpenError::Denied, place: format!("memory:{name}") });
        }
        if self.late.borrow_mut().is_late(&name, request.peer, None) {
            return Err(OpenError::Later.into());
        }
        let late = Some((Rc::clone(&self.late), name.clone(), request.peer));
        let file = self.files.get(&name).map(|file| Opened { late, ..file.clone() });
        file.ok_or_else(|| Miss { error: OpenError::NotFound, place: format!("memory:{name}") })
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Written, Miss> {
        let room = self.room.ok_or(OpenError::Denied)?;
        let name = request.path.to_string();
        if self.late.borrow_mut().is_late(&name, request.peer, None) {
            return Err(OpenError::Later.into());
        }
        if self.files.contains_key(&name) {
            return Err(OpenError::Exists.into());
        }
        if request.len.is_some_and(|len| len > room as u64) {
            return Err(OpenError::NoSpace.into());
        }
        self.notes.borrow_mut().push(format!("create {name}"));
        Ok(Written {
            name,
            peer: request.peer,
            bytes: Vec::new(),
            room,
            storage: self.clone(),
            finished: false,
        })
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.late.borrow_mut().resumed.pop()
    }
}

/// A file that is not there, or not to be had.
#[derive(Debug)]
pub(crate) struct Miss {
    error: OpenError,
    place: String,
}

impl Refusal for Miss {
    fn error(&self) -> OpenError {
        self.error
    }

    fn place(&self) -> Option<&str> {
        Some(&self.place).filter(|place| !place.is_empty()).map(String::as_str)
    }

    fn reason(&self) -> Option<&dyn fmt::Display> {
        self.place().map(|_| &"the map has no such key" as _)
    }
}

impl From<OpenError> for Miss {
    fn from(error: OpenError) -> Self {
        Self { error, place: String::new() }
    }
}

#[derive(Clone)]
pub(crate) struct Opened {
    bytes: Rc<[u8]>,
    fails_at: u64,
    late: Option<(Rc<RefCell<Late>>, String, SocketAddrV4)>,
}

impl Opened {
    fn new(bytes: &[u8], fails_at: u64) -> Self {
        Self { bytes: bytes.into(), fails_at, late: None }
    }
}

impl File for Opened {
    type Error = &'static str;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        let Some((late, name, peer)) = &self.late else { return true };
        !late.borrow_mut().is_late(name, *peer, Some(offset + u64::from(len)))
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let end = offset + buf.len() as u64;
        if end > self.fails_at {
            return Err("a bad sector");
        }
        let range = offset as usize..end as usize;
        buf.copy_from_slice(self.bytes.get(range).ok_or("a read past the end")?);
        Ok(())
    }
}

pub(crate) struct Written {
    name: String,
    peer: SocketAddrV4,
    bytes: Vec<u8>,
    room: usize,
    storage: Memory,
    finished: bool,
}

impl Upload for Written {
    type Error = &'static str;

    fn expect(&mut self, _: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.bytes.extend(bytes);
        if self.bytes.len() > self.room {
            return Err("no room");
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        self.finished = true;
        if self.storage.late.borrow().files.contains_key(&self.name) {
            return Ok(()); // until it has settled
        }
        if self.storage.finish_fails {
            return Err("no luck");
        }
        self.storage.notes.borrow_mut().push(format!("finish {}, {} bytes", self.name, self.bytes.len()));
        let bytes = core::mem::take(&mut self.bytes);
        self.storage.finished.borrow_mut().push(Finished { name: self.name.clone(), bytes });
        Ok(())
    }

    fn settled(&mut self) -> Option<Result<(), Self::Error>> {
        let late =
            self.storage.late.borrow_mut().is_late(&self.name, self.peer, Some(self.bytes.len() as u64));
        match (late, self.finished && self.storage.finish_fails) {
            (true, _) => None,
            (false, true) => Some(Err("no luck")),
            (false, false) => Some(Ok(())),
        }
    }
}
