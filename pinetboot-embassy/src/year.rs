//! A year of a board's time: more Pis than leases boot again and again, and each gets an address.
//!
//! The clock counts microseconds in 64 bits, which last for half a million years; the counters of the status wrap. The flash is written by
//! updates alone, so it does not wear.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::vec::Vec;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, Client, LeaseServer, LeaseSlot, MAX_LEN, Message, Outcome, Port, Profile, Respond, Step,
};
use pinetboot_core::pi::{PiIdentity, Revision};

use crate::config::{Config, Dhcp};

/// The address that a Pi boots with at this time.
fn boot(
    server: &mut impl Respond,
    own: Ipv4Addr,
    number: u8,
    xid: u32,
    mut now: Instant,
) -> Option<Ipv4Addr> {
    let mac = [0x2c, 0xcf, 0x67, 0, 0, number];
    let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, u32::from(number)).unwrap();
    let (mut out, mut answer) = ([0; MAX_LEN], [0; MAX_LEN]);
    let mut client = Client::new(Profile::Pi(pi), mac, xid);
    loop {
        match client.poll(now) {
            Step::Send(kind) => {
                let len = client.emit(now, kind, &mut out).unwrap();
                let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
                let request = Message::parse(&out[..len]).unwrap();
                let arrival = Arrival::new(now, Port::Server, from);
                if let Ok(reply) = server.respond(&arrival, &request, &mut answer) {
                    client.handle(now, own, &Message::parse(&answer[..reply.len.into()]).unwrap());
                }
            }
            Step::Wait { until } => now = until,
            Step::Done(Outcome::Bound { address, .. }) => return Some(address),
            Step::Done(Outcome::NoBoot(_)) => return None,
        }
    }
}

#[test]
fn for_a_year_every_boot_gets_an_address_and_no_two_pis_the_same_at_a_time() {
    let Dhcp::Lease(network) = Config::default().dhcp else { panic!("the default leases addresses") };
    let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 32]);
    let own = network.address();
    let (mut now, mut boots) = (Instant::from_millis(2000), 0_u32);
    let end = now + Duration::from_secs(366 * 86_400);
    while now < end {
        // A shift of twenty Pis, of a hundred in all, and the next shift a day later.
        let shift = (boots / 20 % 5 * 20) as u8;
        let mut given = Vec::new();
        for pi in shift..shift + 20 {
            boots += 1;
            let address = boot(&mut server, own, pi, boots, now);
            given.push(address.unwrap_or_else(|| panic!("Pi {pi} gets no address in boot {boots}")));
            now = now + Duration::from_secs(60);
        }
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 20, "an address was given twice");
        now = now + Duration::from_secs(86_400 - 20 * 60);
    }
    assert!(boots > 7000);
}
