//! GUID partition tables.

use std::io;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::{Content, Extent, Partition, SECTOR, u32_at};
use crate::read_at::{u16_at, u64_at};
use crate::{ImageError, ReadAt};

/// The last sector of a disk with a protective MBR; `None` for another MBR.
pub(super) fn protected(sector: &[u8]) -> Option<u64> {
    let entries = sector.get(446..510)?.chunks_exact(16);
    let entry = entries.into_iter().find(|entry| entry.get(4) == Some(&PROTECTIVE))?;
    let (first, count) = (u32_at(entry, 8)?, u32_at(entry, 12)?);
    // "Set to the size of the disk minus one" (UEFI, table 5-4), so the last sector, if it fits.
    Some((u64::from(first) + u64::from(count)).saturating_sub(1))
}

/// Reads the first sound table: at the start of the disk, else at sector `last`, each with sectors of 512 and 4096 bytes.
pub(super) fn read(image: &impl ReadAt, last: u64) -> Result<Vec<Partition>, ImageError> {
    let mut was_there = false;
    for at in [1, last] {
        for sector in SECTORS {
            match read_at(image, at, sector) {
                Ok(Some(all)) => return Ok(all),
                Ok(None) => {}
                Err(Fault::Damaged) => was_there = true,
                // A copy beyond the end of a cut image is no reason by itself.
                Err(Fault::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(Fault::Read(error)) => return Err(error.into()),
            }
        }
    }
    Err(ImageError::Corrupt(if was_there {
        "both copies of its partition table (GPT) have a wrong checksum"
    } else {
        "its partition table (GPT) is missing at the start and at the end of the disk"
    }))
}

enum Fault {
    Damaged,
    Read(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The table with its header in sector `at`; `None` without one.
fn read_at(image: &impl ReadAt, at: u64, sector: u64) -> Result<Option<Vec<Partition>>, Fault> {
    let mut header = [0; SECTOR as usize];
    image.read_exact_at(&mut header, at.checked_mul(sector).ok_or(Fault::Damaged)?)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(None);
    }
    let damaged = || Fault::Damaged;
    let word = |at| u32_at(&header, at).ok_or_else(damaged);
    let (len, crc, count, size) = (word(12)? as usize, word(16)?, word(80)?, word(84)?);
    let entries_crc = word(88)?;
    let place = u64_at(&header, 72).and_then(|place| place.checked_mul(sector)).ok_or_else(damaged)?;
    if !(92..=header.len()).contains(&len) || !(128..=4096).contains(&size) || count > MOST {
        return Err(Fault::Damaged);
    }
    let mut digest = CRC.digest();
    for (at, byte) in header.iter().take(len).enumerate() {
        digest.update(&[if (16..20).contains(&at) { 0 } else { *byte }]);
    }
    if digest.finalize() != crc {
        return Err(Fault::Damaged);
    }
    let mut table = vec![0; count as usize * size as usize]; // 4 MiB at most
    image.read_exact_at(&mut table, place)?;
    if CRC.checksum(&table) != entries_crc {
        return Err(Fault::Damaged);
    }
    let all = (1..).zip(table.chunks_exact(size as usize));
    Ok(Some(all.filter_map(|(number, entry)| partition(number, entry, sector)).collect()))
}

fn partition(number: u32, entry: &[u8], sector: u64) -> Option<Partition> {
    let kind: [u8; 16] = *entry.first_chunk()?;
    let id: [u8; 16] = *entry.get(16..)?.first_chunk()?;
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let count = last.checked_sub(first)?.checked_add(1)?;
    if kind == [0; 16] {
        return None;
    }
    let declared = match kind {
        ESP | BASIC_DATA => Some(Content::Fat),
        LINUX | LINUX_ROOT_ARM | LINUX_ROOT_ARM64 => Some(Content::Ext),
        LINUX_LVM => Some(Content::Lvm),
        LINUX_SWAP => Some(Content::Swap),
        _ => None,
    };
    let label = (56..128).step_by(2).filter_map(|at| u16_at(entry, at)).take_while(|unit| *unit != 0);
    Some(Partition {
        number,
        extent: Extent::of_sectors(first, count, sector)?,
        content: Content::Unknown,
        declared,
        partuuid: text(&id),
        label: char::decode_utf16(label).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
    })
}

/// A GUID as Linux writes it: the first three parts are little-endian.
fn text(id: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = id;
    let mut text = format!("{:08x}-", u32::from_le_bytes([*a, *b, *c, *d]));
    text += &format!("{:04x}-{:04x}-", u16::from_le_bytes([*e, *f]), u16::from_le_bytes([*g, *h]));
    for (at, byte) in rest.iter().enumerate() {
        if at == 2 {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const SECTORS: [u64; 2] = [512, 4096];
const PROTECTIVE: u8 = 0xee;
/// The most entries; usual tables have 128.
const MOST: u32 = 1024;
/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B
pub(super) const ESP: [u8; 16] =
    guid(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
/// EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
const BASIC_DATA: [u8; 16] =
    guid(0xebd0_a0a2, 0xb9e5, 0x4433, [0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7]);
/// 0FC63DAF-8483-4772-8E79-3D69D8477DE4
pub(super) const LINUX: [u8; 16] =
    guid(0x0fc6_3daf, 0x8483, 0x4772, [0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]);
/// 69DAD710-2CE4-4E3C-B16C-21A1D49ABED3
const LINUX_ROOT_ARM: [u8; 16] =
    guid(0x69da_d710, 0x2ce4, 0x4e3c, [0xb1, 0x6c, 0x21, 0xa1, 0xd4, 0x9a, 0xbe, 0xd3]);
/// B921B045-1DF0-41C3-AF44-4C6F280D3FAE
const LINUX_ROOT_ARM64: [u8; 16] =
    guid(0xb921_b045, 0x1df0, 0x41c3, [0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d, 0x3f, 0xae]);
/// E6D6D379-F507-44C2-A23C-238F2A3DF928
const LINUX_LVM: [u8; 16] =
    guid(0xe6d6_d379, 0xf507, 0x44c2, [0xa2, 0x3c, 0x23, 0x8f, 0x2a, 0x3d, 0xf9, 0x28]);
/// 0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
const LINUX_SWAP: [u8; 16] =
    guid(0x0657_fd6d, 0xa4ab, 0x43c4, [0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f]);

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
