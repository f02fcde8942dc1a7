//! The kernel's neighbour table: the MAC address of an IPv4 address on this machine's networks.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

use pinetboot_core::pi::Prefix;

/// The MAC address of a neighbour; `None` behind a router, and for this machine's own addresses.
pub fn neighbour(address: Ipv4Addr) -> Option<[u8; 6]> {
    neighbour_in(&table()?, address)
}

/// The interface of a neighbour, also of one that did not answer.
pub(super) fn interface_of(address: Ipv4Addr) -> Option<String> {
    word_of(&table()?, address, 5).map(str::to_owned)
}

/// The limit of the neighbour table (arp(7), `gc_thresh3`): a host beyond it gets no packets. `None` where /proc shows processes only.
pub fn most_neighbours() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3").ok()?.trim().parse().ok()
}

/// The process's own view, which also exists where /proc shows processes only.
fn table() -> Option<String> {
    // Files of /proc have no length: without room for a page, the reads begin with 32 bytes.
    let mut table = String::with_capacity(PAGE);
    File::open("/proc/self/net/arp").ok()?.read_to_string(&mut table).ok()?;
    Some(table)
}

/// The MAC address of a neighbour in the table; zeros stand for a neighbour that did not answer.
fn neighbour_in(table: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    let mac = word_of(table, address, 3)?.replace(':', "-");
    match Prefix::parse(&mac)? {
        Prefix::Mac(mac) if mac != [0; 6] => Some(mac),
        _ => None,
    }
}

/// A word of an address's line, in lines such as `10.0.0.5  0x1  0x2  2c:cf:67:01:02:03  *  eth0`.
fn word_of(table: &str, address: Ipv4Addr, number: usize) -> Option<&str> {
    let address = address.to_string();
    let line = table.lines().find(|line| line.split_ascii_whitespace().next() == Some(&address))?;
    line.split_ascii_whitespace().nth(number)
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_found_in_the_kernels_table() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.70       0x1         0x2         2c:cf:67:01:02:03     *        eth0\n\
                     192.0.2.7        0x1         0x2         2c:cf:67:01:02:04     *        eth0\n\
                     192.0.2.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        let mac = neighbour_in(table, Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(mac, Some([0x2c, 0xcf, 0x67, 1, 2, 4]));
        assert_eq!(neighbour_in(table, Ipv4Addr::new(192, 0, 2, 8)), None, "it did not answer");
        assert_eq!(word_of(table, Ipv4Addr::new(192, 0, 2, 8), 5), Some("eth0"));
        assert_eq!(neighbour_in(table, Ipv4Addr::new(192, 0, 2, 9)), None);
    }
}
