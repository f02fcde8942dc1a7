//! An Ethernet interface, configured by rtnetlink (rtnetlink(7)).

use core::net::Ipv4Addr;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Netlink, Request};

/// An interface that is up.
#[derive(Debug)]
pub(super) struct Link {
    netlink: Netlink,
    name: String,
    index: u32,
}

/// An address and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) address: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
    pub(super) router: Option<Ipv4Addr>,
}

impl Link {
    /// Brings up this interface, or the first Ethernet, and waits for its cable.
    pub(super) fn up(wanted: Option<&str>) -> io::Result<Self> {
        let until = Instant::now() + LIMIT;
        let name = loop {
            // A driver finds its hardware some time after its module is loaded.
            let found = ethernets()?.into_iter().find(|name| wanted.is_none_or(|wanted| wanted == name));
            match found {
                Some(name) => break name,
                None if Instant::now() > until => return Err(no_interface(wanted)),
                None => thread::sleep(BETWEEN_LOOKS),
            }
        };
        let index = attribute(&name, "ifindex")?.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut link = Self { netlink: Netlink::open(SockProtocol::NetlinkRoute, 0)?, name, index };
        for index in [LOOPBACK, link.index] {
            link.set_up(index)?;
        }
        // Reading fails while the interface is not up (EINVAL).
        while attribute(&link.name, "carrier").ok().as_deref() != Some("1") {
            if Instant::now() > until {
                return Err(io::Error::other(format!("{} has no carrier", link.name)));
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        Ok(link)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its MAC address.
    pub(super) fn mac(&self) -> io::Result<[u8; 6]> {
        mac_of(&self.name)
    }

    /// Gives it the address, and the default route.
    pub(super) fn configure(&mut self, with: &Address) -> io::Result<()> {
        let prefix = u8::try_from(with.mask.to_bits().leading_ones()).unwrap_or(32);
        let broadcast = Ipv4Addr::from_bits(with.address.to_bits() | !with.mask.to_bits());
        // struct ifaddrmsg: family, prefix length, flags, scope, interface
        let head = [&[INET, prefix, 0, 0][..], &self.index.to_ne_bytes()].concat();
        let request = Request::new(NEW_ADDRESS, CREATE, &head)
            .with(ADDRESS_LOCAL, &with.address.octets())
            .with(ADDRESS, &with.address.octets())
            .with(ADDRESS_BROADCAST, &broadcast.octets());
        self.netlink.ask(request)?;
        let Some(router) = with.router else { return Ok(()) };
        // struct rtmsg: family, lengths of destination and source, type of service, table, protocol, scope, type, flags
        let head = [INET, 0, 0, 0, MAIN_TABLE, BY_BOOT, 0, UNICAST, 0, 0, 0, 0];
        let request = Request::new(NEW_ROUTE, CREATE, &head)
            .with(ROUTE_GATEWAY, &router.octets())
            .with(ROUTE_INTERFACE, &self.index.to_ne_bytes());
        self.netlink.ask(request)?;
        Ok(())
    }

    fn set_up(&mut self, index: u32) -> Result<(), Errno> {
        // struct ifinfomsg: family, type, interface, flags, changed flags
        let head = [&[0; 4][..], &index.to_ne_bytes(), &UP.to_ne_bytes(), &UP.to_ne_bytes()].concat();
        self.netlink.ask(Request::new(NEW_LINK, 0, &head)).map(drop)
    }
}

/// The MAC address of an interface.
pub(super) fn mac_of(interface: &str) -> io::Result<[u8; 6]> {
    let text = attribute(interface, "address")?;
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The interface of the default route, else the first Ethernet.
pub(super) fn carrying_default_or_first() -> io::Result<String> {
    // Columns: interface, destination, .. (Linux, net/ipv4/fib_trie.c)
    let routes = fs::read_to_string("/proc/net/route")?;
    let by_route = routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let name = columns.next()?;
        (columns.next()? == "00000000").then(|| name.to_owned())
    });
    by_route.or_else(|| ethernets().ok()?.into_iter().next()).ok_or_else(|| no_interface(None))
}

/// The names of Ethernet interfaces, sorted.
fn ethernets() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(INTERFACES)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        // ARPHRD_ETHER; devices that stand for hardware have a `device`, but those of user-mode Linux alone do not say so.
        if attribute(&name, "type")? == "1" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn attribute(interface: &str, name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("{INTERFACES}/{interface}/{name}"))?.trim().to_owned())
}

fn no_interface(wanted: Option<&str>) -> io::Error {
    io::Error::other(
        wanted.map_or_else(|| "no Ethernet interface".to_owned(), |name| format!("no interface {name}")),
    )
}

const INTERFACES: &str = "/sys/class/net";
const LIMIT: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

// linux/rtnetlink.h, linux/if_addr.h, linux/if.h
const LOOPBACK: u32 = 1;
const UP: u32 = 1;
const INET: u8 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// NLM_F_CREATE | NLM_F_REPLACE
const CREATE: u16 = 0x400 | 0x100;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ROUTE_INTERFACE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const MAIN_TABLE: u8 = 254;
const BY_BOOT: u8 = 3;
const UNICAST: u8 = 1;
