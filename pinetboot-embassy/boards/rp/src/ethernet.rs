//! The Ethernet chip: a W5500 by our own driver, or a W5100S by `embassy-net-wiznet`.

use embassy_executor::Spawner;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, PIN_16, PIN_17, PIN_18, PIN_19, PIN_20, PIN_21, SPI0};
use embassy_rp::spi::{Async, Config, Phase, Polarity, Spi};
use embassy_rp::{Peri, bind_interrupts, dma};
use pinetboot_embassy::Liveness;
use static_cell::ConstStaticCell;

/// The chip's pins and SPI.
pub(crate) struct Wires {
    pub(crate) spi: Peri<'static, SPI0>,
    pub(crate) miso: Peri<'static, PIN_16>,
    pub(crate) select: Peri<'static, PIN_17>,
    pub(crate) clock: Peri<'static, PIN_18>,
    pub(crate) mosi: Peri<'static, PIN_19>,
    pub(crate) reset: Peri<'static, PIN_20>,
    pub(crate) interrupt: Peri<'static, PIN_21>,
    pub(crate) tx_dma: Peri<'static, DMA_CH0>,
    pub(crate) rx_dma: Peri<'static, DMA_CH1>,
}

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

struct Pins {
    spi: Spi<'static, SPI0, Async>,
    select: Output<'static>,
    interrupt: Input<'static>,
    reset: Output<'static>,
}

impl Wires {
    fn pins(self) -> Pins {
        let mut config = Config::default();
        config.frequency = SPI_HERTZ;
        // Mode 3, which the chip takes as well as mode 0 (data sheet, section 2.2): in mode 0 the RP2040's SPI pauses for some two
        // clocks between bytes (pico-examples issue 285).
        config.polarity = Polarity::IdleHigh;
        config.phase = Phase::CaptureOnSecondTransition;
        let Self { spi, clock, mosi, miso, tx_dma, rx_dma, .. } = self;
        Pins {
            spi: Spi::new(spi, clock, mosi, miso, tx_dma, rx_dma, Interrupts, config),
            select: Output::new(self.select, Level::High),
            interrupt: Input::new(self.interrupt, Pull::Up),
            reset: Output::new(self.reset, Level::High),
        }
    }
}

#[cfg(not(feature = "w5100s"))]
pub(crate) use w5500::{Device, start};

#[cfg(feature = "w5100s")]
pub(crate) use w5100s::{Device, start};

#[cfg(not(feature = "w5100s"))]
mod w5500 {
    use pinetboot_embassy::frames::{DriverEnd, Frames, Ways};
    use pinetboot_embassy::w5500::W5500;
    use static_cell::StaticCell;

    use super::*;

    pub(crate) type Device = pinetboot_embassy::frames::Device<'static>;

    type Chip = W5500<Spi<'static, SPI0, Async>, Output<'static>, Input<'static>, Output<'static>>;

    pub(crate) async fn start(
        spawner: Spawner,
        wires: Wires,
        mac: [u8; 6],
    ) -> (Device, Option<&'static Liveness>) {
        static FRAMES: ConstStaticCell<Frames<2, 2>> = ConstStaticCell::new(Frames::new());
        static WAYS: StaticCell<Ways<'static>> = StaticCell::new();
        let (device, end, liveness) = WAYS.init(Ways::new(FRAMES.take())).split(mac);
        let Pins { spi, select, interrupt, reset } = wires.pins();
        spawner.spawn(defmt::unwrap!(carry(W5500::new(spi, select, interrupt, reset, mac), end)));
        (device, Some(liveness))
    }

    #[embassy_executor::task]
    async fn carry(chip: Chip, end: DriverEnd<'static>) -> ! {
        chip.run(end).await
    }
}

#[cfg(feature = "w5100s")]
mod w5100s {
    use embassy_net_wiznet::chip::W5100S;
    use embassy_net_wiznet::{Runner, State};
    use embassy_time::Delay;
    use embedded_hal_bus::spi::ExclusiveDevice;

    use super::*;

    pub(crate) type Device = embassy_net_wiznet::Device<'static>;

    type Chip = ExclusiveDevice<Spi<'static, SPI0, Async>, Output<'static>, Delay>;

    pub(crate) async fn start(
        spawner: Spawner,
        wires: Wires,
        mac: [u8; 6],
    ) -> (Device, Option<&'static Liveness>) {
        static STATE: ConstStaticCell<State<4, 3>> = ConstStaticCell::new(State::new());
        let Pins { spi, select, interrupt, reset } = wires.pins();
        let Ok(chip) = ExclusiveDevice::new(spi, select, Delay);
        let started = embassy_net_wiznet::new(mac, STATE.take(), chip, interrupt, reset).await;
        let (device, runner) = defmt::unwrap!(started);
        spawner.spawn(defmt::unwrap!(carry(runner)));
        (device, None) // that driver has no liveness
    }

    #[embassy_executor::task]
    async fn carry(runner: Runner<'static, W5100S, Chip, Input<'static>, Output<'static>>) -> ! {
        runner.run().await
    }
}

/// The most that the data sheet guarantees for a W5500 (section 5.5.4); a W5100S takes more.
const SPI_HERTZ: u32 = 33_333_334;
