//! The appliance: the core's loops on the networks of a board, by the configuration, with watchdog and LED.

use core::cell::Cell;
use core::convert::Infallible;
use core::fmt::{self, Write};
use core::time::Duration;

use embassy_time::Timer;
use embedded_storage_async::nor_flash::NorFlash;
use pinetboot_core::dhcp::{self, Responder};
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{Net, Storage};

use crate::answer::Answer;
use crate::board::{Board, Flash, LedPattern};
use crate::capacity::TRANSFERS;
use crate::config::{Address, Config, Dhcp};
use crate::configuration::{Text, configuration};
use crate::console::{Action, Console};
use crate::interface::Interface;
use crate::liveness::{self, Liveness, Watched};
use crate::own_address::own_address;
use crate::port::Port;
use crate::receive::{Updates, WithUpdates};
use crate::report::{CardState, Start, View};
use crate::search::{Others, search};
use crate::status::Status;
use crate::status_file::{StatusMemory, WithStatus};
use crate::storage::Placed;
use crate::trees::Trees;

/// The configured services and their status. Each of the loops may have a task, so that none is polled for another. They borrow their
/// networks: a future keeps its arguments, and again what they were moved into.
pub struct Appliance<'a, I> {
    interface: I,
    config: Config<'a>,
    misconfigured: bool,
    start: Start,
    status: Status,
    report: StatusMemory,
    card: Cell<CardState>,
    others: Cell<Others>,
    action: Cell<Option<Action>>,
    tftp: Liveness,
    dhcp: Liveness,
}

impl<'a, I: Interface> Appliance<'a, I> {
    /// The appliance that the storage's file [`FILE_NAME`](crate::config::FILE_NAME) configures, or the default without that
    /// file.
    ///
    /// If the file has an error, or cannot be read within seconds, the appliance serves files from the default address, and DHCP
    /// is off: see [`Config::SAFE`].
    pub async fn configured<S>(interface: I, storage: &mut S, text: &'a mut Text, start: Start) -> Self
    where
        S: Storage<File: Placed>,
    {
        let configured = match start.before.ignores_config {
            true => {
                warn!("configured as built in, for the button was held");
                Some(Config::default())
            }
            false => configuration(storage, text).await,
        };
        let misconfigured = configured.is_none();
        let config = configured.unwrap_or(Config::SAFE);
        interface.configure(config.address);
        let status = Status::new(!matches!(config.dhcp, Dhcp::Off));
        Self {
            interface,
            config,
            misconfigured,
            start,
            status,
            report: StatusMemory::new(),
            card: Cell::new(CardState::Absent),
            others: Cell::new(Others::Unknown),
            action: Cell::new(None),
            tftp: Liveness::new(),
            dhcp: Liveness::new(),
        }
    }

    /// Serves files by TFTP on this network, whose port is 69, and receives new ones with these updates. Does not return.
    pub async fn files<S: Storage, F: NorFlash>(
        &self,
        storage: S,
        net: &mut impl Net<Local = Port, Error = Infallible>,
        updates: Option<&Updates<F>>,
    ) -> ! {
        let mut net = Watched { net, liveness: &self.tftp };
        let storage = WithUpdates {
            storage,
            updates,
            key: self.config.upload,
            action: &self.action,
            is_busy: &|| self.status.counts().running > 0,
        };
        let storage = WithStatus {
            storage: Trees::new(storage, &self.config),
            memory: &self.report,
            write: |out: &mut dyn Write| self.report(out),
        };
        let mut places: [_; TRANSFERS] = [const { None }; TRANSFERS];
        let mut server =
            Server::<_, _, _, 4>::new(&mut net, storage, &self.status, Limits::default(), &mut places);
        let Ok(never) = server.run().await;
        match never {}
    }

    /// Writes the report of `status.txt`.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn report(&self, out: &mut dyn Write) -> fmt::Result {
        let view = self.view();
        view.status(out)?;
        view.pis(out)
    }

    /// A byte came from the console's terminal: writes to the terminal what it shows then. What a command makes the board do, the loop of
    /// [`watch`](Self::watch) does.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn type_byte(&self, console: &mut Console, byte: u8, out: &mut dyn Write) -> fmt::Result {
        if let Some(action) = console.type_byte(byte, &self.view(), out)? {
            self.action.set(Some(action));
        }
        Ok(())
    }

    fn view(&self) -> View<'_> {
        View {
            start: &self.start,
            now: liveness::now(),
            address: self.interface.address(),
            link: self.interface.is_link_up(),
            config: &self.config,
            misconfigured: self.misconfigured,
            card: self.card.get(),
            others: self.others.get(),
            counts: self.status.counts(),
            boots: self.status.boots(),
        }
    }

    /// Answers DHCP on this network, whose ports are 67 and perhaps 4011. Does not return.
    pub async fn addresses(&self, net: &mut impl Net<Local = Port, Error = Infallible>) -> ! {
        let net = Watched { net, liveness: &self.dhcp };
        let answer = Answer::new(self.config.dhcp, self.interface, &self.others);
        let port = |port: Port| match port.index() {
            0 => dhcp::Port::Server,
            _ => dhcp::Port::Pxe,
        };
        let mut responder = Responder::<_, _, _, 1>::new(net, answer, &self.status).with_ports(port);
        let Ok(never) = responder.run().await;
        match never {}
    }

    /// The board as a DHCP client on this network, whose port is 68: gets its address, if it is configured so and the interface does
    /// not do that itself; or looks for another DHCP server, without which no addresses are leased. Does not return.
    pub async fn client(
        &self,
        net: &mut impl Net<Local = Port, Error = Infallible>,
        mac: [u8; 6],
        xid: u32,
    ) -> ! {
        let (interface, port) = (self.interface, Port::FIRST);
        let Ok(never) = match (self.config.dhcp, self.config.address) {
            (Dhcp::Lease(_), _) => search(interface, net, port, mac, xid, &self.others).await,
            (_, Address::Dhcp) if !I::IS_DHCP_CLIENT => own_address(interface, net, port, mac, xid).await,
            _ => core::future::pending().await,
        };
        match never {}
    }

    /// Feeds the watchdog while all loops are alive, drives the status LED, and logs the board's address. Does not return.
    pub async fn watch(&self, board: &mut impl Board) -> ! {
        let (mut failed, mut place) = (0, 0);
        let (mut address, mut kept, mut held) = (None, None, None);
        loop {
            if [Some(&self.tftp), Some(&self.dhcp), board.ethernet()]
                .into_iter()
                .flatten()
                .all(Liveness::is_alive)
            {
                board.feed();
            }
            let new_address = self.interface.address();
            if new_address != address {
                address = new_address;
                match address {
                    Some(address) => info!("serving on {}", address),
                    None => warn!("the address is no longer ours"),
                }
            }
            if let Some(action) = self.action.take() {
                board.act(action);
            }
            self.card.set(board.card());
            let (stuck, counts) = (self.status.stuck(liveness::now()), self.status.counts());
            if stuck != kept {
                kept = stuck;
                board.keep(stuck);
            }
            match held {
                _ if counts.running > 0 || !board.is_button_held() => held = None,
                None => held = Some(liveness::now()),
                Some(since) if liveness::now().since(since) >= HELD => board.act(Action::IgnoreConfig),
                Some(_) => {}
            }
            let pattern = match (stuck, counts.failed) {
                // The configuration may be on the card, so this comes first.
                _ if board.card() == CardState::Unreadable => LedPattern::CardUnreadable,
                _ if self.misconfigured => LedPattern::Misconfigured,
                _ if !self.interface.is_link_up() => LedPattern::NoLink,
                _ if matches!(self.others.get(), Others::Found(_)) => LedPattern::AnotherServer,
                _ if counts.running > 0 => LedPattern::Busy,
                (Some(rule), _) => {
                    let (flash, next) = Flash::of(rule, place);
                    place = next;
                    LedPattern::Stuck(flash)
                }
                (None, count) if count != failed => {
                    failed = count;
                    LedPattern::Failed
                }
                _ => LedPattern::Ready,
            };
            let (lit, dark) = pattern.lit_and_dark();
            if lit > 0 {
                board.led(true);
            }
            Timer::after_millis(lit).await;
            board.led(false);
            Timer::after_millis(dark).await;
        }
    }
}

/// The time for which the button is held.
const HELD: Duration = Duration::from_secs(5);
