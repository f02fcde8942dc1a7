//! The volume of a card: all of the card, or a partition of an MBR or of a GPT.

use embedded_sdmmc::{Block, BlockDevice};

use super::blocks::{Blocks, bytes};
use super::error::Error;
use super::volume::{Kind, Volume};

/// Looks for a volume: all of the card, or the first partition that has one.
pub(crate) fn find<D: BlockDevice>(blocks: &mut Blocks<D>) -> Result<Volume, Error> {
    let first = blocks.get(0)?;
    if bytes(first, 510) != SIGNATURE {
        return Err(Error::NoVolume);
    }
    if let Some(volume) = parse(first, 0) {
        return Ok(volume);
    }
    let partitions: [u8; 64] = bytes(first, 446);
    for partition in partitions.chunks_exact(16) {
        let [kind] = bytes(partition, 4);
        let found = match kind {
            0 => None,
            PROTECTIVE => in_gpt(blocks)?,
            _ => at(blocks, u32::from_le_bytes(bytes(partition, 8)))?,
        };
        if let Some(volume) = found {
            return Ok(volume);
        }
    }
    Err(Error::NoVolume)
}

/// The first volume of a GUID partition table (UEFI specification 2.10, section 5.3).
fn in_gpt<D: BlockDevice>(blocks: &mut Blocks<D>) -> Result<Option<Volume>, Error> {
    let header = blocks.get(1)?;
    let table = u64::from_le_bytes(bytes(header, 72));
    let [count, size] = [80, 84].map(|at| u32::from_le_bytes(bytes(header, at)));
    let Ok(table) = u32::try_from(table) else { return Ok(None) };
    // An entry has 128 bytes, or that times a power of two.
    if bytes(header, 0) != *b"EFI PART" || !(128..=Block::LEN_U32).contains(&size) || !size.is_power_of_two()
    {
        return Ok(None);
    }
    for index in 0..count.min(PARTITIONS) {
        let offset = index * size;
        let Some(block) = table.checked_add(offset / Block::LEN_U32) else { break };
        let entry = blocks.get(block)?.get((offset % Block::LEN_U32) as usize..).unwrap_or_default();
        if bytes(entry, 0) == [0; 16] {
            continue; // unused
        }
        if let Ok(start) = u32::try_from(u64::from_le_bytes(bytes(entry, 32)))
            && let Some(volume) = at(blocks, start)?
        {
            return Ok(Some(volume));
        }
    }
    Ok(None)
}

/// The volume that begins at this block, if one does. A partition that lies past the card's end has none.
fn at<D: BlockDevice>(blocks: &mut Blocks<D>, start: u32) -> Result<Option<Volume>, Error> {
    match blocks.get(start) {
        Ok(sector) => Ok(parse(sector, start)),
        Err(Error::Damaged) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(sector: &[u8; 512], start: u32) -> Option<Volume> {
    if bytes(sector, 510) != SIGNATURE {
        return None;
    }
    if bytes(sector, 3) == *b"EXFAT   " { exfat(sector, start) } else { fat(sector, start) }
}

/// Reads a boot sector (FAT specification, section "Boot Sector and BPB"). The number of clusters tells FAT16 from FAT32.
fn fat(sector: &[u8; 512], start: u32) -> Option<Volume> {
    let half = |at| u32::from(u16::from_le_bytes(bytes(sector, at)));
    let word = |at| u32::from_le_bytes(bytes(sector, at));
    let [per_cluster, _, _, tables] = bytes(sector, 13);
    if half(11) != Block::LEN_U32 || !per_cluster.is_power_of_two() {
        return None;
    }
    // Each is said in 16 bits, or else in 32.
    let either = |short, long| if short != 0 { short } else { word(long) };
    let cluster = u32::from(per_cluster);
    let (reserved, total, table_len) = (half(14), either(half(19), 32), either(half(22), 36));
    let root_len = (half(17) * 32).div_ceil(Block::LEN_U32);
    let root = table_len.checked_mul(u32::from(tables))?.checked_add(reserved)?;
    let before_data = root.checked_add(root_len)?;
    start.checked_add(total)?; // so no block of it is past the last number
    let clusters = total.checked_sub(before_data)? / cluster;
    let (kind, most, first_of_root, id) = match clusters {
        0..4085 => return None, // FAT12
        4085..65_525 => (Kind::Fat16 { root: start + root, root_len }, 0xfff0, 0, word(39)),
        _ => (Kind::Fat32, 0x0fff_fff0, word(44), word(67)),
    };
    let is_right = match kind {
        Kind::Fat16 { .. } => half(22) != 0 && root_len > 0,
        Kind::Fat32 | Kind::ExFat => half(22) == 0 && root_len == 0,
    };
    let table = start + reserved;
    let volume = Volume {
        kind,
        table,
        data: start + before_data,
        cluster,
        end: clusters.checked_add(2)?.min(most),
        root: first_of_root,
        id,
    };
    is_right.then_some(volume)?.within(table_len)
}

/// Reads a boot sector of exFAT (exFAT specification, section 3.1).
fn exfat(sector: &[u8; 512], start: u32) -> Option<Volume> {
    let word = |at| u32::from_le_bytes(bytes(sector, at));
    let [bytes_per_sector, per_cluster] = bytes(sector, 108);
    let total = u32::try_from(u64::from_le_bytes(bytes(sector, 72))).ok()?;
    if bytes_per_sector != 9 || per_cluster > 16 {
        return None;
    }
    let cluster = 1 << per_cluster;
    let (table, data, clusters) = (word(80), word(88), word(92));
    start.checked_add(total)?;
    if table > total || data.checked_add(clusters.checked_mul(cluster)?)? > total {
        return None;
    }
    let volume = Volume {
        kind: Kind::ExFat,
        table: start + table,
        data: start + data,
        cluster,
        end: clusters.checked_add(2)?.min(0xffff_fff0),
        root: word(96),
        id: word(100),
    };
    volume.within(word(84))
}

/// The last two bytes of a boot sector and of an MBR.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// The MBR's type of the partition that stands for a GPT.
const PROTECTIVE: u8 = 0xee;

/// Entries of a GPT that are looked at.
const PARTITIONS: u32 = 16;
