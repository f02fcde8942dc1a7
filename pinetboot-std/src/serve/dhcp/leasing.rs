//! The lease server of a network: seen clients, and hosts that answer at an address.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, HardwareAddress, Lease, LeaseServer, LeaseSlot, LeaseState, Message, MessageType, NextServer,
    NoReply, Reply, Standing,
};
use pinetboot_core::pi::Prefix;

use super::offers::{Named, Offers};
use super::probes::{Ask, Finding, Probes};
use crate::bus::Bus;
use crate::config::Admission;
use crate::events::{Dhcp, Lacking};
use crate::serve::seen::Seen;

/// A lease server that is told at which addresses clients were seen, and at which other hosts answer.
pub(super) struct Leasing<A> {
    server: LeaseServer<'static, Vec<LeaseSlot>>,
    named: Arc<Named>,
    seen: Seen,
    probes: Probes<A>,
    bus: Bus,
    /// Addresses whose lease has to be stored.
    changed: Vec<Ipv4Addr>,
    comes_again: Option<Instant>,
}

impl<A: Ask> Leasing<A> {
    pub(super) fn new(
        server: LeaseServer<'static, Vec<LeaseSlot>>,
        named: Named,
        seen: Seen,
        probes: Probes<A>,
        bus: Bus,
    ) -> Self {
        Self { server, named: Arc::new(named), seen, probes, bus, changed: Vec::new(), comes_again: None }
    }

    /// The lease server.
    pub(super) const fn server(&self) -> &LeaseServer<'static, Vec<LeaseSlot>> {
        &self.server
    }

    /// The probes.
    pub(super) fn into_probes(self) -> Probes<A> {
        self.probes
    }

    /// Takes in a lease from before a restart.
    pub(super) fn restore(&mut self, lease: Lease) -> bool {
        // A clock that was set back, or a wrong digit, prolongs no lease.
        let longest = Instant::ZERO + self.server.network().lease_time;
        let mut lease = lease;
        lease.until = lease.until.min(longest);
        self.server.restore(lease)
    }

    /// The time at which the last message has to come again.
    pub(super) fn comes_again(&mut self) -> Option<Instant> {
        self.comes_again.take()
    }

    /// The addresses whose lease has to be stored.
    pub(super) fn changed(&mut self) -> impl Iterator<Item = Ipv4Addr> {
        self.changed.drain(..)
    }

    /// Answers a message.
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    pub(super) fn respond(
        &mut self,
        offers: &mut Offers,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let (now, hardware) = (arrival.at, request.header.hardware);
        let network = self.server.network();
        for address in self.seen.take(network.first_address(), network.broadcast()) {
            self.call(|server| (server.confirm(now, address), address));
        }
        let before = self.server.lease_of(&hardware).copied();
        if before.is_none() && self.is_renewed(now, offers, request)? {
            let mut lease = Lease::new(hardware, request.header.ciaddr, LeaseState::Released, now);
            lease.reserved = true;
            self.server.restore(lease);
        }
        offers.note(request);
        if !self.admits(offers, request) {
            return Err(NoReply::NotServed);
        }
        let named = Arc::clone(&self.named);
        let answer = offers.name(request, before.as_ref(), &named, |next_server| {
            self.answer_probed(arrival, request, next_server, before, out)
        });
        match answer {
            Ok(_) => offers.tell_without_file(request),
            Err(NoReply::Bootp) => self.bus.emit(None, Dhcp::Lacks { hardware, setting: Lacking::Bootp }),
            Err(_) => {}
        }
        answer
    }

    /// Whether a client is the Pi of the address that it renews, at a server which does not know the client: after the death of
    /// another server with the same inventory. The serial number is named by the Pi's bootloader alone.
    ///
    /// # Errors
    ///
    /// The message comes again when the host at the address is known.
    fn is_renewed(&mut self, now: Instant, offers: &Offers, request: &Message<'_>) -> Result<bool, NoReply> {
        let address = request.header.ciaddr;
        let is_by_serial = matches!(offers.at(address), Some(Prefix::Serial(_)));
        let is_asked = request.kind() == Some(MessageType::Request) && request.pi().is_none();
        if !is_by_serial || !is_asked || self.server.lease_at(address).is_some() {
            return Ok(false);
        }
        match self.probes.ask(now, address, MOST_PROBES) {
            Finding::Used(mac) => Ok(request.header.hardware.mac() == Some(mac)),
            Finding::Waits(until) => {
                self.comes_again = Some(until);
                Err(NoReply::Probing(address))
            }
            Finding::Free | Finding::TooMany => Ok(false),
        }
    }

    /// Whether the settings admit a client. Without a list the server decides.
    fn admits(&self, offers: &Offers, request: &Message<'_>) -> bool {
        if offers.admission != Admission::Listed || offers.listed(request).is_some() {
            return true;
        }
        offers.tell_not_listed(request);
        request.pi().is_none() && self.server.standing(request) > Standing::New
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

    fn answer(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        next_server: &NextServer<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        self.call(|server| {
            let answer = match server.respond_with(arrival, request, next_server, out) {
                // Without options, of which the client may lack some.
                Err(NoReply::TooLong) => {
                    server.respond_with(arrival, request, &next_server.with_options(&[]), out)
                }
                answer => answer,
            };
            let address = match answer {
                Ok(reply) => reply.address,
                Err(NoReply::Declined(address) | NoReply::Released(address)) => address,
                Err(_) => {
                    let own = server.lease_of(&request.header.hardware);
                    own.map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address)
                }
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

    /// Answers once no other host answers at the client's address.
    fn answer_probed(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        next_server: &NextServer<'_>,
        before: Option<Lease>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let (now, hardware) = (arrival.at, request.header.hardware);
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
                self.answer(arrival, request, next_server, out)
            }
            Some(MessageType::Discover) => {
                for _ in 0..MOST_ADDRESSES {
                    let reply = self.answer(arrival, request, next_server, out)?;
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
            _ => self.answer(arrival, request, next_server, out),
        }
    }
}

/// Addresses that are searched for other hosts at once: after a REQUEST, and half as many after a DISCOVER. A thousand Pis that are new
/// get their addresses after one search.
const MOST_PROBES: usize = 1024;

/// Addresses tried for one DISCOVER, if other hosts answer at them.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {

    use pinetboot_core::dhcp::{Clients, MAX_LEN, Network, Port, Profile, Selected};

    use super::super::probes::tests::Hosts;
    use super::*;
    use crate::config::BootFiles;
    use crate::pis::Inventory;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    struct Lan(Leasing<Hosts>, Offers);

    impl std::ops::Deref for Lan {
        type Target = Leasing<Hosts>;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    impl std::ops::DerefMut for Lan {
        fn deref_mut(&mut self) -> &mut Self::Target {
            &mut self.0
        }
    }

    /// A server of two addresses, 10.77.0.128 and 129, on a network with these hosts.
    fn lan(hosts: &[(u8, [u8; 6])]) -> Lan {
        lan_up_to(ip(129), hosts)
    }

    fn lan_up_to(last: Ipv4Addr, hosts: &[(u8, [u8; 6])]) -> Lan {
        let mut network = Network::new(ip(1), 16, ip(128), last).unwrap();
        network.clients = Clients::All;
        let server = LeaseServer::new(network, vec![LeaseSlot::EMPTY; 1024]);
        let hosts = hosts.iter().map(|(last, mac)| (ip(*last), *mac)).collect();
        let probes = Probes::new(Hosts::at(hosts));
        let offers = Offers::new(
            Admission::Of(Clients::All),
            BootFiles::default(),
            Inventory::default(),
            Bus::silent(),
        );
        Lan(Leasing::new(server, Named::default(), Seen::default(), probes, Bus::silent()), offers)
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
        let Lan(leasing, offers) = lan;
        leasing.respond(offers, &arrival, &request, &mut [0; MAX_LEN])
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

    /// A rack that is switched on for the first time.
    #[test]
    fn a_thousand_new_clients_wait_for_one_search() {
        let mut lan = lan_up_to(Ipv4Addr::new(10, 77, 9, 0), &[]);
        let macs: Vec<_> = (0..1000_u16).map(u16::to_be_bytes).map(|[a, b]| [2, 0, 0, 0, a, b]).collect();
        for mac in &macs {
            if let Ok(offer) = answer(&mut lan, 0, *mac, None) {
                assert!(answer(&mut lan, 0, *mac, Some(offer.address)).is_err());
            }
            assert_eq!(lan.comes_again(), Some(Instant::from_millis(300)), "{mac:x?}: not dropped");
        }
        for mac in &macs {
            let offer = answer(&mut lan, 300, *mac, None).unwrap();
            let ack = answer(&mut lan, 300, *mac, Some(offer.address)).unwrap();
            assert_eq!((ack.kind, ack.address), (MessageType::Ack, offer.address));
        }
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
