//! The superblock: sizes and features.

use super::checksum::Checksums;
use super::{field, u16_at, u32_at};
use crate::ImageError;

/// Offset of the superblock, in bytes.
pub(super) const OFFSET: u64 = 1024;
/// Length of the superblock, in bytes.
pub(super) const LEN: usize = 1024;

/// The fields that a reader needs, checked to agree with each other and the device.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) block_size: u64,
    /// `block_size * blocks` is no more than the device has.
    pub(super) blocks: u64,
    pub(super) used_blocks: u64,
    pub(super) first_data_block: u64,
    pub(super) groups: u64,
    pub(super) inodes: u32,
    /// Not 0.
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: u16,
    pub(super) descriptor_size: u16,
    pub(super) is_64bit: bool,
    pub(super) checksums: Checksums,
    /// Whether directory entries have a type: then the length of a name is one byte.
    pub(super) has_file_type: bool,
}

impl Superblock {
    /// `needs_replay`: whether a file system is accepted whose journal holds changes that the blocks lack.
    pub(super) fn parse(bytes: &[u8; LEN], device_len: u64, needs_replay: bool) -> Result<Self, ImageError> {
        let word = |at| field(u32_at(bytes, at));
        let half = |at| field(u16_at(bytes, at));
        if half(0x38)? != MAGIC {
            return Err(ImageError::Unsupported(
                "the Linux partition holds no ext4. Only images with an ext4 root can be imported",
            ));
        }
        let incompatible = word(0x60)?;
        let read_only = word(0x64)?;
        if incompatible & INCOMPAT_RECOVER != 0 && !needs_replay {
            return Err(ImageError::NotShutDown);
        }
        for &(set, bits, what) in REFUSED {
            let features = if set == Set::Incompatible { incompatible } else { read_only };
            if features & bits != 0 {
                return Err(ImageError::Unsupported(what));
            }
        }
        if incompatible & !(KNOWN | INCOMPAT_RECOVER) != 0 {
            return Err(ImageError::Unsupported(
                "the image's ext4 has features that this version does not know",
            ));
        }
        let checksums = Checksums::of(bytes)?;

        let block_size_log = word(0x18)?;
        let revision = word(0x4c)?;
        let is_64bit = incompatible & INCOMPAT_64BIT != 0;
        let block_size = 1024u64 << if block_size_log <= 6 { block_size_log } else { return Err(NONSENSE) };
        let wide = |low: u32, high: u32| u64::from(low) | if is_64bit { u64::from(high) << 32 } else { 0 };
        let blocks = wide(word(0x4)?, word(0x150)?);
        let free = wide(word(0xc)?, word(0x158)?);
        let first_data_block = u64::from(word(0x14)?);
        let blocks_per_group = u64::from(word(0x20)?);
        let inodes = word(0x0)?;
        let inodes_per_group = word(0x28)?;
        let inode_size = if revision == 0 { 128 } else { half(0x58)? };
        let descriptor_size = if is_64bit { half(0xfe)? } else { 32 };

        if blocks.checked_mul(block_size).is_none_or(|len| len > device_len) {
            return Err(ImageError::Corrupt("its ext4 is larger than the partition"));
        }
        if first_data_block != u64::from(block_size == 1024) || blocks <= first_data_block {
            return Err(NONSENSE);
        }
        if blocks_per_group == 0 || blocks_per_group > block_size * 8 {
            return Err(NONSENSE);
        }
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        let sound_inodes = inodes_per_group > 0
            && u64::from(inodes_per_group) * groups == u64::from(inodes)
            && u64::from(inodes_per_group) * u64::from(inode_size) <= blocks_per_group * block_size
            && inode_size.is_power_of_two()
            && inode_size >= 128
            && u64::from(inode_size) <= block_size;
        let sound_groups = descriptor_size.is_power_of_two()
            && (32..=1024).contains(&descriptor_size)
            && (!is_64bit || descriptor_size >= 64)
            && groups * u64::from(descriptor_size) <= blocks * block_size;
        if !sound_inodes || !sound_groups {
            return Err(NONSENSE);
        }
        Ok(Self {
            block_size,
            blocks,
            used_blocks: blocks.saturating_sub(free),
            first_data_block,
            groups,
            inodes,
            inodes_per_group,
            inode_size,
            descriptor_size,
            is_64bit,
            checksums,
            has_file_type: incompatible & INCOMPAT_FILETYPE != 0,
        })
    }
}

const NONSENSE: ImageError = ImageError::Corrupt("its ext4 has an invalid superblock");

const MAGIC: u16 = 0xef53;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
/// filetype, extents, 64bit, mmp, flex_bg, csum_seed, largedir.
const KNOWN: u32 = INCOMPAT_FILETYPE | 0x40 | INCOMPAT_64BIT | 0x100 | 0x200 | 0x2000 | 0x4000;

#[derive(Clone, Copy, PartialEq)]
enum Set {
    Incompatible,
    ReadOnly,
}

/// Features that change the layout, and are not supported.
const REFUSED: &[(Set, u32, &str)] = &[
    (Set::Incompatible, 0x8, "the Linux partition holds the journal of another one"),
    (Set::Incompatible, 0x1, "the image's ext4 is compressed, which cannot be read"),
    (Set::Incompatible, 0x10, "the image's ext4 has the feature meta_bg, which cannot be read"),
    (Set::Incompatible, 0x400, "the image's ext4 has the feature ea_inode, which cannot be read"),
    (Set::Incompatible, 0x1000, "the image's ext4 has the feature dirdata, which cannot be read"),
    (Set::Incompatible, 0x8000, "the image's ext4 has the feature inline_data, which cannot be read"),
    (Set::Incompatible, 0x10000, "the image's ext4 has encrypted files, which cannot be read"),
    (Set::Incompatible, 0x20000, "the image's ext4 has the feature casefold, which NFS cannot serve"),
    (Set::ReadOnly, 0x200, "the image's ext4 has the feature bigalloc, which cannot be read"),
    (Set::ReadOnly, 0x4000, "the image's ext4 has the feature shared_blocks, which cannot be read"),
];
