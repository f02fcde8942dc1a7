//! Bytes that a forged packet brings: to its victim, and to the log.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::common::peer::bytes;
use crate::world::{SERVER, World, address, flood, socket};

/// What a peer gets that sent one request and is silent from then on.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_request_brings_one_packet_and_one_repetition() {
    let world = World::new();
    let requests = [
        "RRQ kernel8.img octet",
        "RRQ kernel8.img netascii",
        "RRQ kernel8.img octet timeout=255",
        "RRQ kernel8.img octet unknown=1",
        "RRQ kernel8.img octet blksize=1468 windowsize=64 tsize=0",
        "RRQ missing octet",
    ];
    let server = world.serve(&["-q"]);
    let received = world.attacker.enter(|| {
        let peers = requests.map(|request| {
            let peer = socket(address(7), 0);
            peer.send_to(&bytes(request), SERVER).unwrap();
            peer
        });
        // The longest wait between two packets to one peer is 8 s: what is silent for longer is silent for ever.
        let (mut received, mut last) = ([const { Vec::new() }; 6], Instant::now());
        while last.elapsed() < Duration::from_secs(9) {
            for (peer, received) in peers.iter().zip(&mut received) {
                while let Ok(len) = peer.recv(&mut [0; 2000]) {
                    received.push(len);
                    last = Instant::now();
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        received
    });
    for (request, received) in requests.iter().zip(received) {
        println!("{request} ({} B): {received:?}", bytes(request).len());
        assert!((1..=2).contains(&received.len()), "{request}: {received:?}");
        assert!(received.iter().all(|len| *len <= 516), "{request}: {received:?}");
    }
    server.stop();
}

/// A host that answers any datagram with another (chargen, RFC 864): a forged request is enough to start a loop.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_peer_that_answers_everything_makes_no_loop() {
    let world = World::new();
    let server = world.serve(&["-q"]);
    for port in [7, 19, 40_019] {
        let datagrams = world.attacker.enter(|| {
            let chargen = socket(address(19), port);
            chargen.send_to(&bytes("RRQ small octet"), SERVER).unwrap();
            let (began, mut datagrams) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(3) && datagrams < 20_000 {
                match chargen.recv_from(&mut [0; 2000]) {
                    Ok((_, from)) => {
                        datagrams += 1;
                        chargen.send_to(&[b'x'; 100], from).unwrap();
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            datagrams
        });
        println!("port {port}: {datagrams} datagrams in 3 s");
        assert!(datagrams <= if port < 1024 { 0 } else { 4 * 16 }, "port {port}: {datagrams}");
    }
    assert_eq!(world.boot(1).complete, 1);
    server.stop();
}

/// The lines of a flood are bounded, and the Pi's lines are among them.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn the_log_of_a_flood_is_short() {
    let world = World::new();
    let server = world.serve(&[]);
    let forged = world.attacker.enter(|| {
        let request = |number| match number % 3 {
            0 => bytes(&format!("RRQ {number:08x}/config.txt octet")),
            1 => bytes(&format!("RRQ missing-{number} octet")),
            _ => bytes("RRQ kernel8.img octet"),
        };
        flood(5000, 20_000, &AtomicBool::new(true), request)
    });
    assert_eq!(world.boot(1).complete, 1);
    let log = server.stop();
    println!("{forged} forged requests: {} B, {} lines", log.len(), log.lines().count());
    assert!(log.contains("10.77.0.3 fetched kernel8.img") || log.contains(" (kernel8.img"), "{log}");
    assert!(log.lines().count() < 2000, "{} lines", log.lines().count());
}
