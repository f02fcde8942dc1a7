//! The suites on what the other tests run on, and on storages that break the rules: those must fail.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::Memory;
use pinetboot_core::conformance::{FILES, storage};
use pinetboot_core::pi::{Lookup, Prefix};
use pinetboot_core::{BootPath, File, NoUpload, OpenError, OpenRequest, OutOfBounds, Storage, block_on};

#[test]
fn files_in_memory() {
    let mut memory =
        FILES.iter().fold(Memory::default(), |memory, (name, bytes)| memory.with_bytes(name, bytes.to_vec()));
    block_on(storage(&mut memory));
}

/// How a storage can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A Pi with a directory of its own gets what is missing there from the one that all share.
    Both,
    /// The directory of a Pi is found only as it is written.
    Case,
    /// Nothing is shared.
    Unshared,
    /// What is missing is denied.
    Denied,
    /// A directory is an empty file.
    Directory,
    /// The last byte is not to be had.
    Short,
    /// Reads begin where the last one ended.
    Offset,
    /// A file is cut by the next opening.
    Version,
}

/// The files of the suite, with a fault.
struct Faulty {
    fault: Fault,
    openings: std::rc::Rc<std::cell::Cell<u32>>,
}

struct Opened {
    bytes: &'static [u8],
    fault: Fault,
    opening: u32,
    openings: std::rc::Rc<std::cell::Cell<u32>>,
    at: u64,
}

impl Faulty {
    fn find(&self, path: &BootPath<'_>) -> Option<&'static [u8]> {
        let there = |name: &str| FILES.iter().find(|(there, _)| *there == name).map(|(_, bytes)| *bytes);
        let lookup = Lookup::new(*path);
        let is_own = |name: &&str| match self.fault {
            Fault::Case => path.components().next() == Some(name),
            _ => Prefix::parse(name) == lookup.prefix(),
        };
        let mut directories = FILES.iter().filter_map(|(name, _)| Some(name.split_once('/')?.0));
        let own = lookup.prefix().and_then(|_| directories.find(is_own));
        let shared = || there(&lookup.file().to_string());
        let found = match own {
            Some(own) => {
                let own = there(&format!("{own}/{}", lookup.file()));
                if self.fault == Fault::Both { own.or_else(shared) } else { own }
            }
            None if self.fault == Fault::Unshared => there(&path.to_string()),
            None => shared(),
        };
        let is_directory = |name: &&str| name.starts_with(&format!("{path}/"));
        let directory = FILES.iter().map(|(name, _)| *name).find(is_directory);
        match self.fault {
            Fault::Directory => found.or(directory.map(|_| &b""[..])),
            _ => found,
        }
    }
}

impl Storage for Faulty {
    type File = Opened;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
        let missing = if self.fault == Fault::Denied { OpenError::Denied } else { OpenError::NotFound };
        let bytes = self.find(&request.path).ok_or(missing)?;
        let opening = self.openings.get() + 1;
        self.openings.set(opening);
        Ok(Opened { bytes, fault: self.fault, opening, openings: self.openings.clone(), at: 0 })
    }
}

impl File for Opened {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        let end = offset + buf.len() as u64;
        if self.fault == Fault::Short && !buf.is_empty() && end == self.len()
            || self.fault == Fault::Version && self.opening != self.openings.get()
        {
            return Err(OutOfBounds);
        }
        let offset = if self.fault == Fault::Offset { self.at } else { offset };
        self.at = end;
        self.bytes.read_exact_at(offset, buf).await
    }
}

#[test]
fn the_suite_finds_what_is_wrong() {
    use Fault::{Both, Case, Denied, Directory, Offset, Short, Unshared, Version};
    let passes = |fault| {
        let mut faulty = Faulty { fault, openings: std::rc::Rc::default() };
        catch_unwind(AssertUnwindSafe(|| block_on(storage(&mut faulty)))).is_ok()
    };
    assert!(passes(Fault::None));
    for fault in [Both, Case, Unshared, Denied, Directory, Short, Offset, Version] {
        assert!(!passes(fault), "{fault:?} is not found");
    }
}
