//! DHCP beside TFTP: a responder on a thread for each interface.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinetboot_core::block_on;
use pinetboot_core::dhcp::{
    Arrival, BootFileName, LeaseServer, LeaseSlot, Message, Network, NextServer, NoReply, PXE_PORT, Port,
    ProxyDhcp, Reply, Respond, Responder, SERVER_PORT,
};
use pinetboot_core::pi::Prefix;

use super::bind;
use super::leases::LeaseFile;
use super::others::{Others, other_servers};
use super::seen::Seen;
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, DhcpConfig, Role};
use crate::events::{Dhcp, Server};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Interface, Interrupt, LinuxNet, Local, Options, Ports};
use crate::observe::{DhcpObserver, watch};
use crate::pis::Inventory;

/// The running DHCP service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DhcpService {
    threads: Vec<(Control, JoinHandle<()>)>,
    bus: Bus,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
}

/// Starts DHCP on the interfaces of the configuration; `None` if DHCP is off.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn start(config: &Config, bus: &Bus, seen: &Seen) -> Result<Option<DhcpService>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        bus.emit(None, Server::DhcpOff);
        return Ok(None);
    };
    let interfaces =
        Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
    answer(dhcp, &config.inventory, &interfaces, bus, seen).map(Some)
}

/// Starts DHCP on these interfaces.
fn answer(
    config: &DhcpConfig,
    inventory: &Inventory,
    interfaces: &[Interface],
    bus: &Bus,
    seen: &Seen,
) -> Result<DhcpService, Failed> {
    // Invalid ranges are reported before the first packet is sent.
    for interface in interfaces {
        if let Role::Lease { range, .. } = &config.role {
            network(interface, *range)?;
        }
    }
    let mut running = DhcpService { threads: Vec::new(), bus: bus.clone(), addresses: Vec::new() };
    for interface in interfaces {
        let ports = match config.role {
            Role::Proxy => &[SERVER_PORT, PXE_PORT][..],
            Role::Lease { .. } => &[SERVER_PORT],
        };
        // Bound to no address: a broadcast is addressed to none of this machine's addresses.
        let addresses: Vec<_> =
            ports.iter().map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port)).collect();
        let options = Options {
            ports: Ports::Single,
            interfaces: vec![interface.name.clone()],
            broadcast: true,
            ..Options::default()
        };
        let mut net = LinuxNet::listen(&addresses, options)
            .map_err(|failure| bind::cannot_bind(&failure, "leave DHCP to other servers with --dhcp off"))?;
        net.set_watch(&watch(bus));
        look_around(config, interface, bus)?;
        let control = net.control();
        let thread = spawn(config, inventory, interface, net, bus.clone(), seen.clone())?;
        running.threads.push((control, thread));
        running.addresses.push(format!("{}%{}:{SERVER_PORT}", interface.address, interface.name));
    }
    Ok(running)
}

/// The Pis of the inventory.
struct Known {
    /// In ascending order.
    listed: Vec<Prefix>,
    /// Those with a fixed address.
    addresses: Vec<(Prefix, Ipv4Addr)>,
}

impl Known {
    fn of(inventory: &Inventory) -> Self {
        let mut listed: Vec<_> = inventory.entries().map(|(pi, _)| pi).collect();
        listed.sort_unstable();
        let address = |pi: &Prefix| Some((*pi, inventory.entry(*pi)?.address?));
        let addresses = listed.iter().filter_map(address).collect();
        Self { listed, addresses }
    }
}

/// A lease server that is told at which addresses clients were seen.
struct Leasing<'a> {
    server: LeaseServer<'a, Vec<LeaseSlot>>,
    seen: Seen,
    file: Option<LeaseFile>,
    /// The count of changes that the file has.
    written: u32,
}

impl Respond for Leasing<'_> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let network = self.server.network();
        let first = Ipv4Addr::from_bits(network.address().to_bits() & network.mask().to_bits());
        for address in self.seen.take(first, network.broadcast()) {
            self.server.confirm(arrival.at, address);
        }
        let reply = self.server.respond(arrival, request, out);
        // RFC 2131, section 3.1 (4):
        // > The server selected in the DHCPREQUEST message commits the binding for the client to persistent storage and
        // > responds with a DHCPACK message
        if let Some(file) = &self.file
            && self.server.changes() != self.written
        {
            self.written = self.server.changes();
            file.write(&self.server);
        }
        reply
    }
}

impl Service for DhcpService {
    fn describe(&self) -> String {
        format!("dhcp {}", self.addresses.join(" "))
    }
}

impl Drop for DhcpService {
    fn drop(&mut self) {
        for (control, _) in &self.threads {
            control.stop();
        }
        for (_, thread) in self.threads.drain(..) {
            if thread.join().is_err() {
                self.bus.emit(None, Server::Panicked { thread: "DHCP" });
            }
        }
    }
}

/// Refuses to lease addresses where another server does, unless forced; warns if a proxy is the only server.
fn look_around(config: &DhcpConfig, interface: &Interface, bus: &Bus) -> Result<(), Failed> {
    let name = &interface.name;
    let others = match other_servers(name) {
        Ok(others) => others,
        Err(error) => {
            let (interface, error) = (name.clone(), error.to_string());
            bus.emit(None, Dhcp::CannotLook { interface, error });
            return Ok(());
        }
    };
    match (&config.role, others) {
        (Role::Lease { .. }, Others::Found(server)) if !config.force => Err(Failed::new(
            Exit::OtherDhcp,
            format!(
                "DHCP server {server} answers on {name} already: the addresses of two servers clash. Use --dhcp proxy \
                 beside that server, stop it, or lease addresses all the same with --force"
            ),
        )),
        (Role::Lease { .. }, Others::Found(server)) => {
            bus.emit(None, Dhcp::OtherServer { interface: name.clone(), server });
            Ok(())
        }
        (Role::Proxy, Others::None) => {
            bus.emit(None, Dhcp::NoServer { interface: name.clone() });
            Ok(())
        }
        _ => Ok(()),
    }
}

fn spawn(
    config: &DhcpConfig,
    inventory: &Inventory,
    interface: &Interface,
    net: LinuxNet,
    bus: Bus,
    seen: Seen,
) -> Result<JoinHandle<()>, Failed> {
    let address = interface.address;
    let (boot_server, boot_file) = (config.boot_server.unwrap_or(address), config.boot_file.clone());
    let (clients, delay) = (config.clients, config.delay);
    let thread = thread::Builder::new().name(format!("dhcp {}", interface.name));
    let spawned = match &config.role {
        Role::Proxy => thread.spawn(move || {
            let next_server = next_server(boot_server, boot_file.as_deref());
            run(
                net,
                ProxyDhcp::new(address).with_next_server(next_server).with_clients(clients),
                &bus,
                delay,
            );
        }),
        Role::Lease { range, file, router, dns } => {
            let mut network = network(interface, *range)?;
            network.router = *router;
            network.name_server = *dns;
            network.clients = clients;
            let known = Known::of(inventory);
            let file = file.clone().map(|file| LeaseFile::new(file, bus.clone()));
            thread.spawn(move || {
                let mut network = network;
                network.next_server = next_server(boot_server, boot_file.as_deref());
                network.listed = &known.listed;
                network.first_lease_time = Some(FIRST_LEASE);
                let mut server = lease_server(network, &known, &own_addresses(), &bus);
                if let Some(file) = &file {
                    file.restore(&mut server);
                }
                let written = server.changes();
                run(net, Leasing { server, seen, file, written }, &bus, delay);
            })
        }
    };
    spawned.map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))
}

/// A lease server with the inventory's reservations, and without this machine's addresses.
fn lease_server<'a>(
    network: Network<'a>,
    known: &Known,
    own_addresses: &[Ipv4Addr],
    bus: &Bus,
) -> LeaseServer<'a, Vec<LeaseSlot>> {
    let (first, last) = network.range();
    let range = (last.to_bits() - first.to_bits()) as usize + 1;
    let slots = (range + own_addresses.len() + known.addresses.len()).min(MOST_SLOTS);
    let mut server = LeaseServer::new(network, vec![LeaseSlot::EMPTY; slots]);
    for address in own_addresses {
        // The address of another interface is outside this network.
        let _outside = server.exclude(*address);
    }
    for &(pi, address) in known.addresses.iter().filter(|(_, address)| network.contains(*address)) {
        if let Err(why) = server.reserve(pi, address) {
            bus.emit(None, Dhcp::NotReserved { pi, address, why });
        }
    }
    server
}

/// This machine's addresses; without the system's list, none but the interface's own, which the core knows.
fn own_addresses() -> Vec<Ipv4Addr> {
    Interface::addresses().unwrap_or_default()
}

fn next_server(address: Ipv4Addr, file: Option<&str>) -> NextServer<'_> {
    let next_server = NextServer::new(address);
    match file.and_then(|file| BootFileName::parse(file.as_bytes()).ok()) {
        Some(file) => next_server.with_file(file),
        None => next_server,
    }
}

/// Answers until the control stops the loop.
fn run<R: Respond>(net: LinuxNet, respond: R, bus: &Bus, delay: Duration) {
    let observer = DhcpObserver::new(bus.clone());
    let mut responder = Responder::<_, _, _>::new(net, respond, observer).with_delay(delay).with_ports(port);
    loop {
        match block_on(responder.turn()) {
            Ok(()) | Err(Interrupt::Reload) => {}
            Err(Interrupt::Stop) => return bus.emit(None, Dhcp::Ended { error: None }),
            Err(Interrupt::Failed(failure)) => {
                return bus.emit(None, Dhcp::Ended { error: Some(failure.to_string()) });
            }
        }
    }
}

/// The role of a socket: `answer` opens them in this order.
fn port(local: Local) -> Port {
    match local.listener() {
        0 => Port::Server,
        _ => Port::Pxe,
    }
}

fn network(interface: &Interface, range: Option<(Ipv4Addr, Ipv4Addr)>) -> Result<Network<'static>, Failed> {
    let Interface { name, address, prefix_len } = interface;
    let (first, last) = range.unwrap_or_else(|| Network::upper_half(*address, *prefix_len));
    Network::new(*address, *prefix_len, first, last).map_err(|error| {
        let message = format!("cannot lease {first} to {last} on {name} ({address}/{prefix_len}): {error}");
        Failed::new(Exit::Usage, message)
    })
}

/// The time of a lease until the client fetched a file or mounted a root.
const FIRST_LEASE: Duration = Duration::from_secs(5 * 60);

/// Leases, reservations and excluded addresses of a server: a /16.
const MOST_SLOTS: usize = 65_535;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pinetboot_core::Instant;
    use pinetboot_core::dhcp::{Clients, HardwareAddress, MAX_LEN, NotKept, Profile};
    use pinetboot_core::pi::{PiIdentity, Revision};

    use super::*;
    use crate::config::Settings;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    fn known(text: &str) -> Known {
        let written: BTreeMap<_, _> = toml::from_str::<Settings>(text).unwrap().pi;
        Known::of(&Inventory::of(&written).unwrap())
    }

    fn offered(server: &mut LeaseServer<'_, Vec<LeaseSlot>>, profile: &Profile, mac: [u8; 6]) -> Ipv4Addr {
        let mut discover = [0; MAX_LEN];
        let len = profile.discover(mac, 1, 0, &mut discover).unwrap();
        let arrival = Arrival::new(Instant::ZERO, Port::Server, "0.0.0.0:68".parse().unwrap());
        let request = Message::parse(&discover[..len]).unwrap();
        server.respond(&arrival, &request, &mut [0; MAX_LEN]).unwrap().address
    }

    #[test]
    fn an_address_in_the_inventory_is_a_reservation() {
        let known = known(
            "[pi.bd989ae1]\naddress = '10.77.0.9'\n[pi.02-00-00-00-00-07]\naddress = '10.77.0.130'\n\
             [pi.00000001]\n[pi.00000002]\naddress = '10.88.0.2'",
        );
        let mut network = Network::new(ip(1), 24, ip(128), ip(254)).unwrap();
        network.clients = Clients::All;
        let mut server = lease_server(network, &known, &[ip(1)], &Bus::silent());
        let mac = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];
        let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0xbd98_9ae1).unwrap();
        assert_eq!(offered(&mut server, &Profile::Pi(pi), mac), ip(9));
        assert_eq!(offered(&mut server, &Profile::Plain, [2, 0, 0, 0, 0, 7]), ip(130));
        for last in 8..=255 {
            let other = offered(&mut server, &Profile::Plain, [2, 0, 0, 0, 0, last]);
            assert!(other != ip(9) && other != ip(130));
        }
    }

    #[test]
    fn this_machines_addresses_are_never_given() {
        let known = known("[pi.bd989ae1]\naddress = '10.77.0.130'");
        let mut network = Network::new(ip(1), 24, ip(128), ip(131)).unwrap();
        network.clients = Clients::All;
        let own = [ip(1), Ipv4Addr::LOCALHOST, ip(129), ip(130), ip(131)];
        let mut server = lease_server(network, &known, &own, &Bus::silent());
        assert_eq!(server.reserve(known.listed[0], ip(130)), Err(NotKept::InUse));
        assert_eq!(offered(&mut server, &Profile::Plain, [2; 6]), ip(128));
        let mut lease = *server.leases().next().unwrap();
        assert_eq!(lease.hardware, HardwareAddress::ethernet([2; 6]));
        lease.address = ip(129);
        assert!(!server.restore(lease));
    }
}
