//! A received file on a part of a flash.

use embedded_storage_async::nor_flash::NorFlash;

use super::FlashError;
use crate::storage::Upload;

/// A part of a NOR flash to which a received file is written, in pages of `PAGE` bytes: blocks of any length become whole pages.
///
/// Each unit of erasing is erased when the first byte for it comes, and never before: a file that is refused or never comes leaves the
/// flash as it was. What makes the file valid (a header, a flag of the bootloader) is the caller's, after
/// [`finish`](Upload::finish): an interrupted transfer leaves a part of the file.
///
/// The bytes in flash are not read back. A caller who needs to know that the flash keeps them compares a checksum.
#[derive(Debug)]
pub struct FlashUpload<F, const PAGE: usize> {
    flash: F,
    start: u32,
    room: u32,
    /// Bytes in flash, of whole pages.
    written: u32,
    page: [u8; PAGE],
    /// Bytes in the page.
    filled: usize,
}

impl<F: NorFlash, const PAGE: usize> FlashUpload<F, PAGE> {
    /// The `room` bytes from `start` on, both multiples of the flash's unit of erasing.
    ///
    /// # Errors
    ///
    /// [`FlashError::OutOfBounds`] if the flash ends before them, or one of them is no multiple.
    pub fn new(flash: F, start: u32, room: u32) -> Result<Self, FlashError<F::Error>> {
        const {
            assert!(PAGE > 0 && PAGE.is_multiple_of(F::WRITE_SIZE), "a page is some words of the flash");
            assert!(F::ERASE_SIZE.is_multiple_of(PAGE), "a unit of erasing is some pages");
        }
        let unit = F::ERASE_SIZE as u32;
        let end = u64::from(start) + u64::from(room);
        if !start.is_multiple_of(unit) || !room.is_multiple_of(unit) || end > flash.capacity() as u64 {
            return Err(FlashError::OutOfBounds);
        }
        Ok(Self { flash, start, room, written: 0, page: [ERASED; PAGE], filled: 0 })
    }

    /// The bytes received so far.
    pub fn received(&self) -> u32 {
        self.written + self.filled as u32
    }

    /// The flash, to verify what was written or to mark it as valid.
    pub fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash.
    pub fn into_flash(self) -> F {
        self.flash
    }

    async fn write_page(&mut self) -> Result<(), FlashError<F::Error>> {
        let at = self.start + self.written;
        if at.is_multiple_of(F::ERASE_SIZE as u32) {
            self.flash.erase(at, at + F::ERASE_SIZE as u32).await.map_err(FlashError::Flash)?;
        }
        self.flash.write(at, &self.page).await.map_err(FlashError::Flash)?;
        self.written += PAGE as u32;
        self.filled = 0;
        Ok(())
    }
}

impl<F: NorFlash, const PAGE: usize> Upload for FlashUpload<F, PAGE> {
    type Error = FlashError<F::Error>;

    fn expect(&mut self, len: u64) -> Result<(), Self::Error> {
        if len > self.room.into() { Err(FlashError::OutOfBounds) } else { Ok(()) }
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Self::Error> {
        if u64::from(self.received()) + bytes.len() as u64 > self.room.into() {
            return Err(FlashError::OutOfBounds);
        }
        while !bytes.is_empty() {
            let free = self.page.split_at_mut(self.filled).1;
            let (now, later) = bytes.split_at(bytes.len().min(free.len()));
            free.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.filled += now.len();
            bytes = later;
            if self.filled == PAGE {
                self.write_page().await?;
            }
        }
        Ok(())
    }

    /// Writes the last page, filled up as erased flash is.
    async fn finish(&mut self) -> Result<(), Self::Error> {
        if self.filled == 0 {
            return Ok(());
        }
        let filled = self.filled;
        self.page.split_at_mut(filled).1.fill(ERASED);
        self.write_page().await?;
        self.written = self.written - PAGE as u32 + filled as u32;
        Ok(())
    }
}

/// A byte of erased NOR flash.
const ERASED: u8 = 0xff;

#[cfg(test)]
mod tests {
    use embedded_storage_async::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};
    use std::vec::Vec;

    use super::*;
    use crate::block_on;

    /// A flash of four sectors that keeps the rules: whole units, and a write clears bits alone.
    struct Flash {
        bytes: Vec<u8>,
        /// Writes and erasures until the flash fails.
        left: usize,
    }

    impl Flash {
        fn used() -> Self {
            Self { bytes: std::vec![0x55; 4 * 256], left: usize::MAX }
        }

        fn take(&mut self) -> Result<(), NorFlashErrorKind> {
            self.left = self.left.checked_sub(1).ok_or(NorFlashErrorKind::Other)?;
            Ok(())
        }
    }

    impl ErrorType for Flash {
        type Error = NorFlashErrorKind;
    }

    impl ReadNorFlash for Flash {
        const READ_SIZE: usize = 1;

        async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
            bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl NorFlash for Flash {
        const WRITE_SIZE: usize = 16;
        const ERASE_SIZE: usize = 256;

        async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
            self.take()?;
            assert!(from.is_multiple_of(256) && to.is_multiple_of(256));
            self.bytes[from as usize..to as usize].fill(0xff);
            Ok(())
        }

        async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
            self.take()?;
            assert!(offset.is_multiple_of(16) && bytes.len().is_multiple_of(16));
            self.bytes[offset as usize..].iter_mut().zip(bytes).for_each(|(to, from)| *to &= from);
            Ok(())
        }
    }

    #[test]
    fn blocks_of_any_length_become_pages() {
        for len in [0, 1, 63, 64, 65, 256, 257, 512] {
            for block in [1, 7, 64, 100, 512] {
                let mut upload = FlashUpload::<_, 64>::new(Flash::used(), 256, 512).unwrap();
                let file: Vec<u8> = (0..len).map(|index: usize| (index * 7) as u8).collect();
                upload.expect(len as u64).unwrap();
                file.chunks(block).for_each(|block| block_on(upload.write(block)).unwrap());
                block_on(upload.finish()).unwrap();
                assert_eq!(upload.received(), len as u32);
                let bytes = upload.into_flash().bytes;
                assert_eq!(bytes[256..][..len], file, "{len} bytes in blocks of {block}");
                assert!(bytes[..256].iter().all(|byte| *byte == 0x55), "before the part");
                let erased = len.next_multiple_of(256);
                assert!(
                    bytes[256 + erased..].iter().all(|byte| *byte == 0x55),
                    "nothing is erased that is not written"
                );
            }
        }
    }

    #[test]
    fn more_than_fits_is_refused_before_anything_is_erased() {
        let mut upload = FlashUpload::<_, 64>::new(Flash::used(), 512, 512).unwrap();
        assert_eq!(upload.expect(513), Err(FlashError::OutOfBounds));
        assert_eq!(block_on(upload.write(&[0; 513])), Err(FlashError::OutOfBounds));
        assert!(upload.into_flash().bytes.iter().all(|byte| *byte == 0x55));
        for (start, room) in [(1, 256), (256, 255), (512, 768)] {
            assert!(FlashUpload::<_, 64>::new(Flash::used(), start, room).is_err());
        }
    }

    #[test]
    fn a_flash_that_fails_fails_the_upload() {
        for left in 0..=10 {
            let mut upload = FlashUpload::<_, 64>::new(Flash { left, ..Flash::used() }, 0, 1024).unwrap();
            // Two erasures and eight pages, the last by `finish`.
            let written = block_on(upload.write(&[1; 500]));
            let finished = written.and_then(|()| block_on(upload.finish()));
            assert_eq!(finished.is_ok(), left == 10, "{left}");
        }
    }
}
