//! What the inventory says of addresses, and a lease server that keeps to it.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{LeaseServer, LeaseSlot, Message, Network};
use pinetboot_core::pi::Prefix;

use crate::bus::Bus;
use crate::events::Dhcp;
use crate::pis::Inventory;

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

    /// The fixed address of the sender of a message, as far as the message names the Pi.
    pub(super) fn address_of(&self, request: &Message<'_>) -> Option<Ipv4Addr> {
        let serial = request.pi().and_then(|pi| pi.prefix());
        let mac = request.header.hardware.mac().map(Prefix::Mac);
        let of = |name| self.addresses.iter().find(|(pi, _)| *pi == name).map(|(_, address)| *address);
        [serial, mac].into_iter().flatten().find_map(of)
    }
}

/// A lease server with the inventory's reservations, and without this machine's addresses.
pub(super) fn lease_server(
    network: Network<'static>,
    known: &Known,
    own_addresses: &[Ipv4Addr],
    bus: &Bus,
) -> LeaseServer<'static, Vec<LeaseSlot>> {
    let (first, last) = network.range();
    let range = (last.to_bits() + 1).saturating_sub(first.to_bits()) as usize;
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

#[cfg(test)]
mod tests {
    use pinetboot_core::Instant;
    use pinetboot_core::dhcp::{Arrival, Clients, HardwareAddress, MAX_LEN, NotKept, Port, Profile};
    use pinetboot_core::pi::{PiIdentity, Revision};

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
}
