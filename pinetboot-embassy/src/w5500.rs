//! The W5500 Ethernet chip (WIZnet's data sheet, version 1.1.0) as an embassy-net driver.
//!
//! Of its eight sockets one is used, for whole frames (MACRAW); its own TCP/IP stays off. Compared with
//! `embassy-net-wiznet` the driver talks less: from an ACK's arrival to the frame with the next block it takes seven short
//! transfers by the processor and one long one by DMA. The driver checks every length that the chip reports: after an
//! impossible one, which noise on the wires can cause, it resets the chip.
//!
//! Frames lie in memory so that the payload of a UDP datagram begins at a whole word. The checksums of outgoing ones are made,
//! word by word, while the DMA carries them.

use core::convert::Infallible;
use core::fmt;

use embassy_futures::join::join;
use embassy_futures::select::{Either3, select3};
use embassy_net_driver::LinkState;
use embassy_time::{Duration, Ticker, Timer};
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::digital::Wait;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;

use crate::frames::{DriverEnd, Frame};

/// The chip and its wires. [`run`](Self::run) drives it.
///
/// The bus has no other device. Short transfers are made by its blocking methods, long ones by its asynchronous ones.
pub struct W5500<SPI, CS, INT, RST> {
    spi: SPI,
    select: CS,
    interrupt: INT,
    reset: RST,
    mac: [u8; 6],
    /// Where the next frame in and the next frame out begin, in the chip's memory.
    read_at: u16,
    write_at: u16,
    /// The chip does not know yet that all before `read_at` has been taken out of it.
    unsaid: bool,
}

/// A fault of the chip: it is missing, has no power, or the wires garbled the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Fault {
    Bus,
    Version(u8),
    Status(u8),
    Length(u16),
    Stuck,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus => f.write_str("the bus failed"),
            Self::Version(version) => write!(f, "it says version {version}, not 4"),
            Self::Status(status) => write!(f, "its socket is in state {status}"),
            Self::Length(len) => write!(f, "it says that a frame has {len} bytes"),
            Self::Stuck => f.write_str("it never comes to an end"),
        }
    }
}

impl<SPI, CS, INT, RST> W5500<SPI, CS, INT, RST>
where
    SPI: SpiBus + AsyncSpiBus,
    CS: OutputPin,
    INT: Wait,
    RST: OutputPin,
{
    /// The chip behind these wires.
    pub fn new(spi: SPI, select: CS, interrupt: INT, reset: RST, mac: [u8; 6]) -> Self {
        Self { spi, select, interrupt, reset, mac, read_at: 0, write_at: 0, unsaid: false }
    }

    /// Carries frames between the chip and the stack, and resets a chip that fails. Does not return.
    pub async fn run(mut self, mut end: DriverEnd<'_>) -> ! {
        loop {
            let Err(fault) = self.set_up_and_carry(&mut end).await;
            end.set_link(LinkState::Down);
            warn!("the Ethernet chip is reset, for {}", fault);
            Timer::after(REST).await;
        }
    }

    async fn set_up_and_carry(&mut self, end: &mut DriverEnd<'_>) -> Result<Infallible, Fault> {
        self.set_up().await?;
        let mut glance = Ticker::every(GLANCE);
        let mut glances: u32 = 0;
        // Whether a frame is in the chip, or may be.
        let mut more = false;
        loop {
            let arrival = async {
                let room = end.rx.send().await;
                if !more {
                    let _low = self.interrupt.wait_for_low().await;
                }
                room
            };
            match select3(arrival, end.tx.receive(), glance.next()).await {
                Either3::First(frame) => {
                    let waiting = self.waiting(more)?;
                    more = waiting > 0;
                    if more {
                        more = self.receive(frame, waiting).await?;
                        end.rx.send_done();
                    }
                }
                Either3::Second(frame) => {
                    self.transmit(frame).await?;
                    end.tx.receive_done();
                }
                Either3::Third(()) => {
                    // An interrupt can be lost (sinara-hw/Booster issue 289), and a module's pin may not be wired.
                    more = true;
                    glances = glances.wrapping_add(1);
                    if glances.is_multiple_of(GLANCES_TO_LOOK) {
                        end.set_link(self.look()?);
                    }
                }
            }
        }
    }

    /// Resets the chip, and makes it take and give whole frames.
    async fn set_up(&mut self) -> Result<(), Fault> {
        let _low = self.reset.set_low();
        Timer::after_millis(1).await; // 500 us at least
        let _high = self.reset.set_high();
        Timer::after_millis(2).await; // 1 ms at most until its clock is steady
        let [version] = self.register(Block::Common, VERSION)?;
        if version != 4 {
            return Err(Fault::Version(version));
        }
        let mac = self.mac;
        self.set(Block::Common, HARDWARE_ADDRESS, &mac)?;
        self.set(Block::Socket, RX_KIB, &[16])?;
        self.set(Block::Socket, TX_KIB, &[16])?;
        self.set(Block::Socket, INTERRUPT_MASK, &[RECEIVED])?;
        self.set(Block::Common, SOCKET_INTERRUPT_MASK, &[1])?;
        self.set(Block::Socket, MODE, &[MACRAW | ONLY_FOR_US | NO_MULTICAST | NO_IPV6])?;
        self.command(OPEN)?;
        self.look()?;
        self.read_at = u16::from_be_bytes(self.register(Block::Socket, RX_READ)?);
        self.write_at = u16::from_be_bytes(self.register(Block::Socket, TX_WRITE)?);
        self.unsaid = false;
        Ok(())
    }

    /// Whether a cable is plugged in; fails if the chip lost its settings.
    fn look(&mut self) -> Result<LinkState, Fault> {
        let [status] = self.register(Block::Socket, STATUS)?;
        if status != OPEN_FOR_FRAMES {
            return Err(Fault::Status(status));
        }
        let [phy] = self.register(Block::Common, PHY)?;
        Ok(if phy & 1 == 1 { LinkState::Up } else { LinkState::Down })
    }

    /// The number of bytes of frames in the chip. The interrupt is taken back first, unless the chip is known to hold `more`: so
    /// a frame that comes after this look raises the interrupt again.
    fn waiting(&mut self, more: bool) -> Result<u16, Fault> {
        self.say_taken()?;
        if !more {
            self.set(Block::Socket, INTERRUPT, &[RECEIVED])?;
        }
        // While the chip counts another frame this number may be too small. That frame interrupts, or is found by the
        // next look.
        Ok(u16::from_be_bytes(self.register(Block::Socket, RX_WAITING)?))
    }

    /// Takes a frame out of the chip. Whether the chip holds more of the `waiting` bytes.
    async fn receive(&mut self, frame: &mut Frame, waiting: u16) -> Result<bool, Fault> {
        // Most frames are an ACK, of Ethernet's least length. In front of it stands how long it and these two bytes are.
        let mut len = [0; 2];
        self.begin(Block::RxBuffer, self.read_at, READ)?;
        let head = frame.room().get_mut(..SHORT).unwrap_or_default();
        let read = SpiBus::read(&mut self.spi, &mut len).and_then(|()| SpiBus::read(&mut self.spi, head));
        self.end(read)?;
        let len = u16::from_be_bytes(len);
        let size = usize::from(len.saturating_sub(2));
        let is_there = len <= waiting || len <= self.steady(RX_WAITING)?;
        if !(HEADER..=Frame::MAX).contains(&size) || !is_there {
            return Err(Fault::Length(len));
        }
        if let Some(rest) = frame.room().get_mut(SHORT..size).filter(|rest| !rest.is_empty()) {
            self.begin(Block::RxBuffer, self.read_at.wrapping_add(2 + SHORT as u16), READ)?;
            let read = AsyncSpiBus::read(&mut self.spi, rest).await;
            self.end(read)?;
        }
        frame.set_len(size);
        self.read_at = self.read_at.wrapping_add(len);
        self.unsaid = true;
        Ok(waiting > len)
    }

    /// Tells the chip which bytes have been taken out of it: before the next frame is, or once a frame has been sent, because
    /// an answer is more urgent.
    fn say_taken(&mut self) -> Result<(), Fault> {
        if self.unsaid {
            self.unsaid = false;
            let read_at = self.read_at.to_be_bytes();
            self.set(Block::Socket, RX_READ, &read_at)?;
            self.command(RECEIVE)?;
        }
        Ok(())
    }

    /// Gives the chip a frame to send.
    async fn transmit(&mut self, frame: &Frame) -> Result<(), Fault> {
        // The memory is free: all frames but the one before have been sent, see below.
        self.begin(Block::TxBuffer, self.write_at, WRITE)?;
        let writing = AsyncSpiBus::write(&mut self.spi, frame.bytes());
        let (written, checksum) = join(writing, async { frame.checksum() }).await;
        self.end(written)?;
        if let Some((at, checksum)) = checksum {
            self.set(Block::TxBuffer, self.write_at.wrapping_add(at), &checksum)?;
        }
        // All bytes between its two pointers are one frame to the chip, so the frame before has to be out. It is, unless
        // it was handed over less than 0.12 ms ago, a frame's time on the wire. No other count begins with this count's first
        // byte, so a change of the count while it is read does not matter.
        let mut tries = TRIES;
        while self.register(Block::Socket, TX_FREE)? != TX_SIZE.to_be_bytes() {
            tries = tries.checked_sub(1).ok_or(Fault::Stuck)?;
        }
        self.write_at = self.write_at.wrapping_add(frame.bytes().len() as u16);
        let write_at = self.write_at.to_be_bytes();
        self.set(Block::Socket, TX_WRITE, &write_at)?;
        self.command(SEND)?;
        self.say_taken()
    }

    /// Gives a command, and waits until it has been taken.
    fn command(&mut self, command: u8) -> Result<(), Fault> {
        self.set(Block::Socket, COMMAND, &[command])?;
        let mut tries = TRIES;
        while self.register(Block::Socket, COMMAND)? != [0] {
            tries = tries.checked_sub(1).ok_or(Fault::Stuck)?;
        }
        Ok(())
    }

    /// A count that the chip may be changing, byte by byte: the data sheet has it read until it is twice the same.
    fn steady(&mut self, register: u16) -> Result<u16, Fault> {
        let mut last = self.register(Block::Socket, register)?;
        for _ in 0..TRIES {
            let next = self.register(Block::Socket, register)?;
            if next == last {
                return Ok(u16::from_be_bytes(next));
            }
            last = next;
        }
        Err(Fault::Stuck)
    }

    fn register<const N: usize>(&mut self, block: Block, address: u16) -> Result<[u8; N], Fault> {
        let mut value = [0; N];
        self.begin(block, address, READ)?;
        let read = SpiBus::read(&mut self.spi, &mut value);
        self.end(read)?;
        Ok(value)
    }

    fn set(&mut self, block: Block, address: u16, value: &[u8]) -> Result<(), Fault> {
        self.begin(block, address, WRITE)?;
        let written = SpiBus::write(&mut self.spi, value);
        self.end(written)
    }

    /// Selects the chip, and says what follows.
    fn begin(&mut self, block: Block, address: u16, direction: u8) -> Result<(), Fault> {
        let [high, low] = address.to_be_bytes();
        let _low = self.select.set_low();
        SpiBus::write(&mut self.spi, &[high, low, (block as u8) << 3 | direction]).map_err(|_| Fault::Bus)
    }

    /// Lets go of the chip.
    fn end<E>(&mut self, result: Result<(), E>) -> Result<(), Fault> {
        let flushed = SpiBus::flush(&mut self.spi);
        let _high = self.select.set_high();
        result.map_err(|_| Fault::Bus).and(flushed.map_err(|_| Fault::Bus))
    }
}

/// Parts of the chip's memory (data sheet, section 2.2.2): common registers, and socket 0.
#[derive(Clone, Copy)]
enum Block {
    Common = 0,
    Socket = 1,
    TxBuffer = 2,
    RxBuffer = 3,
}

const READ: u8 = 0;
const WRITE: u8 = 1 << 2;

// Common registers (section 4.1).
const HARDWARE_ADDRESS: u16 = 0x09;
const SOCKET_INTERRUPT_MASK: u16 = 0x18;
const PHY: u16 = 0x2e;
const VERSION: u16 = 0x39;

// A socket's registers (section 4.2).
const MODE: u16 = 0x00;
const COMMAND: u16 = 0x01;
const INTERRUPT: u16 = 0x02;
const STATUS: u16 = 0x03;
const RX_KIB: u16 = 0x1e;
const TX_KIB: u16 = 0x1f;
const TX_FREE: u16 = 0x20;
const TX_WRITE: u16 = 0x24;
const RX_WAITING: u16 = 0x26;
const RX_READ: u16 = 0x28;
const INTERRUPT_MASK: u16 = 0x2c;

const MACRAW: u8 = 4;
const ONLY_FOR_US: u8 = 1 << 7;
const NO_MULTICAST: u8 = 1 << 5;
const NO_IPV6: u8 = 1 << 4;
const OPEN_FOR_FRAMES: u8 = 0x42;
const RECEIVED: u8 = 1 << 2;

const OPEN: u8 = 0x01;
const SEND: u8 = 0x20;
const RECEIVE: u8 = 0x40;

const TX_SIZE: u16 = 16 << 10;

/// Ethernet's header, and its least frame.
const HEADER: usize = 14;
const SHORT: usize = 60;

/// The most polls before the chip counts as hung; each takes at least two microseconds.
const TRIES: u32 = 5000;

/// The interval of the checks for a frame whose interrupt was lost: a tenth of a percent of the time. A client waits longer before it asks again.
const GLANCE: Duration = Duration::from_millis(10);

/// A check for a cable with every one of so many glances: twice a second.
const GLANCES_TO_LOOK: u32 = 50;

/// The pause before a failed chip is reset.
const REST: Duration = Duration::from_millis(100);
