//! The appliance on boards with an ESP32-C3 or ESP32-C6, and a W5500 module on these pins:
//!
//! | | GPIO |
//! |---|---|
//! | W5500: MISO, SCK, MOSI, CS, interrupt, reset | 5, 6, 7, 10, 1, 3 |
//! | LED, lit while low | 8 |
//!
//! No level on these pins keeps either chip from starting. The log goes to USB.
//!
//! The firmware builds and links; no such board has run it yet.

use embassy_executor::Spawner;
use embassy_futures::join::{join, join4};
use esp_backtrace as _;
use esp_hal::efuse::base_mac_address;
use esp_hal::gpio::{Input, InputConfig, Level, Output, OutputConfig, Pull};
use esp_hal::peripherals::TIMG0;
use esp_hal::rng::Rng;
use esp_hal::spi::master::{Config, Spi};
use esp_hal::time::{Duration, Rate};
use esp_hal::timer::timg::{MwdtStage, TimerGroup, Wdt};
use esp_hal::{Async, clock::CpuClock};
use log::LevelFilter;
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::w5500::{
    DHCP_CLIENT_SOCKETS, DHCP_SOCKETS, DhcpMemory, Memory, TFTP_SOCKETS, Udp, W5500,
};
use pinetboot_embassy::{Appliance, Board, Doorbell, Liveness, NoFlash, Start, Text, Updates};
use static_cell::{ConstStaticCell, StaticCell};

/// Starts the board and runs the appliance. Does not return.
pub async fn appliance(spawner: Spawner) -> ! {
    let peripherals = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(LevelFilter::Info);
    let TimerGroup { timer0, mut wdt, .. } = TimerGroup::new(peripherals.TIMG0);
    wdt.set_timeout(MwdtStage::Stage0, WATCHDOG);
    wdt.enable();
    esp_rtos::start(timer0, peripherals.FROM_CPU_INTR0);

    let mut mac = [0; 6];
    mac.copy_from_slice(base_mac_address().as_bytes());
    let config = Config::default().with_frequency(Rate::from_mhz(SPI_MHZ));
    let spi = Spi::new(peripherals.SPI2, config).expect("the clock is one that it can make");
    let spi = spi.with_miso(peripherals.GPIO5).with_sck(peripherals.GPIO6).with_mosi(peripherals.GPIO7);
    let select = Output::new(peripherals.GPIO10, Level::High, OutputConfig::default());
    let interrupt = Input::new(peripherals.GPIO1, InputConfig::default().with_pull(Pull::Up));
    let reset = Output::new(peripherals.GPIO3, Level::High, OutputConfig::default());
    let led = Output::new(peripherals.GPIO8, Level::High, OutputConfig::default());

    static BELLS: [Doorbell; 3] = [const { Doorbell::new() }; 3];
    static CHIP: StaticCell<Chip> = StaticCell::new();
    let chip = &*CHIP.init(W5500::new(spi.into_async(), select, interrupt, mac, BELLS.each_ref()));
    spawner.spawn(ethernet(chip, reset).expect("the only one"));

    let mut storage = Flash::find(crate::mapped::archive()).0;
    let start = Start { board: BOARD, flash: storage.0.size(), ..Start::default() };
    static TEXT: ConstStaticCell<Text> = ConstStaticCell::new([0; size_of::<Text>()]);
    let appliance = Appliance::configured(chip, &mut storage, TEXT.take(), start).await;
    static TFTP: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static DHCP: ConstStaticCell<[DhcpMemory; 2]> = ConstStaticCell::new([const { Memory::new() }; 2]);
    let [dhcp, client] = DHCP.take();
    let rng = Rng::new();
    let mut tftp = Udp::new(chip, &TFTP_SOCKETS, TFTP.take(), rng.random() as u16);
    let mut dhcp = Udp::new(chip, &DHCP_SOCKETS, dhcp, 0);
    let mut client = Udp::new(chip, &DHCP_CLIENT_SOCKETS, client, 0);
    let mut board = Esp { led, wdt, chip };
    let client = appliance.client(&mut client, mac, rng.random());
    let files = appliance.files(storage, &mut tftp, None::<&Updates<NoFlash>>);
    let report = |out: &mut dyn core::fmt::Write| appliance.report(out);
    join4(
        join(files, chip.spare(&report)),
        appliance.addresses(&mut dhcp),
        client,
        appliance.watch(&mut board),
    )
    .await
    .0
    .0
}

type Chip = W5500<Spi<'static, Async>, Output<'static>, Input<'static>>;

#[embassy_executor::task]
async fn ethernet(chip: &'static Chip, reset: Output<'static>) -> ! {
    chip.run(reset).await
}

struct Esp {
    led: Output<'static>,
    wdt: Wdt<TIMG0<'static>>,
    chip: &'static Chip,
}

impl Board for Esp {
    fn led(&mut self, on: bool) {
        self.led.set_level((!on).into());
    }

    fn feed(&mut self) {
        self.wdt.feed();
    }

    fn ethernet(&self) -> Option<&Liveness> {
        Some(self.chip.liveness())
    }
}

/// Longer than any start takes, shorter than a Pi waits before it asks again.
const WATCHDOG: Duration = Duration::from_secs(8);

const BOARD: &str = if cfg!(feature = "esp32c3") { "esp32-c3" } else { "esp32-c6" };

/// A W5500 takes 33. These pins go through the chip's GPIO matrix, whose delay is left some room.
const SPI_MHZ: u32 = 20;
