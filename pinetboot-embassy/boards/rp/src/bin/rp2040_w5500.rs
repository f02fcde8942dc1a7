//! The appliance on a W5500-EVB-Pico: an RP2040 with a W5500 on SPI 0.
#![no_std]
#![no_main]

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_rp::bind_interrupts;
use embassy_rp::dma;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, SPI0};
use embassy_rp::spi::{Async, Config as SpiConfig, Spi};
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Delay, Duration};
use embedded_hal_bus::spi::ExclusiveDevice;
use panic_probe as _;
use pinetboot_embassy::archive::Archive;
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::{Board, Memory, SOCKETS, run};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

type Chip = Runner<
    'static,
    W5500,
    ExclusiveDevice<Spi<'static, SPI0, Async>, Output<'static>, Delay>,
    Input<'static>,
    Output<'static>,
>;

#[embassy_executor::task]
async fn ethernet(runner: Chip) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn stack(mut runner: embassy_net::Runner<'static, Device<'static>>) -> ! {
    runner.run().await
}

struct Pico {
    led: Output<'static>,
    watchdog: Watchdog,
}

impl Board for Pico {
    fn led(&mut self, on: bool) {
        self.led.set_level(on.into());
    }

    fn feed(&mut self) {
        self.watchdog.feed(WATCHDOG);
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let peripherals = embassy_rp::init(Default::default());
    let mut watchdog = Watchdog::new(peripherals.WATCHDOG);
    watchdog.start(WATCHDOG);
    let led = Output::new(peripherals.PIN_25, Level::High);

    let mut config = SpiConfig::default();
    config.frequency = 31_250_000;
    let spi = Spi::new(
        peripherals.SPI0,
        peripherals.PIN_18,
        peripherals.PIN_19,
        peripherals.PIN_16,
        peripherals.DMA_CH0,
        peripherals.DMA_CH1,
        Interrupts,
        config,
    );
    let select = Output::new(peripherals.PIN_17, Level::High);
    let interrupt = Input::new(peripherals.PIN_21, Pull::Up);
    let reset = Output::new(peripherals.PIN_20, Level::High);
    let Ok(spi) = ExclusiveDevice::new(spi, select, Delay);

    static STATE: ConstStaticCell<State<4, 4>> = ConstStaticCell::new(State::new());
    let mac = [0x02, 0x70, 0x69, 0x6e, 0x65, 0x74];
    let chip = embassy_net_wiznet::new(mac, STATE.take(), spi, interrupt, reset).await;
    let (device, runner) = defmt::unwrap!(chip);
    spawner.spawn(defmt::unwrap!(ethernet(runner)));

    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let seed = embassy_rp::clocks::RoscRng.next_u64();
    let (net, runner) =
        embassy_net::new(device, Default::default(), RESOURCES.init(StackResources::new()), seed);
    spawner.spawn(defmt::unwrap!(stack(runner)));

    static MEMORY: StaticCell<Memory<Flash<'static>>> = StaticCell::new();
    let archive = Archive::new(pinetboot_rp::archive());
    run(net, Flash(archive), &mut Pico { led, watchdog }, MEMORY.init_with(Memory::new)).await
}

const WATCHDOG: Duration = Duration::from_secs(8);
