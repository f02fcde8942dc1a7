//! The client as a Pi, as U-Boot and plainly, against captured servers and our own, on a clock of its own.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod dhcp;

use std::net::Ipv4Addr;

use dhcp::{MAC, XID, arrival, captured, ip, message, pi4};
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Client, Clients, LeaseServer, LeaseSlot, MAX_LEN, Message, MessageType, Network, NoBoot, Outcome,
    Profile, ProxyDhcp, Shortfall, Step,
};

/// Plays to the end; `answer` says what comes back for each message sent. What was sent, and when, in milliseconds.
fn play(
    mut client: Client,
    mut answer: impl FnMut(Instant, &Message<'_>) -> Vec<(Ipv4Addr, Vec<u8>)>,
) -> (Vec<(u64, MessageType)>, Outcome) {
    let mut now = Instant::from_millis(1000);
    let mut sent = Vec::new();
    let mut out = [0; MAX_LEN];
    loop {
        match client.poll(now) {
            Step::Send(kind) => {
                let len = client.emit(now, kind, &mut out).unwrap();
                let said = Message::parse(&out[..len]).unwrap();
                assert_eq!(said.kind(), Some(kind));
                sent.push((now.as_micros() / 1000 - 1000, kind));
                for (from, mut bytes) in answer(now, &said) {
                    // Captured for another exchange.
                    bytes[4..8].copy_from_slice(&said.header.xid.to_be_bytes());
                    bytes[28..34].copy_from_slice(said.header.hardware.as_bytes());
                    client.handle(now, from, &Message::parse(&bytes).unwrap());
                }
            }
            Step::Wait { until } => {
                assert!(until > now);
                now = until;
            }
            Step::Done(outcome) => {
                assert_eq!(client.poll(now), Step::Done(outcome));
                return (sent, outcome);
            }
        }
    }
}

/// A router that offers this and confirms it.
fn router(name: &str) -> impl FnMut(Instant, &Message<'_>) -> Vec<(Ipv4Addr, Vec<u8>)> {
    let offer = captured(name);
    move |_, said| {
        let mut reply = offer.clone();
        if said.kind() == Some(MessageType::Request) {
            assert_eq!(said.server_id(), Some(ip("10.77.0.1")));
            assert_eq!(said.requested_address(), Some(Message::parse(&offer).unwrap().header.yiaddr));
            assert_eq!(reply[240..242], [53, 1]);
            reply[242] = 5;
        }
        vec![(ip("10.77.0.1"), reply)]
    }
}

fn pi() -> Client {
    Client::new(Profile::Pi(pi4()), MAC, XID)
}

fn boot_server(outcome: Outcome) -> Option<Ipv4Addr> {
    match outcome {
        Outcome::Bound { boot_server, .. } => boot_server,
        Outcome::NoBoot(no_boot) => panic!("{no_boot}"),
    }
}

const DISCOVER: MessageType = MessageType::Discover;
const REQUEST: MessageType = MessageType::Request;

#[test]
fn a_pi_boots_by_option_66() {
    let (sent, outcome) = play(pi(), router("isc-option66"));
    assert_eq!(sent, [(0, DISCOVER), (0, REQUEST)]);
    let Outcome::Bound { address, mask, router, server, lease_secs, boot_server, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((address, mask, lease_secs), (ip("10.77.0.100"), Some(ip("255.255.255.0")), Some(600)));
    let router_itself = ip("10.77.0.1");
    assert_eq!((router, server, boot_server), (Some(router_itself), router_itself, Some(router_itself)));
}

#[test]
fn a_pi_asks_for_45_seconds_in_vain() {
    let (sent, outcome) = play(pi(), router("dnsmasq-next-server"));
    let every_4_s: Vec<_> = (0..12).map(|n| (n * 4000, DISCOVER)).collect();
    assert_eq!(sent, every_4_s);
    let no_boot = NoBoot::KeepsAsking { shortfall: Shortfall::Nothing, next_server: Some(ip("10.77.0.2")) };
    assert_eq!(outcome, Outcome::NoBoot(no_boot));

    let (sent, outcome) = play(pi(), |_, _| vec![]);
    assert_eq!((sent, outcome), (every_4_s, Outcome::NoBoot(NoBoot::NoOffer)));
    let (_, outcome) = play(pi(), router("dnsmasq-proxy"));
    assert_eq!(outcome, Outcome::NoBoot(NoBoot::NoAddress));
}

#[test]
fn a_pi_merges_our_proxy_and_a_router_in_either_order() {
    for proxy_first in [true, false] {
        let mut router = router("isc-plain");
        let (sent, outcome) = play(pi(), |now, said| {
            let mut replies = router(now, said);
            let mut out = vec![0; MAX_LEN];
            let proxy = ProxyDhcp::new(ip("10.77.0.3"));
            if let Ok(reply) = proxy.respond(&arrival(now), said, &mut out) {
                out.truncate(reply.len.into());
                replies.insert(usize::from(!proxy_first), (ip("10.77.0.3"), out));
            }
            replies
        });
        assert_eq!(sent, [(0, DISCOVER), (0, REQUEST)]);
        assert_eq!(boot_server(outcome), Some(ip("10.77.0.3")));
    }
}

#[test]
fn a_boot_rom_asks_five_times_and_requests_nothing() {
    let rom = || Client::new(Profile::PiBootRom, MAC, 7);
    let (sent, outcome) = play(rom(), |_, said| {
        assert_eq!(said.header.xid, Profile::BOOT_ROM_XID);
        vec![]
    });
    assert_eq!(sent, [0, 5, 10, 15, 20].map(|secs| (secs * 1000, DISCOVER)));
    assert_eq!(outcome, Outcome::NoBoot(NoBoot::NoOffer));
    let (sent, outcome) = play(rom(), router("dnsmasq-pxe-service"));
    assert_eq!(sent, [(0, DISCOVER)]);
    assert_eq!(boot_server(outcome), Some(ip("10.77.0.1")));
}

#[test]
fn u_boot_takes_the_next_server_or_none() {
    let u_boot = || Client::new(Profile::UBoot, MAC, XID);
    assert_eq!(boot_server(play(u_boot(), router("kea-next-server")).1), Some(ip("10.77.0.2")));
    assert_eq!(boot_server(play(u_boot(), router("isc-option66")).1), None);
    let (sent, _) = play(u_boot(), |_, _| vec![]);
    assert_eq!(sent[..5], [0, 250, 750, 1750, 3750].map(|millis| (millis, DISCOVER)));
    assert!(sent.last().unwrap().0 < 28_000);
    // A server that falls silent: begun anew after five seconds.
    let mut offers = router("isc-plain");
    let (sent, _) = play(u_boot(), |now, said| match said.kind() {
        Some(REQUEST) => vec![],
        _ => offers(now, said),
    });
    assert_eq!(sent[..4], [(0, DISCOVER), (0, REQUEST), (5000, DISCOVER), (5000, REQUEST)]);
}

#[test]
fn every_profile_gets_an_address_from_our_server() {
    let network = || {
        let mut network = Network::new(ip("10.77.0.1"), 24, ip("10.77.0.100"), ip("10.77.0.150")).unwrap();
        network.clients = Clients::All;
        network
    };
    for (profile, boots) in [
        (Profile::Pi(pi4()), true),
        (Profile::PiBootRom, true),
        (Profile::UBoot, true),
        (Profile::Plain, false),
    ] {
        let mut server = LeaseServer::new(network(), [LeaseSlot::EMPTY; 4]);
        let (sent, outcome) = play(Client::new(profile, MAC, XID), |now, said| {
            let mut out = vec![0; MAX_LEN];
            let reply = server.respond(&arrival(now), said, &mut out).unwrap();
            out.truncate(reply.len.into());
            vec![(ip("10.77.0.1"), out)]
        });
        assert_eq!(sent.len(), if profile == Profile::PiBootRom { 1 } else { 2 }, "{profile:?}");
        assert_eq!(boot_server(outcome), boots.then_some(ip("10.77.0.1")), "{profile:?}");
    }
}

#[test]
fn a_refused_client_begins_anew() {
    let mut offers = router("isc-plain");
    let mut refused = 0;
    let (sent, outcome) = play(Client::new(Profile::Plain, MAC, XID), |now, said| match said.kind() {
        Some(REQUEST) if refused < 2 => {
            refused += 1;
            vec![(ip("10.77.0.1"), message(&said.header.reply(), MessageType::Nak, &[]))]
        }
        _ => offers(now, said),
    });
    let kinds: Vec<_> = sent.into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [DISCOVER, REQUEST, DISCOVER, REQUEST, DISCOVER, REQUEST]);
    assert!(matches!(outcome, Outcome::Bound { .. }));
}

#[test]
fn what_is_for_others_changes_nothing() {
    let offer = captured("isc-option66");
    let message = |change: fn(&mut Vec<u8>)| {
        let mut bytes = offer.clone();
        change(&mut bytes);
        let mut client = pi();
        assert_eq!(client.poll(Instant::ZERO), Step::Send(DISCOVER));
        client.handle(Instant::ZERO, ip("10.77.0.1"), &Message::parse(&bytes).unwrap());
        client.selected().is_some()
    };
    assert!(message(|_| {}));
    assert!(!message(|bytes| bytes[0] = 1), "a client's");
    assert!(!message(|bytes| bytes[7] ^= 1), "another exchange");
    assert!(!message(|bytes| bytes[33] ^= 1), "another client");
    assert!(!message(|bytes| bytes[242] = 5), "an ACK of nothing");
    let mut early = pi();
    early.handle(Instant::ZERO, ip("10.77.0.1"), &Message::parse(&offer).unwrap());
    assert_eq!(early.selected(), None, "before anything was asked");
}
