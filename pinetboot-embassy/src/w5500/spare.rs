//! What the chip does by the sockets that no transfer holds: the page by TCP, and the name by multicast.
//!
//! Each takes the socket of a transfer, the last and the last but one, and gives it up at once when the transfer comes: with
//! three and four transfers at a time there is no name and no page. The sockets are polled, and raise no interrupt.

use core::fmt::{self, Write};
use core::net::Ipv4Addr;

use embassy_time::{Duration, Timer};
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;
use pinetboot_core::Instant;

use super::Fault;
use super::bus::{Block, Bus};
use super::chip::{MEMORY, W5500};
use super::socket::{
    CLOSE, DESTINATION, HEAD, INTERRUPT, INTERRUPT_MASK, MODE, OPEN, RECEIVE, RX_READ, RX_WAITING, SEND,
    SENT, SOURCE_PORT, STATUS, TX_WRITE, UDP,
};
use crate::liveness::now;
use crate::{mdns, page};

impl<SPI, CS, INT> W5500<SPI, CS, INT>
where
    SPI: SpiBus + AsyncSpiBus,
    CS: OutputPin,
{
    /// Answers browsers with this report, and queries for the board's name. Does not return.
    pub async fn spare(&self, report: &dyn Fn(&mut dyn Write) -> fmt::Result) -> ! {
        let (mut page, mut name) = (Page::default(), Name::default());
        loop {
            Timer::after(POLL).await;
            // A transfer has the bus: the next time will do.
            let Some(mut bus) = self.start().and_then(|_| self.bus.try_lock().ok()) else { continue };
            let held = self.held();
            let mut polled = Ok(());
            if held & 1 << PAGE == 0 {
                polled = page.poll(&mut bus, report);
            }
            if held & 1 << NAME == 0 {
                let address = self.own_address().filter(|_| self.has_link());
                polled = polled.and(name.poll(&mut bus, address));
            }
            drop(bus);
            if let Err(fault) = polled {
                self.fail(fault);
            }
        }
    }
}

/// The socket of the page.
#[derive(Default)]
struct Page {
    /// The time at which the connection is given up.
    until: Option<Instant>,
    answered: bool,
}

impl Page {
    fn poll<SPI: SpiBus + AsyncSpiBus, CS: OutputPin>(
        &mut self,
        bus: &mut Bus<SPI, CS>,
        report: &dyn Fn(&mut dyn Write) -> fmt::Result,
    ) -> Result<(), Fault> {
        let [status] = bus.get(REGISTERS, STATUS)?;
        match status {
            CLOSED => {
                *self = Self::default();
                open(bus, PAGE, TCP, page::PORT)?;
                return bus.command(PAGE, LISTEN);
            }
            LISTENING => return Ok(()),
            _ => {}
        }
        let now = now();
        if now >= *self.until.get_or_insert(now + page::LONGEST) {
            return bus.command(PAGE, CLOSE);
        }
        if status != ESTABLISHED && status != CLOSE_WAIT {
            return Ok(());
        }
        let waiting = bus.steady(REGISTERS, RX_WAITING)?;
        if self.answered {
            let [events] = bus.get(REGISTERS, INTERRUPT)?;
            if events & SENT != 0 {
                bus.set(REGISTERS, INTERRUPT, &[SENT])?;
                bus.command(PAGE, DISCONNECT)?;
            }
        } else {
            let mut request = [0; page::ENOUGH];
            let request = request.get_mut(..usize::from(waiting).min(page::ENOUGH)).unwrap_or_default();
            let at = bus.steady(REGISTERS, RX_READ)?;
            bus.read(Block::rx(PAGE), at, request)?;
            match page::answer(request) {
                Some((head, with_report)) => {
                    let mut out = Outgoing::new(bus)?;
                    let _cut = out.write_str(head);
                    if with_report {
                        let _cut = report(&mut out);
                    }
                    out.send()?;
                    self.answered = true;
                }
                // The client has ended its side, and will say no more.
                None if status == CLOSE_WAIT => return bus.command(PAGE, DISCONNECT),
                None => return Ok(()),
            }
        }
        received(bus, PAGE, waiting)
    }
}

/// The answer to a browser: a writer into the socket's transmit memory, which the chip sends at the end.
struct Outgoing<'a, SPI, CS> {
    bus: &'a mut Bus<SPI, CS>,
    at: u16,
    room: usize,
    fault: Result<(), Fault>,
}

impl<'a, SPI: SpiBus + AsyncSpiBus, CS: OutputPin> Outgoing<'a, SPI, CS> {
    fn new(bus: &'a mut Bus<SPI, CS>) -> Result<Self, Fault> {
        let at = bus.steady(REGISTERS, TX_WRITE)?;
        Ok(Self { bus, at, room: usize::from(KIB) << 10, fault: Ok(()) })
    }

    fn send(self) -> Result<(), Fault> {
        self.fault?;
        self.bus.set(REGISTERS, TX_WRITE, &self.at.to_be_bytes())?;
        self.bus.command(PAGE, SEND)
    }
}

impl<SPI: SpiBus + AsyncSpiBus, CS: OutputPin> Write for Outgoing<'_, SPI, CS> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.fault = self.fault.and_then(|()| self.bus.set(Block::tx(PAGE), self.at, text.as_bytes()));
        self.at = self.at.wrapping_add(text.len() as u16);
        Ok(())
    }
}

/// The socket of the name.
#[derive(Default)]
struct Name {
    /// The address with which the socket joined the group.
    joined: Option<Ipv4Addr>,
    /// The time of the next answer.
    again: Instant,
}

impl Name {
    fn poll<SPI: SpiBus + AsyncSpiBus, CS: OutputPin>(
        &mut self,
        bus: &mut Bus<SPI, CS>,
        address: Option<Ipv4Addr>,
    ) -> Result<(), Fault> {
        let registers = Block::registers(NAME);
        let [status] = bus.get(registers, STATUS)?;
        let Some(own) = address else {
            self.joined = None;
            return Ok(());
        };
        if status == CLOSED || self.joined != address {
            bus.command(NAME, CLOSE)?;
            // > the UDP destination port (..) and the IP TTL [SHOULD be] 255 (RFC 6762, section 11)
            let ([a, b, c, d], [high, low]) = (mdns::GROUP.octets(), mdns::PORT.to_be_bytes());
            let group = [0x01, 0x00, 0x5e, b & 0x7f, c, d, a, b, c, d, high, low];
            bus.set(registers, HARDWARE_ADDRESS, &group)?;
            bus.set(registers, TIME_TO_LIVE, &[u8::MAX])?;
            open(bus, NAME, UDP | MULTICAST, mdns::PORT)?;
            self.joined = address;
            return Ok(());
        }
        let waiting = bus.steady(registers, RX_WAITING)?;
        if usize::from(waiting) < HEAD {
            return Ok(());
        }
        let at = bus.steady(registers, RX_READ)?;
        let [.., high, low] = bus.get::<HEAD>(Block::rx(NAME), at)?;
        let len = u16::from_be_bytes([high, low]);
        let whole = len.saturating_add(HEAD as u16);
        if whole > waiting {
            return Err(Fault::Length(len));
        }
        let mut message = [0; QUERY];
        let message = message.get_mut(..usize::from(len).min(QUERY)).unwrap_or_default();
        bus.read(Block::rx(NAME), at.wrapping_add(HEAD as u16), message)?;
        received(bus, NAME, whole)?;
        let now = now();
        if now < self.again || !mdns::is_asked(message) {
            return Ok(());
        }
        self.again = now + mdns::INTERVAL;
        let answer = mdns::answer(own);
        let at = bus.steady(registers, TX_WRITE)?;
        bus.set(Block::tx(NAME), at, &answer)?;
        bus.set(registers, TX_WRITE, &at.wrapping_add(answer.len() as u16).to_be_bytes())?;
        bus.command(NAME, SEND)
    }
}

/// Opens a closed socket, without interrupts.
fn open<SPI: SpiBus + AsyncSpiBus, CS: OutputPin>(
    bus: &mut Bus<SPI, CS>,
    socket: u8,
    mode: u8,
    port: u16,
) -> Result<(), Fault> {
    let registers = Block::registers(socket);
    bus.set(registers, MODE, &[mode])?;
    bus.set(registers, SOURCE_PORT, &port.to_be_bytes())?;
    bus.set(registers, MEMORY, &[KIB, KIB])?;
    bus.set(registers, INTERRUPT_MASK, &[0])?;
    bus.set(registers, INTERRUPT, &[u8::MAX])?;
    bus.command(socket, OPEN)
}

/// Tells the chip that so many bytes more were read.
fn received<SPI: SpiBus + AsyncSpiBus, CS: OutputPin>(
    bus: &mut Bus<SPI, CS>,
    socket: u8,
    len: u16,
) -> Result<(), Fault> {
    if len == 0 {
        return Ok(());
    }
    let registers = Block::registers(socket);
    let at = bus.steady(registers, RX_READ)?.wrapping_add(len);
    bus.set(registers, RX_READ, &at.to_be_bytes())?;
    bus.command(socket, RECEIVE)
}

/// The last sockets of [`TFTP_SOCKETS`](super::TFTP_SOCKETS), which transfers take last, and their memory in KiB each way.
const NAME: u8 = 3;
const PAGE: u8 = 4;
const KIB: u8 = 2;

const REGISTERS: Block = Block::registers(PAGE);

/// The longest query that is read, in bytes; of a longer one, the questions in its first bytes.
const QUERY: usize = 256;

/// The interval of the looks at both sockets.
const POLL: Duration = Duration::from_millis(20);

// Of a socket's registers (section 4.2).
const HARDWARE_ADDRESS: u16 = 0x06;
const TIME_TO_LIVE: u16 = 0x16;
const _: () = assert!(DESTINATION == HARDWARE_ADDRESS + 6);

const TCP: u8 = 1;
const MULTICAST: u8 = 1 << 7;

const LISTEN: u8 = 0x02;
const DISCONNECT: u8 = 0x08;

const CLOSED: u8 = 0x00;
const LISTENING: u8 = 0x14;
const ESTABLISHED: u8 = 0x17;
const CLOSE_WAIT: u8 = 0x1c;
