//! Transfers on the chip's SPI, and the commands of a socket.

use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;

use super::Fault;

/// The bus, which has no other device. Short transfers are made by its blocking methods, long ones by its asynchronous ones.
pub(super) struct Bus<SPI, CS> {
    spi: SPI,
    select: CS,
}

/// A part of the chip's memory (data sheet, section 2.2.2).
#[derive(Clone, Copy)]
pub(super) struct Block(u8);

impl Block {
    pub(super) const COMMON: Self = Self(0);

    /// A socket's registers.
    pub(super) const fn registers(socket: u8) -> Self {
        Self(socket * 4 + 1)
    }

    pub(super) const fn tx(socket: u8) -> Self {
        Self(socket * 4 + 2)
    }

    pub(super) const fn rx(socket: u8) -> Self {
        Self(socket * 4 + 3)
    }
}

impl<SPI: SpiBus + AsyncSpiBus, CS: OutputPin> Bus<SPI, CS> {
    pub(super) const fn new(spi: SPI, select: CS) -> Self {
        Self { spi, select }
    }

    pub(super) fn get<const N: usize>(&mut self, block: Block, address: u16) -> Result<[u8; N], Fault> {
        let mut value = [0; N];
        self.read(block, address, &mut value)?;
        Ok(value)
    }

    #[inline(never)] // for its size
    pub(super) fn read(&mut self, block: Block, address: u16, into: &mut [u8]) -> Result<(), Fault> {
        self.begin(block, address, READ)?;
        let read = SpiBus::read(&mut self.spi, into);
        self.end(read)
    }

    #[inline(never)]
    pub(super) fn set(&mut self, block: Block, address: u16, value: &[u8]) -> Result<(), Fault> {
        self.begin(block, address, WRITE)?;
        let written = SpiBus::write(&mut self.spi, value);
        self.end(written)
    }

    /// Reads many bytes; other tasks run meanwhile.
    pub(super) async fn read_long(&mut self, block: Block, at: u16, into: &mut [u8]) -> Result<(), Fault> {
        self.begin(block, at, READ)?;
        let read = AsyncSpiBus::read(&mut self.spi, into).await;
        self.end(read)
    }

    /// Writes many bytes; other tasks run meanwhile.
    pub(super) async fn set_long(&mut self, block: Block, at: u16, bytes: &[u8]) -> Result<(), Fault> {
        self.begin(block, at, WRITE)?;
        let written = AsyncSpiBus::write(&mut self.spi, bytes).await;
        self.end(written)
    }

    /// A number that the chip may be changing, byte by byte: the data sheet has it read until it is twice the same.
    pub(super) fn steady(&mut self, block: Block, address: u16) -> Result<u16, Fault> {
        let mut last: [u8; 2] = self.get(block, address)?;
        for _ in 0..TRIES {
            let next = self.get(block, address)?;
            if next == last {
                return Ok(u16::from_be_bytes(next));
            }
            last = next;
        }
        Err(Fault::Stuck)
    }

    /// Gives a socket a command, and waits until the chip has taken it.
    pub(super) fn command(&mut self, socket: u8, command: u8) -> Result<(), Fault> {
        self.set(Block::registers(socket), COMMAND, &[command])?;
        self.taken(socket)
    }

    /// Waits until the chip has taken a socket's last command.
    pub(super) fn taken(&mut self, socket: u8) -> Result<(), Fault> {
        for _ in 0..TRIES {
            if self.get(Block::registers(socket), COMMAND)? == [0] {
                return Ok(());
            }
        }
        Err(Fault::Stuck)
    }

    /// Selects the chip, and says what follows.
    fn begin(&mut self, block: Block, address: u16, direction: u8) -> Result<(), Fault> {
        let [high, low] = address.to_be_bytes();
        let _low = self.select.set_low();
        SpiBus::write(&mut self.spi, &[high, low, block.0 << 3 | direction]).map_err(|_| Fault::Bus)
    }

    /// Lets go of the chip.
    fn end<E>(&mut self, result: Result<(), E>) -> Result<(), Fault> {
        let flushed = SpiBus::flush(&mut self.spi);
        let _high = self.select.set_high();
        result.map_err(|_| Fault::Bus).and(flushed.map_err(|_| Fault::Bus))
    }
}

const READ: u8 = 0;
const WRITE: u8 = 1 << 2;

/// A socket's command register; that of its interrupts follows.
pub(super) const COMMAND: u16 = 0x01;

/// The most polls before the chip counts as hung; each takes at least two microseconds.
const TRIES: u32 = 5000;
