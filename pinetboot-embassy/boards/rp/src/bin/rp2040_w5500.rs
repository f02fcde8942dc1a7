//! The appliance on an RP2040: W5500-EVB-Pico, or a Pico with a W5500 module.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::clocks::CoreVoltage;
use embassy_rp::config::Config;
use pinetboot_rp::{appliance, clocks};

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    // The clock for which Raspberry Pi certifies the chip (pico-sdk 2.1.1), at 1.15 V; and six times the Ethernet chip's clock.
    let config = Config::new(clocks(200, CoreVoltage::V1_15));
    appliance(spawner, embassy_rp::init(config)).await
}
