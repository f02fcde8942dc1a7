//! FAT12, FAT16 and FAT32 with long names: the boot partition (Microsoft's FAT specification, version 1.03).
//!
//! The kind is that which Linux sees: FAT32 if the table's length is given in 32 bits only, else by the number of clusters.
//! A hostile file system ends with an error: cluster numbers are checked before use, and a walk visits no more clusters than
//! the volume has.
//!
//! Not done: writing; names of an OEM code page (bytes above 0x7f in a short name become U+FFFD); a second table where the
//! first cannot be read.

mod directory;
mod volume;

use std::io::{self, Read};

use crate::{ImageError, Part, ReadAt};
use directory::{Entries, Entry};
use volume::{Chain, Place, Volume};

/// A FAT file system.
#[derive(Debug)]
pub struct Fat<R> {
    volume: Volume<R>,
}

/// Receives every file and directory of a walk, each directory before its content.
pub trait Visit {
    /// The error that ends the walk.
    type Error: From<ImageError>;

    /// Called for a directory, with the names from the root to it.
    ///
    /// # Errors
    ///
    /// An error ends the walk.
    fn directory(&mut self, path: &[String]) -> Result<(), Self::Error>;

    /// Called for a file of `len` bytes, with the names from the root to it. `modified` is its modification time in seconds
    /// since 1970, `None` for an impossible date. `content` may be left unread; it ends early if the image is damaged.
    ///
    /// # Errors
    ///
    /// An error ends the walk.
    fn file(
        &mut self,
        path: &[String],
        len: u64,
        modified: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), Self::Error>;
}

impl<R: ReadAt> Fat<R> {
    /// Opens the file system in a partition.
    ///
    /// # Errors
    ///
    /// If the partition holds no FAT file system.
    pub fn open(partition: Part<R>) -> Result<Self, ImageError> {
        Ok(Self { volume: Volume::open(partition)? })
    }

    /// Calls `visit` for every file and directory.
    ///
    /// # Errors
    ///
    /// The first error of the image or of `visit`.
    pub fn walk<V: Visit>(&self, visit: &mut V) -> Result<(), V::Error> {
        let mut walk = Walk { volume: &self.volume, budget: self.volume.clusters(), seen: 0, visit };
        walk.directory(Place::Root, &mut Vec::new())
    }

    /// A file's content, cut off at `limit` bytes; `None` if no file has that path. Case does not matter, and short names are
    /// found too.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let mut budget = self.volume.clusters();
        let Some(Found::File(entry)) = self.find(path, &mut budget)? else { return Ok(None) };
        let mut bytes = Vec::new();
        Content::new(&self.volume, &entry, &mut budget).take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A file's length in bytes; `None` if no file has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn len(&self, path: &str) -> Result<Option<u64>, ImageError> {
        match self.find(path, &mut self.volume.clusters())? {
            Some(Found::File(entry)) => Ok(Some(u64::from(entry.len))),
            _ => Ok(None),
        }
    }

    /// The names in a directory, sorted; empty if no directory has that path. The empty path is the root.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, ImageError> {
        let mut budget = self.volume.clusters();
        let Some(Found::Directory(place)) = self.find(path, &mut budget)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        let mut entries = Entries::new(&self.volume, place);
        while let Some(entry) = entries.next(&mut budget)? {
            names.push(entry.name);
        }
        names.sort();
        Ok(names)
    }

    fn find(&self, path: &str, budget: &mut u64) -> Result<Option<Found>, ImageError> {
        let mut found = Found::Directory(Place::Root);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Found::Directory(place) = found else { return Ok(None) };
            let mut entries = Entries::new(&self.volume, place);
            found = loop {
                match entries.next(budget)? {
                    None => return Ok(None),
                    Some(entry) if !entry.is_called(name) => {}
                    Some(entry) if entry.is_directory => break Found::Directory(entry.place()?),
                    Some(entry) => break Found::File(entry),
                }
            };
        }
        Ok(Some(found))
    }
}

enum Found {
    Directory(Place),
    File(Entry),
}

struct Walk<'a, R, V> {
    volume: &'a Volume<R>,
    /// Clusters that may still be visited: a sound file system uses none twice.
    budget: u64,
    seen: u32,
    visit: &'a mut V,
}

impl<R: ReadAt, V: Visit> Walk<'_, R, V> {
    fn directory(&mut self, place: Place, path: &mut Vec<String>) -> Result<(), V::Error> {
        if path.len() > MAX_DEPTH {
            return Err(ImageError::Corrupt("its boot partition has directories without end").into());
        }
        let mut entries = Entries::new(self.volume, place);
        while let Some(entry) = entries.next(&mut self.budget)? {
            if matches!(entry.name.as_str(), "." | "..") {
                continue;
            }
            self.seen += 1;
            if self.seen > MOST_FILES {
                return Err(ImageError::Corrupt("its boot partition has too many files").into());
            }
            if entry.name.is_empty() || entry.name.len() > 255 || entry.name.contains(['/', '\0']) {
                return Err(ImageError::Corrupt("its boot partition has an invalid file name").into());
            }
            path.push(entry.name.clone());
            if entry.is_directory {
                self.visit.directory(path)?;
                self.directory(entry.place()?, path)?;
            } else {
                let mut content = Content::new(self.volume, &entry, &mut self.budget);
                self.visit.file(path, entry.len.into(), entry.modified, &mut content)?;
            }
            path.pop();
        }
        Ok(())
    }
}

/// A file's bytes.
struct Content<'a, R> {
    volume: &'a Volume<R>,
    chain: Chain,
    budget: &'a mut u64,
    /// Bytes of the file not yet read.
    left: u64,
    /// The rest of the present run of clusters: offset in the partition, and length.
    run: (u64, u64),
}

impl<'a, R: ReadAt> Content<'a, R> {
    fn new(volume: &'a Volume<R>, file: &Entry, budget: &'a mut u64) -> Self {
        Self { volume, chain: Chain::new(file.first), budget, left: file.len.into(), run: (0, 0) }
    }
}

impl<R: ReadAt> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if self.run.1 == 0 {
            let run = self.chain.next_run(self.volume, self.left, self.budget);
            match run.map_err(ImageError::into_io)? {
                Some(run) => self.run = run,
                None => return Ok(0),
            }
        }
        let (offset, rest) = self.run;
        let len = rest.min(self.left).min(buf.len() as u64);
        self.volume.partition.read_exact_at(&mut buf[..len as usize], offset)?;
        self.run = (offset + len, rest - len);
        self.left -= len;
        Ok(len as usize)
    }
}

/// Directories within directories; Pis look no deeper than `overlays/`.
const MAX_DEPTH: usize = 64;
const MOST_FILES: u32 = 100_000;

#[cfg(test)]
mod tests;
