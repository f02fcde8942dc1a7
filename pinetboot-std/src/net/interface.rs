//! The network interfaces of this machine.

use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An IPv4 address of this machine, and the interface that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// Its address; the first, if there are several.
    pub address: Ipv4Addr,
    /// The length of the network prefix, 0 to 32 bits.
    pub prefix_len: u8,
}

impl Interface {
    /// Every interface that is up, has an IPv4 address and is not the loopback.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for entry in getifaddrs()? {
            let up = entry.flags.contains(InterfaceFlags::IFF_UP);
            if !up || entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
                continue;
            }
            let address = entry.address.as_ref().and_then(|address| address.as_sockaddr_in());
            let mask = entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
            if let (Some(address), Some(mask)) = (address, mask)
                && !all.iter().any(|known| known.name == entry.interface_name)
            {
                let prefix_len = mask.ip().to_bits().count_ones() as u8;
                all.push(Self { name: entry.interface_name, address: address.ip(), prefix_len });
            }
        }
        Ok(all)
    }

    /// All IPv4 addresses of this machine, of interfaces that are down too.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn addresses() -> io::Result<Vec<Ipv4Addr>> {
        let entries = getifaddrs()?;
        Ok(entries.filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip())).collect())
    }

    /// The interfaces of these names; without names the only one.
    ///
    /// # Errors
    ///
    /// The missing interface, and the ones to choose from.
    pub fn choose(names: &[String]) -> Result<Vec<Self>, String> {
        let all = Self::all().map_err(|error| format!("cannot list the network interfaces: {error}"))?;
        let list = || match all.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>() {
            none if none.is_empty() => "no interface that is up has an IPv4 address".into(),
            names => format!("interfaces with an address: {}", names.join(", ")),
        };
        match (names, all.as_slice()) {
            ([], [only]) => Ok(vec![only.clone()]),
            ([], _) => Err(format!(
                "DHCP needs an interface with an IPv4 address. Choose one with --interface; {}",
                list()
            )),
            (names, _) => names
                .iter()
                .map(|name| {
                    let found = all.iter().find(|interface| interface.name == *name);
                    found
                        .cloned()
                        .ok_or_else(|| format!("{name} is not up or has no IPv4 address; {}", list()))
                })
                .collect(),
        }
    }
}
