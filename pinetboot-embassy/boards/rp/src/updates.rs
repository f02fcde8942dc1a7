//! New boot files, to the place in flash behind the firmware that the current files do not have.

use embassy_embedded_hal::adapter::BlockingAsync;
use pinetboot_embassy::{Region, Updates};
use static_cell::StaticCell;

use crate::{FlashChip, mapped};

pub(crate) type Flash = BlockingAsync<FlashChip>;

/// The updates of this chip, whose current files have their header and their length there.
pub(crate) fn updates(mut chip: FlashChip, current: Option<(u32, u32)>) -> Option<&'static Updates<Flash>> {
    static UPDATES: StaticCell<Option<Updates<Flash>>> = StaticCell::new();
    let region = Region { start: mapped::firmware_end(), end: flash_len(&mut chip), current };
    UPDATES.init(Updates::new(BlockingAsync::new(chip), region)).as_ref()
}

/// The size of the flash in bytes, by the last byte of the chip's JEDEC identifier.
#[cfg(feature = "rp2040")]
fn flash_len(flash: &mut FlashChip) -> u32 {
    match flash.blocking_jedec_id().unwrap_or(0) as u8 {
        log2 @ 20..=24 => 1 << log2,
        _ => SMALLEST_FLASH,
    }
}

/// The size of the smallest flash: the driver asks this chip's flash for nothing.
#[cfg(feature = "rp2350")]
fn flash_len(_: &mut FlashChip) -> u32 {
    SMALLEST_FLASH
}

/// Flash of WIZnet's boards and a Pico, in bytes.
const SMALLEST_FLASH: u32 = 2 << 20;
