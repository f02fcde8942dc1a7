//! Pis that are switched on together, behind a cable that passes messages of UDP_SEGMENT uncut.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use pinetboot::net::Frames;
use pinetboot_core::dhcp::{Message, Profile, SERVER_PORT};
use pinetboot_core::{Net, block_on};

use super::{Home, SOON};

const CLIENTS: u8 = 50;

/// All offers go to 255.255.255.255 and have one length: in one message of UDP_SEGMENT they would reach a packet socket behind veth as one
/// frame, for one client.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn clients_that_ask_at_once_are_all_answered_and_each_by_a_frame_of_its_own() {
    let home = Home::new();
    let _server = home.serve(&["--dhcp", "lease", "--dhcp-clients", "all"]);
    let offered = home.client.enter(|| {
        let mut frames = Frames::open("eth").unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        for number in 0..CLIENTS {
            let mac = [2, 0, 0, 0, 1, number];
            frames.pretend(mac);
            let len = Profile::Plain.discover(mac, number.into(), 0, frames.buffer()).unwrap();
            block_on(frames.send((), to, len));
        }
        // Nothing is asked again: what is lost stays lost.
        let (mut offered, begun) = (HashSet::new(), Instant::now());
        while offered.len() < CLIENTS.into() && begun.elapsed() < SOON {
            let soon = frames.now() + SOON;
            let Some(datagram) = block_on(frames.recv(soon)).unwrap() else { break };
            let offer = Message::parse(datagram.bytes).unwrap();
            offered.insert((offer.header.hardware.mac().unwrap(), offer.header.yiaddr));
        }
        offered
    });
    let clients: HashSet<_> = offered.iter().map(|(mac, _)| mac).collect();
    let addresses: HashSet<_> = offered.iter().map(|(_, address)| address).collect();
    assert_eq!((clients.len(), addresses.len()), (CLIENTS.into(), CLIENTS.into()));
}
