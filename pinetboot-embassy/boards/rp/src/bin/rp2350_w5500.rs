//! The appliance on an RP2350: W5500-EVB-Pico2.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::clocks::ClockConfig;
use embassy_rp::config::Config;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    // Four times the Ethernet chip's clock of 33 MHz. From the chip's usual 150 MHz its SPI makes no more than 25.
    let clocks = defmt::unwrap!(ClockConfig::system_freq(132_000_000));
    pinetboot_rp::appliance(spawner, embassy_rp::init(Config::new(clocks))).await
}
