//! Partition tables: MBR with logical partitions, and GPT (UEFI specification 2.10, chapter 5) with sectors of 512 or 4096 bytes.
//!
//! A GPT's checksums are compared; the second table is used where the first is damaged or missing. What a partition holds is told
//! from its content, not from its type.

mod content;
mod gpt;
mod mbr;

use std::fmt;
use std::io;

use crate::foreign;
use crate::read_at::{ReadAt, u32_at};
use crate::{Fat, ImageError, Part};
pub use content::Content;

/// The partitions of an image, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitions {
    all: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, as in `/dev/mmcblk0p2` and in `boot_partition=2` of autoboot.txt.
    pub number: u32,
    /// Its place.
    pub extent: Extent,
    /// What it holds.
    pub content: Content,
    /// What its type says that it holds; `None` for an unknown type.
    pub declared: Option<Content>,
    /// Its PARTUUID, in lower case: `4a3c1b2d-02` of an MBR, a GUID of a GPT.
    pub partuuid: String,
    /// Its PARTLABEL; only a GPT has one.
    pub label: String,
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

    fn of_sectors(first: u64, count: u64, sector: u64) -> Option<Self> {
        let (start, len) = (first.checked_mul(sector)?, count.checked_mul(sector)?);
        start.checked_add(len).filter(|_| first > 0 && len > 0)?;
        Some(Self { start, len })
    }
}

impl Partitions {
    /// Reads an image's partition table.
    ///
    /// # Errors
    ///
    /// If the image has no partition table, or an invalid one. The error names what the bytes are, if they are known.
    pub fn read(image: &impl ReadAt) -> Result<Self, ImageError> {
        let start = first_bytes(image)?;
        let sector = start.get(..SECTOR as usize).filter(|sector| sector.ends_with(&[0x55, 0xaa]));
        let Some(sector) = sector else { return Err(foreign::refusal(&start)) };
        let mut all = match gpt::protected(sector) {
            Some(last) => gpt::read(image, last)?,
            None => mbr::read(image, sector)?,
        };
        if all.is_empty() {
            let is_fat = Fat::open(Part::new(image, 0, u64::MAX)).is_ok();
            return Err(if is_fat { foreign::NO_TABLE_FAT } else { foreign::refusal(&start) });
        }
        for partition in &mut all {
            partition.content = Content::of(image, partition.extent)?;
        }
        Ok(Self { all })
    }

    /// All partitions.
    pub fn all(&self) -> &[Partition] {
        &self.all
    }

    /// The partition of this number.
    pub fn get(&self, number: u32) -> Option<&Partition> {
        self.all.iter().find(|partition| partition.number == number)
    }
}

/// The partitions and their content: `partition 1 FAT, 2 btrfs`.
impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("partition ")?;
        for (at, partition) in self.all.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", partition.number, partition.content)?;
            if let (Content::Unknown | Content::Empty, Some(declared)) =
                (partition.content, partition.declared)
            {
                write!(f, " ({declared} by its type)")?;
            }
        }
        Ok(())
    }
}

/// The first bytes of an image: as many as [`foreign`] looks at, or fewer if the image is shorter.
fn first_bytes(image: &impl ReadAt) -> Result<Vec<u8>, ImageError> {
    let mut start = vec![0; foreign::LOOK];
    loop {
        match image.read_exact_at(&mut start, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && start.len() > 1 => {
                start.truncate(start.len() / 2);
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
            done => return Ok(done.map(|()| start)?),
        }
    }
}

const SECTOR: u64 = 512;

#[cfg(test)]
mod tests;
