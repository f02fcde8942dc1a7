//! The appliance: the core's loops on an embassy-net stack, as the configuration has them, and what keeps an eye on them.

use embassy_futures::join::join3;
use embassy_net::{ConfigV4, Ipv4Cidr, Stack, StaticConfigV4};
use embassy_time::Timer;
use pinetboot_core::dhcp::SERVER_PORT;
use pinetboot_core::server::Session;
use pinetboot_core::tftp::{Limits, PORT};
use pinetboot_core::{Instant, Responder, Server, Storage};

use crate::answer::Answer;
use crate::board::{Board, Sign};
use crate::config::{Address, Config};
use crate::configuration::{self, configuration};
use crate::heart::Heart;
use crate::net::{self, Pool, Port};
use crate::status::Status;
use crate::storage::Placed;
use crate::trees::Trees;

/// How many transfers at a time.
pub const TRANSFERS: usize = 4;

/// Sockets of the stack that [`run`] takes: one that listens and one for each transfer, and two for DHCP.
pub const SOCKETS: usize = TRANSFERS + 3;

/// All the memory that [`run`] needs and a stack should not hold. All zeros at first: in a static it takes no flash.
pub struct Memory {
    tftp: net::Memory<{ TRANSFERS + 1 }>,
    dhcp: net::Memory<1>,
    configuration: configuration::Text,
}

impl Memory {
    /// All of it, empty.
    pub const fn new() -> Self {
        Self {
            tftp: net::Memory::new(),
            dhcp: net::Memory::new(),
            configuration: [0; size_of::<configuration::Text>()],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves for ever, as it says in the file [`FILE_NAME`](crate::config::FILE_NAME) of the storage, if there is one.
///
/// If what is in that file is wrong, or it cannot be read within seconds, files are served from the default's address, and
/// DHCP is off: see [`Config::SAFE`].
pub async fn run<S: Storage<File: Placed>>(
    stack: Stack<'_>,
    mut storage: S,
    board: &mut impl Board,
    memory: &mut Memory,
) -> ! {
    let configured = configuration(&mut storage, &mut memory.configuration).await;
    let misconfigured = configured.is_none();
    let config = configured.unwrap_or(Config::SAFE);
    stack.set_config_v4(own_address(config.address));

    let status = Status::default();
    let hearts = [const { Heart::new() }; 2];
    let [tftp_heart, dhcp_heart] = &hearts;
    let mut metadata = (net::Metadata::new(), net::Metadata::new());
    let pool = Pool::new(stack, &mut memory.dhcp, &mut metadata.1, &[SERVER_PORT], dhcp_heart);
    let mut responder = Responder::<_, _, _, 2>::new(pool, Answer::new(config.dhcp, stack), &status);
    let pool = Pool::new(stack, &mut memory.tftp, &mut metadata.0, &[PORT], tftp_heart);
    let trees = Trees::new(storage, config);
    let mut places: [Option<Session<Port, Trees<'_, S>>>; TRANSFERS] = [const { None }; TRANSFERS];
    let mut server = Server::<_, _, _, 4>::new(pool, trees, &status, Limits::default(), &mut places);
    let watch = watch(stack, &status, &hearts, misconfigured, board);
    let (Ok(never), _, _) = join3(server.run(), responder.run(), watch).await;
    match never {}
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

/// Feeds the watchdog while the loops turn, shows by the LED how it goes, and logs the board's address.
async fn watch(
    stack: Stack<'_>,
    status: &Status,
    hearts: &[Heart],
    misconfigured: bool,
    board: &mut impl Board,
) {
    let mut failed = 0;
    let mut address = None;
    loop {
        let now = Instant::from_micros(embassy_time::Instant::now().as_micros());
        if hearts.iter().all(|heart| heart.is_alive(now)) {
            board.feed();
        }
        let new_address = stack.config_v4().map(|config| config.address.address());
        if new_address != address {
            address = new_address;
            match address {
                Some(address) => info!("serving on {}", address),
                None => warn!("the address is no longer ours"),
            }
        }
        let sign = match status.failed() {
            _ if misconfigured => Sign::Misconfigured,
            _ if !stack.is_link_up() => Sign::NoLink,
            _ if status.is_busy() => Sign::Busy,
            count if count != failed => {
                failed = count;
                Sign::Failed
            }
            _ => Sign::Ready,
        };
        let (lit, dark) = sign.pattern();
        board.led(true);
        Timer::after_millis(lit).await;
        board.led(false);
        Timer::after_millis(dark).await;
    }
}
