//! What a panic does: its text is kept over the reset and logged, and the core stops, so that the watchdog resets the board.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use pinetboot_embassy::Kept;

use crate::mapped;

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    cortex_m::interrupt::disable();
    // Once, if the formatting panics.
    if !PANICKED.load(Ordering::Relaxed) {
        PANICKED.store(true, Ordering::Relaxed);
        let kept = Kept::parse(&mapped::kept()).unwrap_or_default().with_panic(info);
        mapped::keep(kept.emit());
        defmt::error!("{=str}", kept.panic.as_str());
    }
    cortex_m::asm::udf() // a debugger stops there
}
