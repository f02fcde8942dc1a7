//! What a partition holds, by the signatures that libblkid knows.

use std::fmt;
use std::io;

use super::Extent;
use crate::{Fat, ImageError, Part, ReadAt};

/// The content of a partition, by its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// FAT12, FAT16 or FAT32: readable.
    Fat,
    /// ext2, ext3 or ext4: readable.
    Ext,
    /// exFAT, from which no Pi boots.
    ExFat,
    /// NTFS.
    Ntfs,
    /// btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// XFS.
    Xfs,
    /// squashfs.
    Squashfs,
    /// EROFS.
    Erofs,
    /// An encrypted volume of LUKS.
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A member of a Linux RAID.
    Raid,
    /// Swap space.
    Swap,
    /// Zeros.
    Empty,
    /// The image ends before the partition.
    Cut,
    /// None of these.
    Unknown,
}

impl Content {
    /// Recognises the content of a part of an image.
    pub(super) fn of(image: &impl ReadAt, extent: Extent) -> Result<Self, ImageError> {
        let part = Part::new(image, extent.start, extent.len);
        let mut start = [0; 4096];
        match part.read_exact_at(&mut start, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // A partition may be shorter.
                let mut first = [0; 512];
                match part.read_exact_at(&mut first, 0) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Self::Cut),
                    done => done?,
                }
                start[..512].copy_from_slice(&first);
            }
            done => done?,
        }
        let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
        let known = [
            (0x438, &[0x53, 0xef][..], Self::Ext),
            (3, b"EXFAT   ", Self::ExFat),
            (3, b"NTFS    ", Self::Ntfs),
            (0, b"LUKS\xba\xbe", Self::Luks),
            (512, b"LABELONE", Self::Lvm),
            (0, b"hsqs", Self::Squashfs),
            (1024, &[0x10, 0x20, 0xf5, 0xf2], Self::F2fs),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Self::Erofs),
            (0, b"XFSB", Self::Xfs),
            (4086, b"SWAPSPACE2", Self::Swap),
        ];
        if let Some((.., content)) = known.into_iter().find(|(at, magic, _)| has(*at, magic)) {
            return Ok(content);
        }
        let further =
            [(0x1_0040, &b"_BHRfS_M"[..], Self::Btrfs), (4096, &[0xfc, 0x4e, 0x2b, 0xa9][..], Self::Raid)];
        for (at, magic, content) in further {
            let mut bytes = vec![0; magic.len()];
            match part.read_exact_at(&mut bytes, at) {
                Ok(()) if bytes == magic => return Ok(content),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
                _ => {}
            }
        }
        if Fat::open(part).is_ok() {
            return Ok(Self::Fat);
        }
        Ok(if start.iter().all(|byte| *byte == 0) { Self::Empty } else { Self::Unknown })
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fat => "FAT",
            Self::Ext => "ext4",
            Self::ExFat => "exFAT",
            Self::Ntfs => "NTFS",
            Self::Btrfs => "btrfs",
            Self::F2fs => "F2FS",
            Self::Xfs => "XFS",
            Self::Squashfs => "squashfs",
            Self::Erofs => "EROFS",
            Self::Luks => "an encrypted volume (LUKS)",
            Self::Lvm => "LVM",
            Self::Raid => "a RAID member",
            Self::Swap => "swap space",
            Self::Empty => "zeros",
            Self::Cut => "nothing: the image ends before it",
            Self::Unknown => "unknown content",
        })
    }
}
