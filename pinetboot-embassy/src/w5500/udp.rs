//! The core's network trait on some of the chip's sockets.

use core::convert::Infallible;
use core::future::pending;
use core::net::SocketAddrV4;
use core::time::Duration;

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embassy_time::Timer;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiBus;
use embedded_hal_async::digital::Wait;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;
use pinetboot_core::dhcp::MAX_LEN;
use pinetboot_core::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

use super::Fault;
use super::bus::{Block, Bus};
use super::chip::{Sockets, W5500};
use super::socket::{Socket, State};
use crate::liveness::now;
use crate::port::Port;

/// UDP on some of the chip's sockets: the first of them listen, the others are lent to transfers.
pub struct Udp<'a, SPI, CS, INT> {
    chip: &'a W5500<SPI, CS, INT>,
    sockets: &'static Sockets,
    slots: [Socket; MOST],
    rx: &'a mut [u8],
    tx: &'a mut [u8],
    /// The start of the chip that the slots are of.
    start: Option<u32>,
    /// The time to look for datagrams whose interrupt was lost.
    glance: Instant,
    /// Interrupts of other networks were seen.
    others: bool,
    /// The number of datagrams in a row that came to transfers.
    streak: u8,
    next_port: u16,
}

/// The memory of a [`Udp`]: a datagram each way, at whole words. By default the longest of Ethernet; longer ones are dropped.
#[repr(align(4))]
pub struct Memory<const RX: usize = MAX, const TX: usize = MAX> {
    rx: [u8; RX],
    tx: [u8; TX],
}

/// The memory for DHCP, whose messages are short.
pub type DhcpMemory = Memory<800, MAX_LEN>;

impl<const RX: usize, const TX: usize> Memory<RX, TX> {
    /// Zeros, so that a static of it takes no flash.
    pub const fn new() -> Self {
        Self { rx: [0; RX], tx: [0; TX] }
    }
}

impl<const RX: usize, const TX: usize> Default for Memory<RX, TX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, SPI, CS, INT> Udp<'a, SPI, CS, INT>
where
    SPI: SpiBus + AsyncSpiBus,
    CS: OutputPin,
    INT: InputPin + Wait,
{
    /// The network on these sockets of the chip: one network for each set. Ports of transfers begin at a number that the seed, best a
    /// random one, decides.
    pub fn new<const RX: usize, const TX: usize>(
        chip: &'a W5500<SPI, CS, INT>,
        sockets: &'static Sockets,
        memory: &'a mut Memory<RX, TX>,
        seed: u16,
    ) -> Self {
        let mut slots = [Socket::CLOSED; MOST];
        for (index, (slot, memory)) in slots.iter_mut().zip(sockets.memory).enumerate() {
            let port = sockets.listen.get(index);
            *slot = Socket::new(sockets.first + index as u8, *memory, sockets.broadcasts && port.is_some());
            if let Some(port) = port {
                (slot.state, slot.port) = (State::Open, *port);
            }
        }
        let next_port = FIRST_PORT | seed;
        chip.joins(sockets.bell);
        Self {
            chip,
            sockets,
            slots,
            rx: &mut memory.rx,
            tx: &mut memory.tx,
            start: None,
            glance: Instant::ZERO,
            others: false,
            streak: 0,
            next_port,
        }
    }

    fn slot(&mut self, index: usize) -> Option<&mut Socket> {
        self.slots.get_mut(index).filter(|_| index < self.sockets.memory.len())
    }

    /// Looks for a datagram: the slot, the length and the sender.
    async fn look(&mut self, bus: &mut Bus<SPI, CS>) -> Result<Option<(usize, usize, SocketAddrV4)>, Fault> {
        if !self.is_ready(bus)? {
            return Ok(None);
        }
        self.catch_up(bus)?;
        let mut set = 0;
        if self.is_interrupted() {
            let [interrupted] = bus.get(Block::COMMON, SOCKET_INTERRUPT)?;
            let own = self.sockets.mask();
            self.others = interrupted & !own != 0;
            if self.others && self.chip.waits(self.sockets.bell) {
                self.chip.ring(interrupted & !own);
            }
            set = (interrupted & own) >> self.sockets.first;
        }
        let now = now();
        if now >= self.glance {
            // An interrupt can be lost (sinara-hw/Booster issue 289), and a module's pin may not be wired.
            let count = self.sockets.memory.len();
            let open = |index: &usize| self.slots.get(*index).is_some_and(|slot| slot.state == State::Open);
            let is_busy = (self.sockets.listen.len()..count).any(|index| open(&index));
            set = (0..count).filter(open).fold(0, |set, index| set | 1 << index);
            self.glance = now + if is_busy { GLANCE } else { IDLE_GLANCE };
        }
        while let Some(index) = self.next(set) {
            set &= !(1 << index);
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let Some(head) = slot.next(bus)? else { continue };
            match self.rx.get_mut(..usize::from(head.len)) {
                Some(into) => {
                    slot.read(bus, &head, into).await?;
                    return Ok(Some((index, head.len.into(), head.peer)));
                }
                None => slot.tell(bus)?, // longer than the memory: dropped
            }
        }
        Ok(None)
    }

    /// Whether the interrupt may be raised: a look at the pin takes less time than one at the chip.
    fn is_interrupted(&self) -> bool {
        let is_ours = self.chip.waits(self.sockets.bell);
        !is_ours || self.chip.interrupt.try_lock().is_ok_and(|mut pin| pin.is_low().unwrap_or(true))
    }

    /// The slot of this set to look at next. Transfers come first: a client that ends one and at once asks for a file has sent the
    /// end first. A flood to transfers does not keep requests from being read.
    fn next(&mut self, set: u8) -> Option<usize> {
        let listening = self.sockets.listen.len();
        let is_set = |index: &usize| set & 1 << index != 0;
        let (mut listen, mut transfers) = (0..listening, listening..self.sockets.memory.len());
        let index = if self.streak < STREAK {
            transfers.find(is_set).or_else(|| listen.find(is_set))
        } else {
            listen.find(is_set).or_else(|| transfers.find(is_set))
        }?;
        self.streak = if index < listening || self.streak >= STREAK { 0 } else { self.streak + 1 };
        Some(index)
    }

    /// Tells the chip what was read, and closes the sockets that are due.
    fn catch_up(&mut self, bus: &mut Bus<SPI, CS>) -> Result<(), Fault> {
        let chip = self.chip;
        for slot in self.slots.iter_mut().take(self.sockets.memory.len()) {
            slot.tell(bus)?;
            if let State::Closing(until) = slot.state
                && (now() >= until || slot.has_left(bus)?)
            {
                slot.close(bus)?;
                chip.release(slot.number);
            }
        }
        Ok(())
    }

    /// Whether the chip is ready; opens the sockets if the chip was started anew.
    fn is_ready(&mut self, bus: &mut Bus<SPI, CS>) -> Result<bool, Fault> {
        let chip = self.chip;
        let start = chip.start();
        if start.is_some() && start != self.start {
            for slot in self.slots.iter_mut().take(self.sockets.memory.len()) {
                match slot.state {
                    State::Open => slot.open(bus)?,
                    State::Closing(_) => {
                        slot.close(bus)?;
                        chip.release(slot.number);
                    }
                    State::Opening | State::Closed => {}
                }
            }
            self.start = start;
        }
        Ok(start.is_some())
    }

    /// Puts the outgoing datagram into the chip. Whether there was room.
    async fn put(&mut self, bus: &mut Bus<SPI, CS>, index: usize, len: usize) -> Result<bool, Fault> {
        if !self.is_ready(bus)? {
            return Ok(false);
        }
        let (Some(slot), Some(bytes)) = (self.slots.get_mut(index), self.tx.get(..len)) else {
            return Ok(false);
        };
        slot.put(bus, bytes).await
    }

    /// Has the chip send what lies in it.
    fn launch(
        &mut self,
        bus: &mut Bus<SPI, CS>,
        index: usize,
        to: SocketAddrV4,
        len: u16,
    ) -> Result<bool, Fault> {
        let has_link = self.chip.has_link();
        match self.slot(index) {
            Some(slot) if has_link => slot.launch(bus, to, len),
            _ => Ok(false),
        }
    }

    /// The outcome; a fault goes to the chip, whose task resets it.
    fn or_fail<T: Default>(&self, result: Result<T, Fault>) -> T {
        result.unwrap_or_else(|fault| {
            self.chip.fail(fault);
            T::default()
        })
    }

    /// Waits for an interrupt, the bell or this time. Whether the bell rang.
    async fn wait(&mut self, until: Instant) -> bool {
        let is_ours = self.chip.waits(self.sockets.bell);
        if is_ours && self.others {
            // While the pin is low, waiting for it takes no time: the other networks get their turn to take back their interrupts.
            yield_now().await;
        }
        let interrupt = async {
            if !is_ours || self.chip.start().is_none() {
                pending::<()>().await;
            }
            let mut pin = self.chip.interrupt.lock().await;
            let _low = pin.wait_for_low().await;
        };
        let until = embassy_time::Instant::from_micros(until.min(self.glance).as_micros());
        let bell = self.chip.bell(self.sockets.bell).wait();
        matches!(select3(interrupt, bell, Timer::at(until)).await, Either3::Second(()))
    }
}

impl<SPI, CS, INT> Net for Udp<'_, SPI, CS, INT>
where
    SPI: SpiBus + AsyncSpiBus,
    CS: OutputPin,
    INT: InputPin + Wait,
{
    type Error = Infallible;
    type Local = Port;

    fn now(&self) -> Instant {
        now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Port>>, Infallible> {
        let chip = self.chip;
        let mut rung = false;
        let (index, len, peer) = loop {
            let looked = self.look(&mut *chip.bus.lock().await).await;
            if let Some(found) = self.or_fail(looked) {
                break found;
            }
            if rung || now() >= deadline {
                return Ok(None);
            }
            rung = self.wait(deadline).await;
        };
        let listening = index < self.sockets.listen.len();
        let bytes = self.rx.get(..len).unwrap_or_default();
        Ok(Some(Datagram::new(now(), Port::new(index), peer, bytes).with_listening(listening)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.tx
    }

    async fn send(&mut self, from: Port, to: SocketAddrV4, len: usize) {
        let chip = self.chip;
        let mut bus = chip.bus.lock().await;
        let index = from.index();
        let sent = match self.put(&mut bus, index, len).await {
            Ok(true) => self.launch(&mut bus, index, to, len as u16),
            other => other,
        };
        if !self.or_fail(sent) {
            debug!("not sent to {}", to);
        }
    }

    const PREPARES: bool = true;

    async fn prepare(&mut self, from: Port, to: SocketAddrV4, len: usize) -> bool {
        let chip = self.chip;
        let mut bus = chip.bus.lock().await;
        let index = from.index();
        let kept = match self.put(&mut bus, index, len).await {
            // By now the datagram before has left, or will soon have: later there is no time to look.
            Ok(true) => self.slot(index).map_or(Ok(false), |slot| slot.leaves(&mut bus)),
            other => other,
        };
        let kept = self.or_fail(kept);
        if let Some(slot) = self.slot(index).filter(|_| kept) {
            slot.kept = Some((to, len as u16));
        }
        kept
    }

    async fn send_prepared(&mut self, from: Port, to: SocketAddrV4) -> bool {
        let chip = self.chip;
        let index = from.index();
        let Some(kept) = self.slot(index).and_then(|slot| slot.kept.take()) else { return false };
        if kept.0 != to || self.start != chip.start() {
            return false;
        }
        let mut bus = chip.bus.lock().await;
        let sent = self.launch(&mut bus, index, to, kept.1);
        self.or_fail(sent)
    }

    fn open(&mut self, _: Port, _: SocketAddrV4) -> Option<Port> {
        let listening = self.sockets.listen.len();
        let count = self.sockets.memory.len();
        let transfers = self.slots.iter_mut().enumerate().take(count).skip(listening);
        let rank = |slot: &Socket| match slot.state {
            State::Closed => Some(Instant::ZERO),
            State::Closing(until) => Some(until),
            State::Opening | State::Open => None,
        };
        let free = transfers.filter_map(|(index, slot)| Some((rank(slot)?, index, slot)));
        let (_, index, slot) = free.min_by_key(|(rank, index, _)| (*rank, *index))?;
        slot.state = State::Opening;
        // At once: the spare socket is not to be taken from the transfer again.
        self.chip.hold(slot.number);
        slot.port = self.next_port;
        self.next_port = self.next_port.wrapping_add(1) | FIRST_PORT;
        Some(Port::new(index))
    }

    fn close(&mut self, local: Port) {
        let is_transfer = local.index() >= self.sockets.listen.len();
        let Some(slot) = self.slot(local.index()).filter(|_| is_transfer) else { return };
        slot.kept = None;
        // Also one that was not opened yet: the page and the name may have the chip's socket until then.
        if matches!(slot.state, State::Open | State::Opening) {
            slot.state = State::Closing(now() + PATIENCE);
        }
    }
}

/// The most sockets of one network.
const MOST: usize = 5;

/// The longest datagram.
const MAX: usize = ETHERNET_MAX_PAYLOAD as usize;

/// Ports of transfers have these bits.
const FIRST_PORT: u16 = 0xc000;

/// Datagrams of transfers in a row before a listening port is looked at first.
const STREAK: u8 = 16;

/// The intervals of the looks for datagrams whose interrupt was lost, with transfers and without: a client waits longer before it asks
/// again.
const GLANCE: Duration = Duration::from_millis(10);
const IDLE_GLANCE: Duration = Duration::from_millis(50);

/// The longest that a closed socket stays for its last datagram.
const PATIENCE: Duration = Duration::from_secs(1);

/// The common register of the sockets that have an event (section 4.1).
const SOCKET_INTERRUPT: u16 = 0x17;
