//! The proxy and the lease server under any messages in any order: a reply is never answered, no reply is too long, and
//! no address is given twice.
#![no_main]

use core::net::Ipv4Addr;
use core::time::Duration;

use libfuzzer_sys::fuzz_target;
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, BootFileName, Clients, LeaseServer, LeaseSlot, LeaseState, MAX_LEN, Message, Network,
    NextServer, Op, Port, ProxyDhcp,
};

/// The next message in the input: the wait before it, its port, its sender, and its bytes.
fn next<'a>(input: &mut &'a [u8]) -> Option<(Duration, Port, u8, &'a [u8])> {
    let (&[high, low, port, hardware, len_high, len_low], rest) = input.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([len_high, len_low])).min(rest.len());
    let (bytes, rest) = rest.split_at(len);
    *input = rest;
    let port = if port % 2 == 0 { Port::Server } else { Port::Pxe };
    Some((Duration::from_secs(u16::from_be_bytes([high, low]).into()), port, hardware, bytes))
}

fuzz_target!(|data: &[u8]| {
    let mut input = data;
    let ours = Ipv4Addr::new(10, 77, 0, 1);
    let file = BootFileName::parse(b"boot.efi").expect("a short name");
    let next_server = NextServer::new(ours).with_file(file);
    let (first, last) = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 103));
    let mut network = Network::new(ours, 24, first, last).expect("a network");
    (network.next_server, network.clients) = (next_server, Clients::All);
    let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 3]);
    let proxy = ProxyDhcp::new(ours).with_clients(Clients::All).with_next_server(next_server);
    let (mut now, mut out) = (Instant::ZERO, [0; MAX_LEN]);
    while let Some((wait, port, hardware, bytes)) = next(&mut input) {
        let mut bytes = bytes.to_vec();
        // Few clients, so that they meet.
        if let Some(chaddr) = bytes.get_mut(28..34) {
            chaddr.fill(hardware % 8);
        }
        now = now + wait;
        let Ok(request) = Message::parse(&bytes) else { continue };
        let peer = "0.0.0.0:68".parse().expect("an address");
        let arrival = Arrival::new(now, port, peer);
        let answers =
            [proxy.respond(&arrival, &request, &mut out), server.respond(&arrival, &request, &mut out)];
        for reply in answers.into_iter().flatten() {
            assert_eq!(request.header.op, Op::Request, "a reply is never answered");
            assert!(usize::from(reply.len) <= MAX_LEN);
        }
        let bound: Vec<_> = server.leases().filter(|lease| lease.state == LeaseState::Bound).collect();
        for (index, lease) in bound.iter().enumerate() {
            assert!((first..=last).contains(&lease.address));
            assert!(bound[index + 1..].iter().all(|other| other.address != lease.address), "given twice");
        }
    }
});
