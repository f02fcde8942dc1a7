//! DHCP beside TFTP: a responder on a thread for each interface.

mod leasing;
mod probes;
mod queue;
mod run;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use pinetboot_core::Net;
use pinetboot_core::dhcp::{BootFileName, Network, NextServer, PXE_PORT, ProxyDhcp, SERVER_PORT};

use super::bind;
use super::leases::LeaseFile;
use super::others::{Others, other_servers};
use super::seen::Seen;
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, DhcpConfig, Role};
use crate::events::{Dhcp, Server};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Frames, Interface, LinuxNet, Options, Ports, Prober};
use crate::observe::watch;
use crate::pis::Inventory;
use crate::supervisor::Supervisor;
use leasing::{Known, Leasing, lease_server};
use probes::Probes;
use run::run;

/// The running DHCP service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DhcpService {
    threads: Vec<(Control, JoinHandle<()>)>,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
}

/// DHCP with all its sockets open, before its first packet.
pub(super) struct Bound<'a> {
    config: &'a DhcpConfig,
    interfaces: Vec<Sockets>,
}

/// The sockets of DHCP on one interface.
struct Sockets {
    interface: Interface,
    net: LinuxNet,
    /// For the look for other servers.
    frames: io::Result<Frames>,
    /// For the probes of addresses; none for a proxy.
    prober: Option<Prober>,
}

/// Opens the sockets of DHCP on the interfaces of the configuration; `None` if DHCP is off.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn bind<'a>(config: &'a Config, bus: &Bus) -> Result<Option<Bound<'a>>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        bus.emit(None, Server::DhcpOff);
        return Ok(None);
    };
    let interfaces =
        Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
    listen(dhcp, interfaces, bus).map(Some)
}

/// Opens the sockets on these interfaces.
fn listen<'a>(config: &'a DhcpConfig, interfaces: Vec<Interface>, bus: &Bus) -> Result<Bound<'a>, Failed> {
    // Invalid ranges are reported before the first packet is sent.
    for interface in &interfaces {
        if let Role::Lease { range, .. } = &config.role {
            network(interface, *range)?;
        }
    }
    let mut bound = Bound { config, interfaces: Vec::new() };
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
        let frames = Frames::open(&interface.name);
        let prober =
            matches!(config.role, Role::Lease { .. }).then(|| prober(&interface.name, bus)).flatten();
        bound.interfaces.push(Sockets { interface, net, frames, prober });
    }
    Ok(bound)
}

impl Bound<'_> {
    /// Looks for other servers, then starts to answer.
    ///
    /// # Errors
    ///
    /// The obstacle and the remedy.
    pub(super) fn start(
        self,
        config: &Config,
        bus: &Bus,
        seen: &Seen,
        supervisor: &Supervisor,
    ) -> Result<DhcpService, Failed> {
        let mut running = DhcpService { threads: Vec::new(), addresses: Vec::new() };
        // All at once, and before any of them answers: two interfaces may be in one network.
        let (looking, sockets): (Vec<_>, Vec<_>) = self.interfaces.into_iter().map(Sockets::divide).unzip();
        let looks = thread::scope(|scope| {
            let look = |frames: io::Result<Frames>| scope.spawn(move || frames.and_then(other_servers));
            let looks: Vec<_> = looking.into_iter().map(look).collect();
            looks.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for ((interface, net, prober), look) in sockets.into_iter().zip(looks) {
            let look = look.unwrap_or_else(|_| Err(io::Error::other("the search panicked")));
            judge(self.config, &interface, look, bus)?;
            let control = net.control();
            supervisor.watch(format!("dhcp {}", interface.name), control.clone());
            let (inventory, bus, seen) = (&config.inventory, bus.clone(), seen.clone());
            let thread = spawn(self.config, inventory, &interface, (net, prober), bus, seen, supervisor)?;
            running.threads.push((control, thread));
            running.addresses.push(format!("{}%{}:{SERVER_PORT}", interface.address, interface.name));
        }
        Ok(running)
    }
}

impl Sockets {
    /// What the look for other servers takes, and the rest.
    fn divide(self) -> (io::Result<Frames>, (Interface, LinuxNet, Option<Prober>)) {
        (self.frames, (self.interface, self.net, self.prober))
    }
}

impl Service for DhcpService {
    fn name(&self) -> &'static str {
        "dhcp"
    }

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
            let _reported = thread.join();
        }
    }
}

/// Refuses to lease addresses where another server does, unless forced; warns if a proxy is the only server.
fn judge(
    config: &DhcpConfig,
    interface: &Interface,
    look: io::Result<Others>,
    bus: &Bus,
) -> Result<(), Failed> {
    let name = &interface.name;
    let others = match look {
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
    (net, prober): (LinuxNet, Option<Prober>),
    bus: Bus,
    seen: Seen,
    supervisor: &Supervisor,
) -> Result<JoinHandle<()>, Failed> {
    let address = interface.address;
    let (boot_server, boot_file) = (config.boot_server.unwrap_or(address), config.boot_file.clone());
    let (clients, delay) = (config.clients, config.delay);
    let emitter = bus.clone();
    let spawn = |work: Box<dyn FnOnce() -> Result<(), String> + Send>| {
        supervisor.spawn(&emitter, format!("dhcp {}", interface.name), work)
    };
    let spawned = match &config.role {
        Role::Proxy => spawn(Box::new(move || {
            let next_server = next_server(boot_server, boot_file.as_deref());
            let proxy = ProxyDhcp::new(address).with_next_server(next_server).with_clients(clients);
            run(net, proxy, &bus, delay)
        })),
        Role::Lease { range, file, router, dns } => {
            let mut network = network(interface, *range)?;
            network.router = *router;
            network.name_server = *dns;
            network.clients = clients;
            let known = Known::of(inventory);
            let mut file = file.clone().map(|file| LeaseFile::new(file, net.now(), bus.clone()));
            let probes = Probes::new(prober);
            let (restored, is_restored) = sync_channel(1);
            let spawned = spawn(Box::new(move || {
                let mut network = network;
                network.next_server = next_server(boot_server, boot_file.as_deref());
                network.listed = &known.listed;
                network.first_lease_time = Some(FIRST_LEASE);
                let mut server = lease_server(network, &known, &own_addresses(), &bus);
                if let Some(file) = &mut file {
                    file.restore(net.now(), &mut server);
                }
                let _the_start_was_given_up = restored.send(());
                run(net, Leasing::new(server, seen, file, probes, bus.clone()), &bus, delay)
            }));
            // A fault of the lease file is reported before the server is ready.
            let _panicked = is_restored.recv();
            spawned
        }
    };
    spawned.map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))
}

/// This machine's addresses; without the system's list, none but the interface's own, which the core knows.
fn own_addresses() -> Vec<Ipv4Addr> {
    Interface::addresses().unwrap_or_default()
}

/// Opens the socket for ARP probes, if the process may.
fn prober(interface: &str, bus: &Bus) -> Option<Prober> {
    Prober::open(interface)
        .inspect_err(|error| {
            bus.emit(None, Dhcp::CannotProbe { interface: interface.to_owned(), error: error.to_string() });
        })
        .ok()
}

fn next_server(address: Ipv4Addr, file: Option<&str>) -> NextServer<'_> {
    let next_server = NextServer::new(address);
    match file.and_then(|file| BootFileName::parse(file.as_bytes()).ok()) {
        Some(file) => next_server.with_file(file),
        None => next_server,
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
