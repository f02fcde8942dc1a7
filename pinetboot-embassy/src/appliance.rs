//! The appliance: the core's loops on an embassy-net stack, and what keeps an eye on them.

use core::net::Ipv4Addr;

use embassy_futures::join::join3;
use embassy_net::{Ipv4Cidr, Stack, StaticConfigV4};
use embassy_time::Timer;
use pinetboot_core::dhcp::{LeaseServer, Network, SERVER_PORT};
use pinetboot_core::server::Session;
use pinetboot_core::tftp::{Limits, PORT};
use pinetboot_core::{Instant, Responder, Server, Storage};

use crate::board::{Board, Sign};
use crate::heart::Heart;
use crate::net::{self, Pool, Port};
use crate::status::Status;

/// How many transfers at a time.
pub const TRANSFERS: usize = 4;

/// Sockets of the stack that [`run`] takes: one that listens and one for each transfer, and two for DHCP.
pub const SOCKETS: usize = TRANSFERS + 3;

/// All the memory that [`run`] needs and a stack should not hold.
pub struct Memory<S: Storage> {
    tftp: net::Memory<{ TRANSFERS + 1 }>,
    dhcp: net::Memory<1>,
    places: [Option<Session<Port, S>>; TRANSFERS],
}

impl<S: Storage> Memory<S> {
    /// All of it, empty.
    pub const fn new() -> Self {
        Self { tftp: net::Memory::new(), dhcp: net::Memory::new(), places: [const { None }; TRANSFERS] }
    }
}

impl<S: Storage> Default for Memory<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves for ever.
pub async fn run<S: Storage>(
    stack: Stack<'_>,
    storage: S,
    board: &mut impl Board,
    memory: &mut Memory<S>,
) -> ! {
    let address = Ipv4Addr::new(10, 55, 0, 1);
    let network = Network::new(address, 24, Ipv4Addr::new(10, 55, 0, 100), Ipv4Addr::new(10, 55, 0, 199));
    let Ok(network) = network else { unreachable!() };
    stack.set_config_v4(embassy_net::ConfigV4::Static(StaticConfigV4 {
        address: Ipv4Cidr::new(address, 24),
        gateway: None,
        dns_servers: Default::default(),
    }));

    let status = Status::default();
    let (tftp_heart, dhcp_heart) = (Heart::new(), Heart::new());
    let pool = Pool::new(stack, &mut memory.tftp, &[PORT], &tftp_heart);
    let mut server = Server::<_, _, _, 4>::new(pool, storage, &status, Limits::default(), &mut memory.places);
    let pool = Pool::new(stack, &mut memory.dhcp, &[SERVER_PORT], &dhcp_heart);
    let mut responder = Responder::<_, _, _, 2>::new(pool, LeaseServer::<32>::new(network), &status);
    info!("serving on {}", address);

    let watch = async {
        let mut failed = 0;
        loop {
            let now = Instant::from_micros(embassy_time::Instant::now().as_micros());
            if tftp_heart.is_alive(now) && dhcp_heart.is_alive(now) {
                board.feed();
            }
            let sign = match status.failed() {
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
    };
    let (Ok(never), _, _) = join3(server.run(), responder.run(), watch).await;
    match never {}
}
