//! The microSD card on the second SPI, and the second core that reads it.

use embassy_executor::Executor;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::peripherals::{CORE1, PIN_10, PIN_11, PIN_12, PIN_13, SPI1};
use embassy_rp::spi::{Blocking, Config, Spi};
use embassy_rp::{Peri, pac};
use embassy_time::Delay;
use embedded_hal_bus::spi::{ExclusiveDevice, NoDelay};
use embedded_sdmmc::sdcard::spi::AcquireOpts;
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx, SdCard, SdCardError};
use pinetboot_embassy::card::{Card, CardReader, Chunks, Removable};
use static_cell::{ConstStaticCell, StaticCell};

/// The card's pins and SPI.
pub(crate) struct Wires {
    pub(crate) spi: Peri<'static, SPI1>,
    pub(crate) clock: Peri<'static, PIN_10>,
    pub(crate) mosi: Peri<'static, PIN_11>,
    pub(crate) miso: Peri<'static, PIN_12>,
    pub(crate) select: Peri<'static, PIN_13>,
}

/// Starts the second core, with the card.
pub(crate) fn start(core: Peri<'static, CORE1>, wires: Wires) -> &'static Card {
    static CHUNKS: Chunks = Chunks::new();
    static CARD: Card = Card::new(&CHUNKS);
    static STACK: ConstStaticCell<Stack<STACK_SIZE>> = ConstStaticCell::new(Stack::new());
    spawn_core1(core, STACK.take(), || {
        static EXECUTOR: StaticCell<Executor> = StaticCell::new();
        EXECUTOR.init_with(Executor::new).run(|spawner| {
            spawner.spawn(defmt::unwrap!(read(wires, &CARD)));
        })
    });
    &CARD
}

#[embassy_executor::task]
async fn read(wires: Wires, card: &'static Card) -> ! {
    CardReader::new(card, MicroSd::new(wires)).run().await
}

type Bus = Spi<'static, SPI1, Blocking>;
type Device = ExclusiveDevice<Bus, Output<'static>, NoDelay>;

/// A slot with a card in it, or without.
struct MicroSd(SdCard<Device, Delay>);

impl MicroSd {
    fn new(wires: Wires) -> Self {
        let Wires { spi, clock, mosi, miso, select } = wires;
        let mut config = Config::default();
        config.frequency = SLOW;
        let bus = Spi::new_blocking(spi, clock, mosi, miso, config);
        // Without a card the line floats; the pull-up makes it read as silence.
        pac::PADS_BANK0.gpio(MISO).modify(|pad| pad.set_pue(true));
        let Ok(device) = ExclusiveDevice::new_no_delay(bus, Output::new(select, Level::High));
        let options = AcquireOpts { use_crc: true, acquire_retries: 2 };
        Self(SdCard::new_with_options(device, Delay, options))
    }
}

impl Removable for MicroSd {
    fn begin(&self) {
        self.0.mark_card_uninit();
        self.0.spi(|device| {
            device.bus_mut().set_frequency(SLOW);
            // 74 clocks at least, while the card is not selected (SD Physical Layer Simplified Specification, section 6.4.1).
            let _none = device.bus_mut().blocking_write(&[0xff; 10]);
        });
    }

    fn hurry(&self) {
        self.0.spi(|device| device.bus_mut().set_frequency(FAST));
    }
}

impl BlockDevice for MicroSd {
    type Error = SdCardError;

    fn read(&self, blocks: &mut [Block], from: BlockIdx) -> Result<(), SdCardError> {
        self.0.read(blocks, from)
    }

    fn write(&self, blocks: &[Block], from: BlockIdx) -> Result<(), SdCardError> {
        self.0.write(blocks, from)
    }

    fn num_blocks(&self) -> Result<BlockCount, SdCardError> {
        self.0.num_blocks()
    }
}

/// The clock of every card at its start, and the one that every card supports (section 6.6: default speed).
const SLOW: u32 = 400_000;
const FAST: u32 = 25_000_000;

const MISO: usize = 12;

const STACK_SIZE: usize = 4096;
