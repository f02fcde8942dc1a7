//! Files on a part of a flash, by the traits of embedded-storage-async 0.4: read by [`FlashFile`], received by [`FlashUpload`].

mod upload;

use core::fmt;

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::storage::File;

pub use upload::FlashUpload;

/// A part of a flash, read as a file. Where the flash reads whole words only, the ends of a read go through one word of
/// memory.
#[derive(Debug)]
pub struct FlashFile<F> {
    flash: F,
    start: u32,
    len: u32,
}

impl<F: ReadNorFlash> FlashFile<F> {
    /// The `len` bytes from `start` on.
    ///
    /// # Errors
    ///
    /// [`FlashError::OutOfBounds`] if the flash ends before them.
    pub fn new(flash: F, start: u32, len: u32) -> Result<Self, FlashError<F::Error>> {
        const { assert!(F::READ_SIZE > 0 && F::READ_SIZE <= LARGEST_WORD) };
        let end = u64::from(start) + u64::from(len);
        if end > flash.capacity() as u64 {
            return Err(FlashError::OutOfBounds);
        }
        Ok(Self { flash, start, len })
    }
}

impl<F: ReadNorFlash> File for FlashFile<F> {
    type Error = FlashError<F::Error>;

    fn len(&self) -> u64 {
        self.len.into()
    }

    async fn read_exact_at(&mut self, offset: u64, mut buf: &mut [u8]) -> Result<(), Self::Error> {
        if offset.saturating_add(buf.len() as u64) > self.len.into() {
            return Err(FlashError::OutOfBounds);
        }
        let mut at = self.start + offset as u32;
        while !buf.is_empty() {
            let before = at as usize % F::READ_SIZE;
            let whole = buf.len() - buf.len() % F::READ_SIZE;
            let count = if before == 0 && whole > 0 {
                self.flash.read(at, buf.split_at_mut(whole).0).await.map_err(FlashError::Flash)?;
                whole
            } else {
                let mut word = [0; LARGEST_WORD];
                let word = word.split_at_mut(F::READ_SIZE).0;
                self.flash.read(at - before as u32, word).await.map_err(FlashError::Flash)?;
                let count = (F::READ_SIZE - before).min(buf.len());
                buf.iter_mut().zip(word.iter().skip(before)).for_each(|(to, from)| *to = *from);
                count
            };
            at += count as u32;
            buf = buf.split_at_mut(count).1;
        }
        Ok(())
    }
}

/// Why a part of a flash cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FlashError<E> {
    /// The bytes are not in that part.
    OutOfBounds,
    /// The flash says so.
    Flash(E),
}

impl<E: fmt::Debug> fmt::Display for FlashError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => f.write_str("past the end of that part of the flash"),
            Self::Flash(error) => write!(f, "the flash fails: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for FlashError<E> {}

/// The largest unit in which a flash may read, in bytes.
const LARGEST_WORD: usize = 64;

#[cfg(test)]
mod tests {
    use embedded_storage_async::nor_flash::{ErrorType, NorFlashErrorKind};

    use super::*;
    use crate::block_on;

    /// A flash that reads words of `N` bytes.
    struct Flash<const N: usize>;

    impl<const N: usize> ErrorType for Flash<N> {
        type Error = NorFlashErrorKind;
    }

    impl<const N: usize> ReadNorFlash for Flash<N> {
        const READ_SIZE: usize = N;

        async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
            let offset = offset as usize;
            if !offset.is_multiple_of(N) || !bytes.len().is_multiple_of(N) {
                return Err(NorFlashErrorKind::NotAligned);
            }
            if offset + bytes.len() > self.capacity() {
                return Err(NorFlashErrorKind::OutOfBounds);
            }
            bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = (offset + index) as u8);
            Ok(())
        }

        fn capacity(&self) -> usize {
            256
        }
    }

    fn reads<const N: usize>() {
        for (start, len) in [(0, 256), (3, 200), (8, 17)] {
            let mut file = FlashFile::new(Flash::<N>, start, len).unwrap();
            assert_eq!(file.len(), len.into());
            for offset in 0..=len {
                for count in 0..=(len - offset).min(20) {
                    let mut buf = [0xee; 20];
                    let buf = &mut buf[..count as usize];
                    block_on(file.read_exact_at(offset.into(), buf)).unwrap();
                    let right = (start + offset..).zip(&*buf).all(|(at, byte)| *byte == at as u8);
                    assert!(right, "{count} bytes at {offset} of {start}");
                }
            }
            let past = block_on(file.read_exact_at(u64::from(len) - 1, &mut [0; 2]));
            assert_eq!(past, Err(FlashError::OutOfBounds));
        }
        assert_eq!(FlashFile::new(Flash::<N>, 1, 256).err(), Some(FlashError::OutOfBounds));
    }

    #[test]
    fn words_of_any_size_are_read() {
        reads::<1>();
        reads::<4>();
        reads::<16>();
    }
}
