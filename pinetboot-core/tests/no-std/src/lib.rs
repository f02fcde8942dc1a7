//! A static library as firmware links it: no standard library, no allocator, a panic handler of its own.
//!
//! If anything in it brought in `std`, there would be two panic handlers; if anything brought in `alloc`, a global
//! allocator would be missing. Either is an error of the compiler, so that this builds is the proof.
#![no_std]

// Named so that its `alloc-creeps-in` and `std-creeps-in` features reach the link whether the core uses them or not.
use nom as _;
use pinetboot_core::BootPath;

/// Uses the core from outside, as C would: the number of components of a requested name, 0 for a name refused.
///
/// # Safety
///
/// `name` points to `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pinetboot_path_components(name: *const u8, len: usize) -> usize {
    // SAFETY: the caller's promise.
    let name = unsafe { core::slice::from_raw_parts(name, len) };
    BootPath::parse(name).map_or(0, |path| path.components().count())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
