//! Lookup of a file by its path, as in a `chroot`.

use super::{Ext4, FileKind, Inode};
use crate::{ImageError, ReadAt};

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

/// The names of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.rev().map(<[u8]>::to_vec).collect()
}

/// The most symbolic links in a lookup, as in Linux.
const MAX_LINKS: u32 = 40;
