//! The appliance on an RP2350: W5500-EVB-Pico2.
#![no_std]
#![no_main]

use embassy_executor::Spawner;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    pinetboot_rp::appliance(spawner, embassy_rp::init(Default::default())).await
}
