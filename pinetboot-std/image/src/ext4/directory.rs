//! Directories and symbolic links.

use super::{BlockBudget, Ext4, Inode, field, u16_at, u32_at};
use crate::{ImageError, ReadAt};

/// A name in a directory: neither empty, nor `.`, nor `..`, without `/` and NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// The name, of 255 bytes at most; not always UTF-8.
    pub name: &'a [u8],
    /// What it names.
    pub inode: u32,
}

impl<R: ReadAt> Ext4<R> {
    /// Calls `each` for every name in a directory, in the order of the device.
    ///
    /// # Errors
    ///
    /// The first one of `each`, or if the directory makes no sense.
    pub fn entries<E: From<ImageError>>(
        &self,
        directory: &Inode,
        budget: &mut BlockBudget,
        mut each: impl FnMut(DirectoryEntry<'_>, &mut BlockBudget) -> Result<(), E>,
    ) -> Result<(), E> {
        // Blocks of an index look like empty ones to who reads all in order.
        for run in self.runs(directory, budget)? {
            for number in run.physical..run.physical + run.len {
                let block = self.block(number)?;
                let mut rest = block.as_slice();
                while !rest.is_empty() {
                    let (entry, after) = self.entry(rest)?;
                    rest = after;
                    if let Some(entry) = entry {
                        each(entry, budget)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    ///
    /// If it makes no sense.
    pub fn target(&self, link: &Inode, budget: &mut BlockBudget) -> Result<Vec<u8>, ImageError> {
        let wrong = ImageError::Corrupt("ext4 has a symbolic link that makes no sense");
        let target = if let Some(target) = link.short_target() {
            target.to_vec()
        } else {
            let runs = self.runs(link, budget)?;
            let [first, ..] = runs.as_slice() else { return Err(wrong) };
            if link.size > self.block_size().min(MAX_TARGET) || first.logical != 0 {
                return Err(wrong);
            }
            let mut target = vec![0; link.size as usize];
            self.read_block(first.physical, 0, &mut target)?;
            target
        };
        if target.is_empty() || target.contains(&0) { Err(wrong) } else { Ok(target) }
    }

    /// The first entry of some, if it names something, and the others.
    fn entry<'a>(&self, bytes: &'a [u8]) -> Result<(Option<DirectoryEntry<'a>>, &'a [u8]), ImageError> {
        const WRONG: ImageError = ImageError::Corrupt("ext4 has a directory that makes no sense");
        let inode = field(u32_at(bytes, 0))?;
        let len = match usize::from(field(u16_at(bytes, 4))?) {
            0 | 0xffff if self.block_size() == 0x1_0000 => 0x1_0000, // does not fit into its field
            len => len,
        };
        let name_len = match field(u16_at(bytes, 6))? {
            both if self.superblock.has_file_type => usize::from(both & 0xff),
            len => usize::from(len),
        };
        if len < 8 || !len.is_multiple_of(4) || len > bytes.len() {
            return Err(WRONG);
        }
        let (entry, rest) = bytes.split_at(len);
        if inode == 0 {
            return Ok((None, rest));
        }
        let name = entry.get(8..8 + name_len).ok_or(WRONG)?;
        match name {
            b"." | b".." => Ok((None, rest)),
            [] => Err(WRONG),
            name if name.len() > 255 || name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(WRONG),
            name => Ok((Some(DirectoryEntry { name, inode }), rest)),
        }
    }
}

/// Linux's `PATH_MAX`, with its NUL.
const MAX_TARGET: u64 = 4095;
