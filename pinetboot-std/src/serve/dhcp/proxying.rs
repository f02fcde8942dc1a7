//! A proxy that names the address of this machine that its client can reach, as the machine has it now.

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use pinetboot_core::dhcp::{Arrival, Clients, Message, NoReply, ProxyDhcp, Reply, Respond};

use super::next_server;
use super::run::Attend;
use crate::net::{Interface, Links};

/// The proxy of an interface.
pub(super) struct Proxying {
    pub(super) links: Links,
    pub(super) interface: String,
    /// An address in the network of the clients: the other DHCP server's offer, once there is one.
    pub(super) offered: Arc<OnceLock<Ipv4Addr>>,
    pub(super) boot_server: Option<Ipv4Addr>,
    pub(super) boot_file: Option<String>,
    pub(super) clients: Clients,
}

impl Respond for Proxying {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        // The network of the relay agent, of the client's own address, of the other server's offers.
        let header = &request.header;
        let near = [header.giaddr, header.ciaddr].into_iter().find(|address| !address.is_unspecified());
        let link = self.links.find(&self.interface).ok_or(NoReply::OtherNetwork)?;
        let Interface { address, .. } =
            Interface::of(&link, near.or(self.offered.get().copied())).ok_or(NoReply::OtherNetwork)?;
        let next_server = next_server(self.boot_server.unwrap_or(address), self.boot_file.as_deref());
        ProxyDhcp::new(address)
            .with_next_server(next_server)
            .with_clients(self.clients)
            .respond(arrival, request, out)
    }
}

impl Attend for Proxying {}

#[cfg(test)]
mod tests {
    use pinetboot_core::Instant;
    use pinetboot_core::dhcp::{MAX_LEN, Port, Profile};
    use pinetboot_core::pi::{PiIdentity, Revision};

    use super::*;
    use crate::net::Link;

    fn named(proxy: &mut Proxying, giaddr: Option<Ipv4Addr>) -> Result<(Ipv4Addr, Ipv4Addr), NoReply> {
        let mac = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];
        let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0xbd98_9ae1).unwrap();
        let mut discover = [0; MAX_LEN];
        let len = Profile::Pi(pi).discover(mac, 1, 0, &mut discover).unwrap();
        if let Some(giaddr) = giaddr {
            discover[24..28].copy_from_slice(&giaddr.octets());
        }
        let arrival = Arrival::new(Instant::ZERO, Port::Server, "0.0.0.0:68".parse().unwrap());
        let mut out = [0; MAX_LEN];
        let reply = proxy.respond(&arrival, &Message::parse(&discover[..len]).unwrap(), &mut out)?;
        let reply = Message::parse(&out[..reply.len.into()]).unwrap();
        Ok((reply.server_id().unwrap(), reply.header.siaddr))
    }

    #[test]
    fn each_client_is_told_the_address_that_it_can_reach_now() {
        let ip = |third, last| Ipv4Addr::new(10, 77, third, last);
        let link = |addresses: &[Ipv4Addr]| Link {
            name: "eth0".into(),
            index: 2,
            up: true,
            loopback: false,
            addresses: addresses.iter().map(|address| (*address, 24)).collect(),
        };
        let mut proxy = Proxying {
            links: Links::of(vec![link(&[ip(0, 1), ip(1, 1)])]),
            interface: "eth0".into(),
            offered: Arc::default(),
            boot_server: None,
            boot_file: None,
            clients: Clients::Pi,
        };
        let both = |address| Ok((address, address));
        assert_eq!(named(&mut proxy, None), both(ip(0, 1)));
        assert_eq!(named(&mut proxy, Some(ip(1, 254))), both(ip(1, 1)));
        assert_eq!(named(&mut proxy, Some(ip(9, 254))), both(ip(0, 1)));
        proxy.offered.set(ip(1, 50)).unwrap();
        assert_eq!(named(&mut proxy, None), both(ip(1, 1)));
        proxy.links = Links::of(vec![link(&[ip(5, 1)])]);
        assert_eq!(named(&mut proxy, None), both(ip(5, 1)), "the machine has another address");
        proxy.boot_server = Some(ip(9, 9));
        assert_eq!(named(&mut proxy, None), Ok((ip(5, 1), ip(9, 9))));
        proxy.links = Links::of(vec![link(&[])]);
        assert_eq!(named(&mut proxy, None), Err(NoReply::OtherNetwork), "and none now");
    }
}
