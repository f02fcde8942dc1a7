//! DHCP beside TFTP: a responder on a thread for each interface.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinetboot_core::block_on;
use pinetboot_core::dhcp::{
    BootFileName, LeaseServer, Network, NextServer, PXE_PORT, Port, ProxyDhcp, Respond, Responder,
    SERVER_PORT,
};

use super::bind;
use super::leases::LeaseFile;
use super::others::{Others, other_servers};
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, DhcpConfig, Role};
use crate::events::{Dhcp, Server};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Interface, Interrupt, LinuxNet, Local, Options, Ports};
use crate::observe::{DhcpObserver, watch};

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
pub(super) fn start(config: &Config, bus: &Bus) -> Result<Option<DhcpService>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        bus.emit(None, Server::DhcpOff);
        return Ok(None);
    };
    let interfaces =
        Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
    answer(dhcp, &interfaces, bus).map(Some)
}

/// Starts DHCP on these interfaces.
fn answer(config: &DhcpConfig, interfaces: &[Interface], bus: &Bus) -> Result<DhcpService, Failed> {
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
        let thread = spawn(config, interface, net, bus.clone())?;
        running.threads.push((control, thread));
        running.addresses.push(format!("{}%{}:{SERVER_PORT}", interface.address, interface.name));
    }
    Ok(running)
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
    interface: &Interface,
    net: LinuxNet,
    bus: Bus,
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
                |_| {},
            );
        }),
        Role::Lease { range, file, router, dns } => {
            let mut network = network(interface, *range)?;
            network.router = *router;
            network.name_server = *dns;
            network.clients = clients;
            let file = file.clone().map(|file| LeaseFile::new(file, bus.clone()));
            thread.spawn(move || {
                let mut network = network;
                network.next_server = next_server(boot_server, boot_file.as_deref());
                let mut server = LeaseServer::<LEASES>::new(network);
                if let Some(file) = &file {
                    file.restore(&mut server);
                }
                let mut written = server.changes();
                run(net, server, &bus, delay, |server| {
                    if let Some(file) = &file
                        && server.changes() != written
                    {
                        written = server.changes();
                        file.write(server);
                    }
                });
            })
        }
    };
    spawned.map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))
}

fn next_server(address: Ipv4Addr, file: Option<&str>) -> NextServer<'_> {
    let next_server = NextServer::new(address);
    match file.and_then(|file| BootFileName::parse(file.as_bytes()).ok()) {
        Some(file) => next_server.with_file(file),
        None => next_server,
    }
}

/// Answers until the control stops the loop; `after` is called after every turn.
fn run<R: Respond>(net: LinuxNet, respond: R, bus: &Bus, delay: Duration, mut after: impl FnMut(&mut R)) {
    let observer = DhcpObserver::new(bus.clone());
    let mut responder = Responder::<_, _, _>::new(net, respond, observer).with_delay(delay).with_ports(port);
    loop {
        match block_on(responder.turn()) {
            Ok(()) => after(responder.respond_mut()),
            Err(Interrupt::Stop) => return bus.emit(None, Dhcp::Ended { error: None }),
            Err(Interrupt::Reload) => {}
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

/// Leases of a server: four times a rack of a thousand Pis.
const LEASES: usize = 4096;
