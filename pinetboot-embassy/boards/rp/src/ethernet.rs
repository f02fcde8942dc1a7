//! The W5500 on the first SPI.

use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, PIN_16, PIN_17, PIN_18, PIN_19, PIN_20, PIN_21, SPI0};
use embassy_rp::spi::{Async, Config, Phase, Polarity, Spi};
use embassy_rp::{Peri, bind_interrupts, dma};
use pinetboot_embassy::Doorbell;
use pinetboot_embassy::w5500::{Udp, W5500};
use static_cell::StaticCell;

/// The chip's pins and SPI.
pub(crate) struct Wires {
    pub(crate) spi: Peri<'static, SPI0>,
    pub(crate) miso: Peri<'static, PIN_16>,
    pub(crate) select: Peri<'static, PIN_17>,
    pub(crate) clock: Peri<'static, PIN_18>,
    pub(crate) mosi: Peri<'static, PIN_19>,
    pub(crate) interrupt: Peri<'static, PIN_21>,
    pub(crate) tx_dma: Peri<'static, DMA_CH0>,
    pub(crate) rx_dma: Peri<'static, DMA_CH1>,
}

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

type Bus = Spi<'static, SPI0, Async>;
pub(crate) type Chip = W5500<Bus, Output<'static>, Input<'static>>;
pub(crate) type Network = Udp<'static, Bus, Output<'static>, Input<'static>>;
pub(crate) type Reset = Output<'static>;

/// The chip behind these wires, and its reset pin.
pub(crate) fn chip(
    wires: Wires,
    reset: Peri<'static, PIN_20>,
    mac: [u8; 6],
    bells: [&'static Doorbell; 3],
) -> (&'static Chip, Reset) {
    static CHIP: StaticCell<Chip> = StaticCell::new();
    let mut config = Config::default();
    config.frequency = SPI_HERTZ;
    // Mode 3, which the chip takes as well as mode 0 (data sheet, section 2.2): in mode 0 the RP2040's SPI pauses for some two
    // clocks between bytes (pico-examples issue 285).
    config.polarity = Polarity::IdleHigh;
    config.phase = Phase::CaptureOnSecondTransition;
    let Wires { spi, clock, mosi, miso, select, interrupt, tx_dma, rx_dma } = wires;
    let spi = Spi::new(spi, clock, mosi, miso, tx_dma, rx_dma, Interrupts, config);
    let (select, interrupt) = (Output::new(select, Level::High), Input::new(interrupt, Pull::Up));
    (CHIP.init(W5500::new(spi, select, interrupt, mac, bells)), Output::new(reset, Level::High))
}

/// The most that the data sheet guarantees (section 5.5.4).
const SPI_HERTZ: u32 = 33_333_334;
