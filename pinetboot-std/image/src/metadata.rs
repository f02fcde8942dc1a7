//! The structures of an ext4 file system that have a checksum, for errors.

use std::fmt;

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
