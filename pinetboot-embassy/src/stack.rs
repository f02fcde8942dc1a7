//! The appliance on an embassy-net stack, in one task.

mod spare;

use embassy_futures::join::{join, join4};
use embassy_net::{HardwareAddress, Stack};
use pinetboot_core::Storage;
use pinetboot_core::dhcp::{CLIENT_PORT, SERVER_PORT};
use pinetboot_core::tftp::PORT;

use crate::appliance::Appliance;
use crate::board::Board;
use crate::capacity::TRANSFERS;
use crate::configuration::Text;
use crate::net::{self, Pool, Sockets};
use crate::receive::{NoFlash, Updates};
use crate::report::Start;
use crate::storage::Placed;

/// The large buffers of [`run`], for a static. They begin as zeros, so that the static takes no flash.
pub struct Memory {
    tftp: net::Memory<{ TRANSFERS + 1 }>,
    dhcp: net::Memory<1>,
    client: net::Memory<1>,
    spare: spare::Memory,
    configuration: Text,
}

impl Memory {
    /// Empty buffers.
    pub const fn new() -> Self {
        Self {
            tftp: net::Memory::new(),
            dhcp: net::Memory::new(),
            client: net::Memory::new(),
            spare: spare::Memory::new(),
            configuration: [0; size_of::<Text>()],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs an [`Appliance`] on an embassy-net stack, in the calling task. Does not return.
pub async fn run<S: Storage<File: Placed>>(
    stack: Stack<'_>,
    mut storage: S,
    board: &mut impl Board,
    memory: &mut Memory,
) -> ! {
    let Memory { tftp, dhcp, client, spare, configuration } = memory;
    let appliance = Appliance::configured(stack, &mut storage, configuration, Start::default()).await;
    let (mut tftp_metadata, mut dhcp_metadata) = (net::Metadata::new(), net::Metadata::new());
    let mut client_metadata = net::Metadata::new();
    let mut tftp = Sockets::new(stack, tftp, &mut tftp_metadata);
    let mut dhcp = Sockets::new(stack, dhcp, &mut dhcp_metadata);
    let mut client = Sockets::new(stack, client, &mut client_metadata);
    let (mut tftp, mut dhcp) = (Pool::new(&mut tftp, &[PORT]), Pool::new(&mut dhcp, &[SERVER_PORT]));
    let mut client = Pool::new(&mut client, &[CLIENT_PORT]);
    let files = appliance.files(storage, &mut tftp, None::<&Updates<NoFlash>>);
    let addresses = appliance.addresses(&mut dhcp);
    let HardwareAddress::Ethernet(mac) = stack.hardware_address();
    let xid = u32::from_le_bytes([mac.0[2], mac.0[3], mac.0[4], mac.0[5]]);
    let client = appliance.client(&mut client, mac.0, xid);
    let (tcp, udp) = spare.split();
    let spare = join(spare::page(stack, tcp, |out| appliance.report(out)), spare::name(stack, udp));
    join4(join(files, spare), addresses, client, appliance.watch(board)).await.0.0
}
