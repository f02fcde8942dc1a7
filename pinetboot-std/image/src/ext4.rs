//! ext2, ext3 and ext4 file systems: files with owners, links, devices and extended attributes.
//!
//! The layout is that of the Linux kernel's documentation, "ext4 Data Structures and Algorithms". Published readers lack
//! parts that a root file system needs: `ext4-view` has no inode numbers, link counts, devices and attributes, `ext4` no
//! names other than UTF-8 and no recent features.
//!
//! Read: blocks of 1 to 64 KiB; block descriptors of 32 and 64 bytes; extents and block maps; indexed directories (read
//! linearly); attributes in the inode and in a block. Deliberately not: replaying the journal (an image that needs it is
//! refused, or read as if there were none), inline data, encryption, bigalloc, meta_bg and attributes in separate inodes (refused: no image builder sets
//! them).
//!
//! Each structure that is read is checked against its checksum, if the file system has any (metadata_csum, gdt_csum): see
//! [`Metadata`]. A wrong one is an error, [`ImageError::Checksum`].
//!
//! The file system may be hostile. No allocation follows a claimed length, and a walk has a [`BlockBudget`] of the file
//! system's blocks: a map that repeats blocks exhausts the budget.

mod checksum;
mod directory;
mod inode;
mod lookup;
mod map;
mod superblock;
mod xattr;

use crate::ImageError;
pub use crate::metadata::Metadata;
use crate::read_at::{ReadAt, u16_at, u32_at};
pub use directory::DirectoryEntry;
pub use inode::{DeviceNumber, FileKind, Inode, Timestamp};
pub use lookup::Content;
pub use map::BlockRun;
use superblock::Superblock;
pub use xattr::Xattr;

/// An ext4 file system.
#[derive(Debug)]
pub struct Ext4<R> {
    device: R,
    superblock: Superblock,
    /// The first block of each group's inode table.
    inode_tables: Vec<u64>,
}

/// The number of blocks that a walk may still visit. A sound file system uses no block twice, so a walk never exhausts it.
#[derive(Debug)]
pub struct BlockBudget(u64);

impl BlockBudget {
    /// Spends `blocks`.
    ///
    /// # Errors
    ///
    /// If fewer are left.
    fn take(&mut self, blocks: u64) -> Result<(), ImageError> {
        self.0 = self.0.checked_sub(blocks).ok_or(ImageError::Corrupt("ext4 uses blocks more than once"))?;
        Ok(())
    }
}

impl<R: ReadAt> Ext4<R> {
    /// The root directory's inode.
    pub const ROOT: u32 = 2;

    /// Opens the file system on a device of `len` bytes.
    ///
    /// # Errors
    ///
    /// If the device holds no ext2, ext3 or ext4, or one with an unsupported feature.
    pub fn open(device: R, len: u64) -> Result<Self, ImageError> {
        Self::open_if(device, len, false)
    }

    /// Opens the file system of a system that may not have been shut down, without replaying the journal, as `mount -o ro,noload`: the
    /// changes of the last seconds are missing, and a directory or file that was being changed may be an error.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), except for [`ImageError::NotShutDown`].
    pub fn open_without_journal(device: R, len: u64) -> Result<Self, ImageError> {
        Self::open_if(device, len, true)
    }

    fn open_if(device: R, len: u64, needs_replay: bool) -> Result<Self, ImageError> {
        let mut bytes = [0; superblock::LEN];
        device.read_exact_at(&mut bytes, superblock::OFFSET)?;
        let superblock = Superblock::parse(&bytes, len, needs_replay)?;
        let inode_tables = read_inode_tables(&device, &superblock)?;
        Ok(Self { device, superblock, inode_tables })
    }

    /// The block size in bytes: 1024 to 65536.
    pub fn block_size(&self) -> u64 {
        self.superblock.block_size
    }

    /// The size of all used blocks, in bytes.
    pub fn used(&self) -> u64 {
        self.superblock.used_blocks.saturating_mul(self.superblock.block_size)
    }

    /// The number of inodes, used or not.
    pub fn inodes(&self) -> u32 {
        self.superblock.inodes
    }

    /// The budget for one walk over all files.
    pub fn budget(&self) -> BlockBudget {
        BlockBudget(self.superblock.blocks)
    }

    /// Reads an inode.
    ///
    /// # Errors
    ///
    /// If the number is out of range, or the inode is invalid or its checksum wrong.
    pub fn inode(&self, number: u32) -> Result<Inode, ImageError> {
        let superblock = &self.superblock;
        let index = number
            .checked_sub(1)
            .filter(|index| *index < superblock.inodes)
            .ok_or(ImageError::Corrupt("an ext4 directory names an invalid inode"))?;
        let group = index / superblock.inodes_per_group;
        let table = self.inode_tables.get(group as usize).ok_or(ImageError::Corrupt("ext4 lacks a group"))?;
        let within = u64::from(index % superblock.inodes_per_group) * u64::from(superblock.inode_size);
        let mut bytes = vec![0; usize::from(superblock.inode_size)];
        self.device.read_exact_at(&mut bytes, table * superblock.block_size + within)?;
        let seed = superblock.checksums.check_inode(number, &bytes)?;
        Inode::parse(number, &bytes, seed)
    }

    /// Fills `buf` from block `number`, starting `offset` bytes into it; the bytes may continue in the blocks behind it.
    ///
    /// # Errors
    ///
    /// If the device ends before.
    pub fn read_block(&self, number: u64, offset: u64, buf: &mut [u8]) -> Result<(), ImageError> {
        let at = number.checked_mul(self.superblock.block_size).and_then(|at| at.checked_add(offset));
        let at = at.ok_or(ImageError::Corrupt("ext4 names an invalid block"))?;
        Ok(self.device.read_exact_at(buf, at)?)
    }

    /// A whole block.
    fn block(&self, number: u64) -> Result<Vec<u8>, ImageError> {
        let mut block = vec![0; self.superblock.block_size as usize]; // 64 KiB at most
        self.read_block(number, 0, &mut block)?;
        Ok(block)
    }
}

/// Reads the first block of each group's inode table, the only field of a descriptor that a reader needs, and checks the
/// descriptors.
fn read_inode_tables<R: ReadAt>(device: &R, superblock: &Superblock) -> Result<Vec<u64>, ImageError> {
    let at = (superblock.first_data_block + 1) * superblock.block_size;
    let len = usize::from(superblock.descriptor_size);
    let mut tables = Vec::new(); // grows with the descriptors that the device really holds
    let mut bytes = vec![0; len * DESCRIPTORS_AT_ONCE];
    while (tables.len() as u64) < superblock.groups {
        let some = (superblock.groups - tables.len() as u64).min(DESCRIPTORS_AT_ONCE as u64) as usize;
        let bytes = &mut bytes[..some * len];
        device.read_exact_at(bytes, at + (tables.len() * len) as u64)?;
        for descriptor in bytes.chunks_exact(len) {
            superblock.checksums.check_group(tables.len() as u64, descriptor)?;
            let low = u32_at(descriptor, 0x8).unwrap_or_default();
            let high = u32_at(descriptor, 0x28).filter(|_| superblock.is_64bit).unwrap_or_default();
            let table = u64::from(high) << 32 | u64::from(low);
            if table >= superblock.blocks {
                return Err(ImageError::Corrupt("ext4 has inodes beyond its end"));
            }
            tables.push(table);
        }
    }
    Ok(tables)
}

const DESCRIPTORS_AT_ONCE: usize = 512;

/// A field of a structure; an error if the structure is too short.
fn field<T>(value: Option<T>) -> Result<T, ImageError> {
    value.ok_or(ImageError::Corrupt("ext4 has a structure that is too short"))
}

/// The length of a directory's record from its field, into which 65536 does not fit.
fn record_len(raw: u16, block_size: usize) -> usize {
    match raw {
        0 | 0xffff if block_size == 0x1_0000 => 0x1_0000,
        len => len.into(),
    }
}
