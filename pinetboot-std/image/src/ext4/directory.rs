//! Directories and symbolic links.

use super::checksum::check_directory;
use super::{BlockBudget, Ext4, Inode, field, record_len, u16_at, u32_at};
use crate::{ImageError, ReadAt};

/// An entry of a directory, never `.` or `..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryEntry<'a> {
    /// The name: 1 to 255 bytes without `/` and NUL, not always UTF-8.
    pub name: &'a [u8],
    /// The inode number.
    pub inode: u32,
}

impl<R: ReadAt> Ext4<R> {
    /// Calls `each` for every entry of a directory, in the order on the device.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or if the directory is invalid or a checksum wrong.
    pub fn entries<E: From<ImageError>>(
        &self,
        directory: &Inode,
        budget: &mut BlockBudget,
        mut each: impl FnMut(DirectoryEntry<'_>, &mut BlockBudget) -> Result<(), E>,
    ) -> Result<(), E> {
        let runs = self.runs(directory, budget)?;
        // A hole would hide the names in the lost block.
        let mapped = runs.iter().map(|run| run.len).sum::<u64>().checked_mul(self.block_size());
        if directory.size == 0 || mapped != Some(directory.size) {
            return Err(ImageError::Corrupt("ext4 has a directory that lacks blocks").into());
        }
        // An index block looks like one empty entry to a linear reader.
        for run in runs {
            for number in run.physical..run.physical + run.len {
                let block = self.block(number)?;
                check_directory(directory.checksum_seed, directory.number, number, &block)?;
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

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// If the target is empty, has a NUL, or is longer than a path can be.
    pub fn target(&self, link: &Inode, budget: &mut BlockBudget) -> Result<Vec<u8>, ImageError> {
        let wrong = ImageError::Corrupt("ext4 has an invalid symbolic link");
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

    /// Splits off the first entry; `None` for an unused one.
    fn entry<'a>(&self, bytes: &'a [u8]) -> Result<(Option<DirectoryEntry<'a>>, &'a [u8]), ImageError> {
        const WRONG: ImageError = ImageError::Corrupt("ext4 has an invalid directory");
        let inode = field(u32_at(bytes, 0))?;
        let len = record_len(field(u16_at(bytes, 4))?, self.block_size() as usize);
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
