//! Memory and interrupts, which the compiler cannot check. With `register` the only `unsafe` code of this crate.

use core::ptr;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use log::{LevelFilter, Log};

/// The PSRAM, into which QEMU has loaded the archive.
pub(crate) fn archive() -> &'static [u8] {
    // SAFETY: AN385 has 16 MiB of memory there, which is in no section of this program, and nothing writes to it.
    unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(0x2100_0000), 16 << 20) }
}

/// Sets the logger, at the start of the program.
pub(crate) fn log_to(logger: &'static dyn Log) {
    // SAFETY: the program has one thread, and nothing has been logged yet.
    let _first = unsafe { log::set_logger_racy(logger) };
    // SAFETY: likewise.
    unsafe { log::set_max_level_racy(LevelFilter::Info) };
}

pub(crate) fn enable_interrupt(number: u16) {
    // SAFETY: no critical section here relies on interrupts being masked one by one.
    unsafe { NVIC::unmask(Interrupt(number)) }
}

#[derive(Clone, Copy)]
struct Interrupt(u16);

// SAFETY: the number stays the same.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

#[exception]
fn SysTick() {
    crate::clock::tick();
}

// SAFETY: the function does only what an interrupt handler may do. Without a device crate all interrupts come here.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == crate::lan9118::INTERRUPT as i16 {
        crate::lan9118::interrupt();
    }
}
