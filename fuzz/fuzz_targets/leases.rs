//! Any bytes are a lease file: each line is a lease that is written as it was read, or none, and the server takes each lease or
//! refuses it.
#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{LeaseServer, LeaseSlot, LeaseState, Network};

// The program's own file, without the program: it needs no more than the core.
#[path = "../../pinetboot-std/src/serve/leases/line.rs"]
mod line;

use line::Line;

fuzz_target!(|bytes: &[u8]| {
    let ip = |last| Ipv4Addr::new(10, 77, 0, last);
    let network = Network::new(ip(1), 24, ip(100), ip(109)).expect("a network");
    let mut server = LeaseServer::new(network, vec![LeaseSlot::EMPTY; 8]);
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(line) = Line::parse(line) else { continue };
        assert_eq!(Line::parse(line.to_string().as_bytes()), Some(line));
        let seconds = line.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let lease = line.lease(Instant::from_millis(seconds.min(1 << 40) * 1000));
        assert_eq!(Line::of(&lease, line.until), Some(line));
        server.restore(lease);
    }
    assert!(server.leases().filter(|lease| lease.state != LeaseState::Offered).count() <= 8);
});
