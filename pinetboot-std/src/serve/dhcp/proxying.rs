//! A proxy that names the address of this machine that its client can reach, as the machine has it now.

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use pinetboot_core::dhcp::{Arrival, Clients, Message, NoReply, ProxyDhcp, Reply, Respond};

use super::offers::{Named, Offers};
use super::run::Attend;
use crate::config::Admission;
use crate::net::{Interface, Links};

/// The proxy of an interface.
pub(super) struct Proxying {
    pub(super) links: Links,
    pub(super) interface: String,
    /// An address in the network of the clients: the other DHCP server's offer, once there is one.
    pub(super) offered: Arc<OnceLock<Ipv4Addr>>,
    pub(super) boot_server: Option<Ipv4Addr>,
    pub(super) offers: Offers,
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
        let offers = &mut self.offers;
        offers.note(request);
        let clients = match offers.admission {
            Admission::Listed if offers.listed(request).is_none() => {
                offers.tell_not_listed(request);
                return Err(NoReply::NotServed);
            }
            // UEFI on a Pi names no serial number.
            Admission::Listed => Clients::Pxe,
            Admission::Of(Clients::Pi) if offers.is_of_a_pi(request) => Clients::Pxe,
            Admission::Of(clients) => clients,
        };
        let named = Named::new(self.boot_server.unwrap_or(address), &[]);
        let answer = offers.name(request, None, &named, |next_server| {
            let proxy = ProxyDhcp::new(address).with_next_server(*next_server).with_clients(clients);
            proxy.respond(arrival, request, out)
        });
        if answer == Err(NoReply::NothingToOffer) {
            offers.tell_without_file(request);
        }
        answer
    }
}

impl Attend for Proxying {}

#[cfg(test)]
mod tests {
    use pinetboot_core::Instant;
    use pinetboot_core::dhcp::{
        Emitter, HardwareAddress, Header, MAX_LEN, MessageType, OptionCode, Port, Profile,
    };
    use pinetboot_core::pi::{PiIdentity, Revision};

    use super::*;
    use crate::bus::Bus;
    use crate::config::{DhcpConfig, Settings};
    use crate::net::Link;
    use crate::pis::Inventory;

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

    fn link(addresses: &[Ipv4Addr]) -> Link {
        Link {
            name: "eth0".into(),
            index: 2,
            up: true,
            loopback: false,
            addresses: addresses.iter().map(|address| (*address, 24)).collect(),
        }
    }

    #[test]
    fn each_client_is_told_the_address_that_it_can_reach_now() {
        let ip = |third, last| Ipv4Addr::new(10, 77, third, last);
        let mut proxy = proxying("");
        proxy.links = Links::of(vec![link(&[ip(0, 1), ip(1, 1)])]);
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

    const MAC: [u8; 6] = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];

    fn proxying(text: &str) -> Proxying {
        let settings: Settings = toml::from_str(&format!("tree = '.'\ndhcp = 'proxy'\n{text}")).unwrap();
        let inventory = Inventory::of(&settings.pi, &settings.group).unwrap();
        let DhcpConfig { admission, boot_files, .. } = settings.resolve().unwrap().dhcp.unwrap();
        Proxying {
            links: Links::of(vec![link(&[Ipv4Addr::new(10, 77, 0, 1)])]),
            interface: "eth0".into(),
            offered: Arc::default(),
            boot_server: None,
            offers: Offers::new(admission, boot_files, inventory, Bus::silent()),
        }
    }

    /// The file, and options 66 and 150, that a proxy names to the sender of a message; `None` without an answer.
    fn named_file(proxying: &mut Proxying, message: &[u8]) -> Option<(String, bool, bool)> {
        let mut out = [0; MAX_LEN];
        let arrival = Arrival::new(Instant::ZERO, Port::Server, "0.0.0.0:68".parse().unwrap());
        let reply = proxying.respond(&arrival, &Message::parse(message).unwrap(), &mut out).ok()?;
        let answer = Message::parse(&out[..reply.len.into()]).unwrap();
        let has = |code| answer.option(code).is_some();
        let file = answer.boot_file().map_or(String::new(), |file| file.to_string());
        Some((file, has(OptionCode::TFTP_SERVER_NAME), has(OptionCode::TFTP_SERVER_ADDRESS)))
    }

    fn pi(mac: [u8; 6]) -> Vec<u8> {
        let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0xbd98_9ae1).unwrap();
        let mut out = [0; MAX_LEN];
        let len = Profile::Pi(pi).discover(mac, 1, 0, &mut out).unwrap();
        out[..len].to_vec()
    }

    fn pxe(mac: [u8; 6], arch: u8, more: &[(OptionCode, &[u8])]) -> Vec<u8> {
        let mut out = [0; MAX_LEN];
        let mut message =
            Emitter::new(&Header::request(HardwareAddress::ethernet(mac), 1), &mut out).unwrap();
        message.kind(MessageType::Discover).unwrap();
        message.option(OptionCode::VENDOR_CLASS, b"PXEClient:Arch:00000:UNDI:003016").unwrap();
        message.option(OptionCode::ARCHITECTURE, &[0, arch]).unwrap();
        for (code, value) in more {
            message.option(*code, value).unwrap();
        }
        let len = message.finish().unwrap();
        out[..len].to_vec()
    }

    #[test]
    fn each_kind_of_client_gets_its_file() {
        let files = "boot-file = ['x64=ipxe.efi', 'arm64=arm64.efi', 'bios=undionly.kpxe', 'ipxe=boot.ipxe']";
        let mut proxying = proxying(&format!("dhcp-clients = 'pxe'\n{files}"));
        let mut file =
            |arch, more: &[_]| named_file(&mut proxying, &pxe([2; 6], arch, more)).map(|(file, ..)| file);
        assert_eq!(file(7, &[]).as_deref(), Some("ipxe.efi"));
        assert_eq!(file(11, &[]).as_deref(), Some("arm64.efi"));
        assert_eq!(file(0, &[]).as_deref(), Some("undionly.kpxe"));
        assert_eq!(file(6, &[]), None, "32-bit UEFI has none");
        assert_eq!(file(7, &[(OptionCode::USER_CLASS, b"iPXE")]).as_deref(), Some("boot.ipxe"));
        assert_eq!(file(7, &[(OptionCode::USER_CLASS, b"\x04iPXE")]).as_deref(), Some("boot.ipxe"));
        assert_eq!(file(7, &[(OptionCode::IPXE, b"\x13\x01\x01")]).as_deref(), Some("boot.ipxe"));
    }

    #[test]
    fn a_client_gets_the_options_that_it_asks_for() {
        let mut proxying = proxying("dhcp-clients = 'pxe'\nboot-file = 'x64=ipxe.efi'");
        let asked = [(OptionCode::PARAMETER_LIST, &[66, 150][..])];
        assert_eq!(named_file(&mut proxying, &pxe([2; 6], 7, &asked)), Some(("ipxe.efi".into(), true, true)));
        assert_eq!(named_file(&mut proxying, &pxe([2; 6], 7, &[])), Some(("ipxe.efi".into(), false, false)));
    }

    #[test]
    fn uefi_on_a_pi_is_a_pis() {
        for admitted in ["", "dhcp-clients = 'listed'\n[pi.bd989ae1]\n"] {
            let (clients, table) = admitted.split_once('\n').unwrap_or((admitted, ""));
            let mut proxying = proxying(&format!("boot-file = 'arm64=bootaa64.efi'\n{clients}\n{table}"));
            assert_eq!(named_file(&mut proxying, &pxe(MAC, 11, &[])), None, "no Pi has asked yet");
            assert!(named_file(&mut proxying, &pi(MAC)).is_some());
            assert_eq!(named_file(&mut proxying, &pxe(MAC, 11, &[])).unwrap().0, "bootaa64.efi");
            assert_eq!(named_file(&mut proxying, &pxe([2; 6], 11, &[])), None, "another machine");
        }
    }

    #[test]
    fn pis_outside_the_inventory_get_no_answer_if_it_is_the_list() {
        let mut listed = proxying("dhcp-clients = 'listed'\n[pi.00000001]\n[pi.02-00-00-00-00-09]");
        assert_eq!(named_file(&mut listed, &pi(MAC)), None);
        assert!(named_file(&mut listed, &pi([2, 0, 0, 0, 0, 9])).is_some());
    }
}
