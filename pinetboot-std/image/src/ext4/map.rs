//! The map from a file's content to blocks: extents, or the block map of ext2 and ext3.

use super::checksum::check_extents;
use super::{BlockBudget, Ext4, Inode, field, u16_at, u32_at};
use crate::{ImageError, ReadAt};

/// Adjacent blocks of a file. Parts of a file without a run are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockRun {
    /// The first block's index in the file.
    pub logical: u64,
    /// The first block's number on the device.
    pub physical: u64,
    /// The number of blocks.
    pub len: u64,
}

impl<R: ReadAt> Ext4<R> {
    /// The runs of a file, in order, without unwritten extents.
    ///
    /// # Errors
    ///
    /// If the map is invalid or a checksum wrong, or the budget is exhausted.
    pub fn runs(&self, inode: &Inode, budget: &mut BlockBudget) -> Result<Vec<BlockRun>, ImageError> {
        let blocks = inode.size.div_ceil(self.block_size());
        if blocks > u64::from(u32::MAX) + 1 {
            return Err(ImageError::Corrupt("ext4 has a file larger than the format allows"));
        }
        let mut map =
            Map { runs: Vec::new(), next: 0, end: blocks, last_block: self.superblock.blocks, budget };
        if inode.has_extents() {
            self.extents(inode, &inode.block, None, &mut map)?;
        } else {
            self.block_map(inode, &mut map)?;
        }
        Ok(map.runs)
    }

    /// Adds the extents beneath a node of that depth; `None`: the node in the inode.
    fn extents(
        &self,
        inode: &Inode,
        node: &[u8],
        depth: Option<u16>,
        map: &mut Map<'_>,
    ) -> Result<(), ImageError> {
        if field(u16_at(node, 0))? != EXTENT_MAGIC {
            return Err(ImageError::Corrupt("ext4 has an invalid extent tree"));
        }
        let entries = usize::from(field(u16_at(node, 2))?);
        let most = usize::from(field(u16_at(node, 4))?);
        let here = field(u16_at(node, 6))?;
        // As `__ext4_ext_check` of fs/ext4/extents.c.
        if entries > most || most == 0 || most > (node.len() - 12) / 12 || (entries == 0 && here > 0) {
            return Err(ImageError::Corrupt("ext4 has an extent tree with an impossible number of entries"));
        }
        if depth.is_some_and(|depth| here != depth) || here > MAX_DEPTH {
            return Err(ImageError::Corrupt("ext4 has an extent tree of the wrong depth"));
        }
        for entry in node.get(12..).unwrap_or_default().chunks_exact(12).take(entries) {
            let logical = u64::from(field(u32_at(entry, 0))?);
            if here > 0 {
                let child = u64::from(field(u32_at(entry, 4))?) | u64::from(field(u16_at(entry, 8))?) << 32;
                map.budget.take(1)?;
                let block = self.block(child)?;
                check_extents(inode.checksum_seed, inode.number, child, &block)?;
                self.extents(inode, &block, Some(here - 1), map)?;
                continue;
            }
            let len = u64::from(field(u16_at(entry, 4))?);
            let physical = u64::from(field(u32_at(entry, 8))?) | u64::from(field(u16_at(entry, 6))?) << 32;
            // A length above 32768 marks an unwritten extent.
            let (len, written) = if len > UNWRITTEN { (len - UNWRITTEN, false) } else { (len, true) };
            map.add(BlockRun { logical, physical, len }, written)?;
        }
        Ok(())
    }

    fn block_map(&self, inode: &Inode, map: &mut Map<'_>) -> Result<(), ImageError> {
        let mut logical = 0;
        for (index, pointer) in inode.block.chunks_exact(4).enumerate() {
            let level = (index as u32).saturating_sub(DIRECT_BLOCKS - 1); // 0 for the first 12, then 1, 2 and 3
            self.pointer(field(u32_at(pointer, 0))?, level, &mut logical, map)?;
        }
        Ok(())
    }

    /// Adds the blocks behind a pointer: one at level 0, else those of a block of pointers.
    fn pointer(
        &self,
        number: u32,
        level: u32,
        logical: &mut u64,
        map: &mut Map<'_>,
    ) -> Result<(), ImageError> {
        let pointers = self.block_size() / 4;
        if *logical >= map.end {
            return Ok(());
        }
        if number == 0 {
            *logical += pointers.pow(level);
            return Ok(());
        }
        if level == 0 {
            map.add(BlockRun { logical: *logical, physical: number.into(), len: 1 }, true)?;
            *logical += 1;
            return Ok(());
        }
        map.budget.take(1)?;
        for pointer in self.block(number.into())?.chunks_exact(4) {
            self.pointer(field(u32_at(pointer, 0))?, level - 1, logical, map)?;
        }
        Ok(())
    }
}

/// The runs gathered so far.
struct Map<'a> {
    runs: Vec<BlockRun>,
    /// The first block that may come next.
    next: u64,
    /// The file's length in blocks; the map may go beyond.
    end: u64,
    /// Blocks of the device.
    last_block: u64,
    budget: &'a mut BlockBudget,
}

impl Map<'_> {
    fn add(&mut self, mut run: BlockRun, written: bool) -> Result<(), ImageError> {
        let beyond = run.physical.checked_add(run.len).is_none_or(|end| end > self.last_block);
        if run.len == 0 || run.logical < self.next || beyond || run.physical == 0 {
            return Err(ImageError::Corrupt("ext4 has a file with an invalid block map"));
        }
        self.budget.take(run.len)?;
        self.next = run.logical + run.len;
        run.len = run.len.min(self.end.saturating_sub(run.logical));
        if !written || run.len == 0 {
            return Ok(());
        }
        match self.runs.last_mut() {
            Some(last)
                if last.logical + last.len == run.logical && last.physical + last.len == run.physical =>
            {
                last.len += run.len;
            }
            _ => self.runs.push(run),
        }
        Ok(())
    }
}

const EXTENT_MAGIC: u16 = 0xf30a;
/// The kernel's limit.
const MAX_DEPTH: u16 = 5;
const UNWRITTEN: u64 = 32768;
const DIRECT_BLOCKS: u32 = 12;
