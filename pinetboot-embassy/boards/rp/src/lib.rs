//! The appliance on boards with an RP2040 or RP2350 and a W5500 Ethernet chip: all but the clocks, which the binaries set.
//!
//! Pins are those of WIZnet's EVB-Pico boards, which have the chip soldered on; a Pico with a W5500 module is wired alike:
//!
//! | | GPIO |
//! |---|---|
//! | Ethernet chip: MISO, CS, SCK, MOSI, reset, interrupt | 16, 17, 18, 19, 20, 21 |
//! | microSD card, optional: SCK, MOSI, MISO, CS | 10, 11, 12, 13 |
//! | LED | 25 |
//!
//! The USB port has the console (feature `console`).
#![no_std]

mod card;
mod ethernet;
mod mapped;
mod panicked;
#[cfg(feature = "updates")]
mod updates;
#[cfg(feature = "console")]
mod usb;

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_rp::Peripherals;
use embassy_rp::clocks::{ClockConfig, CoreVoltage, PllConfig, RoscRng};
use embassy_rp::flash::Blocking;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::FLASH;
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Duration;
use pinetboot_embassy::card::{Card, Files};
use pinetboot_embassy::storage::{Flash, Then};
use pinetboot_embassy::w5500::{DHCP_CLIENT_SOCKETS, DHCP_SOCKETS, DhcpMemory, Memory, TFTP_SOCKETS, Udp};
use pinetboot_embassy::{Action, Appliance, CardState, Doorbell, Kept, Liveness, Start, Text, Updates};
use static_cell::{ConstStaticCell, StaticCell};

use crate::ethernet::{Chip, Network, Reset};

/// No updates: the files in flash change at the board alone.
#[cfg(not(feature = "updates"))]
mod updates {
    use super::FlashChip;

    pub(crate) type Flash = pinetboot_embassy::NoFlash;

    pub(crate) fn updates(
        _: FlashChip,
        _: Option<(u32, u32)>,
    ) -> Option<&'static pinetboot_embassy::Updates<Flash>> {
        None
    }
}

/// The clocks for so many megahertz, a multiple of two from 132 to 266. The search of embassy-rp for the PLL's numbers is half a KiB.
pub fn clocks(megahertz: u16, core_voltage: CoreVoltage) -> ClockConfig {
    let crystal = 12;
    // From 792 to 1596 MHz, of at most 1600 (RP2040 data sheet, section 2.18.2).
    let sys_pll = PllConfig { refdiv: 1, fbdiv: megahertz * 6 / crystal, post_div1: 3, post_div2: 2 };
    let mut clocks = ClockConfig::crystal(u32::from(crystal) * 1_000_000);
    clocks.core_voltage = core_voltage;
    if let Some(xosc) = &mut clocks.xosc {
        xosc.sys_pll = Some(sys_pll);
    }
    clocks
}

/// Starts the board and runs the appliance. Does not return.
pub async fn appliance(spawner: Spawner, peripherals: Peripherals) -> ! {
    let mut watchdog = Watchdog::new(peripherals.WATCHDOG);
    let before = Kept::parse(&mapped::kept());
    mapped::keep(Kept::default().emit());
    let reason = reset(watchdog.reset_reason(), before.as_ref());
    defmt::info!("start after {=str}", reason);
    watchdog.start(WATCHDOG);
    let led = Output::new(peripherals.PIN_25, Level::High);

    let mut flash_chip = FlashChip::new_blocking(peripherals.FLASH);
    let mac = hardware_address(unique_number(&mut flash_chip));
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

    let (flash, current) = Flash::find(mapped::flash());
    let start =
        Start { board: BOARD, reset: reason, before: before.unwrap_or_default(), flash: flash.0.size() };
    let mut storage = Then(flash, Files::new(card));

    static TEXT: ConstStaticCell<Text> = ConstStaticCell::new([0; size_of::<Text>()]);
    static APPLIANCE: StaticCell<Board> = StaticCell::new();
    let appliance = APPLIANCE.init(Appliance::configured(chip, &mut storage, TEXT.take(), start).await);
    let appliance: &'static Board = appliance;
    #[cfg(feature = "console")]
    usb::start(spawner, peripherals.USB, appliance);
    let updates = updates::updates(flash_chip, current);
    static TFTP: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static DHCP: [ConstStaticCell<DhcpMemory>; 2] = [const { ConstStaticCell::new(Memory::new()) }; 2];
    let seed = RoscRng.next_u32();
    let net = Udp::new(chip, &TFTP_SOCKETS, TFTP.take(), seed as u16);
    spawner.spawn(defmt::unwrap!(files(appliance, storage, net, updates)));
    spawner.spawn(defmt::unwrap!(addresses(appliance, Udp::new(chip, &DHCP_SOCKETS, DHCP[0].take(), 0))));
    let net = Udp::new(chip, &DHCP_CLIENT_SOCKETS, DHCP[1].take(), 0);
    spawner.spawn(defmt::unwrap!(client(appliance, net, mac, seed)));
    #[cfg(feature = "page")]
    spawner.spawn(defmt::unwrap!(page(appliance, chip)));
    let mut board = Evb {
        led,
        watchdog,
        chip,
        card,
        #[cfg(feature = "rp2040")]
        button: peripherals.BOOTSEL,
    };
    appliance.watch(&mut board).await
}

#[embassy_executor::task]
async fn files(
    appliance: &'static Board,
    storage: Storage,
    mut net: Network,
    updates: Option<&'static Updates<updates::Flash>>,
) -> ! {
    appliance.files(storage, &mut net, updates).await
}

#[embassy_executor::task]
async fn addresses(appliance: &'static Board, mut net: Network) -> ! {
    appliance.addresses(&mut net).await
}

#[embassy_executor::task]
async fn client(appliance: &'static Board, mut net: Network, mac: [u8; 6], xid: u32) -> ! {
    appliance.client(&mut net, mac, xid).await
}

#[cfg(feature = "page")]
#[embassy_executor::task]
async fn page(appliance: &'static Board, chip: &'static Chip) -> ! {
    chip.spare(&|out| appliance.report(out)).await
}

#[embassy_executor::task]
async fn ethernet(chip: &'static Chip, reset: Reset) -> ! {
    chip.run(reset).await
}

type Board = Appliance<'static, &'static Chip>;

type Storage = Then<Flash<'static>, Files<'static>>;

struct Evb {
    led: Output<'static>,
    watchdog: Watchdog,
    chip: &'static Chip,
    card: &'static Card,
    /// embassy-rp reads the button of an RP2040 alone.
    #[cfg(feature = "rp2040")]
    button: embassy_rp::Peri<'static, embassy_rp::peripherals::BOOTSEL>,
}

impl pinetboot_embassy::Board for Evb {
    fn led(&mut self, on: bool) {
        self.led.set_level(on.into());
    }

    fn feed(&mut self) {
        self.watchdog.feed(WATCHDOG);
    }

    fn card(&self) -> CardState {
        self.card.state()
    }

    fn keep(&mut self, rule: Option<u8>) {
        mapped::keep(Kept { rule, ..Kept::default() }.emit());
    }

    /// Both cores stop meanwhile, for some 30 us: the button is on the select line of the flash.
    #[cfg(feature = "rp2040")]
    fn is_button_held(&mut self) -> bool {
        embassy_rp::bootsel::is_bootsel_pressed(self.button.reborrow())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Reset => self.watchdog.trigger_reset(),
            Action::IgnoreConfig => {
                mapped::keep(Kept { ignores_config: true, ..Kept::default() }.emit());
                self.watchdog.trigger_reset();
            }
            Action::Bootsel => embassy_rp::rom_data::reset_to_usb_boot(0, 0),
        }
    }

    fn ethernet(&self) -> Option<&Liveness> {
        Some(self.chip.liveness())
    }
}

/// The reason for the start, in words that follow "after".
fn reset(reason: Option<ResetReason>, before: Option<&Kept>) -> &'static str {
    match reason {
        Some(_) if before.is_some_and(|before| !before.panic.is_empty()) => "a panic",
        Some(ResetReason::TimedOut) => "the watchdog's reset",
        Some(ResetReason::Forced) => "a restart by command or for a new firmware",
        None => "power-on",
    }
}

type FlashChip = embassy_rp::flash::Flash<'static, FLASH, Blocking, FLASH_SIZE>;

/// The unique number of the flash chip: an RP2040 has none.
#[cfg(feature = "rp2040")]
fn unique_number(flash: &mut FlashChip) -> [u8; 8] {
    let mut id = [0; 8];
    let _zeros = flash.blocking_unique_id(&mut id);
    id
}

/// The unique number of the chip.
#[cfg(feature = "rp2350")]
fn unique_number(_: &mut FlashChip) -> [u8; 8] {
    embassy_rp::otp::get_chipid().unwrap_or(0).to_be_bytes()
}

/// A locally administered address (its second bit says so), from a number that no other board has.
fn hardware_address(id: [u8; 8]) -> [u8; 6] {
    let [a, b, c, d, e, f, g, h] = id;
    [0x02, b'p', a ^ d ^ g, b ^ e ^ h, c ^ f, g ^ h.rotate_left(4)]
}

/// Longer than any start takes, shorter than a Pi waits before it asks again.
const WATCHDOG: Duration = Duration::from_secs(8);

const BOARD: &str = if cfg!(feature = "rp2040") { "rp2040" } else { "rp2350" };

/// The most flash that a chip can map, in bytes.
const FLASH_SIZE: usize = 16 << 20;
