//! DHCP beside TFTP: a responder on a thread for each interface.

mod leasing;
mod networks;
mod offers;
mod probes;
mod proxying;
mod queue;
mod run;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::Net;
use pinetboot_core::dhcp::{Clients, Network, PXE_PORT, SERVER_PORT};
use pinetboot_core::pi::Prefix;

use super::bind;
use super::leases::{LeaseFile, LeasePlace};
use super::others::{Others, other_servers};
use super::seen::Seen;
use super::service::Service;
use crate::bus::Bus;
use crate::config::{
    Admission, Config, DhcpConfig, LeaseConfig, LeaseRange, LeaseTerms, Networks as Configured, Role, Subnet,
};
use crate::events::{Dhcp, Server};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Frames, Interface, LinuxNet, Options, Ports, Prober, source_of};
use crate::observe::watch;
use crate::pis::Inventory;
use crate::supervisor::Supervisor;
use leasing::{Known, Leasing, lease_server};
use networks::{Attached, Networks};
use offers::{Named, Offers};
use probes::Probes;
use proxying::Proxying;
use run::{Attend, run};

/// The running DHCP service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DhcpService {
    threads: Vec<(Control, JoinHandle<()>)>,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
    /// Locked as long as the service runs.
    leases: Option<LeasePlace>,
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
    let mut bound = listen(dhcp, interfaces, bus)?;
    if let Role::Lease(leases) = &dhcp.role {
        bound.leases = place(config, leases, bus)?;
    }
    Ok(Some(bound))
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

/// Opens the sockets on these interfaces.
fn listen<'a>(config: &'a DhcpConfig, interfaces: Vec<Interface>, bus: &Bus) -> Result<Bound<'a>, Failed> {
    // Invalid ranges are reported before the first packet is sent.
    for interface in &interfaces {
        if let Role::Lease(leases) = &config.role
            && let Some((subnet, terms)) = own_network(leases, interface)
        {
            network(interface, subnet, terms)?;
        }
    }
    let mut bound = Bound { config, interfaces: Vec::new(), start: Clock::now(), leases: None };
    for interface in interfaces {
        let ports = match config.role {
            Role::Proxy => &[SERVER_PORT, PXE_PORT][..],
            Role::Lease(_) => &[SERVER_PORT],
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
        let prober = matches!(config.role, Role::Lease(_)).then(|| prober(&interface.name, bus)).flatten();
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
        let mut running = DhcpService { threads: Vec::new(), addresses: Vec::new(), leases: None };
        // All at once, and before any of them answers: two interfaces may be in one network.
        let (looking, sockets): (Vec<_>, Vec<_>) = self.interfaces.into_iter().map(Sockets::divide).unzip();
        let looks = thread::scope(|scope| {
            let look = |frames: io::Result<Frames>| scope.spawn(move || frames.and_then(other_servers));
            let looks: Vec<_> = looking.into_iter().map(look).collect();
            looks.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for ((interface, ..), look) in sockets.iter().zip(looks) {
            let look = look.unwrap_or_else(|_| Err(io::Error::other("the search panicked")));
            judge(self.config, interface, look, bus)?;
        }
        let offers = || {
            let DhcpConfig { admission, boot_files, .. } = self.config;
            Offers::new(*admission, boot_files.clone(), config.inventory.clone(), bus.clone())
        };
        let mut spawn = |interface: &Interface, net: LinuxNet, respond: Box<dyn Attend + Send>| {
            let (control, delay, emitter) = (net.control(), self.config.delay, bus.clone());
            let name = format!("dhcp {}", interface.name);
            supervisor.watch(name.clone(), control.clone());
            let thread = supervisor.spawn(bus, name, move || run(net, respond, &emitter, delay));
            let thread = thread
                .map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))?;
            running.threads.push((control, thread));
            running.addresses.push(format!("{}%{}:{SERVER_PORT}", interface.address, interface.name));
            Ok::<(), Failed>(())
        };
        match &self.config.role {
            Role::Proxy => {
                for (interface, net, _) in sockets {
                    let address = interface.address;
                    let named = Named::new(self.config.boot_server.unwrap_or(address), &[]);
                    spawn(&interface, net, Box::new(Proxying { address, named, offers: offers() }))?;
                }
            }
            Role::Lease(leases) => {
                let (mut list, mut attached) =
                    (List::new(self.config, &config.inventory, seen, bus), Vec::new());
                for (interface, net, prober) in sockets {
                    let own = list.attach(leases, &interface, prober)?;
                    attached.push((interface, net, own));
                }
                list.add_relayed(leases, attached.first().map(|(interface, ..)| interface.address));
                let mut networks = Networks::new(list.networks, offers(), self.start, bus.clone());
                if let Some(place) = &self.leases {
                    // A fault of the lease file is reported before the server is ready.
                    networks.keep_in(LeaseFile::new(place.file().to_owned(), networks.now(), bus.clone()));
                }
                let networks = Arc::new(Mutex::new(networks));
                for (interface, net, own) in attached {
                    let respond = Attached::new(&networks, own, net.now());
                    spawn(&interface, net, Box::new(respond))?;
                }
                running.leases = self.leases;
            }
        }
        Ok(running)
    }

    /// The place of the lease file.
    pub(super) const fn leases(&self) -> Option<&LeasePlace> {
        self.leases.as_ref()
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
        (Role::Lease(leases), others) => match own_network(leases, interface) {
            None => {
                let network = Subnet::of(interface.address, interface.prefix_len).to_string();
                bus.emit(None, Dhcp::NotAttached { interface: name.clone(), network });
                Ok(())
            }
            // The addresses of the inventory are the same at each server that has it.
            Some((_, LeaseTerms { range: LeaseRange::None, .. })) => Ok(()),
            Some(_) => match others {
                Others::None => Ok(()),
                Others::Found(server) if config.force => {
                    bus.emit(None, Dhcp::OtherServer { interface: name.clone(), server });
                    Ok(())
                }
                Others::Found(server) => Err(Failed::new(
                    Exit::OtherDhcp,
                    format!(
                        "DHCP server {server} answers on {name} already: the addresses of two servers clash. Use --dhcp proxy \
                         beside that server, stop it, lease the addresses of the inventory only with --lease-range none, or lease \
                         addresses all the same with --force"
                    ),
                )),
            },
        },
        (Role::Proxy, Others::None) => {
            bus.emit(None, Dhcp::NoServer { interface: name.clone() });
            Ok(())
        }
        (Role::Proxy, Others::Found(_)) => Ok(()),
    }
}

/// The networks with leases, while they are put together.
struct List<'a> {
    config: &'a DhcpConfig,
    known: Known,
    listed: &'static [Prefix],
    seen: &'a Seen,
    bus: &'a Bus,
    networks: Vec<Leasing<Option<Prober>>>,
}

impl<'a> List<'a> {
    fn new(config: &'a DhcpConfig, inventory: &Inventory, seen: &'a Seen, bus: &'a Bus) -> Self {
        let known = Known::of(inventory);
        // DHCP starts once in a process.
        let listed = known.listed.clone().leak();
        Self { config, known, listed, seen, bus, networks: Vec::new() }
    }

    /// Adds the network of an interface, unless it is there; returns its place. `None`: no addresses are leased to it.
    fn attach(
        &mut self,
        leases: &LeaseConfig,
        interface: &Interface,
        prober: Option<Prober>,
    ) -> Result<Option<usize>, Failed> {
        let Some((subnet, terms)) = own_network(leases, interface) else { return Ok(None) };
        let is_there = |leasing: &Leasing<_>| leasing.server().network().contains(interface.address);
        if let Some(place) = self.networks.iter().position(is_there) {
            return Ok(Some(place));
        }
        self.add(network(interface, subnet, terms)?, terms, prober);
        Ok(Some(self.networks.len() - 1))
    }

    /// Adds the networks of the configuration that no interface has. `address` is for those without a route.
    fn add_relayed(&mut self, leases: &LeaseConfig, address: Option<Ipv4Addr>) {
        let Configured::Tables(tables) = &leases.networks else { return };
        for table in tables {
            let is_there = |leasing: &Leasing<_>| table.subnet.contains(leasing.server().network().address());
            let target = table.terms.router.unwrap_or(table.subnet.address);
            let Some(address) = source_of(target).or(address) else { continue };
            // The configuration has checked the terms.
            if !self.networks.iter().any(is_there)
                && let Ok(network) = table.terms.network(address, table.subnet)
            {
                self.add(network, &table.terms, None);
            }
        }
    }

    fn add(&mut self, mut network: Network<'static>, terms: &LeaseTerms, prober: Option<Prober>) {
        network.clients = match self.config.admission {
            Admission::Of(clients) => clients,
            // Those in the list, which is looked at before.
            Admission::Listed => Clients::All,
        };
        network.listed = self.listed;
        network.first_lease_time = Some(FIRST_LEASE);
        let boot_server = terms.boot_server.or(self.config.boot_server).unwrap_or(network.address());
        let mut taken = own_addresses();
        taken.extend(&terms.dns);
        let server = lease_server(network, &self.known, &taken, self.bus);
        let named = Named::new(boot_server, &terms.dns);
        self.networks.push(Leasing::new(
            server,
            named,
            self.seen.clone(),
            Probes::new(prober),
            self.bus.clone(),
        ));
    }
}

/// The network of an interface and its terms, if addresses are leased to it.
fn own_network<'a>(leases: &'a LeaseConfig, interface: &Interface) -> Option<(Subnet, &'a LeaseTerms)> {
    match &leases.networks {
        Configured::OfInterfaces(terms) => Some((Subnet::of(interface.address, interface.prefix_len), terms)),
        Configured::Tables(tables) => {
            let table = tables.iter().find(|table| table.subnet.contains(interface.address))?;
            Some((table.subnet, &table.terms))
        }
    }
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

fn network(interface: &Interface, subnet: Subnet, terms: &LeaseTerms) -> Result<Network<'static>, Failed> {
    terms.network(interface.address, subnet).map_err(|error| {
        let message = format!("cannot lease addresses on {} ({subnet}): {error}", interface.name);
        Failed::new(Exit::Usage, message)
    })
}

/// The time of a lease until the client fetched a file or mounted a root.
const FIRST_LEASE: Duration = Duration::from_secs(5 * 60);
