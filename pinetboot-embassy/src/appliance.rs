//! The appliance: the core's loops on an embassy-net stack, by the configuration, with watchdog and LED.

use core::cell::Cell;
use core::fmt::{self, Write};

use embassy_futures::join::join3;
use embassy_net::{ConfigV4, Ipv4Cidr, Stack, StaticConfigV4};
use embassy_time::Timer;
use embedded_storage_async::nor_flash::NorFlash;
use pinetboot_core::Storage;
use pinetboot_core::dhcp::{Responder, SERVER_PORT};
use pinetboot_core::tftp::{Limits, PORT, Server};

use crate::answer::Answer;
use crate::board::{Board, Flash, LedPattern};
use crate::capacity::TRANSFERS;
use crate::config::{Address, Config, Dhcp};
use crate::configuration::{Text, configuration};
use crate::console::{Action, Console};
use crate::liveness::{self, Liveness};
use crate::net::{self, Pool, Sockets};
use crate::receive::{NoFlash, Updates, WithUpdates};
use crate::report::{CardState, Start, View};
use crate::status::Status;
use crate::status_file::{StatusMemory, WithStatus};
use crate::storage::Placed;
use crate::trees::Trees;

/// The large buffers of an appliance, for a static. They begin as zeros, so that the static takes no flash.
pub struct Memory {
    /// The buffers of [`Appliance::files`].
    pub tftp: net::Memory<{ TRANSFERS + 1 }>,
    /// The buffers of [`Appliance::addresses`].
    pub dhcp: net::Memory<1>,
    /// The buffer of [`Appliance::configured`].
    pub configuration: Text,
}

impl Memory {
    /// Empty buffers.
    pub const fn new() -> Self {
        Self { tftp: net::Memory::new(), dhcp: net::Memory::new(), configuration: [0; size_of::<Text>()] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs an [`Appliance`] in the calling task. Does not return.
pub async fn run<S: Storage<File: Placed>>(
    stack: Stack<'_>,
    mut storage: S,
    board: &mut impl Board,
    memory: &mut Memory,
) -> ! {
    let Memory { tftp, dhcp, configuration } = memory;
    let appliance = Appliance::configured(stack, &mut storage, configuration, Start::default()).await;
    join3(
        appliance.files(storage, tftp, None::<&Updates<NoFlash>>),
        appliance.addresses(dhcp),
        appliance.watch(board),
    )
    .await
    .0
}

/// The configured services and their status. Each of the three loops may have a task, so that none is polled for another.
pub struct Appliance<'a> {
    stack: Stack<'a>,
    config: Config<'a>,
    misconfigured: bool,
    start: Start,
    status: Status,
    report: StatusMemory,
    card: Cell<CardState>,
    action: Cell<Option<Action>>,
    tftp: Liveness,
    dhcp: Liveness,
}

impl<'a> Appliance<'a> {
    /// The appliance that the storage's file [`FILE_NAME`](crate::config::FILE_NAME) configures, or the default without that
    /// file.
    ///
    /// If the file has an error, or cannot be read within seconds, the appliance serves files from the default address, and DHCP
    /// is off: see [`Config::SAFE`].
    pub async fn configured<S>(stack: Stack<'a>, storage: &mut S, text: &'a mut Text, start: Start) -> Self
    where
        S: Storage<File: Placed>,
    {
        let configured = configuration(storage, text).await;
        let misconfigured = configured.is_none();
        let config = configured.unwrap_or(Config::SAFE);
        stack.set_config_v4(own_address(config.address));
        let status = Status::new(!matches!(config.dhcp, Dhcp::Off));
        Self {
            stack,
            config,
            misconfigured,
            start,
            status,
            report: StatusMemory::new(),
            card: Cell::new(CardState::Absent),
            action: Cell::new(None),
            tftp: Liveness::new(),
            dhcp: Liveness::new(),
        }
    }

    /// Serves files by TFTP, and receives new ones with these updates. Does not return.
    pub async fn files<S: Storage, F: NorFlash>(
        &self,
        storage: S,
        memory: &mut net::Memory<{ TRANSFERS + 1 }>,
        updates: Option<&Updates<F>>,
    ) -> ! {
        let mut metadata = net::Metadata::new();
        let mut sockets = Sockets::new(self.stack, memory, &mut metadata);
        let pool = Pool::new(&mut sockets, &[PORT], &self.tftp);
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
            write: |out: &mut dyn Write| {
                let view = self.view();
                view.status(out)?;
                view.pis(out)
            },
        };
        let mut places: [_; TRANSFERS] = [const { None }; TRANSFERS];
        let mut server =
            Server::<_, _, _, 4>::new(pool, storage, &self.status, Limits::default(), &mut places);
        let Ok(never) = server.run().await;
        match never {}
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
            address: self.stack.config_v4().map(|config| config.address.address()),
            link: self.stack.is_link_up(),
            config: &self.config,
            misconfigured: self.misconfigured,
            card: self.card.get(),
            counts: self.status.counts(),
            boots: self.status.boots(),
        }
    }

    /// Answers DHCP. Does not return.
    pub async fn addresses(&self, memory: &mut net::Memory<1>) -> ! {
        let mut metadata = net::Metadata::new();
        let mut sockets = Sockets::new(self.stack, memory, &mut metadata);
        let pool = Pool::new(&mut sockets, &[SERVER_PORT], &self.dhcp);
        let answer = Answer::new(self.config.dhcp, self.stack);
        let Ok(never) = Responder::<_, _, _, 2>::new(pool, answer, &self.status).run().await;
        match never {}
    }

    /// Feeds the watchdog while all loops are alive, drives the status LED, and logs the board's address. Does not return.
    pub async fn watch(&self, board: &mut impl Board) -> ! {
        let (mut failed, mut place) = (0, 0);
        let (mut address, mut kept) = (None, None);
        loop {
            if [Some(&self.tftp), Some(&self.dhcp), board.ethernet()]
                .into_iter()
                .flatten()
                .all(Liveness::is_alive)
            {
                board.feed();
            }
            let new_address = self.stack.config_v4().map(|config| config.address.address());
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
            let pattern = match (stuck, counts.failed) {
                // The configuration may be on the card, so this comes first.
                _ if board.card() == CardState::Unreadable => LedPattern::CardUnreadable,
                _ if self.misconfigured => LedPattern::Misconfigured,
                _ if !self.stack.is_link_up() => LedPattern::NoLink,
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

fn own_address(address: Address) -> ConfigV4 {
    match address {
        Address::Dhcp => ConfigV4::Dhcp(Default::default()),
        Address::Static { address, prefix_len, router } => ConfigV4::Static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, prefix_len),
            gateway: router,
            dns_servers: Default::default(),
        }),
    }
}
