//! New boot files in flash, received by TFTP: the archive first, its header last, so that a power cut leaves the old files or none.
//!
//! ```text
//! before:    firmware | header | archive ...........................
//! fits:      firmware | header | archive | HEADER | ARCHIVE ........    and then the old header is erased
//! else:      firmware | (erased) | ARCHIVE ........................     and then the header is written
//! ```
//!
//! The firmware takes the first header, so the new files count from the moment at which their header is the first one.

use embedded_storage_async::nor_flash::NorFlash;
use pinetboot_core::Upload;
use pinetboot_core::adapter::embedded_storage_async_v0_4::{FlashError, FlashUpload};

use crate::config::{ArchiveHeader, Checksum, SECTOR};

/// The part of a board's flash that boot files may have, and what of it they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset of the first byte behind the firmware, in whole sectors.
    pub start: u32,
    /// Offset of the end of the flash.
    pub end: u32,
    /// The files that are served: the offset of their header, and the archive's length in bytes.
    pub current: Option<(u32, u32)>,
}

/// A place for an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The offset of the header; the archive follows in the next sector.
    header: u32,
    /// The old files are kept until the new ones are complete.
    keeps: bool,
}

impl Region {
    /// Whether an archive of `len` bytes fits.
    pub fn fits(&self, len: u32) -> bool {
        self.place(len).is_some()
    }

    /// The place of an archive of `len` bytes; `None`: it does not fit.
    fn place(&self, len: u32) -> Option<Place> {
        let needed = len.checked_next_multiple_of(UNIT)?.checked_add(UNIT)?;
        let fits = |from: u32, to: u32| to.checked_sub(from).is_some_and(|room| room >= needed);
        if let Some((header, old_len)) = self.current {
            // Before the old files: the new header is the first one at once.
            if fits(self.start, header) {
                return Some(Place { header: self.start, keeps: true });
            }
            let behind = old_len.checked_next_multiple_of(UNIT)?.checked_add(header)?.checked_add(UNIT)?;
            if fits(behind, self.end) {
                return Some(Place { header: behind, keeps: true });
            }
        }
        fits(self.start, self.end).then_some(Place { header: self.start, keeps: false })
    }
}

/// An archive on its way into flash.
#[derive(Debug)]
pub struct NewArchive<F> {
    body: FlashUpload<F, PAGE>,
    region: Region,
    place: Place,
    checksum: Checksum,
    /// The first bytes came, and the flash is being changed.
    began: bool,
    len: u32,
}

impl<F: NorFlash> NewArchive<F> {
    /// An archive of `len` bytes for this flash. Nothing is changed before its first bytes come.
    ///
    /// # Errors
    ///
    /// The archive does not fit, or the flash has no such region.
    pub fn new(flash: F, region: Region, len: u32) -> Result<Self, UpdateError<F::Error>> {
        const { assert!(F::ERASE_SIZE == SECTOR && F::WRITE_SIZE <= PAGE) };
        let place = region.place(len).ok_or(UpdateError::TooLong)?;
        let start = place.header + UNIT;
        let body = FlashUpload::new(flash, start, region.end - start).map_err(UpdateError::Flash)?;
        Ok(Self { body, region, place, checksum: Checksum::new(), began: false, len })
    }

    /// Whether the flash is being changed.
    pub fn has_begun(&self) -> bool {
        self.began
    }

    /// The flash.
    pub fn into_flash(self) -> F {
        self.body.into_flash()
    }

    async fn erase(&mut self, sector: u32) -> Result<(), UpdateError<F::Error>> {
        let erased = self.body.flash_mut().erase(sector, sector + UNIT).await;
        erased.map_err(|error| UpdateError::Flash(FlashError::Flash(error)))
    }

    /// The checksum of what is in flash.
    async fn in_flash(&mut self) -> Result<u32, UpdateError<F::Error>> {
        let (mut checksum, mut page) = (Checksum::new(), [0; PAGE]);
        let (mut at, mut left) = (self.place.header + UNIT, self.len as usize);
        while left > 0 {
            let read = self.body.flash_mut().read(at, &mut page).await;
            read.map_err(|error| UpdateError::Flash(FlashError::Flash(error)))?;
            let count = left.min(PAGE);
            checksum.update(page.get(..count).unwrap_or_default());
            at += PAGE as u32;
            left -= count;
        }
        Ok(checksum.finish())
    }
}

impl<F: NorFlash> Upload for NewArchive<F> {
    type Error = UpdateError<F::Error>;

    fn expect(&mut self, len: u64) -> Result<(), Self::Error> {
        if len == u64::from(self.len) { Ok(()) } else { Err(UpdateError::TooLong) }
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        if !self.began {
            if bytes.get(257..262) != Some(b"ustar") {
                return Err(UpdateError::NotAnArchive);
            }
            self.began = true;
            if let Some((header, _)) = self.region.current.filter(|_| !self.place.keeps) {
                self.erase(header).await?;
            }
            // What an interrupted update left there is no header.
            self.erase(self.place.header).await?;
        }
        self.checksum.update(bytes);
        self.body.write(bytes).await.map_err(UpdateError::Flash)
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        self.body.finish().await.map_err(UpdateError::Flash)?;
        if !self.began || self.body.received() != self.len {
            return Err(UpdateError::CutShort);
        }
        let crc = self.checksum.clone().finish();
        if self.in_flash().await? != crc {
            return Err(UpdateError::NotKept);
        }
        let mut page = [0xff; PAGE];
        let header = ArchiveHeader { len: self.len, crc }.emit(self.place.header);
        page.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        let written = self.body.flash_mut().write(self.place.header, &page).await;
        written.map_err(|error| UpdateError::Flash(FlashError::Flash(error)))?;
        match self.region.current {
            Some((old, _)) if self.place.keeps => self.erase(old).await,
            _ => Ok(()),
        }
    }
}

/// Why there are no new files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The archive does not fit, or has another length than announced.
    TooLong,
    /// The first bytes are not those of a ustar archive.
    NotAnArchive,
    /// The archive ends before its announced length.
    CutShort,
    /// The flash has other bytes than were written to it.
    NotKept,
    /// The flash failed.
    Flash(FlashError<E>),
}

/// The unit of writing of the flash chips, in bytes.
const PAGE: usize = 256;

const UNIT: u32 = SECTOR as u32;

#[cfg(test)]
mod tests;
