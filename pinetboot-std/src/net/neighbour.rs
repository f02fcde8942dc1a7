//! The kernel's neighbour table: the MAC address of an IPv4 address on this machine's networks.
//!
//! One entry is asked for, not the table read: in a fleet of 1000 Pis the table took a third of the TFTP server's time. Nothing is
//! remembered, as the answer is evidence for the Pi that a client claims to be.

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use nix::net::if_::if_nameindex;
use pinetboot_core::pi::Prefix;

use super::rtnetlink::{Entry, Rtnetlink};

/// The MAC address of a neighbour; `None` behind a router, and for this machine's own addresses.
pub fn neighbour(address: Ipv4Addr) -> Option<[u8; 6]> {
    match find(address) {
        Ok(found) => found?.1.mac,
        Err(_refused) => neighbour_in(&table()?, address),
    }
}

/// The interface of a neighbour, also of one that did not answer.
pub(super) fn interface_of(address: Ipv4Addr) -> Option<String> {
    let Ok(found) = find(address) else { return word_of(&table()?, address, 5).map(str::to_owned) };
    let (index, _) = found?;
    let all = if_nameindex().ok()?;
    all.iter().find(|interface| interface.index() == index)?.name().to_str().ok().map(str::to_owned)
}

/// Whether single entries can be asked for; else each look-up reads the whole table.
///
/// # Errors
///
/// The kernel's (Linux before 5.0), or that of a container's filter of system calls.
pub fn finds_neighbours() -> io::Result<()> {
    find(Ipv4Addr::LOCALHOST)?;
    Ok(())
}

/// The limit of the neighbour table (arp(7), `gc_thresh3`): a host beyond it gets no packets. `None` where /proc shows processes only.
pub fn most_neighbours() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3").ok()?.trim().parse().ok()
}

/// The entry of an address and the index of its interface. The interface of the route decides; where it has no entry, the others
/// are asked: requests also come by interfaces that no route leads to (`--interface`, policy routing).
fn find(address: Ipv4Addr) -> nix::Result<Option<(u32, Entry)>> {
    let mut open = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernel = match open.take() {
        Some(kernel) => kernel,
        None => Rtnetlink::open()?,
    };
    let found = find_by(&mut kernel, address);
    // After an error an answer may still come.
    if found.is_ok() {
        *open = Some(kernel);
    }
    found
}

fn find_by(kernel: &mut Rtnetlink, address: Ipv4Addr) -> nix::Result<Option<(u32, Entry)>> {
    let routed = kernel.interface_to(address).unwrap_or_default();
    if let Some(index) = routed
        && let Some(entry) = kernel.entry(address, index)?
    {
        return Ok(Some((index, entry)));
    }
    for interface in &if_nameindex()? {
        let index = interface.index();
        if routed != Some(index)
            && let Some(entry) = kernel.entry(address, index)?
        {
            return Ok(Some((index, entry)));
        }
    }
    Ok(None)
}

/// The process's own view, which also exists where /proc shows processes only.
fn table() -> Option<String> {
    // Files of /proc have no length: without room for a page, the reads begin with 32 bytes.
    let mut table = String::with_capacity(PAGE);
    File::open("/proc/self/net/arp").ok()?.read_to_string(&mut table).ok()?;
    Some(table)
}

/// The MAC address of a neighbour in the table, which also has the last one of a neighbour that does not answer any more: its flags lack
/// ATF_COM (`arp_state_to_flags` in net/ipv4/arp.c).
fn neighbour_in(table: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    let flags = u32::from_str_radix(word_of(table, address, 2)?.strip_prefix("0x")?, 16).ok()?;
    let mac = word_of(table, address, 3)?.replace(':', "-");
    match Prefix::parse(&mac)? {
        Prefix::Mac(mac) if mac != [0; 6] && flags & ATF_COM != 0 => Some(mac),
        _ => None,
    }
}

/// A word of an address's line, in lines such as `10.0.0.5  0x1  0x2  2c:cf:67:01:02:03  *  eth0`.
fn word_of(table: &str, address: Ipv4Addr, number: usize) -> Option<&str> {
    let address = address.to_string();
    let line = table.lines().find(|line| line.split_ascii_whitespace().next() == Some(&address))?;
    line.split_ascii_whitespace().nth(number)
}

/// The socket stays open: to open and close one takes as many calls as a question.
static KERNEL: Mutex<Option<Rtnetlink>> = Mutex::new(None);

const PAGE: usize = 4096;
/// The neighbour has answered (linux/if_arp.h).
const ATF_COM: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_found_in_the_kernels_table() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.70       0x1         0x2         2c:cf:67:01:02:03     *        eth0\n\
                     192.0.2.7        0x1         0x2         2c:cf:67:01:02:04     *        eth0\n\
                     192.0.2.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     192.0.2.9        0x1         0x0         2c:cf:67:01:02:05     *        eth0\n\
                     192.0.2.10       0x1         0x6         2c:cf:67:01:02:06     *        eth0\n";
        let mac = |last| neighbour_in(table, Ipv4Addr::new(192, 0, 2, last));
        assert_eq!(mac(7), Some([0x2c, 0xcf, 0x67, 1, 2, 4]));
        assert_eq!(mac(8), None, "it did not answer");
        assert_eq!(mac(9), None, "it does not answer any more");
        assert_eq!(mac(10), Some([0x2c, 0xcf, 0x67, 1, 2, 6]), "a permanent entry");
        assert_eq!(word_of(table, Ipv4Addr::new(192, 0, 2, 8), 5), Some("eth0"));
        assert_eq!(mac(11), None);
    }
}
