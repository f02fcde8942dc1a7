use std::vec::Vec;

use embedded_storage_async::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};
use pinetboot_core::block_on;
use proptest::prelude::*;

use super::*;
use crate::config::find_archive;

/// A flash whose power is cut after some bytes erased or written.
#[derive(Clone)]
struct Flash {
    bytes: Vec<u8>,
    power: usize,
}

impl Flash {
    /// What is left of `len` bytes to be changed.
    fn draw(&mut self, len: usize) -> usize {
        let done = len.min(self.power);
        self.power -= done;
        done
    }
}

impl ErrorType for &mut Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for &mut Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for &mut Flash {
    const WRITE_SIZE: usize = 256;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        assert!(from.is_multiple_of(UNIT) && to.is_multiple_of(UNIT));
        assert!(from >= FIRMWARE, "the firmware is erased");
        let len = (to - from) as usize;
        let done = self.draw(len);
        self.bytes[from as usize..][..done].fill(0xff);
        if done == len { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        assert!(offset.is_multiple_of(256) && bytes.len().is_multiple_of(256));
        let done = self.draw(bytes.len());
        self.bytes[offset as usize..].iter_mut().zip(&bytes[..done]).for_each(|(to, from)| *to &= from);
        if done == bytes.len() { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

/// An archive of this length, or what looks like one from outside.
fn archive(len: usize, seed: u8) -> Vec<u8> {
    let mut archive: Vec<u8> = (0..len).map(|index| (index as u8).wrapping_mul(31) ^ seed).collect();
    archive[257..262].copy_from_slice(b"ustar");
    archive
}

fn flash() -> Flash {
    let mut bytes = std::vec![0; SECTORS * SECTOR];
    bytes[FIRMWARE as usize..].fill(0x5a); // of another program
    Flash { bytes, power: usize::MAX }
}

/// Updates, and restarts after it: what is in flash then.
fn update(flash: &mut Flash, new: &[u8], block: usize) -> Result<(), UpdateError<NorFlashErrorKind>> {
    let current = find_archive(&flash.bytes, 0).map(|(at, bytes)| (at as u32, bytes.len() as u32));
    let region = Region { start: FIRMWARE, end: (SECTORS * SECTOR) as u32, current };
    let mut upload = NewArchive::new(flash, region, new.len() as u32)?;
    block_on(async {
        for block in new.chunks(block) {
            upload.write(block).await?;
        }
        upload.finish().await
    })
}

fn found(flash: &Flash) -> Option<&[u8]> {
    let (at, bytes) = find_archive(&flash.bytes, 0)?;
    let header = ArchiveHeader::parse(&flash.bytes[at..], at as u32).unwrap();
    assert_eq!(header, ArchiveHeader::of(bytes), "a header without its archive");
    Some(bytes)
}

#[test]
fn updates_follow_each_other() {
    let mut flash = flash();
    let mut seed = 0;
    for len in [600, 9 * SECTOR, 5000, 3 * SECTOR, 11 * SECTOR, 512, 12 * SECTOR, 600, 600] {
        seed += 1;
        let new = archive(len, seed);
        update(&mut flash, &new, 1468).unwrap();
        assert!(found(&flash) == Some(&new), "{len} bytes");
    }
    assert_eq!(update(&mut flash, &archive(15 * SECTOR, 0), 1468), Err(UpdateError::TooLong));
    assert!(found(&flash) == Some(&archive(600, seed)), "what does not fit changes nothing");
}

#[test]
fn what_is_no_archive_changes_nothing() {
    let mut flash = flash();
    update(&mut flash, &archive(5000, 1), 512).unwrap();
    let before = flash.bytes.clone();
    assert_eq!(update(&mut flash, &[0; 12 * SECTOR], 512), Err(UpdateError::NotAnArchive));
    assert!(flash.bytes == before);
}

#[test]
fn a_flash_that_forgets_is_noticed() {
    let mut flash = flash();
    let new = archive(5000, 1);
    let region = Region { start: FIRMWARE, end: (SECTORS * SECTOR) as u32, current: None };
    let mut upload = NewArchive::new(&mut flash, region, 5000).unwrap();
    block_on(upload.write(&new)).unwrap();
    upload.body.flash_mut().bytes[FIRMWARE as usize + SECTOR + 100] ^= 4;
    assert_eq!(block_on(upload.finish()), Err(UpdateError::NotKept));
    assert!(found(&flash).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The power is cut at any point of an update: the old files or the new ones or none are there, never a mixture, and the next
    /// update succeeds.
    #[test]
    fn a_power_cut_leaves_the_old_files_or_the_new_ones_or_none(
        old in 512..12 * SECTOR, new in 512..12 * SECTOR, cut in 0..26 * SECTOR, block in 512..1468_usize,
    ) {
        let (old, new) = (archive(old, 1), archive(new, 2));
        let mut flash = flash();
        update(&mut flash, &old, block).unwrap();
        let both_fit = old.len().next_multiple_of(SECTOR) + new.len().next_multiple_of(SECTOR) <= 12 * SECTOR;
        flash.power = cut;
        let updated = update(&mut flash, &new, block);
        let now = found(&flash).map(<[u8]>::to_vec);
        match (updated, now) {
            (Ok(()), now) => prop_assert!(now.as_ref() == Some(&new)),
            (Err(_), Some(now)) => prop_assert!(now == old || now == new),
            (Err(_), None) => prop_assert!(!both_fit, "the old files are lost"),
        }
        flash.power = usize::MAX;
        let next = archive(3000, 3);
        update(&mut flash, &next, block).unwrap();
        prop_assert!(found(&flash) == Some(&next));
    }
}

/// The firmware's part.
const FIRMWARE: u32 = 3 * UNIT;
const SECTORS: usize = 17;
