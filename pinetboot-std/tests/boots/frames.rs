//! The frames that reach the packet socket, and those that the kernel keeps from it.

use std::net::{Ipv4Addr, UdpSocket};

use pinetboot::net::{Capture, Frame, LONGEST};

use super::pi::{ADDRESS, SERVER};
use super::world::World;

/// A transfer's datagrams in both directions, and then an ARP request and a line of NETCONSOLE: the latter two alone arrive.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn data_of_transfers_does_not_reach_the_packet_socket() {
    let world = World::new();
    let mut capture = None;
    world.at_server(|| capture = Some(Capture::open("lan").unwrap()));
    let capture = capture.unwrap();
    let mut server = None;
    world.at_server(|| server = Some(UdpSocket::bind((SERVER, 40_000)).unwrap()));
    let server = server.unwrap();
    world.pi(|pi| {
        let client = UdpSocket::bind((ADDRESS, 50_000)).unwrap();
        let mut buffer = [0; 2000];
        for _ in 0..2000 {
            client.send_to(&[7; 1468], (SERVER, 40_000)).unwrap();
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..len], from).unwrap();
            client.recv_from(&mut buffer).unwrap();
        }
        client.set_broadcast(true).unwrap();
        client.send_to(b"Firmware not found\n", "10.9.0.255:6666").unwrap();
        pi.knock(Ipv4Addr::new(10, 9, 0, 214));
    });
    let (mut arp, mut lines, mut others) = (0, 0, Vec::new());
    let mut buffer = [0; LONGEST];
    while let Some(frame) = capture.next(&mut buffer) {
        match Frame::parse(frame) {
            Some(Frame::Arp { .. }) => arp += 1,
            Some(Frame::Console { text: b"Firmware not found\n", .. }) => lines += 1,
            _ => others.push(frame.to_vec()),
        }
    }
    println!("ARP: {arp}, NETCONSOLE: {lines}, others: {} of 2000 datagrams in each direction", others.len());
    assert_eq!((lines, others), (1, Vec::new()));
    assert!((1..=10).contains(&arp), "{arp}");
}
