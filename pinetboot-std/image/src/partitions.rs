//! Partition tables: MBR, and GPT (UEFI specification 2.10, chapter 5).
//!
//! Read: primary partitions, sectors of 512 bytes, the first GPT. Not done: logical partitions, GPT's checksums, the second
//! GPT.

use std::io;

use crate::ImageError;
use crate::read_at::{ReadAt, u32_at, u64_at};

/// The boot and the root partition of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partitions {
    /// The first FAT partition.
    pub boot: Option<Extent>,
    /// The first Linux partition.
    pub root: Option<Extent>,
}

/// A range of bytes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first byte.
    pub start: u64,
    /// Length in bytes; not 0.
    pub len: u64,
}

impl Extent {
    /// Offset of the first byte behind the range.
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }

    fn of_sectors(first: u64, count: u64) -> Option<Self> {
        let (start, len) = (first.checked_mul(SECTOR)?, count.checked_mul(SECTOR)?);
        start.checked_add(len).filter(|_| first > 0 && len > 0)?;
        Some(Self { start, len })
    }
}

impl Partitions {
    /// Reads an image's partition table: the first partition of each kind counts.
    ///
    /// # Errors
    ///
    /// If the image has no partition table, or neither a FAT nor a Linux partition.
    pub fn read(image: &impl ReadAt) -> Result<Self, ImageError> {
        let mut sector = [0; SECTOR as usize];
        match image.read_exact_at(&mut sector, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(NO_IMAGE),
            done => done?,
        }
        if !sector.ends_with(&[0x55, 0xaa]) {
            return Err(NO_IMAGE);
        }
        let mut found = Self::default();
        let entries = sector.get(446..510).unwrap_or_default().chunks_exact(16);
        if entries.clone().any(|entry| entry.get(4) == Some(&MBR_PROTECTIVE)) {
            found.read_gpt(image)?;
        } else {
            for entry in entries {
                let first = u32_at(entry, 8).unwrap_or_default();
                let count = u32_at(entry, 12).unwrap_or_default();
                let place = match entry.get(4) {
                    Some(kind) if MBR_FAT.contains(kind) => &mut found.boot,
                    Some(&MBR_LINUX) => &mut found.root,
                    _ => continue,
                };
                *place = place.or(Extent::of_sectors(first.into(), count.into()));
            }
        }
        if found == Self::default() {
            return Err(ImageError::Unsupported("the image has neither a FAT nor a Linux partition"));
        }
        Ok(found)
    }

    fn read_gpt(&mut self, image: &impl ReadAt) -> Result<(), ImageError> {
        let mut header = [0; SECTOR as usize];
        image.read_exact_at(&mut header, SECTOR)?;
        let (Some(at), Some(count), Some(size)) =
            (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84))
        else {
            return Err(ImageError::Corrupt("its GPT is too short"));
        };
        let at = at.checked_mul(SECTOR).filter(|_| header.starts_with(b"EFI PART"));
        let sound = (128..=4096).contains(&size) && count <= GPT_MOST;
        let mut at = at.filter(|_| sound).ok_or(ImageError::Corrupt("its GPT is invalid"))?;
        for _ in 0..count {
            let mut entry = [0; 128];
            image.read_exact_at(&mut entry, at)?;
            at = at.saturating_add(size.into());
            let kind = entry.first_chunk().copied().unwrap_or_default();
            let (Some(first), Some(last)) = (u64_at(&entry, 32), u64_at(&entry, 40)) else { continue };
            let place = match kind {
                GPT_ESP | GPT_BASIC_DATA => &mut self.boot,
                GPT_LINUX | GPT_LINUX_ROOT_ARM | GPT_LINUX_ROOT_ARM64 => &mut self.root,
                _ => continue,
            };
            let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
            *place = place.or(count.and_then(|count| Extent::of_sectors(first, count)));
        }
        Ok(())
    }
}

const NO_IMAGE: ImageError = ImageError::Unsupported(
    "not a disk image: no partition table. Give the .img as downloaded, compressed or not",
);
const SECTOR: u64 = 512;
const MBR_PROTECTIVE: u8 = 0xee;
const MBR_LINUX: u8 = 0x83;
/// FAT12, FAT16 and FAT32, by cylinders and by sectors, and the EFI system partition.
const MBR_FAT: [u8; 7] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef];
/// The most entries of a GPT; usual tables have 128.
const GPT_MOST: u32 = 1024;
/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B
const GPT_ESP: [u8; 16] = guid(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
/// EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
const GPT_BASIC_DATA: [u8; 16] =
    guid(0xebd0_a0a2, 0xb9e5, 0x4433, [0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7]);
/// 0FC63DAF-8483-4772-8E79-3D69D8477DE4
const GPT_LINUX: [u8; 16] =
    guid(0x0fc6_3daf, 0x8483, 0x4772, [0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]);
/// 69DAD710-2CE4-4E3C-B16C-21A1D49ABED3
const GPT_LINUX_ROOT_ARM: [u8; 16] =
    guid(0x69da_d710, 0x2ce4, 0x4e3c, [0xb1, 0x6c, 0x21, 0xa1, 0xd4, 0x9a, 0xbe, 0xd3]);
/// B921B045-1DF0-41C3-AF44-4C6F280D3FAE
const GPT_LINUX_ROOT_ARM64: [u8; 16] =
    guid(0xb921_b045, 0x1df0, 0x41c3, [0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d, 0x3f, 0xae]);

/// A GUID in GPT's byte order: the first three parts little-endian.
const fn guid(a: u32, b: u16, c: u16, rest: [u8; 8]) -> [u8; 16] {
    let mut guid = (a.to_le() as u128 | (b.to_le() as u128) << 32 | (c.to_le() as u128) << 48).to_le_bytes();
    let mut at = 0;
    while at < 8 {
        guid[8 + at] = rest[at];
        at += 1;
    }
    guid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut disk = vec![0; 512 * 64];
        for (slot, (kind, first, count)) in entries.iter().enumerate() {
            let entry = &mut disk[446 + slot * 16..][..16];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&first.to_le_bytes());
            entry[12..].copy_from_slice(&count.to_le_bytes());
        }
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk
    }

    #[test]
    fn raspberry_pi_os() {
        let disk = mbr(&[(0x0c, 16384, 1_048_576), (0x83, 1_064_960, 4_000_000)]);
        let found = Partitions::read(&disk.as_slice()).unwrap();
        assert_eq!(found.boot, Some(Extent { start: 8 << 20, len: 512 << 20 }));
        assert_eq!(found.root, Some(Extent { start: 520 << 20, len: 4_000_000 * 512 }));
    }

    #[test]
    fn the_first_of_each_kind_wherever_it_is() {
        let disk = mbr(&[(0x82, 10, 10), (0x83, 100, 7), (0x0e, 50, 8), (0x83, 200, 9)]);
        let found = Partitions::read(&disk.as_slice()).unwrap();
        assert_eq!(found.root, Some(Extent { start: 100 * 512, len: 7 * 512 }));
        assert_eq!(found.boot, Some(Extent { start: 50 * 512, len: 8 * 512 }));
    }

    #[test]
    fn guids_as_they_are_on_a_disk() {
        // Bytes that sgdisk writes for a partition of type 8300.
        assert_eq!(
            GPT_LINUX,
            [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]
        );
    }

    #[test]
    fn a_protective_mbr_leads_to_the_gpt() {
        let mut disk = mbr(&[(0xee, 1, u32::MAX)]);
        assert!(Partitions::read(&disk.as_slice()).is_err(), "no GPT there");
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72..][..8].copy_from_slice(&2u64.to_le_bytes());
        disk[512 + 80..][..4].copy_from_slice(&4u32.to_le_bytes());
        disk[512 + 84..][..4].copy_from_slice(&128u32.to_le_bytes());
        for (slot, (kind, first, last)) in
            [(GPT_ESP, 2048u64, 4095u64), (GPT_LINUX_ROOT_ARM64, 4096, 4096)].into_iter().enumerate()
        {
            let entry = &mut disk[1024 + slot * 128..][..128];
            entry[..16].copy_from_slice(&kind);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let found = Partitions::read(&disk.as_slice()).unwrap();
        assert_eq!(found.boot, Some(Extent { start: 1 << 20, len: 1 << 20 }));
        assert_eq!(found.root, Some(Extent { start: 2 << 20, len: 512 }));
    }

    #[test]
    fn nonsense_is_no_image() {
        assert!(Partitions::read(&[0u8; 1024].as_slice()).is_err());
        assert!(Partitions::read(&[0u8; 100].as_slice()).is_err());
        assert!(Partitions::read(&mbr(&[]).as_slice()).is_err());
        assert!(
            Partitions::read(&mbr(&[(0x83, 0, 10), (0x83, 10, 0)]).as_slice()).is_err(),
            "empty or at the table"
        );
    }
}
