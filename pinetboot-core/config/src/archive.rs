//! The boot archive's place in a board's flash: a header at the start of a sector, and the archive from the next sector on.
//!
//! The firmware takes the first header that the flash has. The archive can therefore lie directly behind a firmware of any size, in the
//! same UF2 file, and its header can be erased and written alone: last, when the archive is complete.
//!
//! | byte | content, little-endian |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | length of the archive in bytes |
//! | 12 | CRC-32 of the archive |
//! | 16 | CRC-32 of the 16 bytes before and of the header's offset in flash |
//!
//! A copy of a header elsewhere, such as within an archive, is therefore no header.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, NoTable};

/// The header of a boot archive in flash.
///
/// ```
/// use pinetboot_config::{ArchiveHeader, SECTOR, find_archive};
///
/// let archive = [7; 1000];
/// let mut flash = vec![0xff; 4 * SECTOR];
/// flash[SECTOR..][..ArchiveHeader::LEN].copy_from_slice(&ArchiveHeader::of(&archive).emit(SECTOR as u32));
/// flash[2 * SECTOR..][..1000].copy_from_slice(&archive);
/// assert_eq!(find_archive(&flash, 0), Some((SECTOR, &archive[..])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// Length of the archive in bytes.
    pub len: u32,
    /// CRC-32 of the archive (IEEE 802.3).
    pub crc: u32,
}

impl ArchiveHeader {
    /// The length of a header in bytes.
    pub const LEN: usize = 20;

    /// The header of this archive, which is shorter than 4 GiB.
    pub fn of(archive: &[u8]) -> Self {
        Self { len: u32::try_from(archive.len()).unwrap_or(u32::MAX), crc: CRC.checksum(archive) }
    }

    /// The bytes of the header at this offset in flash.
    pub fn emit(&self, at: u32) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        let crc = header_checksum(&bytes[..16], at);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the start of these bytes, which are at this offset in flash; `None` without one.
    pub fn parse(bytes: &[u8], at: u32) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ Self::LEN }>()?;
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
        let (fields, crc) = (bytes.first_chunk::<16>()?, word(16)?);
        let is_header = fields.starts_with(MAGIC) && header_checksum(fields, at) == crc;
        is_header.then_some(Self { len: word(8)?, crc: word(12)? })
    }
}

fn header_checksum(fields: &[u8], at: u32) -> u32 {
    let mut checksum = Checksum::new();
    checksum.update(fields);
    checksum.update(&at.to_le_bytes());
    checksum.finish()
}

/// The first archive in this memory, which is the flash from a sector's start on, at offset `base`: the place of its header in the
/// memory, and its bytes. The archive's own checksum is not verified, which would take as long as reading the archive.
pub fn find_archive(flash: &[u8], base: u32) -> Option<(usize, &[u8])> {
    let sectors = flash.chunks(SECTOR).zip((base..).step_by(SECTOR)).enumerate();
    let headers = sectors.filter_map(|(sector, (bytes, offset))| {
        Some((sector * SECTOR, ArchiveHeader::parse(bytes, offset)?))
    });
    headers
        .filter_map(|(at, header)| {
            let bytes = flash.get(at + SECTOR..)?.get(..usize::try_from(header.len).ok()?)?;
            Some((at, bytes))
        })
        .next()
}

/// A CRC-32 of bytes that come in pieces.
#[derive(Clone)]
pub struct Checksum(Digest<'static, u32, NoTable>);

impl Checksum {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self(CRC.digest())
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all of them.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Checksum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Checksum").field(&self.clone().finish()).finish()
    }
}

/// The CRC-32 of these bytes (IEEE 802.3).
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// The first bytes of a header.
pub const MAGIC: &[u8; 8] = b"PINETBT\x01";

/// The sector size of flash chips, in bytes: the unit of erasing.
pub const SECTOR: usize = 4096;

/// Without a table: the firmware checks 16 bytes.
static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn a_header_with_any_bit_changed_is_none() {
        let header = ArchiveHeader::of(b"123456789");
        assert_eq!(header, ArchiveHeader { len: 9, crc: 0xcbf4_3926 }, "the check value of CRC-32");
        let bytes = header.emit(8192);
        assert_eq!(ArchiveHeader::parse(&bytes, 8192), Some(header));
        assert_eq!(ArchiveHeader::parse(&bytes, 4096), None, "a copy elsewhere");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ArchiveHeader::parse(&bytes, 8192), None, "bit {bit}");
        }
        assert_eq!(ArchiveHeader::parse(&bytes[..19], 8192), None);
    }

    #[test]
    fn the_first_header_counts_at_a_sectors_start_alone_and_if_its_archive_is_there() {
        let mut flash = vec![0xff; 6 * SECTOR];
        let mut put = |at: usize, len| {
            let header = ArchiveHeader { len, crc: 0 }.emit(at as u32 + 65_536);
            flash[at..][..header.len()].copy_from_slice(&header);
            find_archive(&flash, 65_536).map(|(at, bytes)| (at, bytes.len()))
        };
        assert_eq!(put(SECTOR + 256, 1), None);
        assert_eq!(put(SECTOR, 4 * SECTOR as u32 + 1), None, "longer than the flash");
        assert_eq!(put(4 * SECTOR, SECTOR as u32), Some((4 * SECTOR, SECTOR)));
        assert_eq!(put(0, 3), Some((0, 3)));
    }
}
