//! Lookup of a file by its path, as in a `chroot`.

use std::io;

use super::{BlockRun, Ext4, FileKind, Inode};
use crate::{ImageError, ReadAt};

/// The content of a regular file, for random access.
#[derive(Debug)]
pub struct Content<'a, R> {
    ext4: &'a Ext4<R>,
    runs: Vec<BlockRun>,
    len: u64,
}

impl<R: ReadAt> Ext4<R> {
    /// Finds a file by its path from the root, through symbolic links, which stay inside; `None` if no file has that path.
    ///
    /// # Errors
    ///
    /// If the file system cannot be read.
    pub fn find(&self, path: &str) -> Result<Option<Inode>, ImageError> {
        let mut budget = self.budget();
        let mut parents = vec![self.inode(Self::ROOT)?]; // the root and the directories down to here
        let mut todo: Vec<Vec<u8>> = components(path.as_bytes());
        let mut links = 0;
        let mut leaf = None;
        while let Some(name) = todo.pop() {
            if leaf.take().is_some() {
                return Ok(None); // a file is no directory
            }
            if name == b".." {
                if parents.len() > 1 {
                    parents.pop();
                }
                continue;
            }
            let Some(directory) = parents.last() else { return Ok(None) };
            let mut found = None;
            self.entries(directory, &mut budget, |entry, _| {
                if entry.name == name {
                    found = Some(entry.inode);
                }
                Ok::<_, ImageError>(())
            })?;
            let Some(number) = found else { return Ok(None) };
            let inode = self.inode(number)?;
            match inode.kind {
                FileKind::Directory => parents.push(inode),
                FileKind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(None);
                    }
                    let target = self.target(&inode, &mut budget)?;
                    if target.starts_with(b"/") {
                        parents.truncate(1);
                    }
                    todo.extend(components(&target));
                }
                _ => leaf = Some(inode),
            }
        }
        Ok(leaf.or_else(|| parents.pop()))
    }

    /// A file's content, cut off at `limit` bytes; allocates as much.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(&self, file: &Inode, limit: u64) -> Result<Vec<u8>, ImageError> {
        let len = file.size.min(limit);
        let mut content = vec![0; len as usize];
        for run in self.runs(file, &mut self.budget())? {
            let at = run.logical.saturating_mul(self.block_size());
            let end = at.saturating_add(run.len.saturating_mul(self.block_size())).min(len);
            if let Some(part) = content.get_mut(at.min(len) as usize..end as usize) {
                self.read_block(run.physical, 0, part)?;
            }
        }
        Ok(content)
    }
}

impl<R: ReadAt> Ext4<R> {
    /// A file's content, for random access.
    ///
    /// # Errors
    ///
    /// If the map of its blocks cannot be read.
    pub fn content(&self, file: &Inode) -> Result<Content<'_, R>, ImageError> {
        Ok(Content { ext4: self, runs: self.runs(file, &mut self.budget())?, len: file.size })
    }
}

impl<R> Content<'_, R> {
    /// The length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a length in bytes, not of a collection")]
    pub const fn len(&self) -> u64 {
        self.len
    }
}

/// Parts without a run are zeros.
impl<R: ReadAt> ReadAt for Content<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let block = self.ext4.block_size();
        // Block numbers of runs are below those of the device: their bytes can be counted.
        let first = self.runs.partition_point(|run| (run.logical + run.len) * block <= offset);
        for run in self.runs.iter().skip(first) {
            let (start, stop) = (run.logical * block, ((run.logical + run.len) * block).min(end));
            if start >= end {
                break;
            }
            let from = start.max(offset);
            let part = buf.get_mut((from - offset) as usize..(stop - offset) as usize).unwrap_or_default();
            self.ext4.read_block(run.physical, from - start, part).map_err(ImageError::into_io)?;
        }
        Ok(())
    }
}

/// The names of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.rev().map(<[u8]>::to_vec).collect()
}

/// The most symbolic links in a lookup, as in Linux.
const MAX_LINKS: u32 = 40;
