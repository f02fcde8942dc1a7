//! A board's stores: any blocks are a card's FAT16, FAT32 or exFAT that is searched and read to its end, or damage; any memory is an archive.
#![no_main]

use std::cell::Cell;
use std::fmt;

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};
use libfuzzer_sys::fuzz_target;
use pinetboot_core::BootPath;

// The firmware's own files, without the firmware.
#[path = "../../pinetboot-embassy/src/archive.rs"]
mod archive;
#[expect(dead_code, reason = "for a card that is taken out")]
#[path = "../../pinetboot-embassy/src/fat/mod.rs"]
mod fat;

use fat::{Blocks, Chain, Entry, Volume, find};

fuzz_target!(|bytes: &[u8]| {
    let _ = read_card(bytes);
    let archive = archive::Archive::new(bytes);
    assert!(archive.size() <= bytes.len() && archive.entries().count() <= bytes.len() / 512);
    let path = BootPath::parse(b"overlays/a").expect("a path");
    let found = archive.look_up(None, &path);
    assert!(found.shared.is_none_or(|file| file.len() < bytes.len()));
});

fn read_card(bytes: &[u8]) -> Result<(), fat::Error> {
    let reads = Cell::new(0);
    let mut blocks = Blocks::new(Card { bytes, reads: &reads });
    blocks.begin()?;
    let volume: Volume = find(&mut blocks)?;
    for path in ["config.txt", "overlays/Mixed Case.dtbo", "../."] {
        reads.set(0);
        let Ok(Some(file)) = volume.look_up(&mut blocks, None, path) else { continue };
        assert!(volume.still_has(&mut blocks, &file)?);
        let file: Entry = file;
        let mut chain = Chain::of_file(&file);
        let mut index = 0;
        while index < file.len.div_ceil(512).min(1000) {
            let Some(run) = volume.run(&mut blocks, &mut chain, index, 8)? else { break };
            assert!(!run.is_empty() && run.len() <= 8);
            blocks.read(&mut [const { Block { contents: [0; 512] } }], run.start)?;
            index += run.len() as u32;
        }
    }
    Ok(())
}

struct Card<'a> {
    bytes: &'a [u8],
    reads: &'a Cell<u64>,
}

impl BlockDevice for Card<'_> {
    type Error = fmt::Error;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), fmt::Error> {
        self.reads.set(self.reads.get() + 1);
        // A directory has at most 4096 blocks, each with a look into the table.
        assert!(self.reads.get() < 100_000, "a search without end");
        for (block, index) in blocks.iter_mut().zip(start.0 as usize..) {
            let from = self.bytes.get(index * 512..).and_then(<[u8]>::first_chunk).ok_or(fmt::Error)?;
            block.contents = *from;
        }
        Ok(())
    }

    fn write(&self, _: &[Block], _: BlockIdx) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    fn num_blocks(&self) -> Result<BlockCount, fmt::Error> {
        Ok(BlockCount(self.bytes.len() as u32 / 512))
    }
}
