//! The microSD card on the second SPI, and the second core that reads it.

use embassy_executor::Executor;
use embassy_rp::clocks::clk_sys_freq;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::peripherals::{CORE1, PIN_10, PIN_11, PIN_12, PIN_13, SPI1};
use embassy_rp::spi::{Blocking, Config, Phase, Polarity, Spi};
use embassy_rp::{Peri, pac};
use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use embedded_sdmmc::sdcard::spi::AcquireOpts;
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx, SdCard, SdCardError};
use pinetboot_embassy::Doorbell;
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

/// Starts the second core, with the card. The bell is that of the network whose clients wait for the card.
pub(crate) fn start(core: Peri<'static, CORE1>, wires: Wires, bell: &'static Doorbell) -> &'static Card {
    static CHUNKS: Chunks = Chunks::new();
    static CARD: StaticCell<Card> = StaticCell::new();
    let card = &*CARD.init(Card::new(&CHUNKS, bell));
    static STACK: ConstStaticCell<Stack<STACK_SIZE>> = ConstStaticCell::new(Stack::new());
    spawn_core1(core, STACK.take(), move || {
        static EXECUTOR: StaticCell<Executor> = StaticCell::new();
        EXECUTOR.init_with(Executor::new).run(|spawner| {
            spawner.spawn(defmt::unwrap!(read(wires, card)));
        })
    });
    card
}

#[embassy_executor::task]
async fn read(wires: Wires, card: &'static Card) -> ! {
    let mut reader = CardReader::new(card, MicroSd::new(wires));
    reader.run().await
}

type Bus = Spi<'static, SPI1, Blocking>;

/// The card, selected: the bus without its select line, which [`MicroSd`] holds low for the whole of a transaction. Commands, their
/// responses and their data must not be parted by it (SD Physical Layer Simplified Specification, section 7.2).
struct Selected {
    bus: Bus,
    select: Output<'static>,
    /// Something has answered.
    answers: bool,
}

impl Selected {
    #[inline(never)] // for its size
    fn release(&mut self) {
        let _flushed = self.bus.flush();
        self.select.set_high();
        // The card lets go of its line with the next clocks (section 7.5.1, Nec).
        let _none = self.bus.blocking_write(&[SILENCE]);
    }

    #[inline(never)]
    fn set_clock(&mut self, hertz: u32) {
        self.bus.set_frequency(hertz);
    }
}

impl ErrorType for Selected {
    type Error = embassy_rp::spi::Error;
}

impl SpiDevice for Selected {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Self::Error> {
        for operation in operations {
            let read = match operation {
                Operation::Write(bytes) => {
                    self.bus.blocking_write(bytes)?;
                    &[]
                }
                Operation::Transfer(into, bytes) => {
                    self.bus.blocking_transfer(into, bytes)?;
                    &**into
                }
                Operation::Read(bytes) | Operation::TransferInPlace(bytes) => {
                    self.bus.flush()?;
                    exchange(bytes);
                    &**bytes
                }
                Operation::DelayNs(nanos) => {
                    Cycles.delay_ns(*nanos);
                    &[]
                }
            };
            self.answers |= read.iter().any(|byte| *byte != SILENCE);
        }
        self.bus.flush()
    }
}

/// Sends bytes, and puts what comes in their place. The next bytes lie in the FIFO while one is on the wires: embassy-rp's function
/// begins a byte when the one before was read, and takes half as long again.
fn exchange(bytes: &mut [u8]) {
    let spi = pac::SPI1;
    let mut sent = 0;
    for received in 0..bytes.len() {
        while let Some(byte) = bytes.get(sent).filter(|_| sent < received + FIFO) {
            spi.dr().write(|register| register.set_data((*byte).into()));
            sent += 1;
        }
        while !spi.sr().read().rne() {}
        let byte = spi.dr().read().data() as u8;
        if let Some(place) = bytes.get_mut(received) {
            *place = byte;
        }
    }
}

/// Waits by counting. The core has nothing else to do, and the clock's driver would be asked over and over.
struct Cycles;

impl DelayNs for Cycles {
    fn delay_ns(&mut self, nanos: u32) {
        let turns = clk_sys_freq() / 1_000_000 / CYCLES_OF_A_TURN;
        cortex_m::asm::delay(turns.saturating_mul(nanos.div_ceil(1000)));
    }
}

/// A slot with a card in it, or without.
struct MicroSd(SdCard<Selected, Cycles>);

impl MicroSd {
    fn new(wires: Wires) -> Self {
        let Wires { spi, clock, mosi, miso, select } = wires;
        let mut config = Config::default();
        config.frequency = SLOW;
        // Mode 3, which cards take as well as mode 0: in mode 0 the RP2040's SPI pauses between bytes (pico-examples issue 285).
        config.polarity = Polarity::IdleHigh;
        config.phase = Phase::CaptureOnSecondTransition;
        let bus = Spi::new_blocking(spi, clock, mosi, miso, config);
        // Without a card the line floats; the pull-up makes it read as silence.
        pac::PADS_BANK0.gpio(MISO).modify(|pad| pad.set_pue(true));
        let device = Selected { bus, select: Output::new(select, Level::High), answers: false };
        let options = AcquireOpts { use_crc: true, acquire_retries: 2 };
        Self(SdCard::new_with_options(device, Cycles, options))
    }

    /// Selects the card for a transaction.
    fn transaction<T>(&self, transaction: impl FnOnce(&SdCard<Selected, Cycles>) -> T) -> T {
        self.0.spi(|device| device.select.set_low());
        let result = transaction(&self.0);
        self.0.spi(Selected::release);
        result
    }

    fn set_clock(&self, hertz: u32) {
        self.0.spi(|device| device.set_clock(hertz));
    }
}

impl Removable for MicroSd {
    fn begin(&self) {
        self.0.mark_card_uninit();
        self.0.spi(|device| {
            device.answers = false;
            device.set_clock(SLOW);
            // 74 clocks at least, while the card is not selected (section 6.4.1).
            let _none = device.bus.blocking_write(&[SILENCE; 10]);
        });
    }

    fn hurry(&self, halvings: u8) {
        self.set_clock(FAST >> halvings);
    }

    fn answers(&self) -> bool {
        self.0.spi(|device| device.answers)
    }
}

impl BlockDevice for MicroSd {
    type Error = SdCardError;

    fn read(&self, blocks: &mut [Block], from: BlockIdx) -> Result<(), SdCardError> {
        self.transaction(|card| card.read(blocks, from))
    }

    fn write(&self, blocks: &[Block], from: BlockIdx) -> Result<(), SdCardError> {
        self.transaction(|card| card.write(blocks, from))
    }

    fn num_blocks(&self) -> Result<BlockCount, SdCardError> {
        self.transaction(SdCard::num_blocks)
    }
}

/// The clock of every card at its start, and the one that every card supports (section 6.6: default speed).
const SLOW: u32 = 400_000;
const FAST: u32 = 25_000_000;

/// Of the loop that waits: SUBS, and BNE that is taken (Cortex-M0+ Technical Reference Manual, section 3.3). A Cortex-M33 may be faster.
const CYCLES_OF_A_TURN: u32 = if cfg!(feature = "rp2040") { 3 } else { 1 };

/// What an idle line says.
const SILENCE: u8 = 0xff;

const MISO: usize = 12;

/// Bytes that the SPI holds on their way out, and as many on their way in (RP2040 data sheet, section 4.4).
const FIFO: usize = 8;

/// The second core uses 3.9 KB (the emulator's tests measure it); a panic there needs some more.
const STACK_SIZE: usize = 6144;
