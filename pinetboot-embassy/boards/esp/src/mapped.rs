//! The archive in flash, as memory: the only `unsafe` code of this crate.
//!
//! The chip's bootloader maps the firmware from the first entry of the flash MMU on; the archive is mapped here by later
//! ones. How an entry is written: ESP32-C3 and ESP32-C6 technical reference manuals, chapter "System and Memory", and
//! esp-storage 0.10, which does so for a page at a time, and is the only source for the ESP32-P4. Not done: encrypted flash.

use core::ptr;

use esp_hal::peripherals;

/// The archive's part of the flash.
pub(crate) fn archive() -> &'static [u8] {
    let start = MAPPED_FLASH + FIRST_ENTRY * PAGE;
    for page in 0..PAGES {
        map(FIRST_ENTRY + page, (OFFSET / PAGE + page) as u16);
        // SAFETY: no code has read or written there before, so the cache holds nothing of it.
        unsafe { invalidate((start + page * PAGE) as u32) };
    }
    // SAFETY: the flash is mapped now, readable byte by byte, and this firmware does not write to it.
    unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(start), PAGES * PAGE) }
}

/// Maps a page of the flash at an entry of the MMU.
#[cfg(feature = "esp32c3")]
fn map(entry: usize, page: u16) {
    let entry = peripherals::MMU_TABLE::regs().entry(entry);
    // SAFETY: any page may be shown, and no code uses the memory behind this entry.
    entry.write(|entry| unsafe { entry.paddr().bits(page as u8) }.invalid().clear_bit());
}

/// Maps a page of the flash at an entry of the MMU.
#[cfg(any(feature = "esp32c6", feature = "esp32p4"))]
fn map(entry: usize, page: u16) {
    let spi0 = peripherals::SPI0::regs();
    // SAFETY: it names the entry for the next write, and no other code writes one now.
    spi0.mmu_item_index().write(|index| unsafe { index.mmu_item_index().bits(entry as u32) });
    // SAFETY: any page may be shown, and no code uses the memory behind this entry.
    spi0.mmu_item_content().write(|content| unsafe { content.paddr().bits(page) }.valid().set_bit());
}

/// Drops a page from the cache, by a function in the chip's ROM.
///
/// # Safety
///
/// Nothing that was written to the page is lost by that.
#[cfg(not(feature = "esp32p4"))]
unsafe fn invalidate(start: u32) {
    unsafe extern "C" {
        fn Cache_Invalidate_Addr(start: u32, len: u32);
    }
    // SAFETY: as the caller says.
    unsafe { Cache_Invalidate_Addr(start, PAGE as u32) }
}

/// Drops a page from the caches, those of data of both levels, by a function in the chip's ROM.
///
/// # Safety
///
/// Nothing that was written to the page is lost by that.
#[cfg(feature = "esp32p4")]
unsafe fn invalidate(start: u32) {
    unsafe extern "C" {
        fn Cache_Invalidate_Addr(caches: u32, start: u32, len: u32);
    }
    // SAFETY: as the caller says.
    unsafe { Cache_Invalidate_Addr(1 << 4 | 1 << 5, start, PAGE as u32) }
}

/// The address at which the MMU's first entry shows flash.
#[cfg(feature = "esp32c3")]
const MAPPED_FLASH: usize = 0x3c00_0000;
#[cfg(feature = "esp32c6")]
const MAPPED_FLASH: usize = 0x4200_0000;
#[cfg(feature = "esp32p4")]
const MAPPED_FLASH: usize = 0x4000_0000;

/// The size of an entry's page in bytes.
const PAGE: usize = 64 << 10;

/// Behind those of the firmware, which has the first megabyte of the flash. An ESP32-C3 has 128.
const FIRST_ENTRY: usize = 64;

/// Where the archive begins in flash, as for `pinetboot pack --esp`; and how long it can be, on a board with 4 MiB, or an ESP32-P4 with 16.
const OFFSET: usize = 1 << 20;
const FLASH: usize = if cfg!(feature = "esp32p4") { 16 << 20 } else { 4 << 20 };
const PAGES: usize = (FLASH - OFFSET) / PAGE;
