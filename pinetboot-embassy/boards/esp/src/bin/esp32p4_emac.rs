//! The appliance on an ESP32-P4 with its own Ethernet.
#![no_std]
#![no_main]

use embassy_executor::Spawner;

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    pinetboot_esp::appliance(spawner).await
}
