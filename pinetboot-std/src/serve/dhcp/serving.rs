//! DHCP on one interface, from the look for other servers to the end.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Barrier, OnceLock};

use pinetboot_core::{Instant, Net, block_on};

use super::leasing::{Known, Leasing, lease_server};
use super::probes::Probes;
use super::proxying::Proxying;
use super::run::{Ended, run};
use super::{FIRST_LEASE, Sockets, network, next_server};
use crate::bus::Bus;
use crate::config::{DhcpConfig, Role};
use crate::events::Dhcp;
use crate::exit::{Exit, Failed};
use crate::net::{Frames, Interface, Interrupt, Link, Links};
use crate::pis::Inventory;
use crate::serve::leases::LeaseFile;
use crate::serve::others::{Found, LONGEST, other_servers};
use crate::serve::seen::Seen;
use crate::supervisor::{Supervisor, task};

/// What the server of an interface is made from.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) config: DhcpConfig,
    pub(super) inventory: Inventory,
    pub(super) links: Links,
    pub(super) seen: Seen,
    pub(super) bus: Bus,
    pub(super) supervisor: Supervisor,
    /// Passed when the lease servers of all interfaces have looked for others: two interfaces may be in one network.
    pub(super) all_looked: Arc<Barrier>,
    /// Called when the servers of all interfaces answer.
    pub(super) all_answer: AllAnswer,
}

/// Called when the servers of all interfaces answer.
pub(super) type AllAnswer = Arc<dyn Fn() + Send + Sync>;

/// The addresses that a lease server was made from: those of its interface, and all of this machine.
type Origin = (Option<Link>, Vec<Ipv4Addr>);

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
                self.supervisor.watch(format!("dhcp {name}"), control);
                self.proxy(&name, sockets, frames)
            }
            Role::Lease { .. } => {
                let look = frames.and_then(|frames| other_servers(frames, || control.is_stopping()));
                let judged = self.judge(&name, look).map_err(|failed| self.supervisor.give_up(failed));
                self.wait_for_all();
                if judged.is_err() {
                    return Ok(());
                }
                self.supervisor.watch(format!("dhcp {name}"), control);
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
            boot_file: self.config.boot_file.clone(),
            clients: self.config.clients,
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
        let mut told = None;
        self.tell(name, self.interface(name, None), &mut told);
        self.wait_for_all();
        let outdated = || {
            self.tell(name, self.interface(name, offered.get().copied()), &mut told);
            false
        };
        run(&mut sockets.net, &mut proxy, &self.bus, self.config.delay, outdated).map(|_stopped| ())
    }

    /// A lease server for the interface as it is, made anew whenever this machine has other addresses.
    fn lease(&self, name: &str, mut sockets: Sockets) -> Result<(), String> {
        let Role::Lease { range, file, router, dns } = &self.config.role else { return Ok(()) };
        let mut told = None;
        let known = Known::of(&self.inventory);
        let mut probes = Probes::new(sockets.prober.take());
        let mut kept = Vec::new();
        loop {
            let origin = self.origin(name);
            let interface = self.interface(name, None);
            self.tell(name, interface.clone(), &mut told);
            let Some(interface) = interface else {
                match wait(&mut sockets.net)? {
                    Ended::Stopped => return Ok(()),
                    Ended::Outdated => continue,
                }
            };
            probes.bind_again(name, &self.bus);
            let mut network = match network(&interface, *range) {
                Ok(network) => network,
                Err(failed) => {
                    // The configuration fitted the address that the machine had before.
                    self.supervisor.give_up(Failed::new(Exit::Failure, failed));
                    return Ok(());
                }
            };
            let boot_server = self.config.boot_server.unwrap_or(interface.address);
            network.router = *router;
            network.name_server = *dns;
            network.clients = self.config.clients;
            network.next_server = next_server(boot_server, self.config.boot_file.as_deref());
            network.listed = &known.listed;
            network.first_lease_time = Some(FIRST_LEASE);
            let mut server = lease_server(network, &known, &origin.1, &self.bus);
            let now = sockets.net.now();
            let file = file.clone().map(|file| {
                let mut file = LeaseFile::new(file, now, self.bus.clone());
                file.restore(now, &mut server);
                file
            });
            for lease in std::mem::take(&mut kept) {
                // Of another network, or restored from the file.
                let _not_kept = server.restore(lease);
            }
            let (seen, bus) = (self.seen.clone(), self.bus.clone());
            let mut leasing = Leasing::new(server, seen, file, probes, bus);
            let ended = run(&mut sockets.net, &mut leasing, &self.bus, self.config.delay, || {
                self.origin(name) != origin
            });
            (kept, probes) = leasing.end(sockets.net.now());
            match ended? {
                Ended::Stopped => return Ok(()),
                Ended::Outdated => {}
            }
        }
    }

    fn interface(&self, name: &str, client: Option<Ipv4Addr>) -> Option<Interface> {
        self.links.find(name).and_then(|link| Interface::of(&link, client))
    }

    fn origin(&self, name: &str) -> Origin {
        (self.links.find(name), self.links.addresses())
    }

    /// Emits the address that clients are told, if it is another one.
    fn tell(&self, name: &str, interface: Option<Interface>, told: &mut Option<Ipv4Addr>) {
        let address = interface.map(|interface| interface.address);
        if address != *told {
            let interface = name.to_owned();
            self.bus.emit(
                None,
                match address {
                    Some(address) => Dhcp::Serves { interface, address },
                    None => Dhcp::NoAddress { interface },
                },
            );
            *told = address;
        }
    }

    /// Refuses to lease addresses where another server does, unless forced; warns if a proxy is the only server.
    fn judge(&self, interface: &str, look: io::Result<Option<Found>>) -> Result<(), Failed> {
        let interface = interface.to_owned();
        let fact = match (&self.config.role, look) {
            (_, Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            (_, Err(error)) => Dhcp::CannotLook { interface, error: error.to_string() },
            (Role::Lease { .. }, Ok(Some(Found { server, .. }))) if !self.config.force => {
                return Err(Failed::new(
                    Exit::OtherDhcp,
                    format!(
                        "DHCP server {server} answers on {interface} already: the addresses of two servers clash. Use \
                         --dhcp proxy beside that server, stop it, or lease addresses all the same with --force"
                    ),
                ));
            }
            (Role::Lease { .. }, Ok(Some(Found { server, .. }))) => Dhcp::OtherServer { interface, server },
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
