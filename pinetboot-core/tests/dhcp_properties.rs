//! Any bytes are parsed or refused, what is parsed is emitted again, and what all of it costs in memory.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod dhcp;

use std::net::Ipv4Addr;

use dhcp::{all_captured, arrival, hardware, ip, message};
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    BootClient, BootFileName, BootServer, Choice, Client, Clients, DhcpOption, HardwareAddress, Header,
    Lease, LeaseServer, LeaseSlot, MAX_LEN, Message, MessageType, Network, NextServer, NoBoot, NoReply,
    Offer, Op, OptionCode, ParseError, Profile, ProxyDhcp, Reply, Value, pxe,
};
use proptest::prelude::*;

#[test]
fn sizes() {
    assert_eq!(size_of::<ParseError>(), 1);
    assert!(size_of::<NoReply>() <= 8, "{}", size_of::<NoReply>());
    assert!(size_of::<NoBoot>() <= 8, "{}", size_of::<NoBoot>());
    assert!(size_of::<Reply>() <= 16, "{}", size_of::<Reply>());
    assert!(size_of::<HardwareAddress>() <= 18, "{}", size_of::<HardwareAddress>());
    assert!(size_of::<Header>() <= 52, "{}", size_of::<Header>());
    assert!(size_of::<Message<'_>>() <= 96, "{}", size_of::<Message<'_>>());
    assert!(size_of::<Value<'_>>() <= 56, "{}", size_of::<Value<'_>>());
    assert!(size_of::<BootServer<'_>>() <= 80, "{}", size_of::<BootServer<'_>>());
    assert!(size_of::<Choice<'_>>() <= 208, "{}", size_of::<Choice<'_>>());
    assert!(size_of::<Lease>() <= 40, "{}", size_of::<Lease>());
    assert!(size_of::<Client>() <= 128, "{}", size_of::<Client>());
    assert!(size_of::<ProxyDhcp<'_>>() <= 56, "{}", size_of::<ProxyDhcp<'_>>());
    assert!(
        size_of::<LeaseServer<'_, [LeaseSlot; 32]>>() <= 32 * 72 + 152,
        "{}",
        size_of::<LeaseServer<'_, [LeaseSlot; 32]>>()
    );
}

/// Does everything with a message that can be done with one.
fn exercise(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let mut out = vec![0; bytes.len() + 16];
    let len = message.emit(&mut out).expect("what came in fits where it came from");
    assert_eq!(Message::parse(&out[..len]), Ok(message));
    assert!(len <= bytes.len().max(240));

    let _ = format!("{message} {:?} {:?}", message.pi(), message.architecture());
    for option in message.options() {
        let _ = option.to_string();
        assert!(message.option(option.code).is_some());
    }
    for server in BootServer::all(&message) {
        let _ = server.to_string();
    }
    let _ = (message.boot_file(), message.server_name(), message.vendor_class());
    if let Some(vendor) = message.option(OptionCode::VENDOR) {
        let mut joined = vec![0; vendor.len()];
        for option in pxe::sub_options(vendor.joined(&mut joined)) {
            let _ = option.to_string();
        }
    }
    let offer = Offer::new(ip("10.77.0.1"), message);
    for client in [BootClient::PiEeprom, BootClient::PiBootRom, BootClient::Pxe, BootClient::UBoot] {
        match client.choose(&[offer, offer]) {
            Ok(choice) => drop(choice.to_string()),
            Err(no_boot) => drop(no_boot.to_string()),
        }
    }

    let next_server = NextServer::new(ip("10.77.0.1")).with_file(BootFileName::parse(b"boot.efi").unwrap());
    let mut network = Network::new(ip("10.77.0.1"), 24, ip("10.77.0.100"), ip("10.77.0.103")).unwrap();
    (network.next_server, network.clients) = (next_server, Clients::All);
    let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 2]);
    let proxy = ProxyDhcp::new(ip("10.77.0.1")).with_clients(Clients::All).with_next_server(next_server);
    let mut out = [0; 600];
    let answers = [
        proxy.respond(&arrival(Instant::ZERO), &message, &mut out),
        server.respond(&arrival(Instant::ZERO), &message, &mut out),
    ];
    for reply in answers.into_iter().flatten() {
        assert_eq!(message.header.op, Op::Request, "a reply is never answered");
        assert!((300..=MAX_LEN).contains(&reply.len.into()));
    }
    let mut client = Client::new(Profile::Plain, [2; 6], message.header.xid);
    client.poll(Instant::ZERO);
    client.handle(Instant::ZERO, ip("10.77.0.1"), &message);
    client.poll(Instant::ZERO);
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        Just(Ipv4Addr::UNSPECIFIED),
        Just(ip("10.77.0.100")),
        any::<u32>().prop_map(Ipv4Addr::from_bits)
    ]
}

prop_compose! {
    fn header()(
        reply: bool, kind: u8, chaddr in prop::collection::vec(any::<u8>(), 0..=16), hops: u8, xid: u32, secs: u16,
        flags: u16, ciaddr in address(), yiaddr in address(), siaddr in address(), giaddr in address(),
    ) -> Header {
        let op = if reply { Op::Reply } else { Op::Request };
        let hardware = HardwareAddress::new(kind, &chaddr).unwrap();
        let mut header = Header::request(hardware, xid);
        (header.op, header.hops, header.secs, header.flags) = (op, hops, secs, flags);
        (header.ciaddr, header.yiaddr, header.siaddr, header.giaddr) = (ciaddr, yiaddr, siaddr, giaddr);
        header
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        header in header(),
        kind in (1_u8..=8).prop_map(|code| MessageType::from_code(code).unwrap()),
        options in prop::collection::vec((1_u8..=254, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let kept: Vec<_> = options.iter().filter(|(code, _)| ![52, 53].contains(code)).collect();
        let options: Vec<_> = kept.iter().map(|(code, value)| (OptionCode(*code), &value[..])).collect();
        let bytes = message(&header, kind, &options);
        prop_assert!((300..=MAX_LEN).contains(&bytes.len()));
        let parsed = Message::parse(&bytes).unwrap();
        prop_assert_eq!((parsed.header, parsed.kind()), (header, Some(kind)));
        let expected: Vec<_> = options.iter().map(|&(code, value)| DhcpOption::new(code, value)).collect();
        prop_assert_eq!(parsed.options().skip(1).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_long_option_is_split_and_joined(value in prop::collection::vec(any::<u8>(), 0..300)) {
        let header = Header::request(hardware(1), 1);
        let bytes = message(&header, MessageType::Discover, &[(OptionCode(224), &value)]);
        let parsed = Message::parse(&bytes).unwrap();
        prop_assert!(parsed.option(OptionCode(224)).unwrap() == value[..]);
        prop_assert_eq!(parsed.options().count(), 1 + value.len().div_ceil(255).max(1));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        exercise(&bytes);
        pxe::sub_options(&bytes).for_each(|option| drop(option.to_string()));
    }

    #[test]
    fn no_options_make_it_panic(
        header in header(),
        sname: [u8; 32],
        file: [u8; 32],
        options in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0_u8..10,
        overload in 0_u8..5,
    ) {
        let mut bytes = message(&header, MessageType::Discover, &[]);
        bytes[44..76].copy_from_slice(&sname);
        bytes[108..140].copy_from_slice(&file);
        bytes.truncate(240);
        bytes.extend([53, 1, kind, 52, 1, overload]);
        bytes.extend(&options);
        exercise(&bytes);
    }

    #[test]
    fn nothing_captured_makes_it_panic_if_it_is_broken(
        which: prop::sample::Index,
        at: prop::sample::Index,
        with: u8,
        len: prop::sample::Index,
    ) {
        let all = all_captured();
        let (_, mut bytes) = all[which.index(all.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = with;
        exercise(&bytes);
        bytes.truncate(len.index(bytes.len()));
        exercise(&bytes);
    }

    /// Whatever is asked, no address is held by two, nor two by one.
    #[test]
    fn leases_stay_apart(asked in prop::collection::vec((0_u32..6, 0_u8..6, 0_u8..8, any::<bool>(), 0_u64..2000), 0..200)) {
        let mut network = Network::new(ip("10.77.0.1"), 24, ip("10.77.0.100"), ip("10.77.0.103")).unwrap();
        (network.clients, network.lease_time) = (Clients::All, core::time::Duration::from_secs(1000));
        network.first_lease_time = Some(core::time::Duration::from_secs(300));
        let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 3]);
        let mut now = Instant::ZERO;
        // Who was told what, and until when.
        let mut granted: Vec<(u32, Ipv4Addr, Instant)> = Vec::new();
        for (client, kind, last, ours, later) in asked {
            now = now + core::time::Duration::from_secs(later);
            let kind = [1, 3, 3, 4, 7, 8][usize::from(kind)];
            let address = Ipv4Addr::new(10, 77, 0, 98 + last);
            let mut options: Vec<(OptionCode, Vec<u8>)> = vec![];
            let mut header = Header::request(hardware(client), 1);
            if ours {
                options.push((OptionCode::SERVER_ID, vec![10, 77, 0, 1]));
                options.push((OptionCode::REQUESTED_ADDRESS, address.octets().to_vec()));
            } else {
                header.ciaddr = address;
            }
            let options: Vec<_> = options.iter().map(|(code, value)| (*code, &value[..])).collect();
            let bytes = message(&header, MessageType::from_code(kind).unwrap(), &options);
            let mut out = [0; MAX_LEN];
            let answer = server.respond(&arrival(now), &Message::parse(&bytes).unwrap(), &mut out);
            granted.retain(|(.., until)| *until > now);
            match answer {
                Ok(Reply { kind: MessageType::Ack, address, .. }) if !address.is_unspecified() => {
                    prop_assert!(granted.iter().all(|(other, theirs, _)| *other == client || *theirs != address));
                    granted.retain(|(other, ..)| *other != client);
                    let secs = Message::parse(&out).unwrap().lease_secs().unwrap();
                    granted.push((client, address, now + core::time::Duration::from_secs(secs.into())));
                    if client % 2 == 0 {
                        prop_assert!(server.confirm(now, address));
                    }
                }
                Err(NoReply::Released(address) | NoReply::Declined(address)) => {
                    granted.retain(|(other, theirs, _)| *other != client || *theirs != address);
                }
                _ => {}
            }
            let leases: Vec<_> = server.leases().collect();
            prop_assert!(leases.len() <= 3);
            for (index, lease) in leases.iter().enumerate() {
                prop_assert!(leases.iter().skip(index + 1).all(|other| other.address != lease.address));
                prop_assert!(lease.address != ip("10.77.0.1"));
            }
        }
    }
}
