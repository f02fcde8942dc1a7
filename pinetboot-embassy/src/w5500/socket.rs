//! One of the chip's sockets, open for UDP: its registers and its memory in the chip.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;
use pinetboot_core::Instant;

use super::Fault;
use super::bus::{Block, Bus, COMMAND};
use super::chip::MEMORY;
use crate::liveness::now;

/// A socket, and what is known of it in the chip.
#[derive(Clone, Copy)]
pub(super) struct Socket {
    pub(super) number: u8,
    /// KiB for received bytes, and for those to send.
    memory: (u8, u8),
    /// Whether it receives broadcasts.
    broadcasts: bool,
    pub(super) state: State,
    pub(super) port: u16,
    /// Where the next datagram in and the next one out begin, in the chip's memory.
    read_at: u16,
    write_at: u16,
    /// The chip does not know yet that all before `read_at` was read.
    untold: bool,
    /// The destination that the chip knows.
    peer: SocketAddrV4,
    /// The datagram that the chip is sending.
    sending: Option<Sending>,
    /// The datagram that lies in the chip behind that, and its destination.
    pub(super) kept: Option<(SocketAddrV4, u16)>,
    /// The chip may not have taken the last command.
    commanded: bool,
    /// How often it was opened in the chip: what lay in it before is lost.
    openings: u8,
}

#[derive(Clone, Copy)]
struct Sending {
    since: Instant,
    len: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    /// To be opened in the chip before the first datagram.
    Opening,
    Open,
    /// To be closed in the chip when the last datagram has left, or at this time.
    Closing(Instant),
}

/// What stands in front of a received datagram, and its first bytes: all of an ACK, as most are.
pub(super) struct Head {
    pub(super) peer: SocketAddrV4,
    pub(super) len: u16,
    pub(super) first: [u8; ACK],
    /// Where the rest is.
    from: u16,
}

impl Socket {
    pub(super) const CLOSED: Self = Self::new(0, (0, 0), false);

    pub(super) const fn new(number: u8, memory: (u8, u8), broadcasts: bool) -> Self {
        Self {
            number,
            memory,
            broadcasts,
            state: State::Closed,
            port: 0,
            read_at: 0,
            write_at: 0,
            untold: false,
            peer: NOBODY,
            sending: None,
            kept: None,
            commanded: false,
            openings: 0,
        }
    }

    const fn registers(&self) -> Block {
        Block::registers(self.number)
    }

    /// Opens the socket in the chip, where it may be open. Datagrams in it are lost.
    pub(super) fn open<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<(), Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        self.close(bus)?;
        let Self { number, memory: (rx, tx), broadcasts, port, openings, .. } = *self;
        let registers = self.registers();
        bus.set(registers, MODE, &[if broadcasts { UDP } else { UDP | NO_BROADCAST }])?;
        bus.set(registers, SOURCE_PORT, &port.to_be_bytes())?;
        bus.set(registers, MEMORY, &[rx, tx])?;
        bus.set(registers, INTERRUPT_MASK, &[RECEIVED | TIMEOUT])?;
        bus.command(number, OPEN)?;
        let [status] = bus.get(registers, STATUS)?;
        if status != OPEN_FOR_UDP {
            return Err(Fault::Status(status));
        }
        let write_at = u16::from_be_bytes(bus.get(registers, TX_WRITE)?);
        let read_at = u16::from_be_bytes(bus.get(registers, RX_READ)?);
        let openings = openings.wrapping_add(1);
        let new = Self::new(number, (rx, tx), broadcasts);
        *self = Self { state: State::Open, port, read_at, write_at, openings, ..new };
        Ok(())
    }

    /// Closes the socket, and takes its events back.
    pub(super) fn close<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<(), Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        self.state = State::Closed;
        self.untold = false;
        bus.command(self.number, CLOSE)?;
        bus.set(self.registers(), INTERRUPT, &[u8::MAX])
    }

    // --- In ---

    /// The head of the next datagram. `None`: there is none; then an event that is left is taken back.
    pub(super) fn next<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<Option<Head>, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        let registers = self.registers();
        if self.state != State::Open {
            bus.set(registers, INTERRUPT, &[RECEIVED | TIMEOUT])?;
            return Ok(None);
        }
        let mut waiting = u16::from_be_bytes(bus.get(registers, RX_WAITING)?);
        if waiting == 0 {
            let [events] = bus.get(registers, INTERRUPT)?;
            if events & TIMEOUT != 0 {
                debug!("{} does not answer ARP", self.peer);
                self.open(bus)?;
                return Ok(None);
            }
            if events & RECEIVED == 0 {
                return Ok(None);
            }
            // The datagram of this interrupt was found without it, or it has come since.
            bus.set(registers, INTERRUPT, &[RECEIVED])?;
            waiting = u16::from_be_bytes(bus.get(registers, RX_WAITING)?);
            if waiting == 0 {
                return Ok(None);
            }
        }
        let mut head = [0; HEAD + ACK];
        bus.read(Block::rx(self.number), self.read_at, &mut head)?;
        let [a, b, c, d, port_high, port_low, len_high, len_low, first @ ..] = head;
        let peer = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([port_high, port_low]));
        let len = u16::from_be_bytes([len_high, len_low]);
        let whole = len.saturating_add(HEAD as u16);
        if whole > waiting && whole > bus.steady(registers, RX_WAITING)? {
            return Err(Fault::Length(len));
        }
        let from = self.read_at.wrapping_add((HEAD + ACK) as u16);
        self.read_at = self.read_at.wrapping_add(whole);
        self.untold = true;
        Ok(Some(Head { peer, len, first, from }))
    }

    /// Reads a datagram after its head.
    pub(super) async fn read<SPI, CS>(
        &self,
        bus: &mut Bus<SPI, CS>,
        head: &Head,
        into: &mut [u8],
    ) -> Result<(), Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        let Some((first, rest)) = into.split_first_chunk_mut() else {
            into.iter_mut().zip(head.first).for_each(|(into, byte)| *into = byte);
            return Ok(());
        };
        *first = head.first;
        match rest.len() {
            0 => Ok(()),
            1..SHORT => bus.read(Block::rx(self.number), head.from, rest),
            _ => bus.read_long(Block::rx(self.number), head.from, rest).await,
        }
    }

    /// Tells the chip which bytes were read: before the next datagram is, because an answer is more urgent. If there are more, the chip
    /// raises the interrupt again.
    pub(super) fn tell<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<(), Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        if !self.untold {
            return Ok(());
        }
        self.untold = false;
        bus.set(self.registers(), INTERRUPT, &[RECEIVED])?;
        bus.set(self.registers(), RX_READ, &self.read_at.to_be_bytes())?;
        if self.commanded {
            bus.taken(self.number)?;
            self.commanded = false;
        }
        bus.command(self.number, RECEIVE)
    }

    // --- Out ---

    /// Puts a datagram into the chip, behind the one that is leaving. Whether there was room.
    pub(super) async fn put<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>, bytes: &[u8]) -> Result<bool, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        match self.state {
            State::Open => {}
            State::Opening => self.open(bus)?,
            State::Closed | State::Closing(_) => return Ok(false), // sent after it was closed
        }
        self.kept = None;
        let room = usize::from(self.memory.1) << 10;
        let is_full = |Sending { since, len }| {
            usize::from(len) + bytes.len() > room || now().since(since) > ON_THE_WIRE
        };
        if self.sending.is_some_and(is_full) && !self.waits_for_room(bus)? {
            return Ok(false);
        }
        bus.set_long(Block::tx(self.number), self.write_at, bytes).await?;
        Ok(true)
    }

    /// Has the chip send what lies in it.
    pub(super) fn launch<SPI, CS>(
        &mut self,
        bus: &mut Bus<SPI, CS>,
        to: SocketAddrV4,
        len: u16,
    ) -> Result<bool, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        if !self.leaves(bus)? {
            return Ok(false);
        }
        let registers = self.registers();
        if self.peer != to {
            let ([a, b, c, d], [high, low]) = (to.ip().octets(), to.port().to_be_bytes());
            bus.set(registers, DESTINATION, &[a, b, c, d, high, low])?;
            self.peer = to;
        }
        self.write_at = self.write_at.wrapping_add(len);
        bus.set(registers, TX_WRITE, &self.write_at.to_be_bytes())?;
        if self.commanded {
            bus.taken(self.number)?;
        }
        // The register behind that of commands has the events of the datagram before: they are taken back.
        bus.set(registers, COMMAND, &[SEND, SENT | TIMEOUT])?;
        self.commanded = true;
        self.sending = Some(Sending { since: now(), len });
        Ok(true)
    }

    /// Waits for the last datagram to leave. False if it does not, or if what lies in the socket behind it was lost.
    pub(super) fn leaves<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<bool, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        let openings = self.openings;
        Ok(self.waits_for_room(bus)? && self.openings == openings)
    }

    /// Waits for the last datagram to leave, for a frame's time on the wire. Whether it has.
    fn waits_for_room<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<bool, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        let until = now() + ON_THE_WIRE;
        loop {
            if self.has_left(bus)? {
                return Ok(true);
            }
            if now() >= until {
                return Ok(false);
            }
        }
    }

    /// Whether the last datagram has left, or will not: its peer does not answer ARP, or there is no link, without which SEND does not end
    /// even when a link comes back (esp-idf issue 6233).
    pub(super) fn has_left<SPI, CS>(&mut self, bus: &mut Bus<SPI, CS>) -> Result<bool, Fault>
    where
        SPI: SpiBus + AsyncSpiBus,
        CS: OutputPin,
    {
        let Some(Sending { since, .. }) = self.sending else { return Ok(true) };
        let [events] = bus.get(self.registers(), INTERRUPT)?;
        if events & SENT != 0 {
            self.sending = None;
            return Ok(true);
        }
        if events & TIMEOUT == 0 && now().since(since) < STUCK {
            return Ok(false);
        }
        debug!("nothing reaches {}", self.peer);
        if self.state == State::Open {
            self.open(bus)?;
        }
        Ok(true)
    }
}

const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// In front of a datagram stand its sender's address and port and its length.
pub(super) const HEAD: usize = 8;
const ACK: usize = 4;

/// From so many bytes on other tasks run during a transfer.
const SHORT: usize = 32;

/// The longest wait for a datagram to leave: more than the longest frame's time on the wire.
const ON_THE_WIRE: Duration = Duration::from_micros(300);

/// The time after which SEND does not end any more: longer than the chip waits for an answer to ARP.
const STUCK: Duration = Duration::from_millis(400);

// A socket's registers (section 4.2).
pub(super) const MODE: u16 = 0x00;
pub(super) const INTERRUPT: u16 = 0x02;
pub(super) const STATUS: u16 = 0x03;
pub(super) const SOURCE_PORT: u16 = 0x04;
pub(super) const DESTINATION: u16 = 0x0c;
pub(super) const TX_WRITE: u16 = 0x24;
pub(super) const RX_WAITING: u16 = 0x26;
pub(super) const RX_READ: u16 = 0x28;
pub(super) const INTERRUPT_MASK: u16 = 0x2c;

pub(super) const UDP: u8 = 2;
const NO_BROADCAST: u8 = 1 << 6;
const OPEN_FOR_UDP: u8 = 0x22;
const RECEIVED: u8 = 1 << 2;
const TIMEOUT: u8 = 1 << 3;
pub(super) const SENT: u8 = 1 << 4;

pub(super) const OPEN: u8 = 0x01;
pub(super) const CLOSE: u8 = 0x10;
pub(super) const SEND: u8 = 0x20;
pub(super) const RECEIVE: u8 = 0x40;
