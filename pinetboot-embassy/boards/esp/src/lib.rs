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
#![no_std]

mod mapped;

use embassy_executor::Spawner;
use embassy_net::StackResources;
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
use pinetboot_embassy::frames::{Device, DriverEnd, Frames, Ways};
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::w5500::W5500;
use pinetboot_embassy::{Board, Liveness, Memory, SOCKETS, run};
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

    static FRAMES: ConstStaticCell<Frames<4, 3>> = ConstStaticCell::new(Frames::new());
    static WAYS: StaticCell<Ways<'static>> = StaticCell::new();
    let (device, end, ethernet) = WAYS.init(Ways::new(FRAMES.take())).split(mac);
    let chip = W5500::new(spi.into_async(), select, interrupt, reset, mac);
    spawner.spawn(carry(chip, end).expect("the only one"));

    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let resources = RESOURCES.init_with(StackResources::new);
    let (stack, runner) = embassy_net::new(device, Default::default(), resources, seed);
    spawner.spawn(net(runner).expect("the only one"));

    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    let mut board = Appliance { led, wdt, ethernet };
    run(stack, Flash::find(mapped::archive()).0, &mut board, MEMORY.take()).await
}

type Chip = W5500<Spi<'static, Async>, Output<'static>, Input<'static>, Output<'static>>;

#[embassy_executor::task]
async fn carry(chip: Chip, end: DriverEnd<'static>) -> ! {
    chip.run(end).await
}

#[embassy_executor::task]
async fn net(mut runner: embassy_net::Runner<'static, Device<'static>>) -> ! {
    runner.run().await
}

struct Appliance {
    led: Output<'static>,
    wdt: Wdt<TIMG0<'static>>,
    ethernet: &'static Liveness,
}

impl Board for Appliance {
    fn led(&mut self, on: bool) {
        self.led.set_level((!on).into());
    }

    fn feed(&mut self) {
        self.wdt.feed();
    }

    fn ethernet(&self) -> Option<&Liveness> {
        Some(self.ethernet)
    }
}

/// Longer than any start takes, shorter than a Pi waits before it asks again.
const WATCHDOG: Duration = Duration::from_secs(8);

/// A W5500 takes 33. These pins go through the chip's GPIO matrix, whose delay is left some room.
const SPI_MHZ: u32 = 20;
