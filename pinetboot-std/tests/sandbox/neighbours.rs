//! The MAC addresses of clients, asked of the kernel from within the sandbox.

use std::env;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use pinetboot::net::{finds_neighbours, neighbour};
use pinetboot::sandbox::{Calls, Paths, Remains, enter};
use rustix::thread::CapabilitySet;

/// The variable of the process in a network of its own: which calls remain to it.
const INSIDE: &str = "PINETBOOT_TEST_NEIGHBOURS";

/// Entries, permanent ones: the limit of the table is the machine's, and these do not count (`neigh_alloc` in net/core/neighbour.c).
const MOST: u16 = 1000;

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn one_of_a_thousand_neighbours_is_found_without_the_table() {
    if let Some(calls) = env::var_os(INSIDE) {
        return inside(if calls == "files" { Calls::Files } else { Calls::Network });
    }
    for calls in ["network", "files"] {
        // One thread at the beginning of the test: the threads of the test harness are not in the sandbox.
        let output = Command::new("unshare")
            .arg("--net")
            .arg(env::current_exe().unwrap())
            .args(["--exact", "neighbours::one_of_a_thousand_neighbours_is_found_without_the_table"])
            .args(["--include-ignored", "--nocapture"])
            .env(INSIDE, calls)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains(" 1 passed"), "{calls}: {said}");
    }
}

fn inside(calls: Calls) {
    let mut lines = "link set lo up\n".to_owned();
    for (interface, address) in [("eth0", "10.77.0.1/16"), ("eth1", "192.0.2.1/24"), ("eth2", "")] {
        lines += &format!("link add {interface} type bridge\nlink set {interface} up\n");
        if !address.is_empty() {
            lines += &format!("addr add {address} dev {interface}\n");
        }
    }
    for number in 0..MOST {
        lines += &entry(&fleet(number), "02:00:00:00", number, "eth0");
    }
    // On an interface that no route leads to; and on the route's interface and another one, with another MAC address.
    lines += &entry("198.51.100.7", "02:00:00:02", 7, "eth2");
    lines += &entry("192.0.2.9", "02:00:00:02", 9, "eth2");
    lines += &entry("192.0.2.9", "02:00:00:01", 9, "eth1");
    lines += "neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev eth1 nud permanent\n";
    lines += "neigh change 192.0.2.8 dev eth1 nud failed\n";
    ip(&lines);
    // The kernel looks up without a lock: while the hash table grows, which all namespaces share, a look-up may miss an entry
    // (`neigh_hash_grow` in net/core/neighbour.c; seen once in 700,000 look-ups beside a growth).
    let has = |address: &str, mac: [u8; 6]| {
        let address = address.parse().unwrap();
        (0..100).any(|_| neighbour(address) == Some(mac))
    };
    let mac = |address: &str| neighbour(address.parse().unwrap());
    assert!(has("10.77.1.0", [2, 0, 0, 0, 0, 0]));
    // Nothing is remembered.
    ip(&entry("10.77.1.0", "02:00:00:09", 0, "eth0"));
    assert!(has("10.77.1.0", [2, 0, 0, 9, 0, 0]));
    ip("neigh del 10.77.1.0 dev eth0\n");
    assert_eq!(mac("10.77.1.0"), None);

    // No file of /proc remains: the table cannot be read.
    let paths = Paths { read: vec!["/dev".into()], ..Paths::default() };
    let missing =
        enter(&Remains { account: None, capabilities: CapabilitySet::empty(), paths: Some(paths), calls })
            .unwrap();
    if !missing.iter().any(|missing| missing.part == "landlock") {
        assert!(std::fs::read("/proc/self/net/arp").is_err());
    }
    finds_neighbours().unwrap();
    for number in 1..MOST {
        let [high, low] = number.to_be_bytes();
        assert!(has(&fleet(number), [2, 0, 0, 0, high, low]), "{}", fleet(number));
    }
    assert!(has("198.51.100.7", [2, 0, 0, 2, 0, 7]), "no route");
    assert!(has("192.0.2.9", [2, 0, 0, 1, 0, 9]), "the interface of the route decides");
    assert_eq!(mac("192.0.2.8"), None, "it does not answer any more");
    for address in ["10.77.0.1", "10.77.99.1", "127.0.0.1", "203.0.113.1"] {
        assert_eq!(mac(address), None, "{address}");
    }
}

/// The address of a Pi.
fn fleet(number: u16) -> String {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 77, 1, 0).to_bits() + u32::from(number)).to_string()
}

/// A line for ip(8): a permanent entry, whose MAC address ends with the number.
fn entry(address: &str, mac: &str, number: u16, interface: &str) -> String {
    let [high, low] = number.to_be_bytes();
    format!("neigh replace {address} lladdr {mac}:{high:02x}:{low:02x} dev {interface} nud permanent\n")
}

fn ip(lines: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}
