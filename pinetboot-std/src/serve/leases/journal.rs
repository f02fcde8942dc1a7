//! A text file that grows by a line for each change, and is written anew when it has doubled.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::durable;

/// The file, open to append.
#[derive(Debug)]
pub(super) struct Journal {
    at: PathBuf,
    /// `None` until the file is written for the first time, and after a failure.
    file: Option<File>,
    /// Bytes of the last whole writing.
    whole: usize,
    /// Bytes appended since.
    appended: usize,
    /// Appended lines that may be lost by a power cut.
    unsynced: usize,
}

impl Journal {
    pub(super) fn new(at: PathBuf) -> Self {
        Self { at, file: None, whole: 0, appended: 0, unsynced: 0 }
    }

    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    #[cfg(test)]
    pub(super) fn move_to(&mut self, at: PathBuf) {
        self.at = at;
    }

    /// Whether the file has to be written anew: nothing can be appended, or the file has doubled.
    pub(super) fn is_due(&self) -> bool {
        self.file.is_none() || self.appended > self.whole.max(SMALL)
    }

    /// Whether lines can be appended.
    pub(super) const fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether lines were appended.
    pub(super) const fn has_grown(&self) -> bool {
        self.appended > 0
    }

    /// Replaces the file by this text: after a crash, and after a failure, the file has the old text or the new, to append to.
    pub(super) fn replace(&mut self, text: &str) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(&self.part_prefix())
            .suffix(PART_SUFFIX)
            .tempfile_in(self.directory())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_data()?;
        self.file = Some(file.persist(&self.at)?);
        (self.whole, self.appended, self.unsynced) = (text.len(), 0, 0);
        durable::sync(self.directory())
    }

    /// Appends whole lines. After a failure the file is due to be written anew, for a part of a line may be there.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        file.write_all(lines.as_bytes())?;
        self.file = Some(file);
        self.appended += lines.len();
        self.unsynced += lines.lines().count();
        Ok(())
    }

    /// The number of lines that a power cut may lose.
    pub(super) const fn unsynced(&self) -> usize {
        self.unsynced
    }

    /// Keeps the appended lines over a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced > 0
            && let Some(file) = self.file.take()
        {
            file.sync_data()?;
            self.file = Some(file);
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Removes what interrupted writings left beside the file.
    pub(super) fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            let is_ours = match entry.file_name().to_str() {
                Some(name) if name.starts_with(&self.part_prefix()) => name.ends_with(PART_SUFFIX),
                // The name that earlier versions gave is any program's.
                Some(name) if name.starts_with(".tmp") => begins_as_lease_file(&entry.path()),
                _ => false,
            };
            if is_ours && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The beginning of the names of files that are being written.
    fn part_prefix(&self) -> String {
        format!(".{}.", self.at.file_name().unwrap_or(OsStr::new("leases")).to_string_lossy())
    }
}

fn begins_as_lease_file(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut begin = [0; HEADER_BEGIN.len()];
    is_file
        && File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok()
        && begin == *HEADER_BEGIN
}

/// The header of all versions begins so.
const HEADER_BEGIN: &[u8; 32] = b"# hardware address, IPv4 address";

const PART_SUFFIX: &str = ".part";

/// Appended bytes up to which a file is not written anew: some 1500 lines.
const SMALL: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_removed_and_foreign_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        put(".leases.Ab12Cd.part", "");
        put(".tmpAb12Cd", "# hardware address, IPv4 address, end in seconds since 1970\n02:00");
        for (name, text) in [
            (".tmpOther1", ""),
            (".tmpOther2", "text of another program, of some length"),
            (".other.x.part", ""),
        ] {
            put(name, text);
        }
        Journal::new(directory.path().join("leases")).remove_leftovers().unwrap();
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, [".other.x.part", ".tmpOther1", ".tmpOther2"]);
    }

    #[test]
    fn a_file_is_due_when_it_has_doubled() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(directory.path().join("leases"));
        assert!(journal.is_due());
        let line = format!("{}\n", "x".repeat(99));
        journal.replace(&line.repeat(1000)).unwrap();
        let mut appended = 0;
        while !journal.is_due() {
            journal.append(&line).unwrap();
            appended += 1;
        }
        assert_eq!(appended, 1001);
        assert_eq!(fs::read(journal.at()).unwrap().len(), 2001 * 100);
    }
}
