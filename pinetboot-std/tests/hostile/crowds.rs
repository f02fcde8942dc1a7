//! Crowds that want all places: a Pi's transfers go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::peer::bytes;
use crate::namespace::SOON;
use crate::world::{SERVER, World, address, flood, socket};

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_flood_of_forged_requests_costs_no_honest_transfer() {
    let world = World::new();
    let server = world.serve(&["-q"]);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let (forged, boots) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let request = |_| bytes("RRQ kernel8.img octet tsize=0 blksize=1468");
            world.attacker.enter(|| flood(5000, 25_000, &stop, request))
        });
        let boots = world.boot(40);
        stop.store(true, Ordering::Relaxed);
        (flood.join().unwrap(), boots)
    });
    println!("{forged} forged requests in {:?}: {boots:?}", began.elapsed());
    assert_eq!((boots.complete, boots.failed), (40, vec![]));
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn requests_of_one_address_that_are_answered_once_take_no_place_from_others() {
    let world = World::new();
    let server = world.serve(&["-q"]);
    // Each is acknowledged once, as by a client that lives, and never again.
    let held = world.attacker.enter(|| {
        let mut held = Vec::new();
        let mut answered = 0;
        for _ in 0..4200 {
            let client = socket(address(1), 0);
            client.set_nonblocking(false).unwrap();
            client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            client.send_to(&bytes("RRQ kernel8.img octet tsize=0"), SERVER).unwrap();
            if let Ok((_, transfer)) = client.recv_from(&mut [0; 2000]) {
                answered += 1;
                client.send_to(&bytes("ACK 0"), transfer).unwrap();
            }
            // Enough are open to hold every place.
            held.push(client);
            if held.len() > 1500 {
                held.remove(0);
            }
        }
        println!("{answered} of 4200 requests were answered");
        held
    });
    let boots = world.boot(3);
    assert_eq!((boots.complete, boots.resent), (3, 0), "{boots:?}");
    drop(held);
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn clients_that_hardly_acknowledge_make_room() {
    let world = World::new();
    let server = world.serve(&["-q", "--max-transfers", "400"]);
    let stop = AtomicBool::new(false);
    let boots = thread::scope(|scope| {
        let (full, is_full) = std::sync::mpsc::channel();
        let crowd = scope.spawn(|| {
            let full = full;
            world.attacker.enter(|| {
                let clients: Vec<_> = (0..400).map(|number| socket(address(number % 40), 0)).collect();
                for client in &clients {
                    client.send_to(&bytes("RRQ kernel8.img octet blksize=8"), SERVER).unwrap();
                }
                let mut acknowledged = vec![0u16; clients.len()];
                let mut next = Instant::now();
                let mut first = Some(full);
                while !stop.load(Ordering::Relaxed) {
                    for (client, block) in clients.iter().zip(&mut acknowledged) {
                        let mut last = None;
                        while let Ok((_, transfer)) = client.recv_from(&mut [0; 2000]) {
                            last = Some(transfer);
                        }
                        if let Some(transfer) = last {
                            let _gone = client.send_to(&bytes(&format!("ACK {block}")), transfer);
                            *block += 1;
                        }
                    }
                    first.take().map(|full| full.send(()));
                    next += Duration::from_millis(2500);
                    while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        });
        is_full.recv_timeout(SOON).unwrap();
        let boots = world.boot(5);
        stop.store(true, Ordering::Relaxed);
        crowd.join().unwrap();
        boots
    });
    assert_eq!((boots.complete, boots.failed), (5, vec![]));
    server.stop();
}
