//! The proxy of an interface, with a boot file for each kind of client.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{Arrival, Clients, Message, NoReply, ProxyDhcp, Reply, Respond};

use super::offers::{Named, Offers};
use super::run::Attend;
use crate::config::Admission;

/// A proxy for the clients of the settings.
pub(super) struct Proxying {
    pub(super) address: Ipv4Addr,
    pub(super) named: Named,
    pub(super) offers: Offers,
}

impl Respond for Proxying {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let Self { address, named, offers } = self;
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
        let answer = offers.name(request, None, named, |next_server| {
            let proxy = ProxyDhcp::new(*address).with_next_server(*next_server).with_clients(clients);
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
    use crate::pis::Inventory;

    const MAC: [u8; 6] = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];

    fn proxying(text: &str) -> Proxying {
        let settings: Settings = toml::from_str(&format!("tree = '.'\ndhcp = 'proxy'\n{text}")).unwrap();
        let inventory = Inventory::of(&settings.pi).unwrap();
        let DhcpConfig { admission, boot_files, .. } = settings.resolve().unwrap().dhcp.unwrap();
        let address = Ipv4Addr::new(10, 77, 0, 1);
        let offers = Offers::new(admission, boot_files, inventory, Bus::silent());
        Proxying { address, named: Named::new(address, &[]), offers }
    }

    /// The file, and options 66 and 150, that a proxy names to the sender of a message; `None` without an answer.
    fn named(proxying: &mut Proxying, message: &[u8]) -> Option<(String, bool, bool)> {
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
            |arch, more: &[_]| named(&mut proxying, &pxe([2; 6], arch, more)).map(|(file, ..)| file);
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
        assert_eq!(named(&mut proxying, &pxe([2; 6], 7, &asked)), Some(("ipxe.efi".into(), true, true)));
        assert_eq!(named(&mut proxying, &pxe([2; 6], 7, &[])), Some(("ipxe.efi".into(), false, false)));
    }

    #[test]
    fn uefi_on_a_pi_is_a_pis() {
        for admitted in ["", "dhcp-clients = 'listed'\n[pi.bd989ae1]\n"] {
            let (clients, table) = admitted.split_once('\n').unwrap_or((admitted, ""));
            let mut proxying = proxying(&format!("boot-file = 'arm64=bootaa64.efi'\n{clients}\n{table}"));
            assert_eq!(named(&mut proxying, &pxe(MAC, 11, &[])), None, "no Pi has asked yet");
            assert!(named(&mut proxying, &pi(MAC)).is_some());
            assert_eq!(named(&mut proxying, &pxe(MAC, 11, &[])).unwrap().0, "bootaa64.efi");
            assert_eq!(named(&mut proxying, &pxe([2; 6], 11, &[])), None, "another machine");
        }
    }

    #[test]
    fn pis_outside_the_inventory_get_no_answer_if_it_is_the_list() {
        let mut listed = proxying("dhcp-clients = 'listed'\n[pi.00000001]\n[pi.02-00-00-00-00-09]");
        assert_eq!(named(&mut listed, &pi(MAC)), None);
        assert!(named(&mut listed, &pi([2, 0, 0, 0, 0, 9])).is_some());
    }
}
