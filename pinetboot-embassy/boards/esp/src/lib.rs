//! The appliance on boards with an ESP32: one with a W5500 module, or the ESP32-P4 with its own Ethernet.
#![no_std]

#[cfg(feature = "esp32p4")]
mod emac;
mod mapped;
#[cfg(not(feature = "esp32p4"))]
mod w5500;

#[cfg(feature = "esp32p4")]
pub use emac::appliance;
#[cfg(not(feature = "esp32p4"))]
pub use w5500::appliance;
