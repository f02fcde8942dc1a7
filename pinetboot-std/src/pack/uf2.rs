//! UF2, the file format that a board in boot mode accepts on its drive.
//!
//! The format: blocks of 512 bytes, each with 256 bytes and the address where they belong
//! (<https://github.com/microsoft/uf2>). The RP2040's boot ROM erases a sector of 4096 bytes when a block's number is the
//! first of its sixteen, whatever its address (raspberrypi/pico-bootrom-rp2040 issues 9 and 19): so the file begins at a
//! sector's start, has no gaps, and fills its last sector.

use super::flash::{Board, FLASH_BASE, FlashRegion, SECTOR};

/// The content of a UF2 file.
#[derive(Debug)]
pub(super) struct Uf2Image {
    pub(super) board: Board,
    /// Its start in the chip's address space.
    pub(super) address: u32,
    pub(super) bytes: Vec<u8>,
}

/// Encodes the content of flash from the region's start on.
pub(super) fn encode(mut flash: Vec<u8>, region: &FlashRegion) -> Vec<u8> {
    flash.resize(flash.len().next_multiple_of(SECTOR as usize), 0);
    let blocks = (flash.len() / PAYLOAD) as u32;
    let mut uf2 = Vec::with_capacity(flash.len() * 2);
    for (index, payload) in (0..).zip(flash.chunks(PAYLOAD)) {
        let address = FLASH_BASE + region.offset as u32 + index * PAYLOAD as u32;
        let head =
            [MAGIC_0, MAGIC_1, HAS_FAMILY, address, PAYLOAD as u32, index, blocks, region.board.family()];
        uf2.extend(head.iter().flat_map(|word| word.to_le_bytes()));
        uf2.extend(payload);
        uf2.resize(uf2.len() + BLOCK - 32 - PAYLOAD - 4, 0);
        uf2.extend(MAGIC_END.to_le_bytes());
    }
    uf2
}

/// Whether the bytes begin like UF2.
pub(super) fn is_uf2(file: &[u8]) -> bool {
    file.starts_with(&MAGIC_0.to_le_bytes())
}

pub(super) fn decode(file: &[u8]) -> Result<Uf2Image, String> {
    if file.is_empty() || !file.len().is_multiple_of(BLOCK) {
        return Err(format!("{} bytes are no number of UF2 blocks: it is cut short", file.len()));
    }
    let count = file.len() / BLOCK;
    let mut image: Option<Uf2Image> = None;
    for (index, block) in file.chunks(BLOCK).enumerate() {
        let word = |at: usize| block[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let wrong = |what: &str| Err(format!("UF2 block {index} of {count}: {what}"));
        if [word(0), word(4), word(BLOCK - 4)] != [MAGIC_0, MAGIC_1, MAGIC_END] {
            return wrong("not a block, but something else");
        }
        if word(8) & HAS_FAMILY == 0 || word(8) & NOT_FLASH != 0 || word(16) != PAYLOAD as u32 {
            return wrong("not of the kind that these boards take");
        }
        if (word(20), word(24)) != (index as u32, count as u32) {
            return wrong(&format!("numbered {} of {}", word(20), word(24)));
        }
        let Some(board) = Board::of_family(word(28)) else {
            return wrong(&format!("for another chip: family {:#010x}", word(28)));
        };
        let image = image.get_or_insert_with(|| Uf2Image { board, address: word(12), bytes: Vec::new() });
        if board != image.board {
            return wrong("for another chip than those before");
        }
        if u64::from(word(12)) != u64::from(image.address) + image.bytes.len() as u64 {
            return wrong(&format!("address {:#010x} does not follow the one before", word(12)));
        }
        image.bytes.extend(&block[32..32 + PAYLOAD]);
    }
    image.ok_or_else(|| "empty".into())
}

const MAGIC_0: u32 = 0x0a32_4655; // "UF2\n"
const MAGIC_1: u32 = 0x9e5d_5157;
const MAGIC_END: u32 = 0x0ab1_6f30;

/// Flag: the block names its family.
const HAS_FAMILY: u32 = 0x2000;

/// Flag: not for the main flash.
const NOT_FLASH: u32 = 0x0001;

const BLOCK: usize = 512;

/// Payload of a block that these boot ROMs accept, in bytes.
const PAYLOAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: FlashRegion = FlashRegion { board: Board::Rp2350, offset: 0x10_0000, flash: 0x20_0000 };

    #[test]
    fn a_block_is_as_the_format_defines_it() {
        let file = encode(vec![0xab; 4097], &ROOM);
        assert_eq!(file.len(), 32 * 512); // two sectors
        let second = &file[512..1024];
        assert_eq!(&second[..4], b"UF2\n");
        let words: Vec<u32> =
            second.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(
            words[..8],
            [0x0a32_4655, 0x9e5d_5157, 0x2000, 0x1010_0100, 256, 1, 32, 0xe48b_ff57],
            "magic, magic, flags, address, size, number, count, family"
        );
        assert!(second[32..288].iter().all(|byte| *byte == 0xab));
        assert!(second[288..508].iter().all(|byte| *byte == 0));
        assert_eq!(words[127], 0x0ab1_6f30);
    }

    #[test]
    fn decoding_undoes_encoding_and_pads_the_last_sector() {
        let image = decode(&encode(vec![7; 5000], &ROOM)).unwrap();
        assert_eq!((image.board, image.address), (Board::Rp2350, 0x1010_0000));
        assert_eq!(image.bytes.len(), 8192);
        assert!(image.bytes[..5000].iter().all(|byte| *byte == 7));
        assert!(image.bytes[5000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn broken_files_are_refused() {
        let whole = encode(vec![7; 5000], &ROOM);
        for cut in [0, 1, 511, 512, whole.len() - 512, whole.len() - 1] {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        // Every field of a header is checked, in every block.
        for block in [0, 5] {
            for at in [0, 4, 9, 8, 12, 16, 20, 24, 28, 508] {
                let mut file = whole.clone();
                file[block * 512 + at] ^= if at == 9 { 0x20 } else { 1 };
                let refused = decode(&file).is_err();
                // A first block elsewhere is caught by the second.
                assert!(refused, "block {block}, byte {at}");
            }
        }
    }
}
