//! DHCP beside TFTP: a responder on a thread for each interface.

mod known;
mod leasing;
mod networks;
mod offers;
mod probes;
mod proxying;
mod queue;
mod run;
mod serving;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::Instant as Clock;

use pinetboot_core::dhcp::{PXE_PORT, SERVER_PORT};

use super::bind;
use super::leases::{LeaseFile, LeasePlace};
use super::seen::Seen;
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, DhcpConfig, LeaseConfig, Networks as Leased, Role};
use crate::events::{Dhcp, Server};
use crate::exit::{Exit, Failed};
use crate::handed::Handed;
use crate::net::{Control, Frames, Interface, Links, LinuxNet, Options, Ports, Prober};
use crate::observe::watch;
use crate::pis::Inventory;
use crate::supervisor::Supervisor;
use networks::Networks;
use offers::Offers;
use serving::{AllAnswer, Serving};

/// The running DHCP service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DhcpService {
    threads: Vec<(Control, JoinHandle<()>)>,
    /// Locked as long as the service runs.
    _leases: Option<LeasePlace>,
}

/// DHCP with all its sockets open, before its first packet.
pub(super) struct Bound<'a> {
    config: &'a DhcpConfig,
    interfaces: Vec<Sockets>,
    /// Before the sockets' clocks.
    start: Clock,
    leases: Option<LeasePlace>,
}

/// The sockets of DHCP on one interface.
struct Sockets {
    interface: Interface,
    net: LinuxNet,
    /// For the look for other servers.
    frames: io::Result<Frames>,
    /// For the probes of addresses, one for each network of the interface; none for a proxy.
    probers: Vec<Prober>,
}

/// The addresses that this server's leases name: routers and boot servers.
pub(super) fn named(config: &Config) -> Vec<Ipv4Addr> {
    let Some(dhcp) = &config.dhcp else { return Vec::new() };
    let terms: Vec<_> = match &dhcp.role {
        Role::Proxy => Vec::new(),
        Role::Lease(leases) => match &leases.networks {
            Leased::OfInterfaces(terms) => vec![terms],
            Leased::Tables(networks) => networks.iter().map(|network| &network.terms).collect(),
        },
    };
    let of_terms = terms.into_iter().flat_map(|terms| [terms.router, terms.boot_server]);
    of_terms.chain([dhcp.boot_server]).flatten().collect()
}

/// Opens the sockets of DHCP on these interfaces; `None` if DHCP is off.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn bind<'a>(
    config: &'a Config,
    interfaces: Vec<Interface>,
    links: &Links,
    handed: &mut Handed,
    bus: &Bus,
) -> Result<Option<Bound<'a>>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        bus.emit(None, Server::DhcpOff);
        return Ok(None);
    };
    // Invalid ranges are reported before the first packet is sent.
    for interface in &interfaces {
        if let Role::Lease(leases) = &dhcp.role {
            networks::check(leases, interface)?;
        }
    }
    let leases = match &dhcp.role {
        Role::Lease(leases) => place(config, leases, bus)?,
        Role::Proxy => None,
    };
    let mut bound = Bound { config: dhcp, interfaces: Vec::new(), start: Clock::now(), leases };
    for interface in interfaces {
        let mut net = listen(dhcp, &interface.name, handed)?;
        net.set_watch(&watch(bus));
        let frames = Frames::open(&interface.name);
        let probers = match &dhcp.role {
            Role::Lease(leases) => {
                let networks = links.find(&interface.name).map(|link| networks::own_networks(leases, &link));
                let count = networks.map_or(1, |networks| networks.len().max(1));
                (0..count).map_while(|_| prober(&interface.name, bus)).collect()
            }
            Role::Proxy => Vec::new(),
        };
        bound.interfaces.push(Sockets { interface, net, frames, probers });
    }
    Ok(Some(bound))
}

/// Opens the ports of DHCP on an interface.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn listen(dhcp: &DhcpConfig, interface: &str, handed: &mut Handed) -> Result<LinuxNet, Failed> {
    let ports = match dhcp.role {
        Role::Proxy => &[SERVER_PORT, PXE_PORT][..],
        Role::Lease(_) => &[SERVER_PORT],
    };
    // Bound to no address: a broadcast is addressed to none of this machine's addresses.
    let addresses: Vec<_> =
        ports.iter().map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port)).collect();
    let options = Options {
        ports: Ports::Single,
        interfaces: vec![interface.to_owned()],
        broadcast: true,
        ..Options::default()
    };
    LinuxNet::listen_with(&addresses, options, handed)
        .map_err(|failure| bind::cannot_bind(&failure, "leave DHCP to other servers with --dhcp off"))
}

/// The place of the lease file; `None` if there is none, which the log then says.
fn place(config: &Config, leases: &LeaseConfig, bus: &Bus) -> Result<Option<LeasePlace>, Failed> {
    match LeasePlace::of(config, leases) {
        Ok(place) => Ok(Some(place)),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(Failed::new(
            Exit::Usage,
            format!(
                "{error}: give this one another file with --lease-file, or another directory with --state"
            ),
        )),
        Err(error) => {
            let (path, error) = ("dhcp/leases in the state directory".to_owned(), error.to_string());
            bus.emit(None, Dhcp::LeaseFileFailed { path, operation: "write", error });
            Ok(None)
        }
    }
}

impl Bound<'_> {
    /// The place of the lease file.
    pub(super) const fn leases(&self) -> Option<&LeasePlace> {
        self.leases.as_ref()
    }

    /// The interfaces.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = String> {
        self.interfaces.iter().map(|sockets| sockets.interface.name.clone())
    }

    /// The addresses, for the `ready` line.
    pub(super) fn describe(&self) -> String {
        let named = self.interfaces.iter().map(|sockets| {
            let Interface { name, address, .. } = &sockets.interface;
            format!(" {address}%{name}:{SERVER_PORT}")
        });
        format!("dhcp{}", named.collect::<String>())
    }

    /// The controls of the interfaces' networks.
    pub(super) fn controls(&self) -> Vec<Control> {
        self.interfaces.iter().map(|sockets| sockets.net.control()).collect()
    }

    /// Starts to look for other servers, and to answer. `all_answer` is called when the servers of all interfaces do.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn start(
        self,
        inventory: &Inventory,
        links: &Links,
        bus: &Bus,
        seen: &Seen,
        supervisor: &Supervisor,
        all_answer: impl Fn() + Send + Sync + 'static,
    ) -> Result<DhcpService, Failed> {
        let offers = || {
            let DhcpConfig { admission, boot_files, .. } = self.config;
            Offers::new(*admission, boot_files.clone(), inventory.clone(), bus.clone())
        };
        // A fault of the lease file is reported before the server is ready.
        let file = self.leases.as_ref().map(|place| LeaseFile::new(place, self.start, bus.clone()));
        let networks = Networks::new(self.config, (inventory, offers()), file, (seen, bus), self.start);
        let networks = Arc::new(Mutex::new(networks));
        let mut running = DhcpService { threads: Vec::new(), _leases: None };
        let all_answer: AllAnswer = Arc::new(all_answer);
        let all_looked = Arc::new(Barrier::new(self.interfaces.len()));
        for sockets in self.interfaces {
            let serving = Serving {
                config: self.config.clone(),
                networks: Arc::clone(&networks),
                offers: offers(),
                links: links.clone(),
                bus: bus.clone(),
                supervisor: supervisor.clone(),
                all_looked: Arc::clone(&all_looked),
                all_answer: Arc::clone(&all_answer),
            };
            let control = sockets.net.control();
            let name = format!("dhcp {}", sockets.interface.name);
            let thread = supervisor.spawn(bus, name, move || serving.run(sockets));
            let thread = thread
                .map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))?;
            running.threads.push((control, thread));
        }
        running._leases = self.leases;
        Ok(running)
    }
}

impl Service for DhcpService {
    fn name(&self) -> &'static str {
        "dhcp"
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

/// Opens the socket for ARP probes, if the process may.
fn prober(interface: &str, bus: &Bus) -> Option<Prober> {
    Prober::open(interface)
        .inspect_err(|error| {
            bus.emit(None, Dhcp::CannotProbe { interface: interface.to_owned(), error: error.to_string() });
        })
        .ok()
}
