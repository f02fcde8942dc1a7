//! The appliance on boards with an RP2040 or RP2350 and a W5500 Ethernet chip: all but the clocks, which the binaries set.
//!
//! Pins are those of WIZnet's EVB-Pico boards, which have the chip soldered on; a Pico with a W5500 module is wired alike:
//!
//! | | GPIO |
//! |---|---|
//! | Ethernet chip: MISO, CS, SCK, MOSI, reset, interrupt | 16, 17, 18, 19, 20, 21 |
//! | microSD card, optional: SCK, MOSI, MISO, CS | 10, 11, 12, 13 |
//! | LED | 25 |
#![no_std]

mod card;
mod ethernet;
mod mapped;

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_rp::Peripherals;
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::watchdog::Watchdog;
#[cfg(feature = "rp2040")]
use embassy_rp::{Peri, flash::Flash as FlashChip, peripherals::FLASH};
use embassy_time::Duration;
use panic_probe as _;
use pinetboot_embassy::archive::Archive;
use pinetboot_embassy::card::{Card, Files};
use pinetboot_embassy::storage::{Flash, Then};
use pinetboot_embassy::w5500::{DHCP_CLIENT_SOCKETS, DHCP_SOCKETS, DhcpMemory, Memory, TFTP_SOCKETS, Udp};
use pinetboot_embassy::{Appliance, Board, Doorbell, Liveness, Text};
use static_cell::{ConstStaticCell, StaticCell};

use crate::ethernet::{Chip, Network, Reset};

/// Starts the board and runs the appliance. Does not return.
pub async fn appliance(spawner: Spawner, peripherals: Peripherals) -> ! {
    let mut watchdog = Watchdog::new(peripherals.WATCHDOG);
    watchdog.start(WATCHDOG);
    let led = Output::new(peripherals.PIN_25, Level::High);

    #[cfg(feature = "rp2040")]
    let id = flash_id(peripherals.FLASH);
    #[cfg(feature = "rp2350")]
    let id = embassy_rp::otp::get_chipid().unwrap_or(0).to_be_bytes();
    let mac = hardware_address(id);
    defmt::info!("hardware address {=[u8; 6]:02x}", mac);

    static BELLS: [Doorbell; 3] = [const { Doorbell::new() }; 3];
    let wires = card::Wires {
        spi: peripherals.SPI1,
        clock: peripherals.PIN_10,
        mosi: peripherals.PIN_11,
        miso: peripherals.PIN_12,
        select: peripherals.PIN_13,
    };
    let card = card::start(peripherals.CORE1, wires, &BELLS[0]);
    let wires = ethernet::Wires {
        spi: peripherals.SPI0,
        miso: peripherals.PIN_16,
        select: peripherals.PIN_17,
        clock: peripherals.PIN_18,
        mosi: peripherals.PIN_19,
        interrupt: peripherals.PIN_21,
        tx_dma: peripherals.DMA_CH0,
        rx_dma: peripherals.DMA_CH1,
    };
    let (chip, reset) = ethernet::chip(wires, peripherals.PIN_20, mac, BELLS.each_ref());
    spawner.spawn(defmt::unwrap!(ethernet(chip, reset)));

    let archive = Archive::new(mapped::archive());
    defmt::info!("{=usize} bytes of files in flash", archive.size());
    let mut storage = Then(Flash(archive), Files::new(card));

    static TEXT: ConstStaticCell<Text> = ConstStaticCell::new([0; size_of::<Text>()]);
    static APPLIANCE: StaticCell<Appliance<'static, &'static Chip>> = StaticCell::new();
    let appliance = APPLIANCE.init(Appliance::configured(chip, &mut storage, TEXT.take()).await);
    static TFTP: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static DHCP: [ConstStaticCell<DhcpMemory>; 2] = [const { ConstStaticCell::new(Memory::new()) }; 2];
    let seed = RoscRng.next_u32();
    let net = Udp::new(chip, &TFTP_SOCKETS, TFTP.take(), seed as u16);
    spawner.spawn(defmt::unwrap!(files(appliance, storage, net)));
    spawner.spawn(defmt::unwrap!(addresses(appliance, Udp::new(chip, &DHCP_SOCKETS, DHCP[0].take(), 0))));
    let net = Udp::new(chip, &DHCP_CLIENT_SOCKETS, DHCP[1].take(), 0);
    spawner.spawn(defmt::unwrap!(own_address(appliance, net, mac, seed)));
    appliance.watch(&mut Evb { led, watchdog, chip, card }).await
}

#[embassy_executor::task]
async fn files(appliance: &'static Appliance<'static, &'static Chip>, storage: Storage, net: Network) -> ! {
    appliance.files(storage, net).await
}

#[embassy_executor::task]
async fn addresses(appliance: &'static Appliance<'static, &'static Chip>, net: Network) -> ! {
    appliance.addresses(net).await
}

#[embassy_executor::task]
async fn own_address(
    appliance: &'static Appliance<'static, &'static Chip>,
    net: Network,
    mac: [u8; 6],
    xid: u32,
) -> ! {
    appliance.own_address(net, mac, xid).await
}

#[embassy_executor::task]
async fn ethernet(chip: &'static Chip, reset: Reset) -> ! {
    chip.run(reset).await
}

type Storage = Then<Flash<'static>, Files<'static>>;

struct Evb {
    led: Output<'static>,
    watchdog: Watchdog,
    chip: &'static Chip,
    card: &'static Card,
}

impl Board for Evb {
    fn led(&mut self, on: bool) {
        self.led.set_level(on.into());
    }

    fn feed(&mut self) {
        self.watchdog.feed(WATCHDOG);
    }

    fn card_is_unreadable(&self) -> bool {
        self.card.is_unreadable()
    }

    fn ethernet(&self) -> Option<&Liveness> {
        Some(self.chip.liveness())
    }
}

/// The unique number of the flash chip: an RP2040 has none.
#[cfg(feature = "rp2040")]
fn flash_id(flash: Peri<'static, FLASH>) -> [u8; 8] {
    let mut id = [0; 8];
    let _zeros = FlashChip::<_, _, FLASH_SIZE>::new_blocking(flash).blocking_unique_id(&mut id);
    id
}

/// A locally administered address (its second bit says so), from a number that no other board has.
fn hardware_address(id: [u8; 8]) -> [u8; 6] {
    let [a, b, c, d, e, f, g, h] = id;
    [0x02, b'p', a ^ d ^ g, b ^ e ^ h, c ^ f, g ^ h.rotate_left(4)]
}

/// Longer than any start takes, shorter than a Pi waits before it asks again.
const WATCHDOG: Duration = Duration::from_secs(8);

/// The size that the flash driver needs; here the driver only reads the chip's number.
#[cfg(feature = "rp2040")]
const FLASH_SIZE: usize = 2 << 20;
