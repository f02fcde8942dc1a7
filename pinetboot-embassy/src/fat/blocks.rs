//! Blocks of a device.

use core::ops::Range;

use embedded_sdmmc::{Block, BlockDevice, BlockIdx};

use super::error::Error;

/// A device, and a few blocks of its tables and directories.
pub(crate) struct Blocks<D> {
    device: D,
    /// How many blocks it has.
    total: u32,
    held: [Block; HELD],
    /// The numbers of the held blocks.
    which: Range<u32>,
}

impl<D: BlockDevice> Blocks<D> {
    pub(crate) fn new(device: D) -> Self {
        Self { device, total: 0, held: [const { Block { contents: [0; Block::LEN] } }; HELD], which: 0..0 }
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// Forgets the held blocks, and asks the device for its length again.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.which = 0..0;
        self.total = self.device.num_blocks().map_err(|_| Error::Device)?.0;
        Ok(())
    }

    /// Whether the device still answers. Held blocks do not count.
    pub(crate) fn is_there(&mut self) -> bool {
        self.which = 0..0;
        self.get(0).is_ok()
    }

    /// A block; and some after it are held for the next questions.
    pub(super) fn get(&mut self, block: u32) -> Result<&[u8; 512], Error> {
        if !self.which.contains(&block) {
            self.which = 0..0;
            let left = self.total.checked_sub(block).ok_or(Error::Damaged)?;
            let room = self.held.get_mut(..HELD.min(left as usize)).unwrap_or_default();
            let count = room.len() as u32;
            self.device.read(room, BlockIdx(block)).map_err(|_| Error::Device)?;
            self.which = block..block + count;
        }
        let place = block.wrapping_sub(self.which.start) as usize;
        self.held
            .get(place)
            .filter(|_| self.which.contains(&block))
            .map(|block| &block.contents)
            .ok_or(Error::Damaged)
    }

    /// Reads blocks of a file.
    pub(crate) fn read(&mut self, into: &mut [Block], from: u32) -> Result<(), Error> {
        if self.total.checked_sub(from).is_none_or(|left| (left as usize) < into.len()) {
            return Err(Error::Damaged);
        }
        self.device.read(into, BlockIdx(from)).map_err(|_| Error::Device)
    }
}

/// Blocks held at a time.
const HELD: usize = 2;

/// `N` bytes of a block from `at` on; zeros if the block is shorter.
pub(super) fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
