//! The storage that receives `KEY/boot.tar`, where the configuration has `upload = "KEY"`.

use core::cell::Cell;
use core::net::SocketAddrV4;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use pinetboot_core::{OpenError, OpenRequest, Storage, Upload};

use crate::console::Action;
use crate::update::{NewArchive, Region, UpdateError};

/// A flash for new boot files.
pub struct Updates<F> {
    /// `None` while files are received.
    flash: Cell<Option<F>>,
    region: Region,
}

impl<F: NorFlash> Updates<F> {
    /// This flash, of which boot files may have that part. `None`: the flash has no such part in whole sectors.
    pub fn new(flash: F, region: Region) -> Option<Self> {
        let is_sector = |offset: u32| offset.is_multiple_of(F::ERASE_SIZE as u32);
        let is_part = region.start <= region.end && region.end as usize <= flash.capacity();
        (is_sector(region.start) && is_sector(region.end) && is_part)
            .then_some(Self { flash: Cell::new(Some(flash)), region })
    }
}

/// A storage that receives new boot files, and has the files of another.
///
/// Nothing else is served from the first byte on that changes the flash: a file there would change while it is sent. The board restarts
/// when the transfer is over, whole or not.
pub(crate) struct WithUpdates<'a, S, F> {
    pub(crate) storage: S,
    pub(crate) updates: Option<&'a Updates<F>>,
    pub(crate) key: Option<&'a str>,
    /// What is done when the transfer is over.
    pub(crate) action: &'a Cell<Option<Action>>,
    /// Whether other transfers are under way.
    pub(crate) is_busy: &'a dyn Fn() -> bool,
}

impl<'a, S: Storage, F: NorFlash> Storage for WithUpdates<'a, S, F> {
    type File = S::File;
    type Upload = Received<'a, F>;
    type Refusal = S::Refusal;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<S::File, S::Refusal> {
        if self.updates.is_some_and(|updates| is_taken(&updates.flash)) {
            return Err(OpenError::Failed.into());
        }
        self.storage.open(request).await
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Received<'a, F>, S::Refusal> {
        let Some((updates, key)) = self.updates.zip(self.key) else { return Err(OpenError::Denied.into()) };
        if !request.path.components().eq([key, FILE_NAME]) {
            return Err(OpenError::Denied.into());
        }
        // The place depends on the length.
        let len = request.len.and_then(|len| u32::try_from(len).ok()).ok_or(OpenError::Failed)?;
        if (self.is_busy)() {
            return Err(OpenError::Later.into()); // the client asks again
        }
        if !updates.region.fits(len) {
            return Err(OpenError::NoSpace.into());
        }
        let flash = updates.flash.take().ok_or(OpenError::Failed)?;
        let archive = NewArchive::new(flash, updates.region, len).map_err(|_| OpenError::Failed)?;
        Ok(Received { archive: Some(archive), flash: &updates.flash, action: self.action })
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.storage.resumed()
    }
}

/// New boot files that are being received.
pub(crate) struct Received<'a, F: NorFlash> {
    archive: Option<NewArchive<F>>,
    flash: &'a Cell<Option<F>>,
    action: &'a Cell<Option<Action>>,
}

impl<F: NorFlash> Upload for Received<'_, F> {
    type Error = UpdateError<F::Error>;

    fn expect(&mut self, len: u64) -> Result<(), Self::Error> {
        self.archive.as_mut().map_or(Ok(()), |archive| archive.expect(len))
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        match &mut self.archive {
            Some(archive) => archive.write(bytes).await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        match &mut self.archive {
            Some(archive) => archive.finish().await,
            None => Ok(()),
        }
    }
}

impl<F: NorFlash> Drop for Received<'_, F> {
    fn drop(&mut self) {
        match self.archive.take() {
            // What was read at the start is no longer in flash.
            Some(archive) if archive.has_begun() => self.action.set(Some(Action::Reset)),
            Some(archive) => self.flash.set(Some(archive.into_flash())),
            None => {}
        }
    }
}

fn is_taken<F>(flash: &Cell<Option<F>>) -> bool {
    let content = flash.take();
    let is_taken = content.is_none();
    flash.set(content);
    is_taken
}

/// The flash of a board without updates.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "it has no value")]
pub enum NoFlash {}

impl ErrorType for NoFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for NoFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        match *self {}
    }

    fn capacity(&self) -> usize {
        match *self {}
    }
}

impl NorFlash for NoFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        match *self {}
    }

    async fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        match *self {}
    }
}

const FILE_NAME: &str = "boot.tar";
