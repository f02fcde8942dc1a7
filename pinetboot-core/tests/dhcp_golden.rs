//! The bytes of real clients and servers, and our own.
//!
//! What a Pi, a PXE client and U-Boot make of the offers is what `probe` shows; here for every server that was captured.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod dhcp;

use dhcp::{MAC, XID, all_captured, arrival, captured, ip, message, pi4, shown};
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    BootClient, Header, MAX_LEN, Message, MessageType, NoBoot, NoReply, Offer, OptionCode, Port, Profile,
    ProxyDhcp, pxe,
};

#[test]
fn a_pi_4_is_imitated_to_the_byte() {
    let bytes = captured("pi4-discover");
    assert_eq!(bytes.len(), 322);
    let mut out = [0xaa; 600];
    let len = Profile::Pi(pi4()).discover(MAC, XID, 9, &mut out).unwrap();
    assert_eq!(out[..len], bytes);
    assert_eq!(out[len], 0xaa);

    let request = Message::parse(&bytes).unwrap();
    assert_eq!(request.to_string(), "DISCOVER from e4:5f:01:09:02:f7");
    assert_eq!(request.pi(), Some(pi4()));
    assert_eq!(
        shown(&bytes),
        [
            "53 (message type): DISCOVER",
            "55 (parameter request list): 1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135",
            "93 (client architecture): 0 (x86 BIOS, and every Raspberry Pi)",
            "94 (client network interface): type 1, version 2.1",
            "97 (client machine identifier): Raspberry Pi 4 Model B Rev 1.4 (8 GB), serial 91cdf03d",
            "60 (vendor class): \"PXEClient:Arch:00000:UNDI:002001\"",
        ]
    );
    assert!(request.wants(OptionCode::TFTP_SERVER_NAME) && !request.wants(OptionCode::TFTP_SERVER_ADDRESS));
    assert!(!request.header.broadcast());
}

#[test]
fn a_pi_3_is_imitated_to_the_byte() {
    let bytes = captured("pi3-rom-discover");
    assert_eq!(bytes.len(), 320);
    let mac = [0xb8, 0x27, 0xeb, 0x28, 0xf6, 0x6d];
    let mut out = [0; MAX_LEN];
    let len = Profile::PiBootRom.discover(mac, Profile::BOOT_ROM_XID, 0, &mut out).unwrap();
    assert_eq!(out[..len], bytes);
    assert_eq!(Message::parse(&bytes).unwrap().pi().unwrap().to_string(), "Raspberry Pi 3 boot ROM");
}

#[test]
fn u_boot_is_imitated_to_the_byte() {
    let selected = pinetboot_core::dhcp::Selected::new(ip("10.77.0.132"), ip("10.77.0.1"));
    for (name, selected) in [("uboot-discover", None), ("uboot-request", Some(selected))] {
        let mut bytes = captured(name);
        bytes[108..236].fill(0); // the name in `file`
        let mut out = [0; MAX_LEN];
        let len = match selected {
            None => Profile::UBoot.discover([0x52; 6], 0x5252_5b17, 0, &mut out),
            Some(selected) => Profile::UBoot.request([0x52; 6], 0x5252_5b17, 0, &selected, &mut out),
        };
        assert_eq!(out[..len.unwrap()], bytes, "{name}");
    }
}

#[test]
fn everything_captured_is_read_and_written_as_it_came() {
    let all = all_captured();
    assert!(all.len() > 25, "{}", all.len());
    for (name, bytes) in all {
        let message = Message::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(message.kind().is_some(), "{name}");
        let mut out = [0; 600];
        let len = message.emit(&mut out).unwrap();
        assert_eq!(out[..len], bytes, "{name}");
        for option in message.options() {
            assert!(option.code.name().is_some() || option.code.0 >= 128, "{name}: {option}");
        }
    }
}

#[test]
fn options_that_go_on_elsewhere_are_found() {
    let bytes = captured("isc-overload");
    let message = Message::parse(&bytes).unwrap();
    assert!(message.option(OptionCode(129)).unwrap() == [b'b'; 110][..]);
    assert!(message.option(OptionCode(130)).unwrap() == [b'c'; 50][..], "in `file`");
    assert!(message.option(OptionCode(131)).unwrap() == [b'd'; 40][..], "in `file`");
    assert_eq!(message.boot_file(), None, "`file` holds no name");

    let bytes = captured("kea-long");
    let message = Message::parse(&bytes).unwrap();
    assert!(message.option(OptionCode(128)).unwrap() == [b'z'; 300][..], "in two parts");
}

/// The captured options 43, and ours.
#[test]
fn options_43_are_alike() {
    for (name, expected) in [
        ("dnsmasq-pxe-service", &pxe::DNSMASQ[..]),
        ("dnsmasq-proxy", &pxe::DNSMASQ),
        ("isc-option43", &pxe::RASPBERRY_PI),
    ] {
        let bytes = captured(name);
        let message = Message::parse(&bytes).unwrap();
        assert!(message.option(OptionCode::VENDOR).unwrap() == *expected, "{name}");
    }
    let kea = captured("kea-option43");
    let vendor = Message::parse(&kea).unwrap().option(OptionCode::VENDOR).unwrap();
    assert_eq!(vendor.len(), pxe::RASPBERRY_PI.len() - 1);
    assert!(pxe::is_for_pi(vendor.joined(&mut [])));
}

/// What each client would do with these offers, in words.
#[track_caller]
fn verdicts(offers: &[&str], expected: [&str; 4]) {
    let bytes: Vec<_> = offers.iter().map(|name| captured(name)).collect();
    let offers: Vec<_> =
        bytes.iter().map(|bytes| Offer::new(ip("10.77.0.1"), Message::parse(bytes).unwrap())).collect();
    let clients = [BootClient::PiEeprom, BootClient::PiBootRom, BootClient::Pxe, BootClient::UBoot];
    let verdicts = clients.map(|client| match client.choose(&offers) {
        Ok(choice) => choice.to_string(),
        Err(no_boot) => {
            let gives_up = matches!(no_boot, NoBoot::GivesUp { .. });
            assert_eq!(gives_up, client == BootClient::PiBootRom && no_boot.to_string().contains("Pi asks"));
            format!("no: {no_boot}").replace("asks five times and gives up", "keeps asking")
        }
    });
    assert_eq!(verdicts.each_ref().map(String::as_str), expected);
}

const KEEPS_ASKING: &str = "no: the Pi keeps asking: the offer has neither option 66 nor option 43";
const KEEPS_ASKING_SIADDR_1: &str = "no: the Pi keeps asking: the offer has neither option 66 nor option 43; the next server \
    10.77.0.1 (siaddr) counts only beside option 60 \"PXEClient\" and the menu \"Raspberry Pi Boot\" in option 43";
const KEEPS_ASKING_SIADDR_2: &str = "no: the Pi keeps asking: the offer has neither option 66 nor option 43; the next server \
    10.77.0.2 (siaddr) counts only beside option 60 \"PXEClient\" and the menu \"Raspberry Pi Boot\" in option 43";
const NOT_BELIEVED: &str = "the next server 10.77.0.1 (siaddr) counts only beside option 60 \"PXEClient\" and the menu \
    \"Raspberry Pi Boot\" in option 43";
const NO_FILE: &str = "no: no boot file is named";
const NO_NEXT_SERVER: &str = "no: no next server (siaddr), and U-Boot looks at nothing else";
const SIADDR_1: &str = "10.77.0.1 (siaddr, next-server)";
const SIADDR_2: &str = "10.77.0.2 (siaddr, next-server)";
const SIADDR_1_BELIEVED: &str = "10.77.0.1 (siaddr, next-server), believed because of options 60 and 43";
const OPTION_66: &str = "10.77.0.1 (option 66)";
const OPTION_66_ROM: &str =
    "no: the Pi keeps asking: option 66 is sent alone, and a Pi 3's boot ROM needs option 43 too";

#[test]
fn what_routers_offer() {
    // dnsmasq puts its own address into siaddr.
    verdicts(&["dnsmasq-plain"], [KEEPS_ASKING_SIADDR_1, KEEPS_ASKING_SIADDR_1, NO_FILE, SIADDR_1]);
    verdicts(&["isc-plain"], [KEEPS_ASKING, KEEPS_ASKING, NO_FILE, NO_NEXT_SERVER]);
    for next_server in ["dnsmasq-next-server", "isc-next-server", "kea-next-server"] {
        verdicts(&[next_server], [KEEPS_ASKING_SIADDR_2, KEEPS_ASKING_SIADDR_2, NO_FILE, SIADDR_2]);
    }
    verdicts(&["kea-boot-file"], [KEEPS_ASKING_SIADDR_1, KEEPS_ASKING_SIADDR_1, SIADDR_1, SIADDR_1]);
}

#[test]
fn what_routers_with_option_66_offer() {
    let rom = format!("{OPTION_66_ROM}; {NOT_BELIEVED}");
    verdicts(&["dnsmasq-option66"], [OPTION_66, &rom, NO_FILE, SIADDR_1]);
    for other in ["isc-option66", "kea-option66", "isc-overload", "kea-long"] {
        verdicts(&[other], [OPTION_66, OPTION_66_ROM, NO_FILE, NO_NEXT_SERVER]);
    }
    let garbage = format!(
        "no: the Pi keeps asking: option 66 is not an IP address, and a Pi cannot ask DNS; {NOT_BELIEVED}"
    );
    verdicts(&["dnsmasq-garbage66"], [&garbage, &garbage, NO_FILE, SIADDR_1]);
    // The boot server is in another network, and there is a relay agent.
    verdicts(&["dnsmasq-relayed"], [OPTION_66, &rom, NO_FILE, SIADDR_1]);
}

#[test]
fn what_routers_with_option_43_offer() {
    // A Pi's menu makes a PXE client boot from its disk.
    verdicts(&["dnsmasq-pxe-service"], [SIADDR_1_BELIEVED, SIADDR_1_BELIEVED, NO_FILE, SIADDR_1]);
    for other in ["isc-option43", "kea-option43"] {
        verdicts(&[other], [OPTION_66, OPTION_66, NO_FILE, SIADDR_1]);
    }
}

#[test]
fn a_proxy_and_a_router_are_merged_in_either_order() {
    let proxied = "10.77.0.1 (option 54, the server itself), believed because of options 60 and 43";
    for router in ["isc-plain", "kea-next-server"] {
        let u_boot = if router == "isc-plain" { NO_NEXT_SERVER } else { SIADDR_2 };
        verdicts(&[router, "dnsmasq-proxy"], [proxied, proxied, NO_FILE, u_boot]);
        verdicts(&["dnsmasq-proxy", router], [proxied, proxied, NO_FILE, u_boot]);
    }
    let alone = "no: only proxies answered, and none of them gives an address";
    verdicts(&["dnsmasq-proxy"], [alone; 4]);
    verdicts(&["dnsmasq-proxy", "dnsmasq-proxy"], [alone; 4]);
    verdicts(&[], ["no: no DHCP server answered"; 4]);
}

#[test]
fn an_ordinary_pxe_client_takes_its_file() {
    let bytes = captured("dnsmasq-boot-file");
    let message = Message::parse(&bytes).unwrap();
    let choice = BootClient::Pxe.choose(&[Offer::new(ip("10.77.0.1"), message)]).unwrap();
    assert_eq!((choice.server, choice.file.unwrap().to_string()), (ip("10.77.0.1"), "boot.efi".to_owned()));
    let edk2 = captured("edk2-discover");
    let edk2 = Message::parse(&edk2).unwrap();
    assert!(edk2.is_pxe() && edk2.pi().is_none() && edk2.header.broadcast());
    assert_eq!(edk2.architecture().unwrap().to_string(), "11 (ARM64 UEFI)");
}

#[test]
fn the_three_spaces_are_missed() {
    let lacks_spaces = |name: &str| {
        let bytes = captured(name);
        let offer = Offer::new(ip("10.77.0.1"), Message::parse(&bytes).unwrap());
        BootClient::PiBootRom.choose(&[offer]).unwrap().lacks_spaces
    };
    assert!(lacks_spaces("dnsmasq-pxe-service"));
    assert!(!lacks_spaces("isc-option43") && !lacks_spaces("kea-option43"));
}

#[test]
fn a_boot_rom_reaches_only_its_own_network() {
    let mut header = Header::request(dhcp::hardware(1), 1).reply();
    (header.yiaddr, header.siaddr) = (ip("10.77.0.9"), ip("10.78.0.1"));
    let options: [(OptionCode, &[u8]); 3] = [
        (OptionCode::SUBNET_MASK, &[255, 255, 255, 0]),
        (OptionCode::VENDOR_CLASS, pxe::CLIENT),
        (OptionCode::VENDOR, &pxe::RASPBERRY_PI),
    ];
    let verdict = |header: &Header, client: BootClient| {
        let bytes = message(header, MessageType::Offer, &options);
        let offer = Offer::new(ip("10.77.0.1"), Message::parse(&bytes).unwrap());
        client.choose(&[offer]).map_or_else(|no_boot| no_boot.to_string(), |choice| choice.server.to_string())
    };
    let (eeprom, rom) = (BootClient::PiEeprom, BootClient::PiBootRom);
    assert_eq!(verdict(&header, eeprom), "10.78.0.1");
    assert_eq!(
        verdict(&header, rom),
        "the boot server is in another network, which a Pi 3's boot ROM cannot reach"
    );
    let mut relayed = header;
    (relayed.siaddr, relayed.giaddr) = (ip("10.77.0.1"), ip("10.77.0.2"));
    assert_eq!(verdict(&relayed, eeprom), "10.77.0.1");
    assert_eq!(
        verdict(&relayed, rom),
        "a relay agent is on the path, which a Pi 3's boot ROM does not support"
    );
}

#[test]
fn near_misses_are_told() {
    let mut header = Header::request(dhcp::hardware(1), 1).reply();
    header.yiaddr = ip("10.77.0.9");
    let verdict = |options: &[(OptionCode, &[u8])]| {
        let bytes = message(&header, MessageType::Offer, options);
        let offer = Offer::new(ip("10.77.0.1"), Message::parse(&bytes).unwrap());
        BootClient::PiEeprom.choose(&[offer]).unwrap_err().to_string().replace("the Pi keeps asking: ", "")
    };
    let class = (OptionCode::VENDOR_CLASS, pxe::CLIENT);
    assert_eq!(
        verdict(&[(OptionCode::VENDOR, &pxe::RASPBERRY_PI)]),
        "option 43 is right, but option 60 is not \"PXEClient\""
    );
    assert_eq!(
        verdict(&[class, (OptionCode::VENDOR, b"Raspberry Pi Boot")]),
        "option 43 is the bare text \"Raspberry Pi Boot\", not a menu entry"
    );
    assert_eq!(
        verdict(&[class, (OptionCode::VENDOR, &pxe::BOOT_FILE_ONLY)]),
        "option 43 has no menu entry \"Raspberry Pi Boot\""
    );
    assert_eq!(
        verdict(&[(OptionCode::TFTP_SERVER_NAME, b"boot.example")]),
        "option 66 is not an IP address, and a Pi cannot ask DNS"
    );
    assert_eq!(
        verdict(&[(OptionCode::TFTP_SERVER_ADDRESS, &[10, 77, 0, 1])]),
        "the offer has neither option 66 nor option 43",
        "no Pi asks for option 150"
    );
}

#[test]
fn our_proxys_offer() {
    let bytes = captured("pi4-discover");
    let mut out = [0xaa; MAX_LEN];
    let proxy = ProxyDhcp::new(ip("10.77.0.1"));
    let reply = proxy.respond(&arrival(Instant::ZERO), &Message::parse(&bytes).unwrap(), &mut out).unwrap();
    let offer = &out[..reply.len.into()];
    let mut expected = bytes[..240].to_vec();
    expected[0] = 2;
    expected[10] = 0x80; // broadcast
    expected[20..24].copy_from_slice(&[10, 77, 0, 1]);
    expected.extend(b"\x35\x01\x02\x36\x04\x0a\x4d\0\x01\x3c\x09PXEClient");
    expected.extend(b"\x2b\x23\x06\x01\x03\x0a\x04\0PXE\x09\x17\0\0\x14Raspberry Pi Boot   \xff");
    expected.extend(b"\x42\x0910.77.0.1\x61\x11\x004iPR\x14\x31\xd0\0\x01\x09\x02\xf7\x3d\xf0\xcd\x91\xff");
    assert_eq!(offer.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!((reply.to.to_string().as_str(), reply.kind), ("255.255.255.255:68", MessageType::Offer));

    // And what a Pi makes of it, with the offers of a router that knows nothing of it.
    let router = captured("isc-plain");
    for order in [[&router[..], offer], [offer, &router[..]]] {
        let offers = order.map(|bytes| Offer::new(ip("10.77.0.1"), Message::parse(bytes).unwrap()));
        for client in [BootClient::PiEeprom, BootClient::PiBootRom] {
            let choice = client.choose(&offers).unwrap();
            assert_eq!((choice.to_string().as_str(), choice.lacks_spaces), (OPTION_66, false));
        }
    }
}

#[test]
fn our_proxy_answers_pis_only_unless_told() {
    use pinetboot_core::dhcp::{BootFileName, Clients, NextServer, NoReply};
    let pis = ProxyDhcp::new(ip("10.77.0.1"));
    let next_server = NextServer::new(ip("10.77.0.1")).with_file(BootFileName::parse(b"boot.efi").unwrap());
    let pxe = pis.with_clients(Clients::Pxe).with_next_server(next_server);
    let answer = |proxy: &ProxyDhcp<'_>, name: &str, port: Port| {
        let bytes = captured(name);
        let mut arrival = arrival(Instant::ZERO);
        arrival.port = port;
        let reply = proxy.respond(&arrival, &Message::parse(&bytes).unwrap(), &mut [0; MAX_LEN]);
        reply.map(|reply| reply.kind)
    };
    let (offer, ack) = (Ok(MessageType::Offer), Ok(MessageType::Ack));
    for (name, to_pis, to_pxe) in [
        ("pi4-discover", offer, offer),
        ("pi3-rom-discover", offer, offer),
        ("relay-discover", offer, offer),
        ("edk2-discover", Err(NoReply::NotServed), offer),
        ("udhcpc-pxe-discover", Err(NoReply::NotServed), offer),
        ("udhcpc-discover", Err(NoReply::NotServed), Err(NoReply::NotServed)),
        ("dhclient-discover", Err(NoReply::NotServed), Err(NoReply::NotServed)),
        ("uboot-discover", Err(NoReply::NotServed), Err(NoReply::NotServed)),
        ("udhcpc-request", Err(NoReply::ForAnother), Err(NoReply::ForAnother)),
        ("edk2-request", Err(NoReply::ForAnother), Err(NoReply::ForAnother)),
        ("dnsmasq-option66", Err(NoReply::NotAClient), Err(NoReply::NotAClient)),
    ] {
        assert_eq!(answer(&pis, name, Port::Server), to_pis, "{name}");
        assert_eq!(answer(&pxe, name, Port::Server), to_pxe, "{name}");
        let everyone = pxe.with_clients(Clients::All);
        assert_eq!(answer(&everyone, name, Port::Server), to_pxe, "{name}");
    }
    assert_eq!(answer(&pxe, "edk2-request", Port::Pxe), ack);
    assert_eq!(answer(&pxe, "edk2-discover", Port::Pxe), Err(NoReply::ForAnother));
    let mut elsewhere = pxe;
    elsewhere.address = ip("10.77.0.3");
    assert_eq!(answer(&elsewhere, "edk2-request", Port::Pxe), Err(NoReply::ForAnother), "by option 54");
    let no_file = pxe.with_next_server(NextServer::new(ip("10.77.0.1")));
    assert_eq!(answer(&no_file, "edk2-discover", Port::Server), Err(NoReply::NothingToOffer));
    assert_eq!(answer(&no_file, "pi4-discover", Port::Server), offer);
}

/// A forged request would have the proxy send to a group, to all hosts or to itself.
#[test]
fn an_address_of_no_relay_is_not_answered() {
    let mut out = [0; MAX_LEN];
    for wrong in ["224.0.0.1", "239.1.2.3", "127.0.0.1", "255.255.255.255", "240.0.0.1", "0.0.0.7"] {
        let mut bytes = captured("relay-discover");
        bytes[24..28].copy_from_slice(&ip(wrong).octets());
        let answer = ProxyDhcp::new(ip("10.77.0.1")).respond(
            &arrival(Instant::ZERO),
            &Message::parse(&bytes).unwrap(),
            &mut out,
        );
        assert_eq!(answer, Err(NoReply::OtherNetwork), "{wrong}");
    }
}

/// An answer to another service's port would go to and fro.
#[test]
fn a_service_is_no_client() {
    use core::net::SocketAddrV4;

    use pinetboot_core::dhcp::{Arrival, NoReply};
    let bytes = captured("pi4-discover");
    for port in [0, 7, 19, 53, 69, 123, 1023, 67, 68, 1024, 4011] {
        let peer = SocketAddrV4::new(ip("10.77.0.9"), port);
        let arrival = Arrival::new(Instant::ZERO, Port::Server, peer);
        let request = Message::parse(&bytes).unwrap();
        let answer = ProxyDhcp::new(ip("10.77.0.1")).respond(&arrival, &request, &mut [0; MAX_LEN]);
        let kind = answer.map(|reply| reply.kind);
        let is_client = matches!(port, 67 | 68) || port >= 1024;
        assert_eq!(kind, if is_client { Ok(MessageType::Offer) } else { Err(NoReply::NotAClient) }, "{port}");
    }
}

#[test]
fn a_relayed_pi_is_answered_by_its_relay() {
    let bytes = captured("relay-discover");
    let mut out = [0; MAX_LEN];
    let request = Message::parse(&bytes).unwrap();
    let reply = ProxyDhcp::new(ip("10.77.0.1")).respond(&arrival(Instant::ZERO), &request, &mut out).unwrap();
    assert_eq!(reply.to.to_string(), "10.88.0.1:67");
    let offer = Message::parse(&out[..reply.len.into()]).unwrap();
    assert_eq!((offer.header.giaddr, offer.header.broadcast()), (ip("10.88.0.1"), false));
    assert_eq!(offer.option(OptionCode::RELAY_AGENT), request.option(OptionCode::RELAY_AGENT));
    assert!(offer.option(OptionCode::RELAY_AGENT).is_some());
}
