//! Registers of the board's devices. `unsafe`, as `hardware` is: the compiler cannot check an address.

use core::ptr;

/// A register of 32 bits of one of the board's devices.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// The register at this address.
    ///
    /// # Panics
    ///
    /// If the address is not among the board's devices: elsewhere, reading and writing would touch memory that Rust knows.
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
