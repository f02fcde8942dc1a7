//! Inodes: a file's kind and attributes.

use super::checksum::FileSeed;
use super::{field, u16_at, u32_at};
use crate::ImageError;

/// An inode.
#[derive(Debug, Clone)]
pub struct Inode {
    /// The inode number; hard links share it.
    pub number: u32,
    /// The file's kind.
    pub kind: FileKind,
    /// Permissions with setuid, setgid and sticky bit: the low 12 bits.
    pub permissions: u32,
    /// The owner's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// The number of hard links.
    pub links: u16,
    /// The length in bytes.
    pub size: u64,
    /// The modification time.
    pub modified: Timestamp,
    /// The block with attributes; 0: none.
    pub(super) xattr_block: u64,
    /// The attributes in the inode itself.
    pub(super) xattr_inline: Vec<u8>,
    pub(super) flags: u32,
    /// The seed of the checksums of the file's blocks.
    pub(super) checksum_seed: FileSeed,
    /// The map of blocks, a short link's target, or a device number.
    pub(super) block: [u8; 60],
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver's number.
    pub major: u32,
    /// The number among the driver's devices.
    pub minor: u32,
}

/// Seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanoseconds: u32,
}

impl Inode {
    pub(super) fn parse(number: u32, bytes: &[u8], checksum_seed: FileSeed) -> Result<Self, ImageError> {
        let word = |at| field(u32_at(bytes, at));
        let half = |at| field(u16_at(bytes, at));
        let mode = half(0x0)?;
        let block: [u8; 60] = *field(bytes.get(0x28..).and_then(<[u8]>::first_chunk))?;
        let kind = match mode & 0xf000 {
            0x8000 => FileKind::Regular,
            0x4000 => FileKind::Directory,
            0xa000 => FileKind::Symlink,
            0x2000 => FileKind::CharacterDevice(DeviceNumber::parse(&block)?),
            0x6000 => FileKind::BlockDevice(DeviceNumber::parse(&block)?),
            0x1000 => FileKind::Fifo,
            0xc000 => FileKind::Socket,
            _ => return Err(ImageError::Corrupt("ext4 has a file of an unknown kind")),
        };
        let flags = word(0x20)?;
        if flags & (FLAG_INLINE_DATA | FLAG_ENCRYPTED) != 0 {
            return Err(ImageError::Unsupported("the image's ext4 has a file that is encrypted or inline"));
        }
        let extra = if bytes.len() > 128 { usize::from(half(0x80)?) } else { 0 };
        let has = |end: usize| 128 + extra >= end && bytes.len() >= end;
        let modified_extra = if has(0x8c) { word(0x88)? } else { 0 };
        let xattr_inline = bytes.get(128 + extra..).filter(|_| extra > 0).unwrap_or_default();
        Ok(Self {
            number,
            kind,
            permissions: u32::from(mode & 0xfff),
            uid: u32::from(half(0x2)?) | u32::from(half(0x78)?) << 16,
            gid: u32::from(half(0x18)?) | u32::from(half(0x7a)?) << 16,
            links: half(0x1a)?,
            size: u64::from(word(0x4)?) | u64::from(word(0x6c)?) << 32,
            modified: Timestamp {
                seconds: i64::from(word(0x10)? as i32) + (i64::from(modified_extra & 3) << 32),
                nanoseconds: (modified_extra >> 2).min(999_999_999),
            },
            xattr_block: u64::from(word(0x68)?) | u64::from(half(0x76)?) << 32,
            xattr_inline: xattr_inline.to_vec(),
            flags,
            checksum_seed,
            block,
        })
    }

    /// Whether extents map the content, not a block map.
    pub(super) const fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    /// The target of a short link, which is in the inode.
    pub(super) fn short_target(&self) -> Option<&[u8]> {
        let len = usize::try_from(self.size).ok().filter(|len| *len < 60 && !self.has_extents())?;
        self.block.get(..len)
    }
}

impl DeviceNumber {
    /// Decodes a device number as the kernel's `old_decode_dev` and `new_decode_dev`.
    fn parse(block: &[u8; 60]) -> Result<Self, ImageError> {
        let old = field(u32_at(block, 0))?;
        if old != 0 {
            return Ok(Self { major: old >> 8 & 0xff, minor: old & 0xff });
        }
        let new = field(u32_at(block, 4))?;
        Ok(Self { major: new >> 8 & 0xfff, minor: new & 0xff | new >> 12 & 0xf_ff00 })
    }
}

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;
