//! The archive in flash, as memory: the only `unsafe` code of this crate.

unsafe extern "C" {
    // Their addresses are the memory map's; no object is behind them.
    static __archive_start: u8;
    static __archive_end: u8;
}

/// The archive's part of the flash.
pub(crate) fn archive() -> &'static [u8] {
    let (start, end) = (&raw const __archive_start, &raw const __archive_end);
    // SAFETY: the memory map has flash there, which is mapped from before `main` on and readable byte by byte, and which
    // nothing in this firmware writes to.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}
