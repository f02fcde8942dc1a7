//! The flash as memory, and the memory that outlives a reset: the only `unsafe` code of this crate.

use core::mem::MaybeUninit;

use pinetboot_embassy::KeptBytes;

unsafe extern "C" {
    // Their addresses are the memory map's; no object is behind them.
    static __flash_start: u8;
    static __flash_end: u8;
    static __firmware_end: u8;
}

/// The offset in flash of the first sector behind the firmware.
#[cfg(feature = "updates")]
pub(crate) fn firmware_end() -> u32 {
    ((&raw const __firmware_end).addr() - (&raw const __flash_start).addr()) as u32
}

/// All of the flash that the chip can map.
pub(crate) fn flash() -> &'static [u8] {
    let (start, end) = (&raw const __flash_start, &raw const __flash_end);
    // SAFETY: the memory map has flash there, which is mapped from before `main` on and readable byte by byte. Updates
    // alone write to it, which is after all files in it were closed and before a restart; nothing is read there between.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// The start-up code leaves this section as it is (cortex-m-rt), and so does the boot ROM after a reset by the watchdog.
#[unsafe(link_section = ".uninit.kept")]
static mut KEPT: MaybeUninit<KeptBytes> = MaybeUninit::uninit();

/// The bytes that the run before kept; any bytes after a power-on. One after the other: a volatile read of them all is an instruction and
/// more for each.
pub(crate) fn kept() -> KeptBytes {
    let kept = (&raw const KEPT).cast::<u8>();
    // SAFETY: the memory is there, any byte is a value of its type, and no reference to it exists.
    core::array::from_fn(|at| unsafe { kept.add(at).read_volatile() })
}

/// Keeps these bytes over a reset. Two cores that panic at once may mix theirs, which the checksum shows.
pub(crate) fn keep(bytes: KeptBytes) {
    let kept = (&raw mut KEPT).cast::<u8>();
    for (at, byte) in bytes.into_iter().enumerate() {
        // SAFETY: as above; nothing is dropped, and nothing else depends on the value.
        unsafe { kept.add(at).write_volatile(byte) }
    }
}
