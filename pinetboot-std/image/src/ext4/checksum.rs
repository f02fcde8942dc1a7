//! Checksums of metadata: the features metadata_csum, metadata_csum_seed and gdt_csum.
//!
//! From the kernel's Documentation/filesystems/ext4/checksums.rst, and the seeds from fs/ext4: `ext4_superblock_csum` and
//! `ext4_group_desc_csum` (super.c), `ext4_inode_csum` (inode.c), `ext4_dirblock_csum` and `ext4_dx_csum` (namei.c),
//! `ext4_extent_block_csum` (extents.c), `ext4_xattr_block_csum` (xattr.c).
//!
//! A file system without these features has no checksums, and none covers a file's content, the target of a long symbolic
//! link, or a block of a block map.

use std::fmt;

use crc::{Algorithm, CRC_16_MODBUS, CRC_32_ISCSI, Crc, Table};

use super::directory::record_len;
use super::{field, superblock, u16_at, u32_at};
use crate::ImageError;

/// A structure of an ext4 file system that has a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metadata {
    /// The superblock.
    Superblock,
    /// The descriptor of this block group.
    Group(u64),
    /// The inode of this number, with the attributes in it.
    Inode(u32),
    /// A block of this directory: its entries or its index.
    Directory {
        /// The inode number.
        inode: u32,
        /// The block number.
        block: u64,
    },
    /// A block of this file's extent tree.
    Extents {
        /// The inode number.
        inode: u32,
        /// The block number.
        block: u64,
    },
    /// The block with this file's extended attributes.
    Xattrs {
        /// The inode number.
        inode: u32,
        /// The block number.
        block: u64,
    },
}

/// The kind of checksums that a file system has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checksums {
    /// None.
    None,
    /// gdt_csum: CRC-16 of each group's descriptor, seeded with the file system's UUID.
    Groups([u8; 16]),
    /// metadata_csum: CRC-32C of all metadata, with this seed.
    All(u32),
}

/// The seed for the blocks of one file; `None` without metadata_csum.
pub(super) type FileSeed = Option<u32>;

impl Checksums {
    /// The checksums that the superblock announces, after a check of its own one.
    pub(super) fn of(superblock: &[u8; superblock::LEN]) -> Result<Self, ImageError> {
        let features = field(u32_at(superblock, 0x64))?;
        let uuid = *field(superblock[0x68..].first_chunk())?;
        let stored = u32_at(superblock, SUPERBLOCK_CHECKSUM);
        if features & METADATA_CSUM == 0 {
            // The bit itself may be the damage: with it, the checksum is right.
            let mut with = *superblock;
            with[0x65] |= (METADATA_CSUM >> 8) as u8;
            let is_lost =
                with[0x175] == TYPE_CRC32C && stored == Some(crc32c(!0, &[&with[..SUPERBLOCK_CHECKSUM]]));
            check(!is_lost, Metadata::Superblock)?;
            return Ok(if features & GDT_CSUM == 0 { Self::None } else { Self::Groups(uuid) });
        }
        if superblock[0x175] != TYPE_CRC32C {
            return Err(ImageError::Unsupported("the image's ext4 has checksums of an unknown type"));
        }
        let computed = crc32c(!0, &[&superblock[..SUPERBLOCK_CHECKSUM]]);
        check(stored == Some(computed), Metadata::Superblock)?;
        let has_seed = field(u32_at(superblock, 0x60))? & INCOMPAT_CSUM_SEED != 0;
        Ok(Self::All(if has_seed { field(u32_at(superblock, 0x270))? } else { crc32c(!0, &[&uuid]) }))
    }

    /// Checks the descriptor of a group; `descriptor` has the length that the superblock says.
    pub(super) fn check_group(self, group: u64, descriptor: &[u8]) -> Result<(), ImageError> {
        let number = (group as u32).to_le_bytes();
        let (Some(start), Some(stored)) = (descriptor.get(..0x1e), u16_at(descriptor, 0x1e)) else {
            return Err(ImageError::Checksum(Metadata::Group(group)));
        };
        let rest = descriptor.get(0x20..).unwrap_or_default();
        let computed = match self {
            Self::None => return Ok(()),
            Self::Groups(uuid) => crc16(&[&uuid, &number, start, rest]),
            Self::All(seed) => crc32c(seed, &[&number, start, &[0; 2], rest]) as u16,
        };
        check(computed == stored, Metadata::Group(group))
    }

    /// Checks an inode, given in its full length, and returns the seed for the file's blocks.
    pub(super) fn check_inode(self, number: u32, inode: &[u8]) -> Result<FileSeed, ImageError> {
        let Self::All(seed) = self else { return Ok(None) };
        let generation = field(u32_at(inode, 0x64))?;
        let seed = crc32c(seed, &[&number.to_le_bytes(), &generation.to_le_bytes()]);
        let (old, new) = inode.split_at(inode.len().min(OLD_INODE_LEN));
        // The high half is in an inode that is long enough: "i_extra_isize" counts from byte 128.
        let is_wide = u16_at(new, 0).is_some_and(|extra| extra >= 4);
        let mut parts = [&old[..0x7c], &[0; 2], &old[0x7e..], new, &[], &[]];
        let mut stored = u32::from(field(u16_at(old, 0x7c))?);
        let mut mask = 0xffff;
        if is_wide {
            stored |= u32::from(field(u16_at(new, 2))?) << 16;
            mask = u32::MAX;
            parts[3..].copy_from_slice(&[&new[..2], &[0; 2], &new[4..]]);
        }
        check(crc32c(seed, &parts) & mask == stored, Metadata::Inode(number))?;
        Ok(Some(seed))
    }

    /// Checks the block with a file's extended attributes.
    pub(super) fn check_xattrs(self, inode: u32, number: u64, block: &[u8]) -> Result<(), ImageError> {
        let Self::All(seed) = self else { return Ok(()) };
        let computed = crc32c(seed, &[&number.to_le_bytes(), &block[..0x10], &[0; 4], &block[0x14..]]);
        check(u32_at(block, 0x10) == Some(computed), Metadata::Xattrs { inode, block: number })
    }
}

/// Checks a block of a directory: entries, which end with one for the checksum, or an index.
pub(super) fn check_directory(
    seed: FileSeed,
    inode: u32,
    number: u64,
    block: &[u8],
) -> Result<(), ImageError> {
    let Some(seed) = seed else { return Ok(()) };
    let is_sound = leaf_is_sound(seed, block).or_else(|| index_is_sound(seed, block)).unwrap_or(false);
    check(is_sound, Metadata::Directory { inode, block: number })
}

/// `None` unless the block ends with `struct ext4_dir_entry_tail`.
fn leaf_is_sound(seed: u32, block: &[u8]) -> Option<bool> {
    let (entries, tail) = block.split_last_chunk::<12>()?;
    let (stored, is_tail) = (u32_at(tail, 8)?, tail[..8] == *LEAF_TAIL);
    is_tail.then(|| crc32c(seed, &[entries]) == stored)
}

/// `None` unless the block is a `struct dx_root` or `dx_node` with room for its `struct dx_tail`.
fn index_is_sound(seed: u32, block: &[u8]) -> Option<bool> {
    let len = block.len();
    let record = |at| u16_at(block, at).map(|raw| record_len(raw, len));
    let counts = match record(4)? {
        whole if whole == len => 8,
        12 if record(16)? == len - 12 && block.get(24..28)? == [0; 4] && block[29] == 8 => 32,
        _ => return None,
    };
    let (limit, count) = (usize::from(u16_at(block, counts)?), usize::from(u16_at(block, counts + 2)?));
    let tail = block.get(counts + limit * 8..)?.first_chunk::<8>()?;
    let used = block.get(..counts + count * 8).filter(|_| count <= limit)?;
    Some(u32_at(tail, 4)? == crc32c(seed, &[used, &tail[..4], &[0; 4]]))
}

/// Checks a block of an extent tree: the checksum follows the room for all entries.
pub(super) fn check_extents(seed: FileSeed, inode: u32, number: u64, block: &[u8]) -> Result<(), ImageError> {
    let Some(seed) = seed else { return Ok(()) };
    let end = 12 + 12 * usize::from(field(u16_at(block, 4))?);
    let is_sound = block
        .get(..end)
        .zip(u32_at(block, end))
        .is_some_and(|(extents, stored)| crc32c(seed, &[extents]) == stored);
    check(is_sound, Metadata::Extents { inode, block: number })
}

/// A fuzzer cannot guess a checksum: to it any is right, so that it reaches what is behind.
#[expect(unexpected_cfgs, reason = "cargo-fuzz sets it")]
fn check(is_sound: bool, metadata: Metadata) -> Result<(), ImageError> {
    if is_sound || cfg!(fuzzing) { Ok(()) } else { Err(ImageError::Checksum(metadata)) }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("superblock"),
            Self::Group(number) => write!(f, "descriptor of group {number}"),
            Self::Inode(number) => write!(f, "inode {number}"),
            Self::Directory { inode, block } => write!(f, "directory block {block} of inode {inode}"),
            Self::Extents { inode, block } => write!(f, "extent block {block} of inode {inode}"),
            Self::Xattrs { inode, block } => write!(f, "attribute block {block} of inode {inode}"),
        }
    }
}

/// The kernel's `crc32c`: nothing is inverted at the end, so that a sum is the seed of the next.
fn crc32c(seed: u32, parts: &[&[u8]]) -> u32 {
    static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&KERNEL_CRC32C);
    let mut digest = CRC.digest_with_initial(seed.reverse_bits());
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// The kernel's `crc16`, from `~0` on.
fn crc16(parts: &[&[u8]]) -> u16 {
    static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
    let mut digest = CRC.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

const KERNEL_CRC32C: Algorithm<u32> = Algorithm { xorout: 0, ..CRC_32_ISCSI };
const GDT_CSUM: u32 = 0x10;
const METADATA_CSUM: u32 = 0x400;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const TYPE_CRC32C: u8 = 1;
const SUPERBLOCK_CHECKSUM: usize = 0x3fc;
const OLD_INODE_LEN: usize = 128;
/// No inode, 12 bytes, no name, and the file type 0xde.
const LEAF_TAIL: &[u8; 8] = &[0, 0, 0, 0, 12, 0, 0, 0xde];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_kernels() {
        // The check values of CRC-32/ISCSI and CRC-16/MODBUS for "123456789" (reveng's catalogue); the kernel's is not inverted.
        assert_eq!(!crc32c(!0, &[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, &[b"1234"]), &[b"567", b"", b"89"]), !0xe306_9283);
        assert_eq!(crc16(&[b"12345", b"6789"]), 0x4b37);
    }
}
