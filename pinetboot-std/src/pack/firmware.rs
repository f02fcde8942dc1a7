//! The firmware of a board: the one in this program, or an ELF file of `cargo build`.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::ZlibDecoder;
use pinetboot_config::SECTOR;

use super::flash::{Board, FLASH_BASE};
use crate::exit::{Exit, Failed};

/// The firmware's image of the flash, from the first sector on, in whole sectors.
///
/// # Errors
///
/// If this program has no firmware for the board, or the file is no firmware of that board.
pub(super) fn firmware(board: Board, file: Option<&Path>) -> Result<Vec<u8>, Failed> {
    let Some(path) = file else {
        let (name, packed) = match board {
            Board::Rp2040 => ("rp2040", RP2040),
            Board::Rp2350 | Board::Esp => ("rp2350", RP2350),
        };
        if packed.is_empty() {
            return Err(Failed::new(Exit::Failure, LACKS.replace("BOARD", name)));
        }
        let mut elf = Vec::new();
        let unpacked = ZlibDecoder::new(packed).read_to_end(&mut elf).map_err(|error| error.to_string());
        return unpacked
            .and_then(|_| image(&elf, board))
            .map_err(|why| Failed::new(Exit::Failure, format!("the built-in firmware is damaged: {why}")));
    };
    let named = |why: String| format!("--firmware {}: {why}", path.display());
    let elf = fs::read(path).map_err(|error| Failed::new(Exit::Usage, named(error.to_string())))?;
    image(&elf, board).map_err(|why| Failed::new(Exit::Failure, named(why)))
}

/// The flash that the loaded segments of an ELF file fill.
fn image(elf: &[u8], board: Board) -> Result<Vec<u8>, String> {
    if !elf.starts_with(b"\x7fELF\x01\x01") {
        return Err("not an ELF file for a 32-bit processor, as cargo build makes it".into());
    }
    let broken = || "the ELF file is damaged".to_owned();
    let mut flash = Vec::new();
    let (table, size, count) = (word(elf, 28), half(elf, 42), half(elf, 44));
    let (table, size, count) = table.zip(size).zip(count).map(|((a, b), c)| (a, b, c)).ok_or_else(broken)?;
    for index in 0..count {
        let header = table.checked_add(size * index).and_then(|at| elf.get(at..)).ok_or_else(broken)?;
        let [kind, from, address, len] = [0, 4, 12, 16].map(|at| word(header, at).ok_or_else(broken));
        let (kind, from, address, len) = (kind?, from?, address?, len?);
        if kind != PT_LOAD || len == 0 {
            continue;
        }
        let bytes = from.checked_add(len).and_then(|to| elf.get(from..to)).ok_or_else(broken)?;
        let at = address.checked_sub(FLASH_BASE as usize).filter(|at| at + len <= MOST);
        let at = at.ok_or_else(|| format!("a segment at {address:#x} is outside of a board's flash"))?;
        if flash.len() < at + len {
            flash.resize(at + len, ERASED);
        }
        flash[at..at + len].copy_from_slice(bytes);
    }
    // RP2350 datasheet, 5.9: the boot ROM looks for this word in the first 4 KiB. An RP2040 starts at a boot loader, without that word.
    let is_rp2350 = flash.chunks_exact(4).take(SECTOR / 4).any(|word| word == IMAGE_DEFINITION);
    match (flash.is_empty(), is_rp2350, board) {
        (true, ..) => Err("nothing in it belongs into flash".into()),
        (_, true, Board::Rp2040) => Err("it is for an RP2350: give --board rp2350".into()),
        (_, false, Board::Rp2350) => Err("it is not for an RP2350, the board of --board rp2350".into()),
        _ => {
            flash.resize(flash.len().next_multiple_of(SECTOR), ERASED);
            Ok(flash)
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word) as usize)
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|half| u16::from_le_bytes(*half) as usize)
}

/// ELF files, packed; empty in a build without them (build.rs).
static RP2040: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rp2040"));
static RP2350: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rp2350"));

const LACKS: &str = "this build of pinetboot has no firmware for a BOARD: name its ELF file with --firmware FILE, or use a release. \
                     pinetboot-embassy/README.md says how to build it";

/// The kind of a segment that is loaded.
const PT_LOAD: usize = 1;

/// `PICOBIN_BLOCK_MARKER_START`
const IMAGE_DEFINITION: &[u8] = &0xffff_ded3_u32.to_le_bytes();

/// A byte of erased flash.
const ERASED: u8 = 0xff;

/// The most flash that a chip can map, in bytes.
const MOST: usize = 16 << 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An ELF file with these bytes at these addresses.
    pub(in crate::pack) fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut elf = vec![0; 52];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        elf[28] = 52;
        elf[42] = 32;
        elf[44] = segments.len() as u8;
        let mut from = 52 + 32 * segments.len();
        for (address, bytes) in segments {
            let len = bytes.len() as u32;
            let header = [1, from as u32, *address, *address, len, len, 0, 0];
            elf.extend(header.iter().flat_map(|word| word.to_le_bytes()));
            from += bytes.len();
        }
        elf.extend(segments.iter().flat_map(|(_, bytes)| *bytes));
        elf
    }

    #[test]
    fn segments_lie_in_flash_at_the_addresses_where_they_are_stored() {
        let flash = image(&elf(&[(0x1000_0100, b"code"), (0x1000_0000, b"boot")]), Board::Rp2040).unwrap();
        assert_eq!(
            (flash.len(), &flash[..5], &flash[256..261]),
            (SECTOR, &b"boot\xff"[..], &b"code\xff"[..])
        );
        let for_rp2350 = elf(&[(0x1000_0000, &[&[0; 256], IMAGE_DEFINITION].concat())]);
        assert_eq!(image(&for_rp2350, Board::Rp2350).unwrap().len(), SECTOR);
        assert!(image(&for_rp2350, Board::Rp2040).unwrap_err().contains("--board rp2350"));
    }

    #[test]
    fn other_files_and_damaged_ones_are_refused() {
        let whole = elf(&[(0x1000_0000, &[1; 300])]);
        assert!(image(&whole, Board::Rp2040).is_ok());
        assert!(image(&whole, Board::Rp2350).is_err(), "for the other board");
        for cut in 0..whole.len() {
            assert!(image(&whole[..cut], Board::Rp2040).is_err(), "cut at {cut}");
        }
        for other in [&elf(&[]), &elf(&[(0x2000_0000, b"ram")]), &elf(&[(0x10ff_ffff, b"to")])] {
            assert!(image(other, Board::Rp2040).is_err());
        }
        for at in 0..84 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _refused_or_not = image(&damaged, Board::Rp2040);
        }
    }
}
