//! Planned: a boot appliance on a microcontroller, with embassy and a W5500 Ethernet chip.
//!
//! There is no firmware here yet, only a `no_std` crate on top of [`pinetboot_core`], so that every run of the CI
//! builds the engine for a microcontroller the way firmware will.
#![no_std]
#![forbid(unsafe_code)]

pub use pinetboot_core as engine;
