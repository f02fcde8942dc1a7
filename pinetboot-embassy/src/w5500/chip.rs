//! The chip itself: its start, its address, its cable, and its reset when it fails.

use core::cell::Cell;
use core::convert::Infallible;
use core::net::Ipv4Addr;

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer};
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;
use pinetboot_core::dhcp::{CLIENT_PORT, PXE_PORT, SERVER_PORT};
use pinetboot_core::tftp::PORT;

use super::Fault;
use super::bus::{Block, Bus};
use crate::config::Address;
use crate::doorbell::Doorbell;
use crate::interface::Interface;
use crate::liveness::{Liveness, now};

/// The chip and its wires, which its networks share. [`run`](Self::run) has to run too.
pub struct W5500<SPI, CS, INT> {
    pub(super) bus: Mutex<NoopRawMutex, Bus<SPI, CS>>,
    /// Waited for by one network, the first in the order of the bells, which rings for the others.
    pub(super) interrupt: Mutex<NoopRawMutex, INT>,
    waits: Cell<usize>,
    mac: [u8; 6],
    address: Cell<Option<Static>>,
    /// The number of the chip's last start; `None` while the chip is not ready.
    start: Cell<Option<u32>>,
    link: Cell<bool>,
    /// The sockets that transfers hold.
    held: Cell<u8>,
    /// A fault that a network found.
    fault: Cell<Option<Fault>>,
    /// There is such a fault, or a new address.
    news: Signal<NoopRawMutex, ()>,
    bells: [&'static Doorbell; 3],
    liveness: Liveness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Static {
    address: Ipv4Addr,
    prefix_len: u8,
    router: Option<Ipv4Addr>,
}

/// The sockets of one network: which of the chip's eight, the ports that listen, one for each of the first, and the memory of each
/// in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    pub(super) bell: usize,
    pub(super) first: u8,
    pub(super) listen: &'static [u16],
    /// Whether the listening sockets receive broadcasts.
    pub(super) broadcasts: bool,
    /// Received bytes, and bytes to send: 16 of all sockets in either direction.
    pub(super) memory: &'static [(u8, u8)],
}

impl Sockets {
    pub(super) const fn mask(&self) -> u8 {
        ((1 << self.memory.len()) - 1) << self.first
    }
}

/// For TFTP: port 69, and four transfers. The first two have room for two of the longest blocks.
pub const TFTP_SOCKETS: Sockets = Sockets {
    bell: 0,
    first: 0,
    listen: &[PORT],
    broadcasts: false,
    memory: &[(2, 1), (2, 4), (2, 4), (2, 2), (2, 2)],
};

/// For a DHCP server or proxy: ports 67 and 4011.
pub const DHCP_SOCKETS: Sockets = Sockets {
    bell: 1,
    first: 5,
    listen: &[SERVER_PORT, PXE_PORT],
    broadcasts: true,
    memory: &[(4, 1), (1, 1)],
};

/// For a DHCP client: port 68.
pub const DHCP_CLIENT_SOCKETS: Sockets =
    Sockets { bell: 2, first: 7, listen: &[CLIENT_PORT], broadcasts: true, memory: &[(1, 1)] };

const ALL: [&Sockets; 3] = [&TFTP_SOCKETS, &DHCP_SOCKETS, &DHCP_CLIENT_SOCKETS];

impl<SPI, CS, INT> W5500<SPI, CS, INT>
where
    SPI: SpiBus + AsyncSpiBus,
    CS: OutputPin,
{
    /// The chip behind these wires, without an address. The bells are those of the networks, in the order TFTP, DHCP server, DHCP client.
    pub const fn new(
        spi: SPI,
        select: CS,
        interrupt: INT,
        mac: [u8; 6],
        bells: [&'static Doorbell; 3],
    ) -> Self {
        Self {
            bus: Mutex::new(Bus::new(spi, select)),
            interrupt: Mutex::new(interrupt),
            waits: Cell::new(usize::MAX),
            mac,
            address: Cell::new(None),
            start: Cell::new(None),
            link: Cell::new(false),
            held: Cell::new(0),
            fault: Cell::new(None),
            news: Signal::new(),
            bells,
            liveness: Liveness::new(),
        }
    }

    /// The hardware address.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The liveness of [`run`](Self::run), for the watchdog.
    pub const fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    pub(super) fn start(&self) -> Option<u32> {
        self.start.get()
    }

    pub(super) fn has_link(&self) -> bool {
        self.link.get()
    }

    pub(super) fn own_address(&self) -> Option<Ipv4Addr> {
        self.address.get().map(|known| known.address)
    }

    /// The sockets that transfers hold: a bit for each.
    pub(super) fn held(&self) -> u8 {
        self.held.get()
    }

    /// A transfer has this socket.
    pub(super) fn hold(&self, socket: u8) {
        self.held.set(self.held.get() | 1 << socket);
    }

    /// No transfer has this socket any more.
    pub(super) fn release(&self, socket: u8) {
        self.held.set(self.held.get() & !(1 << socket));
    }

    pub(super) const fn bell(&self, number: usize) -> &'static Doorbell {
        self.bells[number]
    }

    /// A network that takes part in waiting for the interrupt.
    pub(super) fn joins(&self, bell: usize) {
        self.waits.set(self.waits.get().min(bell));
    }

    /// Whether this network is the one that waits for the interrupt.
    pub(super) fn waits(&self, bell: usize) -> bool {
        self.waits.get() == bell
    }

    /// Rings for the networks whose sockets are in this set.
    pub(super) fn ring(&self, set: u8) {
        for sockets in ALL {
            if sockets.mask() & set != 0 {
                self.bells[sockets.bell].signal(());
            }
        }
    }

    /// A network found the chip failing.
    pub(super) fn fail(&self, fault: Fault) {
        self.start.set(None);
        self.fault.set(Some(fault));
        self.news.signal(());
    }

    /// Sets the chip up, and resets a chip that fails. Does not return.
    pub async fn run(&self, mut reset: impl OutputPin) -> ! {
        let mut starts = 0;
        loop {
            starts += 1;
            let Err(fault) = self.set_up_and_watch(&mut reset, starts).await;
            self.start.set(None);
            self.link.set(false);
            warn!("the Ethernet chip is reset, for {}", fault);
            Timer::after(REST).await;
        }
    }

    async fn set_up_and_watch(&self, reset: &mut impl OutputPin, start: u32) -> Result<Infallible, Fault> {
        let mut known = {
            let mut bus = self.bus.lock().await;
            let known = self.set_up(&mut bus, reset).await?;
            self.look(&mut bus, known)?;
            known
        };
        self.fault.set(None);
        self.start.set(Some(start));
        self.ring(u8::MAX);
        loop {
            let look = if self.link.get() { LOOK } else { LOOK_FOR_LINK };
            select(self.news.wait(), Timer::after(look)).await;
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            self.liveness.report(now());
            let mut bus = self.spare_bus().await;
            if known != self.address.get() {
                known = self.set_address(&mut bus)?;
            }
            self.look(&mut bus, known)?;
        }
    }

    /// The bus, when no network has it: the queue for the bus has one place, and two tasks there wake each other until it is free.
    async fn spare_bus(&self) -> MutexGuard<'_, NoopRawMutex, Bus<SPI, CS>> {
        loop {
            match self.bus.try_lock() {
                Ok(bus) => return bus,
                Err(_) => Timer::after_millis(1).await,
            }
        }
    }

    /// Resets the chip, and gives it its addresses; all sockets are closed and without memory.
    async fn set_up(
        &self,
        bus: &mut Bus<SPI, CS>,
        reset: &mut impl OutputPin,
    ) -> Result<Option<Static>, Fault> {
        let _low = reset.set_low();
        Timer::after_millis(1).await; // 500 us at least
        let _high = reset.set_high();
        Timer::after_millis(2).await; // 1 ms at most until its clock is steady
        let [version] = bus.get(Block::COMMON, VERSION)?;
        if version != 4 {
            return Err(Fault::Version(version));
        }
        for socket in 0..SOCKETS {
            bus.set(Block::registers(socket), MEMORY, &[0, 0])?;
        }
        bus.set(
            Block::COMMON,
            RETRY,
            &[RETRY_AFTER.to_be_bytes()[0], RETRY_AFTER.to_be_bytes()[1], RETRIES],
        )?;
        bus.set(Block::COMMON, SOCKET_INTERRUPT_MASK, &[u8::MAX])?;
        self.set_address(bus)
    }

    fn set_address(&self, bus: &mut Bus<SPI, CS>) -> Result<Option<Static>, Fault> {
        let wanted = self.address.get();
        let none = Static { address: Ipv4Addr::UNSPECIFIED, prefix_len: 0, router: None };
        let Static { address, prefix_len, router } = wanted.unwrap_or(none);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
        let mut settings = [0; 18];
        let parts: [&[u8]; 4] = [
            &router.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
            &mask.to_be_bytes(),
            &self.mac,
            &address.octets(),
        ];
        for (place, byte) in settings.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bus.set(Block::COMMON, ROUTER, &settings)?;
        Ok(wanted)
    }

    /// Looks for the cable and for another host with the chip's address; fails if the chip has lost its settings.
    fn look(&self, bus: &mut Bus<SPI, CS>, known: Option<Static>) -> Result<(), Fault> {
        let settings: [u8; 10] = bus.get(Block::COMMON, HARDWARE_ADDRESS)?;
        let address = known.map_or(Ipv4Addr::UNSPECIFIED, |known| known.address);
        if settings[..6] != self.mac || settings[6..] != address.octets() {
            return Err(Fault::Settings);
        }
        let [events] = bus.get(Block::COMMON, INTERRUPT)?;
        if events & CONFLICT != 0 {
            bus.set(Block::COMMON, INTERRUPT, &[CONFLICT])?;
            warn!("another host has the address {}, too", address);
        }
        let [phy] = bus.get(Block::COMMON, PHY)?;
        let link = phy & LINK != 0;
        if link != self.link.replace(link) {
            if link {
                let megabits: u8 = if phy & FAST == 0 { 10 } else { 100 };
                let duplex = if phy & FULL_DUPLEX == 0 { "half" } else { "full" };
                info!("link: {} Mbit/s, {} duplex", megabits, duplex);
            } else {
                info!("no link");
            }
        }
        Ok(())
    }
}

impl<SPI, CS, INT> Interface for &W5500<SPI, CS, INT> {
    fn configure(&self, address: Address) {
        self.address.set(match address {
            Address::Static { address, prefix_len, router } => Some(Static { address, prefix_len, router }),
            Address::Dhcp => None,
        });
        self.news.signal(());
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.address.get().map(|known| known.address)
    }

    fn is_link_up(&self) -> bool {
        self.link.get()
    }
}

/// The number of the chip's sockets.
const SOCKETS: u8 = 8;

// Common registers (section 4.1). Behind the router's address are the network's mask and both addresses of the chip.
const ROUTER: u16 = 0x01;
const HARDWARE_ADDRESS: u16 = 0x09;
const INTERRUPT: u16 = 0x15;
const SOCKET_INTERRUPT_MASK: u16 = 0x18;
const RETRY: u16 = 0x19;
const PHY: u16 = 0x2e;
const VERSION: u16 = 0x39;

/// A socket's memory for received bytes, and for those to send.
pub(super) const MEMORY: u16 = 0x1e;

const CONFLICT: u8 = 1 << 7;
const LINK: u8 = 1 << 0;
const FAST: u8 = 1 << 1;
const FULL_DUPLEX: u8 = 1 << 2;

/// The chip repeats its ARP request so often, each time after so many tenths of a millisecond: a peer that does not answer is given up
/// after 0.2 s, and its socket is free again.
const RETRIES: u8 = 3;
const RETRY_AFTER: u16 = 500;

/// The interval of the looks at the cable and the chip's settings, with a link and without.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_FOR_LINK: Duration = Duration::from_millis(100);

/// The pause before a failed chip is reset.
const REST: Duration = Duration::from_millis(100);
