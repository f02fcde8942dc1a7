//! MBR, with the logical partitions of PINN and NOOBS cards.

use super::{Content, Extent, Partition, SECTOR, u32_at};
use crate::{ImageError, ReadAt};

/// The partitions of a master boot record.
pub(super) fn read(image: &impl ReadAt, sector: &[u8]) -> Result<Vec<Partition>, ImageError> {
    let disk = u32_at(sector, 440).unwrap_or_default();
    let mut all = Vec::new();
    let mut extended = None;
    for (number, entry) in (1..).zip(entries(sector)) {
        if EXTENDED.contains(&entry.kind) {
            extended = extended.or(Some(u64::from(entry.first)));
        } else {
            all.extend(partition(number, entry.kind, disk, entry.first.into(), entry.count.into()));
        }
    }
    if let Some(extended) = extended {
        read_logical(image, disk, extended, &mut all)?;
    }
    Ok(all)
}

/// Follows the chain of records in an extended partition: each names a partition, relative to itself, and the next record,
/// relative to the extended partition.
fn read_logical(
    image: &impl ReadAt,
    disk: u32,
    extended: u64,
    all: &mut Vec<Partition>,
) -> Result<(), ImageError> {
    let mut record = extended;
    for number in 5..5 + MOST_LOGICAL {
        let mut sector = [0; SECTOR as usize];
        let at = record.checked_mul(SECTOR).ok_or(BAD_CHAIN)?;
        image.read_exact_at(&mut sector, at)?;
        if !sector.ends_with(&[0x55, 0xaa]) {
            return Err(BAD_CHAIN);
        }
        let mut entries = entries(&sector);
        let (Some(own), Some(next)) = (entries.next(), entries.next()) else { return Ok(()) };
        all.extend(partition(number, own.kind, disk, record + u64::from(own.first), own.count.into()));
        if next.first == 0 || !EXTENDED.contains(&next.kind) {
            return Ok(());
        }
        let following = extended + u64::from(next.first);
        if following <= record {
            return Err(BAD_CHAIN); // a loop
        }
        record = following;
    }
    Err(BAD_CHAIN)
}

fn partition(number: u32, kind: u8, disk: u32, first: u64, count: u64) -> Option<Partition> {
    if kind == 0 {
        return None;
    }
    let declared = match kind {
        0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e | 0xef => Some(Content::Fat),
        0x07 => Some(Content::ExFat),
        0x82 => Some(Content::Swap),
        0x83 => Some(Content::Ext),
        0x8e => Some(Content::Lvm),
        0xfd => Some(Content::Raid),
        _ => None,
    };
    Some(Partition {
        number,
        extent: Extent::of_sectors(first, count, SECTOR)?,
        content: Content::Unknown,
        declared,
        partuuid: format!("{disk:08x}-{number:02x}"),
        label: String::new(),
    })
}

struct Entry {
    kind: u8,
    first: u32,
    count: u32,
}

fn entries(sector: &[u8]) -> impl Iterator<Item = Entry> + Clone {
    sector.get(446..510).unwrap_or_default().chunks_exact(16).map(|entry| Entry {
        kind: entry.get(4).copied().unwrap_or_default(),
        first: u32_at(entry, 8).unwrap_or_default(),
        count: u32_at(entry, 12).unwrap_or_default(),
    })
}

const BAD_CHAIN: ImageError = ImageError::Corrupt("its logical partitions make no chain");
/// By cylinders, by sectors, and Linux's own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Linux reads 255 partitions of a disk.
const MOST_LOGICAL: u32 = 251;
