//! The appliance on boards with an ESP32-P4 and an Ethernet PHY on these pins, those of Espressif's Function EV board and Waveshare's
//! ESP32-P4-ETH:
//!
//! | | GPIO |
//! |---|---|
//! | RMII: RXD0, RXD1, CRS_DV, TXD0, TXD1, TXEN, clock from the PHY | 29, 30, 28, 34, 35, 49, 50 |
//! | PHY: MDC, MDIO, reset | 31, 52, 51 |
//!
//! The chip has to be of revision 3.0 or later: esp-hal refuses an earlier one at the start. The log goes to USB.
//!
//! The firmware builds and links; no such board has run it yet. Not done: a card, and a console.

use embassy_executor::Spawner;
use embassy_net::{Runner, StackResources};
use embassy_time::Timer;
use esp_backtrace as _;
use esp_hal::Async;
use esp_hal::clock::CpuClock;
use esp_hal::efuse::base_mac_address;
use esp_hal::ethernet::clock::ExternalRefClock;
use esp_hal::ethernet::phy::generic::GenericPhy;
use esp_hal::ethernet::{Ethernet, EthernetDmaStorage, RmiiPinBundle};
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::peripherals::TIMG0;
use esp_hal::rng::Rng;
use esp_hal::time::Duration;
use esp_hal::timer::timg::{MwdtStage, TimerGroup, Wdt};
use log::LevelFilter;
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::{Memory, SOCKETS, run};
use static_cell::{ConstStaticCell, StaticCell};

/// Starts the board and runs the appliance. Does not return.
pub async fn appliance(spawner: Spawner) -> ! {
    let peripherals = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_println::logger::init_logger(LevelFilter::Info);
    let TimerGroup { timer0, mut wdt, .. } = TimerGroup::new(peripherals.TIMG0);
    wdt.set_timeout(MwdtStage::Stage0, WATCHDOG);
    wdt.enable();
    esp_rtos::start(timer0, peripherals.FROM_CPU_INTR0);

    let mut phy_reset = Output::new(peripherals.GPIO51, Level::Low, OutputConfig::default());
    Timer::after_millis(10).await;
    phy_reset.set_high();
    Timer::after_millis(50).await;
    let pins = RmiiPinBundle {
        clock: ExternalRefClock::new(peripherals.GPIO50),
        rxd0: peripherals.GPIO29,
        rxd1: peripherals.GPIO30,
        rx_dv: peripherals.GPIO28,
        txd0: peripherals.GPIO34,
        txd1: peripherals.GPIO35,
        tx_en: peripherals.GPIO49,
        mdc: peripherals.GPIO31,
        mdio: peripherals.GPIO52,
    };
    let mut mac = [0; 6];
    mac.copy_from_slice(base_mac_address().as_bytes());
    static FRAMES: StaticCell<EthernetDmaStorage<8, 8>> = StaticCell::new();
    let frames = FRAMES.init(EthernetDmaStorage::new());
    let ethernet = Ethernet::new(peripherals.ETH, frames, mac, GenericPhy::new_auto(), pins)
        .expect("a PHY answers on these pins");

    static RESOURCES: ConstStaticCell<StackResources<SOCKETS>> = ConstStaticCell::new(StackResources::new());
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let (stack, runner) = embassy_net::new(ethernet.into_async(), Default::default(), RESOURCES.take(), seed);
    spawner.spawn(net(runner).expect("the only one"));

    let storage = Flash::find(crate::mapped::archive()).0;
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    run(stack, storage, &mut Board { wdt, _phy_reset: phy_reset }, MEMORY.take()).await
}

type Emac = Ethernet<'static, Async, GenericPhy>;

#[embassy_executor::task]
async fn net(mut runner: Runner<'static, Emac>) -> ! {
    runner.run().await
}

/// Has no LED.
struct Board {
    wdt: Wdt<TIMG0<'static>>,
    /// Stays high.
    _phy_reset: Output<'static>,
}

impl pinetboot_embassy::Board for Board {
    fn led(&mut self, _: bool) {}

    fn feed(&mut self) {
        self.wdt.feed();
    }
}

/// Longer than any start takes, shorter than a Pi waits before it asks again.
const WATCHDOG: Duration = Duration::from_secs(8);
