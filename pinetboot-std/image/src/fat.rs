//! The boot partition: FAT12, FAT16 or FAT32, by the crate `fatfs`.
//!
//! That crate expects a sound file system. What is not sound ends at the disk that it is given here: it hands out no more
//! bytes than a walk over a sound one could need. Numbers of clusters that cannot be wrap around in it, and lead to places
//! that are not on the disk; so it is built without checks for overflow, in all profiles (Cargo.toml, fuzz/Cargo.toml).

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{DateTime, Dir, FileSystem, FsOptions};

use crate::{ImageError, Part, ReadAt};

/// A FAT file system that is only read.
pub struct Fat<R: ReadAt> {
    fs: FileSystem<Disk<R>>,
}

/// What is called for each file and directory, a directory before what is in it.
pub trait Visit {
    /// What ends the walk.
    type Error: From<ImageError>;

    /// A directory.
    ///
    /// # Errors
    ///
    /// What ends the walk.
    fn directory(&mut self, path: &[String]) -> Result<(), Self::Error>;

    /// A file of `len` bytes, changed last so many seconds after 1970; `None` where that makes no sense.
    ///
    /// # Errors
    ///
    /// What ends the walk.
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
    /// If it is none.
    pub fn open(partition: Part<R>) -> Result<Self, ImageError> {
        let budget = partition.len().saturating_mul(2).saturating_add(1 << 20);
        let disk = Disk { partition, at: 0, budget };
        let fs = FileSystem::new(disk, FsOptions::new()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::Io(error),
            _ => ImageError::Corrupt("its boot partition holds no FAT file system"),
        })?;
        Ok(Self { fs })
    }

    /// Calls `visit` for all that is there.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or `visit` ends it.
    pub fn walk<V: Visit>(&self, visit: &mut V) -> Result<(), V::Error> {
        self.walk_directory(&self.fs.root_dir(), &mut Vec::new(), &mut 0, visit)
    }

    /// A small file's content, found without regard to case; `None` if there is none. What is beyond `limit` bytes is left out.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let file = match self.fs.root_dir().open_file(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// The names in a directory, sorted; none if it is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, ImageError> {
        let root = self.fs.root_dir();
        let directory = match if path.is_empty() { Ok(root) } else { root.open_dir(path) } {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let names =
            directory.iter().take(MOST_FILES as usize).map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn walk_directory<V: Visit>(
        &self,
        directory: &Dir<'_, Disk<R>>,
        path: &mut Vec<String>,
        seen: &mut u32,
        visit: &mut V,
    ) -> Result<(), V::Error> {
        if path.len() > MAX_DEPTH {
            return Err(ImageError::Corrupt("its boot partition has directories without end").into());
        }
        for entry in directory.iter() {
            let entry = entry.map_err(ImageError::from)?;
            let name = entry.file_name();
            if matches!(name.as_str(), "." | "..") {
                continue;
            }
            *seen += 1;
            if *seen > MOST_FILES {
                return Err(ImageError::Corrupt("its boot partition has more files than can be").into());
            }
            if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) {
                return Err(ImageError::Corrupt("its boot partition has a name that cannot be").into());
            }
            path.push(name);
            if entry.is_dir() {
                visit.directory(path)?;
                self.walk_directory(&entry.to_dir(), path, seen, visit)?;
            } else {
                visit.file(path, entry.len(), seconds(&entry.modified()), &mut entry.to_file())?;
            }
            path.pop();
        }
        Ok(())
    }
}

/// FAT's time of day is of no known zone: taken for UTC, as the kernel does where nobody says otherwise.
fn seconds(at: &DateTime) -> Option<i64> {
    let (year, month, day) = (i64::from(at.date.year), i64::from(at.date.month), i64::from(at.date.day));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let time = &at.time;
    Some(days * 86_400 + i64::from(time.hour) * 3600 + i64::from(time.min) * 60 + i64::from(time.sec))
}

/// The partition as `fatfs` wants it.
struct Disk<R> {
    partition: Part<R>,
    at: u64,
    /// Bytes that may still be read.
    budget: u64,
}

impl<R: ReadAt> Read for Disk<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.partition.len().saturating_sub(self.at);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.budget = self
            .budget
            .checked_sub(len as u64)
            .ok_or_else(|| io::Error::other("its boot partition uses clusters more than once"))?;
        let buf = &mut buf[..len];
        self.partition.read_exact_at(buf, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl<R: ReadAt> Seek for Disk<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.partition.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl<R> Write for Disk<R> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pis look no deeper than `overlays/`.
const MAX_DEPTH: usize = 64;
const MOST_FILES: u32 = 100_000;

#[cfg(test)]
mod tests {
    use fatfs::{Date, Time};

    use super::*;

    #[test]
    fn times_in_seconds() {
        let at = |year, month, day, hour, min, sec| DateTime {
            date: Date { year, month, day },
            time: Time { hour, min, sec, millis: 0 },
        };
        assert_eq!(seconds(&at(1980, 1, 1, 0, 0, 0)), Some(315_532_800));
        assert_eq!(seconds(&at(2024, 2, 29, 23, 59, 58)), Some(1_709_251_198));
        assert_eq!(seconds(&at(2026, 4, 13, 12, 0, 0)), Some(1_776_081_600));
        assert_eq!(seconds(&at(1980, 0, 0, 0, 0, 0)), None);
    }
}
