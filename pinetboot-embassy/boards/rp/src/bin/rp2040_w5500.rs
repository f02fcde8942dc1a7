//! The appliance on an RP2040: W5500-EVB-Pico, or a Pico with a W5500 module.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::clocks::ClockConfig;
use embassy_rp::config::Config;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    // The clock for which Raspberry Pi certifies the chip (pico-sdk 2.1.1), at 1.15 V; and six times the Ethernet chip's clock.
    let clocks = defmt::unwrap!(ClockConfig::system_freq(200_000_000));
    pinetboot_rp::appliance(spawner, embassy_rp::init(Config::new(clocks))).await
}
