//! What the compiler cannot check: registers, memory and interrupts. The only `unsafe` code of this crate.

use core::ptr;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use log::{LevelFilter, Log};

/// A register of 32 bits of one of the board's devices.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// The one at this address.
    ///
    /// # Panics
    ///
    /// If it is not among the board's devices, where reading and writing have nothing to do with memory that Rust knows.
    pub(crate) const fn at(address: usize) -> Self {
        assert!(address.is_multiple_of(4) && address >= 0x4000_0000 && address < 0x4030_0000);
        Self(address)
    }

    pub(crate) fn read(self) -> u32 {
        // SAFETY: see `at`.
        unsafe { ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: see `at`.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}

/// The PSRAM, into which QEMU has loaded the archive.
pub(crate) fn archive() -> &'static [u8] {
    // SAFETY: AN385 has 16 MiB of memory there, which is in no section of this program, and nothing writes to it.
    unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(0x2100_0000), 16 << 20) }
}

/// Sets the logger, at the start of the program.
pub(crate) fn log_to(logger: &'static dyn Log) {
    // SAFETY: there is one thread, and nothing has been logged yet.
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

// SAFETY: it does what any interrupt handler may do. Without a device crate all interrupts come here.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == crate::lan9118::INTERRUPT as i16 {
        crate::lan9118::interrupt();
    }
}
