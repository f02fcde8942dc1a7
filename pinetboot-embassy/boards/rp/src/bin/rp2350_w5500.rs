//! The appliance on an RP2350: W5500-EVB-Pico2.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::clocks::CoreVoltage;
use embassy_rp::config::Config;
use pinetboot_rp::{appliance, clocks};

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    // Four times the Ethernet chip's clock of 33 MHz. From the chip's usual 150 MHz its SPI makes no more than 25.
    let config = Config::new(clocks(132, CoreVoltage::V1_10));
    appliance(spawner, embassy_rp::init(config)).await
}
