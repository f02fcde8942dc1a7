//! DHCP on one interface, from the look for other servers to the end.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Barrier, Mutex, OnceLock};

use pinetboot_core::{Instant, Net, block_on};

use super::Sockets;
use super::networks::{self, Attached, Networks, own_networks};
use super::offers::Offers;
use super::probes::Probes;
use super::proxying::Proxying;
use super::run::{Ended, run};
use crate::bus::Bus;
use crate::config::{DhcpConfig, LeaseConfig, LeaseRange, Role, Subnet};
use crate::events::Dhcp;
use crate::exit::{Exit, Failed};
use crate::net::{Frames, Interface, Interrupt, Link, Links, Prober};
use crate::serve::others::{Found, LONGEST, other_servers};
use crate::supervisor::{Supervisor, task};

/// What the server of an interface is made from.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) config: DhcpConfig,
    pub(super) networks: Arc<Mutex<Networks>>,
    pub(super) offers: Offers,
    pub(super) links: Links,
    pub(super) bus: Bus,
    pub(super) supervisor: Supervisor,
    /// Passed when the lease servers of all interfaces have looked for others: two interfaces may be in one network.
    pub(super) all_looked: Arc<Barrier>,
    /// Called when the servers of all interfaces answer.
    pub(super) all_answer: AllAnswer,
}

/// Called when the servers of all interfaces answer.
pub(super) type AllAnswer = Arc<dyn Fn() + Send + Sync>;

/// What a lease server was made from.
#[derive(PartialEq)]
struct Origin {
    link: Option<Link>,
    /// All addresses of this machine.
    own: Vec<Ipv4Addr>,
    /// Those that reach the networks beyond relay agents.
    sources: Vec<Option<Ipv4Addr>>,
}

impl Serving {
    /// Serves until the control of the network stops it.
    ///
    /// # Errors
    ///
    /// The failure of the network.
    pub(super) fn run(self, mut sockets: Sockets) -> Result<(), String> {
        let Sockets { interface: Interface { name, .. }, net, frames, .. } = &mut sockets;
        let name = name.clone();
        let frames = std::mem::replace(frames, Err(io::ErrorKind::NotConnected.into()));
        let control = net.control();
        self.bus.emit(None, Dhcp::Looks { interface: name.clone(), within: LONGEST });
        let result = match self.config.role {
            Role::Proxy => {
                self.supervisor.watch(format!("dhcp {name}"), control.clone());
                self.bus.hear_by(format!("dhcp {name}"), control);
                self.proxy(&name, sockets, frames)
            }
            Role::Lease(_) => {
                networks::lock(&self.networks).begin();
                let look = frames.and_then(|frames| other_servers(frames, || control.is_stopping()));
                let judged = self.judge(&name, look).map_err(|failed| self.supervisor.give_up(failed));
                self.wait_for_all();
                if judged.is_err() {
                    return Ok(());
                }
                self.supervisor.watch(format!("dhcp {name}"), control.clone());
                self.bus.hear_by(format!("dhcp {name}"), control);
                self.lease(&name, sockets)
            }
        };
        if result.is_ok() {
            self.bus.emit(None, Dhcp::Ended);
        }
        result
    }

    fn wait_for_all(&self) {
        let is_one_of_them = self.all_looked.wait().is_leader();
        if is_one_of_them && self.supervisor.serve() {
            (self.all_answer)();
        }
    }

    /// A proxy, which answers at once: it disturbs no other server.
    fn proxy(&self, name: &str, mut sockets: Sockets, frames: io::Result<Frames>) -> Result<(), String> {
        let offered = Arc::new(OnceLock::new());
        let mut proxy = Proxying {
            links: self.links.clone(),
            interface: name.to_owned(),
            offered: Arc::clone(&offered),
            boot_server: self.config.boot_server,
            offers: self.offers.clone(),
        };
        let (serving, interface, runs) = (self.clone(), name.to_owned(), Arc::downgrade(&offered));
        let look = move || {
            let look = frames.and_then(|frames| other_servers(frames, || runs.strong_count() == 0));
            if let (Ok(Some(other)), Some(offered)) = (&look, runs.upgrade()) {
                let _first = offered.set(other.offered);
            }
            let _a_proxy_is_never_refused = serving.judge(&interface, look);
        };
        task(&self.bus, "dhcp look", look).map_err(|error| format!("cannot start a thread: {error}"))?;
        let mut told = Vec::new();
        let address = |client| self.interface(name, client).map(|interface| interface.address);
        self.tell(name, address(None).into_iter().collect(), &mut told);
        self.wait_for_all();
        let outdated = || {
            self.tell(name, address(offered.get().copied()).into_iter().collect(), &mut told);
            false
        };
        run(&mut sockets.net, &mut proxy, &self.bus, self.config.delay, outdated).map(|_stopped| ())
    }

    /// The lease server for the networks that the interface has, made anew whenever this machine has other addresses, or other
    /// routes to the networks beyond relay agents.
    fn lease(&self, name: &str, mut sockets: Sockets) -> Result<(), String> {
        let Role::Lease(leases) = &self.config.role else { return Ok(()) };
        let mut told = Vec::new();
        let mut probes: Vec<_> = sockets.probers.drain(..).map(|prober| Probes::new(Some(prober))).collect();
        let can_probe = !probes.is_empty();
        let ended = loop {
            let origin = self.origin(name, leases);
            let first = origin.link.as_ref().and_then(|link| Interface::of(link, None));
            let Some(Interface { address: first, .. }) = first else {
                self.tell(name, Vec::new(), &mut told);
                match wait(&mut sockets.net) {
                    Ok(Ended::Outdated) => continue,
                    ended => break ended,
                }
            };
            probes.iter_mut().for_each(|probes| probes.bind_again(name, &self.bus));
            let interfaces = origin.link.as_ref().map(|link| own_networks(leases, link)).unwrap_or_default();
            let own: Vec<_> = interfaces.iter().map(|interface| interface.address).collect();
            self.tell(name, if own.is_empty() { vec![first] } else { own.clone() }, &mut told);
            if can_probe && probes.len() < own.len() {
                let error = "a network was added after the start. Restart the server".to_owned();
                self.bus.emit(None, Dhcp::CannotProbe { interface: name.to_owned(), error });
            }
            if let Err(failed) = self.attach(leases, &interfaces, (first, &origin.own), &mut probes) {
                // The configuration fitted the address that the machine had before.
                self.supervisor.give_up(Failed::new(Exit::Failure, failed));
                break Ok(Ended::Stopped);
            }
            let mut attached = Attached::new(&self.networks, own.clone(), sockets.net.now());
            let ended = run(&mut sockets.net, &mut attached, &self.bus, self.config.delay, || {
                self.origin(name, leases) != origin
            });
            if ended != Ok(Ended::Outdated) {
                break ended;
            }
            let mut networks = networks::lock(&self.networks);
            probes.extend(own.into_iter().filter_map(|address| networks.detach(address)));
        };
        networks::lock(&self.networks).end();
        ended.map(|_stopped| ())
    }

    /// Adds the networks of the interface, each with probes of its own, and those beyond relay agents.
    fn attach(
        &self,
        leases: &LeaseConfig,
        interfaces: &[Interface],
        (first, own): (Ipv4Addr, &[Ipv4Addr]),
        probes: &mut Vec<Probes<Option<Prober>>>,
    ) -> Result<(), Failed> {
        let mut networks = networks::lock(&self.networks);
        for interface in interfaces {
            let with = probes.pop().unwrap_or_else(|| Probes::new(None));
            probes.extend(networks.attach(leases, interface, own, with)?);
        }
        networks.add_relayed(leases, first, own);
        Ok(())
    }

    fn interface(&self, name: &str, client: Option<Ipv4Addr>) -> Option<Interface> {
        self.links.find(name).and_then(|link| Interface::of(&link, client))
    }

    fn origin(&self, name: &str, leases: &LeaseConfig) -> Origin {
        let sources = networks::sources(leases);
        Origin { link: self.links.find(name), own: self.links.addresses(), sources }
    }

    /// Emits the addresses that clients are told, as far as they are others than before.
    fn tell(&self, name: &str, addresses: Vec<Ipv4Addr>, told: &mut Vec<Ipv4Addr>) {
        for address in addresses.iter().filter(|address| !told.contains(address)) {
            self.bus.emit(None, Dhcp::Serves { interface: name.to_owned(), address: *address });
        }
        if addresses.is_empty() && !told.is_empty() {
            self.bus.emit(None, Dhcp::NoAddress { interface: name.to_owned() });
        }
        *told = addresses;
    }

    /// Refuses to lease addresses where another server does, unless forced; warns if a proxy is the only server.
    fn judge(&self, interface: &str, look: io::Result<Option<Found>>) -> Result<(), Failed> {
        let own = self.interface(interface, None);
        let range = match (&self.config.role, self.links.find(interface).filter(Link::is_usable)) {
            (Role::Lease(leases), Some(link)) => {
                let networks = own_networks(leases, &link).into_iter();
                let ranges =
                    networks.filter_map(|interface| Some(networks::network_at(leases, &interface)?.1.range));
                // One that any client may lease of counts.
                ranges.reduce(|one, other| if one == LeaseRange::None { other } else { one })
            }
            (Role::Lease(_), None) | (Role::Proxy, _) => Some(LeaseRange::UpperHalf),
        };
        let interface = interface.to_owned();
        let fact = match (&self.config.role, look) {
            (_, Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            (_, _) if range.is_none() => {
                let network = own.map(|own| Subnet::of(own.address, own.prefix_len).to_string());
                Dhcp::NotAttached { interface, network: network.unwrap_or_default() }
            }
            // The addresses of the inventory are the same at each server that has it.
            (Role::Lease(_), Ok(_)) if range == Some(LeaseRange::None) => return Ok(()),
            (_, Err(error)) => Dhcp::CannotLook { interface, error: error.to_string() },
            (Role::Lease(_), Ok(Some(Found { server, .. }))) if !self.config.force => {
                return Err(Failed::new(
                    Exit::OtherDhcp,
                    format!(
                        "DHCP server {server} answers on {interface} already: the addresses of two servers clash. Use \
                         --dhcp proxy beside that server, stop it, lease the addresses of the inventory only with --lease-range none, \
                         or lease addresses all the same with --force"
                    ),
                ));
            }
            (Role::Lease(_), Ok(Some(Found { server, .. }))) => Dhcp::OtherServer { interface, server },
            (Role::Proxy, Ok(None)) => Dhcp::NoServer { interface },
            _ => return Ok(()),
        };
        self.bus.emit(None, fact);
        Ok(())
    }
}

/// Waits for other addresses, and answers no message.
fn wait(net: &mut impl Net<Error = Interrupt>) -> Result<Ended, String> {
    loop {
        match block_on(net.recv(Instant::MAX)) {
            Err(Interrupt::Stop) => return Ok(Ended::Stopped),
            Err(Interrupt::Reload) => return Ok(Ended::Outdated),
            Err(Interrupt::Failed(error)) => return Err(format!("the network failed: {error}")),
            Ok(_) | Err(Interrupt::Reloaded) => {}
        }
    }
}
