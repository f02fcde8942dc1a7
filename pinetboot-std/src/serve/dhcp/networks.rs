//! The networks with leases, which all interfaces share: a relay agent's messages may come by any of them.

use std::iter;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, Clients, Lease, Message, MessageType, Network, NoReply, Reply, Respond, Standing,
};
use pinetboot_core::pi::Prefix;

use super::known::{Known, lease_server};
use super::leasing::Leasing;
use super::offers::{Named, Offers};
use super::probes::Probes;
use super::run::Attend;
use crate::bus::Bus;
use crate::config::{
    Admission, DhcpConfig, LeaseConfig, LeaseTerms, NetworkConfig, Networks as Configured, Subnet,
};
use crate::events::{Dhcp, Lacking, Usage};
use crate::exit::{Exit, Failed};
use crate::net::{Interface, Link, Prober, source_of};
use crate::pis::Inventory;
use crate::serve::leases::{LeaseFile, Leases};
use crate::serve::seen::Seen;

/// The leases of all networks, their file, and the settings of replies.
pub(super) struct Networks {
    tables: Tables,
    file: Option<LeaseFile>,
    offers: Offers,
    known: Known,
    listed: &'static [Prefix],
    admission: Admission,
    boot_server: Option<Ipv4Addr>,
    seen: Seen,
    bus: Bus,
    /// The origin of the leases' times.
    start: Clock,
    /// Interfaces that answer.
    serving: usize,
    told: ToldLeases,
}

/// The number of leases that was told last, for metrics.
#[derive(Default)]
struct ToldLeases {
    running: u64,
    at: Option<Instant>,
}

/// Leases in and out of served networks.
#[derive(Default)]
struct Tables {
    list: Vec<Served>,
    /// Of networks that are not served now.
    apart: Vec<Lease>,
}

/// A served network.
struct Served {
    leasing: Leasing<Option<Prober>>,
    /// Interfaces in the network; none beyond a relay agent.
    interfaces: usize,
}

impl ToldLeases {
    /// Tells the number of leases that run. Of many leases they are counted once a second at most.
    fn tell(&mut self, now: Instant, tables: &Tables, bus: &Bus) {
        if self.running > MANY && self.at.is_some_and(|then| now.since(then) < COUNT_EVERY) {
            return;
        }
        let running = tables.all().filter(|lease| lease.is_running(now)).count() as u64;
        self.at = Some(now);
        if running != self.running {
            self.running = running;
            bus.emit(None, Usage::Leases { running });
        }
    }
}

/// The networks as an interface answers for them.
pub(super) struct Attached {
    networks: Arc<Mutex<Networks>>,
    /// An address in each network of the interface.
    own: Vec<Ipv4Addr>,
    /// From the time of the interface's clock to that of the leases.
    skew: Duration,
    comes_again: Option<Instant>,
}

impl Networks {
    pub(super) fn new(
        config: &DhcpConfig,
        (inventory, offers): (&Inventory, Offers),
        mut file: Option<LeaseFile>,
        (seen, bus): (&Seen, &Bus),
        start: Clock,
    ) -> Self {
        let known = Known::of(inventory);
        // DHCP starts once in a process.
        let listed = known.listed.clone().leak();
        let mut tables = Tables::default();
        if let Some(file) = &mut file {
            tables.apart = file.read();
            file.write(Instant::ZERO, &tables);
        }
        Self {
            tables,
            file,
            offers,
            known,
            listed,
            admission: config.admission,
            boot_server: config.boot_server,
            seen: seen.clone(),
            bus: bus.clone(),
            start,
            serving: 0,
            told: ToldLeases::default(),
        }
    }

    /// Adds the network of an interface, with `own` for the addresses of this machine; the probes are back if the network is there
    /// already.
    ///
    /// # Errors
    ///
    /// The terms do not fit the interface.
    pub(super) fn attach(
        &mut self,
        leases: &LeaseConfig,
        interface: &Interface,
        own: &[Ipv4Addr],
        probes: Probes<Option<Prober>>,
    ) -> Result<Option<Probes<Option<Prober>>>, Failed> {
        let Some((subnet, terms)) = network_at(leases, interface) else { return Ok(Some(probes)) };
        let network = network(interface, subnet, terms)?;
        match self.tables.find(interface.address) {
            Some(place) if self.tables.list.get(place).is_some_and(|served| served.interfaces > 0) => {
                if let Some(served) = self.tables.list.get_mut(place) {
                    served.interfaces += 1;
                }
                return Ok(Some(probes));
            }
            Some(place) => drop(self.tables.take(place)),
            None => {}
        }
        self.add(network, terms, own, probes, 1);
        Ok(None)
    }

    /// Removes the network of an interface that was attached with this address, unless another interface is in it.
    pub(super) fn detach(&mut self, address: Ipv4Addr) -> Option<Probes<Option<Prober>>> {
        let place = self.tables.find(address)?;
        let served = self.tables.list.get_mut(place)?;
        served.interfaces = served.interfaces.saturating_sub(1);
        (served.interfaces == 0).then(|| self.tables.take(place).into_probes())
    }

    /// Adds the networks of the configuration that no interface has, or changes the server's address there. `address` is for those
    /// without a route.
    pub(super) fn add_relayed(&mut self, leases: &LeaseConfig, address: Ipv4Addr, own: &[Ipv4Addr]) {
        let Configured::Tables(tables) = &leases.networks else { return };
        for table in tables {
            let address = source_to(table).unwrap_or(address);
            if let Some(place) = self.tables.find(table.subnet.address) {
                let stays = self.tables.list.get(place).is_some_and(|served| {
                    served.interfaces > 0 || served.leasing.server().network().address() == address
                });
                if stays {
                    continue;
                }
                drop(self.tables.take(place));
            }
            // The configuration has checked the terms.
            if let Ok(network) = table.terms.network(address, table.subnet) {
                self.add(network, &table.terms, own, Probes::new(None), 0);
            }
        }
    }

    fn add(
        &mut self,
        mut network: Network<'static>,
        terms: &LeaseTerms,
        own: &[Ipv4Addr],
        probes: Probes<Option<Prober>>,
        interfaces: usize,
    ) {
        network.clients = match self.admission {
            Admission::Of(clients) => clients,
            // Those in the list, which is looked at before.
            Admission::Listed => Clients::All,
        };
        network.listed = self.listed;
        network.first_lease_time = Some(FIRST_LEASE);
        let boot_server = terms.boot_server.or(self.boot_server).unwrap_or(network.address());
        let taken: Vec<_> = own.iter().chain(&terms.dns).copied().collect();
        let server = lease_server(network, &self.known, &taken, &self.bus);
        let named = Named::new(boot_server, &terms.dns);
        let mut leasing = Leasing::new(server, named, self.seen.clone(), probes, self.bus.clone());
        let (mut restored, mut lost) = (0, 0);
        self.tables.apart.retain(|lease| {
            let is_here = network.contains(lease.address);
            if is_here {
                if leasing.restore(*lease) { restored += 1 } else { lost += 1 }
            }
            !is_here
        });
        if restored + lost > 0
            && let Some(file) = &self.file
        {
            self.bus.emit(None, Dhcp::LeasesRestored { path: file.path(), restored, lost });
        }
        self.tables.list.push(Served { leasing, interfaces });
    }

    /// An interface ends to answer. The last one writes the file, without ended leases of networks that are not served: at the start
    /// a network may only be late.
    pub(super) fn end(&mut self) {
        self.serving = self.serving.saturating_sub(1);
        let now = self.now();
        if self.serving == 0
            && let Some(file) = self.file.take()
        {
            let forgot = self.tables.forget_ended(now);
            file.close(now, &self.tables, forgot);
        }
    }

    /// An interface begins to answer.
    pub(super) const fn begin(&mut self) {
        self.serving += 1;
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// The place of the network of a message: by what its relay agent says, by the address that a client renews through a router,
    /// else one of the interface's own.
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    fn choose(&self, own: &[Ipv4Addr], request: &Message<'_>) -> Result<usize, NoReply> {
        let of = |address: Ipv4Addr| self.tables.find(address);
        match request.link() {
            Some(link) => of(link).ok_or(NoReply::OtherNetwork),
            None => {
                of(request.header.ciaddr).or_else(|| self.of_wire(own, request)).ok_or(NoReply::ForAnother)
            }
        }
    }

    /// Of the networks on one wire, that of the server to which the client answers, of the client's fixed address, of its lease, or
    /// of the address that it asks for; else the first.
    fn of_wire(&self, own: &[Ipv4Addr], request: &Message<'_>) -> Option<usize> {
        let [first, _, ..] = own else { return own.first().and_then(|own| self.tables.find(*own)) };
        let on_wire = |address: Ipv4Addr| {
            let place = self.tables.find(address)?;
            own.iter().any(|own| self.tables.find(*own) == Some(place)).then_some(place)
        };
        let leased = || {
            let hardware = request.header.hardware;
            let lease = |place: &usize| self.tables.list.get(*place)?.leasing.server().lease_of(&hardware);
            let places = own.iter().filter_map(|own| self.tables.find(*own));
            places
                .filter(|place| lease(place).is_some())
                .max_by_key(|place| lease(place).map(|lease| lease.until))
        };
        let named = request.server_id().and_then(on_wire);
        let fixed = || self.known.address_of(request).and_then(on_wire);
        let wanted = || request.requested_address().and_then(on_wire);
        named.or_else(fixed).or_else(leased).or_else(wanted).or_else(|| self.tables.find(*first))
    }

    /// The other networks on the wire of an interface: each may have an address for a client when one has none.
    fn others_on_wire(&self, own: &[Ipv4Addr], chosen: usize) -> Vec<usize> {
        let places = own.iter().filter_map(|own| self.tables.find(*own));
        places.filter(|place| *place != chosen).collect()
    }
}

impl Tables {
    fn find(&self, address: Ipv4Addr) -> Option<usize> {
        self.list.iter().position(|served| served.leasing.server().network().contains(address))
    }

    /// Forgets the ended leases of networks that are not served; returns whether there were any.
    fn forget_ended(&mut self, now: Instant) -> bool {
        let before = self.apart.len();
        self.apart.retain(|lease| lease.until > now);
        self.apart.len() < before
    }

    /// Removes a network, and keeps its leases.
    fn take(&mut self, place: usize) -> Leasing<Option<Prober>> {
        let Served { leasing, .. } = self.list.swap_remove(place);
        self.apart.extend(leasing.server().leases());
        leasing
    }
}

impl Leases for Tables {
    fn all(&self) -> impl Iterator<Item = &Lease> {
        self.list.iter().flat_map(|served| served.leasing.server().leases()).chain(&self.apart)
    }

    fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.list.iter().find_map(|served| served.leasing.server().lease_at(address))
    }
}

impl Attached {
    /// The networks for an interface whose clock shows `now`, with an address in each of the interface's own.
    pub(super) fn new(networks: &Arc<Mutex<Networks>>, own: Vec<Ipv4Addr>, now: Instant) -> Self {
        let skew = lock(networks).now().since(now);
        Self { networks: Arc::clone(networks), own, skew, comes_again: None }
    }
}

impl Respond for Attached {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let mut networks = lock(&self.networks);
        let networks = &mut *networks;
        let chosen = networks.choose(&self.own, request);
        if chosen == Err(NoReply::OtherNetwork) {
            let (hardware, relay) = (request.header.hardware, request.header.giaddr);
            let setting = Lacking::Network { relay, link: request.link().unwrap_or(relay) };
            networks.bus.emit(None, Dhcp::Lacks { hardware, setting });
        }
        let chosen = chosen?;
        let others = match request.kind() {
            Some(MessageType::Discover) if request.link().is_none() => {
                networks.others_on_wire(&self.own, chosen)
            }
            _ => Vec::new(),
        };
        let arrival = Arrival::new(arrival.at + self.skew, arrival.port, arrival.peer);
        let mut answer = Err(NoReply::OtherNetwork);
        for place in iter::once(chosen).chain(others) {
            let Some(served) = networks.tables.list.get_mut(place) else { continue };
            answer = served.leasing.respond(&mut networks.offers, &arrival, request, out);
            let again = served.leasing.comes_again();
            self.comes_again = again.map(|time| Instant::ZERO + time.since(Instant::ZERO + self.skew));
            if answer != Err(NoReply::Exhausted) {
                break;
            }
        }
        answer
    }
}

impl Attend for Attached {
    fn standing(&self, message: &[u8]) -> Standing {
        let networks = lock(&self.networks);
        let standing = |message: Message<'_>| {
            let served = networks.tables.list.get(networks.choose(&self.own, &message).ok()?)?;
            Some(served.leasing.server().standing(&message))
        };
        Message::parse(message).ok().and_then(standing).unwrap_or(Standing::New)
    }

    fn comes_again(&mut self) -> Option<Instant> {
        self.comes_again.take()
    }

    fn store(&mut self, now: Instant, more: bool) {
        let mut networks = lock(&self.networks);
        let Networks { tables, file, told, bus, .. } = &mut *networks;
        let changed: Vec<_> = tables.list.iter_mut().flat_map(|served| served.leasing.changed()).collect();
        let now = now + self.skew;
        if !changed.is_empty() {
            told.tell(now, tables, bus);
        }
        if let Some(file) = file {
            file.save(now, tables, changed.into_iter(), more);
        }
    }
}

pub(super) fn lock(networks: &Mutex<Networks>) -> MutexGuard<'_, Networks> {
    networks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The networks of an interface in which addresses are leased, each with the interface's first address there: without tables the
/// network of its first address, else all that a table has.
pub(super) fn own_networks(leases: &LeaseConfig, link: &Link) -> Vec<Interface> {
    if matches!(leases.networks, Configured::OfInterfaces(_)) {
        return Interface::of(link, None).into_iter().collect();
    }
    let mut found: Vec<(Subnet, Interface)> = Vec::new();
    for interface in Interface::each(link) {
        if let Some((subnet, _)) = network_at(leases, &interface)
            && found.iter().all(|(known, _)| *known != subnet)
        {
            found.push((subnet, interface));
        }
    }
    found.into_iter().map(|(_, interface)| interface).collect()
}

/// The network of an interface's address and its terms, if addresses are leased to it.
pub(super) fn network_at<'a>(
    leases: &'a LeaseConfig,
    interface: &Interface,
) -> Option<(Subnet, &'a LeaseTerms)> {
    match &leases.networks {
        Configured::OfInterfaces(terms) => Some((Subnet::of(interface.address, interface.prefix_len), terms)),
        Configured::Tables(tables) => {
            let table = tables.iter().find(|table| table.subnet.contains(interface.address))?;
            Some((table.subnet, &table.terms))
        }
    }
}

/// The addresses of this machine that reach the networks beyond relay agents, as its routes are now.
pub(super) fn sources(leases: &LeaseConfig) -> Vec<Option<Ipv4Addr>> {
    match &leases.networks {
        Configured::OfInterfaces(_) => Vec::new(),
        Configured::Tables(tables) => tables.iter().map(source_to).collect(),
    }
}

/// The address of this machine that reaches a network.
fn source_to(table: &NetworkConfig) -> Option<Ipv4Addr> {
    source_of(table.terms.router.unwrap_or(table.subnet.address))
}

/// Checks that the terms of an interface's network fit the interface.
///
/// # Errors
///
/// The obstacle.
pub(super) fn check(leases: &LeaseConfig, interface: &Interface) -> Result<(), Failed> {
    let own = network_at(leases, interface);
    own.map_or(Ok(()), |(subnet, terms)| network(interface, subnet, terms).map(drop))
}

fn network(interface: &Interface, subnet: Subnet, terms: &LeaseTerms) -> Result<Network<'static>, Failed> {
    terms.network(interface.address, subnet).map_err(|error| {
        let message = format!("cannot lease addresses on {} ({subnet}): {error}", interface.name);
        Failed::new(Exit::Usage, message)
    })
}

/// The time of a lease until the client fetched a file or mounted a root.
const FIRST_LEASE: Duration = Duration::from_secs(5 * 60);

/// More leases than this are counted at most once in [`COUNT_EVERY`].
const MANY: u64 = 256;
const COUNT_EVERY: Duration = Duration::from_secs(1);
