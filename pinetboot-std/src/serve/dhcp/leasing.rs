//! The lease server of a network: seen clients, the lease file, and hosts that answer at an address.

use std::net::Ipv4Addr;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, HardwareAddress, Lease, LeaseServer, LeaseSlot, LeaseState, Message, MessageType, Network,
    NoReply, Reply, Respond, Standing,
};
use pinetboot_core::pi::Prefix;

use super::probes::{Ask, Finding, Probes};
use super::run::Attend;
use crate::bus::Bus;
use crate::events::Dhcp;
use crate::pis::Inventory;
use crate::serve::leases::LeaseFile;
use crate::serve::seen::Seen;

/// The Pis of the inventory.
pub(super) struct Known {
    /// In ascending order.
    pub(super) listed: Vec<Prefix>,
    /// Those with a fixed address.
    addresses: Vec<(Prefix, Ipv4Addr)>,
}

impl Known {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let mut listed: Vec<_> = inventory.entries().map(|(pi, _)| pi).collect();
        listed.sort_unstable();
        let address = |pi: &Prefix| Some((*pi, inventory.entry(*pi)?.address?));
        let addresses = listed.iter().filter_map(address).collect();
        Self { listed, addresses }
    }
}

/// A lease server that is told at which addresses clients were seen, and at which other hosts answer.
pub(super) struct Leasing<'a, A> {
    server: LeaseServer<'a, Vec<LeaseSlot>>,
    seen: Seen,
    file: Option<LeaseFile>,
    probes: Probes<A>,
    bus: Bus,
    /// Addresses whose lease has to be stored.
    changed: Vec<Ipv4Addr>,
    comes_again: Option<Instant>,
}

impl<'a, A: Ask> Leasing<'a, A> {
    pub(super) fn new(
        server: LeaseServer<'a, Vec<LeaseSlot>>,
        seen: Seen,
        file: Option<LeaseFile>,
        probes: Probes<A>,
        bus: Bus,
    ) -> Self {
        Self { server, seen, file, probes, bus, changed: Vec::new(), comes_again: None }
    }

    /// Stores the leases. Returns them, and the probes.
    pub(super) fn end(self, now: Instant) -> (Vec<Lease>, Probes<A>) {
        if let Some(file) = self.file {
            file.close(now, &self.server);
        }
        (self.server.leases().copied().collect(), self.probes)
    }

    /// Calls the server, and notes the address if its lease has to be stored.
    fn call<T>(&mut self, call: impl FnOnce(&mut LeaseServer<'_, Vec<LeaseSlot>>) -> (T, Ipv4Addr)) -> T {
        let before = self.server.changes();
        let (answer, address) = call(&mut self.server);
        if self.server.changes() != before {
            self.changed.push(address);
        }
        answer
    }

    fn answer(&mut self, arrival: &Arrival, request: &Message<'_>, out: &mut [u8]) -> Result<Reply, NoReply> {
        self.call(|server| {
            let answer = server.respond(arrival, request, out);
            let address = match answer {
                Ok(reply) => reply.address,
                Err(NoReply::Declined(address) | NoReply::Released(address)) => address,
                Err(_) => Ipv4Addr::UNSPECIFIED,
            };
            (answer, address)
        })
    }

    /// Whether an address may be given to this client, who did not have it: no other host answers there.
    ///
    /// # Errors
    ///
    /// The message comes again when that is known; with `most` searches at once it is dropped, and the client repeats it.
    fn is_free(
        &mut self,
        now: Instant,
        address: Ipv4Addr,
        hardware: HardwareAddress,
        most: usize,
    ) -> Result<bool, Option<Instant>> {
        match self.probes.ask(now, address, most) {
            Finding::Free => Ok(true),
            // The client itself, whose program asks anew while the kernel has the address.
            Finding::Used(mac) if hardware.mac() == Some(mac) => Ok(true),
            Finding::Used(mac) => {
                self.call(|server| (server.mark_in_use(now, address), address));
                self.bus.emit(None, Dhcp::InUse { hardware, address, mac });
                Ok(false)
            }
            Finding::Waits(until) => Err(Some(until)),
            Finding::TooMany => Err(None),
        }
    }
}

impl<A: Ask> Respond for Leasing<'_, A> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let (now, hardware) = (arrival.at, request.header.hardware);
        let network = self.server.network();
        let first = Ipv4Addr::from_bits(network.address().to_bits() & network.mask().to_bits());
        for address in self.seen.take(first, network.broadcast()) {
            self.call(|server| (server.confirm(now, address), address));
        }
        let before = self.server.lease_of(&hardware).copied();
        match request.kind() {
            Some(MessageType::Request) => {
                // Under a flood of DISCOVERs an address is offered without a search, and searched for now.
                if let Some(lease) = before
                    && lease.state == LeaseState::Offered
                    && request.requested_address() == Some(lease.address)
                    && let Err(time) = self.is_free(now, lease.address, hardware, MOST_PROBES)
                {
                    self.comes_again = time;
                    return Err(NoReply::Probing(lease.address));
                }
                self.answer(arrival, request, out)
            }
            Some(MessageType::Discover) => {
                for _ in 0..MOST_ADDRESSES {
                    let reply = self.answer(arrival, request, out)?;
                    let was_there = before.is_some_and(|lease| {
                        lease.address == reply.address && lease.state == LeaseState::Bound
                    });
                    if was_there {
                        return Ok(reply);
                    }
                    match self.is_free(now, reply.address, hardware, MOST_PROBES / 2) {
                        Ok(true) | Err(None) => return Ok(reply),
                        Ok(false) => {}
                        Err(time) => {
                            self.comes_again = time;
                            return Err(NoReply::Probing(reply.address));
                        }
                    }
                }
                Err(NoReply::Exhausted)
            }
            _ => self.answer(arrival, request, out),
        }
    }
}

impl<A: Ask> Attend for Leasing<'_, A> {
    fn standing(&self, message: &[u8]) -> Standing {
        Message::parse(message).map_or(Standing::New, |message| self.server.standing(&message))
    }

    fn comes_again(&mut self) -> Option<Instant> {
        self.comes_again.take()
    }

    fn store(&mut self, now: Instant, more: bool) {
        let changed = self.changed.drain(..);
        if let Some(file) = &mut self.file {
            file.save(now, &self.server, changed, more);
        }
    }
}

/// A lease server with the inventory's reservations, and without this machine's addresses.
pub(super) fn lease_server<'a>(
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

/// Leases, reservations and excluded addresses of a server: a /16.
const MOST_SLOTS: usize = 65_535;

/// Addresses that are searched for other hosts at once: after a REQUEST, and half as many after a DISCOVER.
const MOST_PROBES: usize = 128;

/// Addresses tried for one DISCOVER, if other hosts answer at them.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {

    use pinetboot_core::dhcp::{Clients, MAX_LEN, NotKept, Port, Profile, Selected};
    use pinetboot_core::pi::{PiIdentity, Revision};

    use super::super::probes::tests::Hosts;
    use super::*;
    use crate::config::Settings;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    fn known(text: &str) -> Known {
        let settings = toml::from_str::<Settings>(text).unwrap();
        Known::of(&Inventory::of(&settings.pi, &settings.group).unwrap())
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

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    type Lan = Leasing<'static, Hosts>;

    /// A server of two addresses, 10.77.0.128 and 129, on a network with these hosts.
    fn lan(hosts: &[(u8, [u8; 6])]) -> Lan {
        let mut network = Network::new(ip(1), 24, ip(128), ip(129)).unwrap();
        network.clients = Clients::All;
        let server = lease_server(network, &known(""), &[ip(1)], &Bus::silent());
        let hosts = hosts.iter().map(|(last, mac)| (ip(*last), *mac)).collect();
        let probes = Probes::new(Hosts::at(hosts));
        Leasing::new(server, Seen::default(), None, probes, Bus::silent())
    }

    /// The answer to a DISCOVER, or to a REQUEST for an address.
    fn answer(lan: &mut Lan, millis: u64, mac: [u8; 6], wanted: Option<Ipv4Addr>) -> Result<Reply, NoReply> {
        let mut message = [0; MAX_LEN];
        let len = match wanted {
            None => Profile::Plain.discover(mac, 1, 0, &mut message),
            Some(address) => Profile::Plain.request(mac, 1, 0, &Selected::new(address, ip(1)), &mut message),
        };
        let request = Message::parse(&message[..len.unwrap()]).unwrap();
        let peer = "0.0.0.0:68".parse().unwrap();
        let arrival = Arrival::new(Instant::from_millis(millis), Port::Server, peer);
        lan.respond(&arrival, &request, &mut [0; MAX_LEN])
    }

    #[test]
    fn an_address_is_offered_once_no_host_answers_there() {
        let mut lan = lan(&[]);
        let Err(NoReply::Probing(address)) = answer(&mut lan, 0, MAC, None) else {
            panic!("offered unasked")
        };
        assert_eq!(lan.comes_again(), Some(Instant::from_millis(300)));
        assert_eq!(answer(&mut lan, 300, MAC, None).unwrap().address, address);
        assert_eq!(lan.comes_again(), None);
        let ack = answer(&mut lan, 301, MAC, Some(address)).unwrap();
        assert_eq!((ack.kind, ack.address), (MessageType::Ack, address));
        // As the same Pi's kernel, a minute later.
        assert_eq!(answer(&mut lan, 90_000, MAC, None).unwrap().address, address);
        assert_eq!(lan.changed, [address]);
    }

    #[test]
    fn an_address_that_answers_is_never_given() {
        let other = [2, 0, 0, 0, 0, 1];
        for (taken, free) in [(128, 129), (129, 128)] {
            let mut lan = lan(&[(taken, other)]);
            for millis in [0, 300, 600] {
                let _waits = answer(&mut lan, millis, MAC, None);
            }
            assert_eq!(answer(&mut lan, 601, MAC, None).unwrap().address, ip(free));
            assert_eq!(answer(&mut lan, 602, MAC, Some(ip(free))).unwrap().kind, MessageType::Ack);
            for millis in [1000, 1300, 70_000] {
                let newcomer = answer(&mut lan, millis, [2, 0, 0, 0, 0, 8], None);
                assert!(newcomer.is_err(), "{newcomer:?}");
            }
        }
        let mut both = lan(&[(128, other), (129, other)]);
        for millis in [0, 300, 600, 900] {
            assert!(answer(&mut both, millis, MAC, None).is_err());
        }
    }

    /// A program that asks anew while the kernel has the address.
    #[test]
    fn the_clients_own_answer_is_no_conflict() {
        let mut lan = lan(&[(128, MAC), (129, MAC)]);
        let _waits = answer(&mut lan, 0, MAC, None);
        assert!(answer(&mut lan, 300, MAC, None).is_ok());
    }

    /// Under a flood the search comes with the REQUEST, which a flood of DISCOVERs does not reach.
    #[test]
    fn with_too_many_searches_the_request_is_searched_for() {
        let mut lan = lan(&[(128, [2; 6])]);
        for number in 0..MOST_PROBES as u32 / 2 {
            let elsewhere = Ipv4Addr::from_bits(0x0a58_0000 + number);
            lan.probes.ask(Instant::ZERO, elsewhere, MOST_PROBES);
        }
        let offered = answer(&mut lan, 0, MAC, None).unwrap().address;
        assert_eq!(answer(&mut lan, 1, MAC, Some(offered)), Err(NoReply::Probing(offered)));
        let due = lan.comes_again().unwrap().as_micros() / 1000;
        let answered = answer(&mut lan, due, MAC, Some(offered)).unwrap().kind;
        assert_eq!(answered, if offered == ip(128) { MessageType::Nak } else { MessageType::Ack });
    }
}
