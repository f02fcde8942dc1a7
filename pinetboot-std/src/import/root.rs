//! The root file system: copied from ext4 to the target directory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use indicatif::ProgressBar;
use pinetboot_image::ext4::{BlockBudget, DirectoryEntry, Ext4, FileKind, Inode, Xattr};
use pinetboot_image::{ImageError, ReadAt, write_sparse};

use super::capabilities;
use super::error::ImportError;
use super::root_writer::{self, Attributes, RootWriter};
use super::stop::Stop;

/// Copies a root file system.
pub struct RootCopy<'a, R> {
    from: &'a Ext4<R>,
    to: &'a RootWriter,
    /// The mount point of the boot partition, whose content in the root is not copied.
    without: &'a [u8],
    stop: &'a Stop,
    bar: &'a ProgressBar,
    /// Every directory, parents first.
    directories: Vec<Directory>,
    /// Inodes of `directories`: a second entry for one of them would make an endless tree.
    seen: HashSet<u32>,
    /// Files with several names: directory and name of the first copy.
    linked: HashMap<u32, (usize, Vec<u8>)>,
    buffer: Vec<u8>,
    report: CopyReport,
}

/// The result of a copy.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Number of directory entries.
    pub entries: u64,
    /// Files with capabilities, as `/path cap_name=ep`.
    pub capabilities: Vec<String>,
}

struct Directory {
    parent: usize,
    name: Vec<u8>,
    inode: Inode,
}

impl<'a, R: ReadAt> RootCopy<'a, R> {
    /// Prepares to copy `from` to the empty `to`.
    pub fn new(
        from: &'a Ext4<R>,
        to: &'a RootWriter,
        without: &'a str,
        stop: &'a Stop,
        bar: &'a ProgressBar,
    ) -> Self {
        Self {
            from,
            to,
            without: without.as_bytes(),
            stop,
            bar,
            directories: Vec::new(),
            seen: HashSet::new(),
            linked: HashMap::new(),
            buffer: vec![0; 1 << 20],
            report: CopyReport::default(),
        }
    }

    /// Copies all files.
    ///
    /// # Errors
    ///
    /// The first read or write that fails, with its path.
    pub fn run(mut self) -> Result<CopyReport, ImportError> {
        let mut budget = self.from.budget();
        let root = self.from.inode(Ext4::<R>::ROOT).map_err(|error| ImportError::image(b"", error))?;
        if root.kind != FileKind::Directory {
            return Err(ImportError::image(b"", ImageError::Corrupt("its ext4 has no root directory")));
        }
        self.add_directory(Directory { parent: 0, name: Vec::new(), inode: root })?;
        let mut todo = vec![0];
        while let Some(index) = todo.pop() {
            let path = self.path(index, b"")?;
            if !self.without.is_empty() && path == self.without {
                continue;
            }
            let place = self.to.directory(&path).map_err(|error| ImportError::write(&path, error))?;
            let Some(Directory { inode, .. }) = self.directories.get(index) else { continue };
            let inode = inode.clone();
            let first = self.directories.len();
            let from = self.from;
            from.entries(&inode, &mut budget, |entry, budget| self.copy(index, &place, entry, budget))
                .map_err(|error: Interrupted| error.at(&path))?;
            todo.extend(first..self.directories.len());
        }
        // Last: writing entries changes a directory's time, and needs a mode that permits it.
        for index in (0..self.directories.len()).rev() {
            self.finish_directory(index)?;
        }
        Ok(self.report)
    }

    fn copy(
        &mut self,
        parent: usize,
        place: &OwnedFd,
        entry: DirectoryEntry<'_>,
        budget: &mut BlockBudget,
    ) -> Result<(), Interrupted> {
        self.stop.check().map_err(ImageError::Io)?;
        self.copy_entry(parent, place, entry, budget).map_err(|error| {
            let path = self.path(parent, entry.name).unwrap_or_else(|_| entry.name.to_vec());
            Interrupted::Here(match error {
                Failure::Read(error) => ImportError::image(&path, error),
                Failure::Write(error) => ImportError::write(&path, error),
            })
        })
    }

    fn copy_entry(
        &mut self,
        parent: usize,
        place: &OwnedFd,
        entry: DirectoryEntry<'_>,
        budget: &mut BlockBudget,
    ) -> Result<(), Failure> {
        self.report.entries += 1;
        let DirectoryEntry { name, inode: number, .. } = entry;
        if let Some((directory, first)) = self.linked.get(&number) {
            let path = self.path(*directory, first).map_err(|_| Failure::Read(TOO_DEEP))?;
            return self.to.link(&path, place, name).map_err(Failure::Write);
        }
        let inode = self.from.inode(number)?;
        if inode.kind == FileKind::Directory {
            root_writer::make_directory(place, name).map_err(Failure::Write)?;
            let directory = Directory { parent, name: name.to_vec(), inode };
            return self.add_directory(directory).map_err(|_| Failure::Read(ENDLESS));
        }
        let xattrs = self.from.xattrs(&inode)?;
        let attributes = attributes(&inode, &xattrs);
        if inode.kind == FileKind::Regular {
            self.report_capabilities(parent, name, &xattrs);
            let mut file = root_writer::make_file(place, name).map_err(Failure::Write)?;
            self.copy_content(&inode, &mut file, budget)?;
            root_writer::finish(file.as_fd(), &attributes).map_err(Failure::Write)?;
        } else {
            let target =
                if inode.kind == FileKind::Symlink { self.from.target(&inode, budget)? } else { Vec::new() };
            root_writer::make_special(place, name, inode.kind, &target, &attributes)
                .map_err(Failure::Write)?;
        }
        if inode.links > 1 {
            self.linked.insert(number, (parent, name.to_vec()));
        }
        Ok(())
    }

    fn copy_content(
        &mut self,
        inode: &Inode,
        file: &mut File,
        budget: &mut BlockBudget,
    ) -> Result<(), Failure> {
        let block_size = self.from.block_size();
        for run in self.from.runs(inode, budget)? {
            let start = run.logical * block_size;
            let len = (run.len * block_size).min(inode.size.saturating_sub(start));
            let mut done = 0;
            while done < len {
                self.stop.check().map_err(Failure::Write)?;
                let piece = (len - done).min(self.buffer.len() as u64) as usize;
                let buffer = &mut self.buffer[..piece];
                self.from.read_block(run.physical, done, buffer)?;
                write_sparse(file, buffer, start + done).map_err(Failure::Write)?;
                done += piece as u64;
                self.bar.inc(piece as u64);
            }
        }
        if inode.size > 0 {
            file.set_len(inode.size).map_err(Failure::Write)?; // it may end with zeros
        }
        Ok(())
    }

    fn add_directory(&mut self, directory: Directory) -> Result<(), ImportError> {
        if !self.seen.insert(directory.inode.number) {
            return Err(ImportError::image(&directory.name, ENDLESS));
        }
        self.directories.push(directory);
        Ok(())
    }

    fn finish_directory(&self, index: usize) -> Result<(), ImportError> {
        let Some(directory) = self.directories.get(index) else { return Ok(()) };
        let path = self.path(index, b"")?;
        let xattrs = self.from.xattrs(&directory.inode).map_err(|error| ImportError::image(&path, error))?;
        let place = self.to.directory(&path);
        place
            .and_then(|place| root_writer::finish(place.as_fd(), &attributes(&directory.inode, &xattrs)))
            .map_err(|error| ImportError::write(&path, error))
    }

    fn report_capabilities(&mut self, parent: usize, name: &[u8], xattrs: &[Xattr]) {
        for xattr in xattrs.iter().filter(|xattr| xattr.name == b"security.capability") {
            let path = self.path(parent, name).unwrap_or_default();
            let path = String::from_utf8_lossy(&path);
            self.report.capabilities.push(format!("/{path} {}", capabilities::text(&xattr.value)));
        }
    }

    /// The path of `name` in a directory; of the directory itself for an empty name.
    fn path(&self, directory: usize, name: &[u8]) -> Result<Vec<u8>, ImportError> {
        let mut names = vec![name];
        let mut len = name.len();
        let mut index = directory;
        while let Some(directory) = self.directories.get(index).filter(|_| index > 0) {
            names.push(&directory.name);
            len += 1 + directory.name.len();
            index = directory.parent;
            if len > MAX_PATH {
                return Err(ImportError::image(name, TOO_DEEP));
            }
        }
        names.retain(|name| !name.is_empty());
        names.reverse();
        Ok(names.join(&b'/'))
    }
}

fn attributes<'a>(inode: &Inode, xattrs: &'a [Xattr]) -> Attributes<'a> {
    Attributes {
        permissions: inode.permissions,
        owner: Some((inode.uid, inode.gid)),
        modified: Some(inode.modified),
        xattrs,
    }
}

/// An error while reading a directory.
enum Interrupted {
    /// In the directory's own blocks.
    Directory(ImageError),
    /// In one of its files.
    Here(ImportError),
}

impl Interrupted {
    fn at(self, path: &[u8]) -> ImportError {
        match self {
            Self::Directory(error) => ImportError::image(path, error),
            Self::Here(error) => error,
        }
    }
}

impl From<ImageError> for Interrupted {
    fn from(error: ImageError) -> Self {
        Self::Directory(error)
    }
}

/// An error on one side of the copy.
enum Failure {
    Read(ImageError),
    Write(io::Error),
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Read(error)
    }
}

const ENDLESS: ImageError = ImageError::Corrupt("its ext4 has a directory inside itself");
const TOO_DEEP: ImageError = ImageError::Corrupt("its ext4 has directories deeper than a path can be");
/// Linux's `PATH_MAX`, with its NUL.
const MAX_PATH: usize = 4095;
