//! The interface of a probe: the named one, else the most likely one.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;
use nix::libc::ARPHRD_ETHER;
use nix::net::if_::InterfaceFlags;
use rustix::thread::CapabilitySet;

use crate::exit::{Exit, Failed};
use crate::net::{Frames, default_route};
use crate::sandbox::in_a_container;

/// An Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthernetInterface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The reason of the choice.
    pub why: Why,
    up: bool,
    running: bool,
}

/// The reason of the choice of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The command line names the interface.
    Named,
    /// The default route leads through the interface.
    DefaultRoute,
    /// No other interface is up.
    OnlyOne,
}

impl EthernetInterface {
    /// The interface of this name, else the one of the default route, else the only one that is up.
    ///
    /// # Errors
    ///
    /// If no interface qualifies, or several do.
    pub fn choose(name: Option<&str>) -> Result<Self, Failed> {
        choose(Self::all()?, name, default_route().as_deref())
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn all() -> Result<Vec<Self>, Failed> {
        ethernets()
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot list the interfaces: {error}")))
    }

    /// Opens the interface for whole frames.
    ///
    /// # Errors
    ///
    /// The cause and the remedy.
    pub fn open(&self) -> Result<Frames, Failed> {
        self.open_by(Frames::open)
    }

    /// Opens the interface for whole frames, and for the DHCP servers on this machine.
    ///
    /// # Errors
    ///
    /// The cause and the remedy.
    pub fn open_with_this_machine(&self) -> Result<Frames, Failed> {
        self.open_by(|name| match self.addresses.first() {
            Some(address) => Frames::open_with_this_machine(name, *address),
            None => Frames::open(name),
        })
    }

    fn open_by(&self, open: impl FnOnce(&str) -> io::Result<Frames>) -> Result<Frames, Failed> {
        let name = &self.name;
        if !self.up {
            let message = format!("interface {name} is down. Run: ip link set {name} up");
            return Err(Failed::new(Exit::Failure, message));
        }
        if !self.running {
            let message =
                format!("interface {name} has no link. Check the cable and the device at its other end");
            return Err(Failed::new(Exit::Failure, message));
        }
        open(name).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Failed::new(Exit::Failure, no_privilege(name)),
            _ => Failed::new(Exit::Failure, format!("cannot open {name}: {error}")),
        })
    }
}

/// Chooses one of these interfaces.
fn choose(
    mut all: Vec<EthernetInterface>,
    name: Option<&str>,
    default: Option<&str>,
) -> Result<EthernetInterface, Failed> {
    let mut take = |name: &str, why| {
        let at = all.iter().position(|interface| interface.name == name)?;
        Some(EthernetInterface { why, ..all.swap_remove(at) })
    };
    let usage = |message: String| Err(Failed::new(Exit::Usage, message));
    if let Some(name) = name {
        let found = take(name, Why::Named);
        let there = list(&all);
        return found
            .map_or_else(|| usage(format!("this machine has no Ethernet interface {name}; {there}")), Ok);
    }
    if let Some(found) = default.and_then(|name| take(name, Why::DefaultRoute)) {
        return Ok(found);
    }
    all.retain(|interface| interface.up);
    match all.as_slice() {
        [only] => Ok(EthernetInterface { why: Why::OnlyOne, ..only.clone() }),
        [] => usage("no Ethernet interface is up. Name one with --interface".into()),
        _ => {
            usage(format!("several Ethernet interfaces are up. Choose one with --interface; {}", list(&all)))
        }
    }
}

fn list(all: &[EthernetInterface]) -> String {
    let names: Vec<_> = all.iter().map(|interface| interface.name.as_str()).collect();
    match names.as_slice() {
        [] => "the machine has none".into(),
        names => format!("the machine has {}", names.join(", ")),
    }
}

fn ethernets() -> io::Result<Vec<EthernetInterface>> {
    let mut all = BTreeMap::new();
    let mut addresses: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
    for entry in getifaddrs()? {
        let name = entry.interface_name;
        let Some(address) = entry.address else { continue };
        if let Some(address) = address.as_sockaddr_in() {
            addresses.entry(name).or_default().push(address.ip());
        } else if let Some(link) = address.as_link_addr()
            && link.hatype() == ARPHRD_ETHER
            && let Some(mac) = link.addr()
        {
            let up = entry.flags.contains(InterfaceFlags::IFF_UP);
            let running = entry.flags.contains(InterfaceFlags::IFF_RUNNING);
            let interface = EthernetInterface {
                name: name.clone(),
                mac,
                addresses: Vec::new(),
                why: Why::Named,
                up,
                running,
            };
            all.insert(name, interface);
        }
    }
    for (name, addresses) in addresses {
        if let Some(interface) = all.get_mut(&name) {
            interface.addresses = addresses;
        }
    }
    Ok(all.into_values().collect())
}

/// The error without CAP_NET_RAW, with the remedies.
fn no_privilege(interface: &str) -> String {
    let program = std::env::current_exe().map_or("pinetboot".into(), |path| path.display().to_string());
    format!(
        "cannot open {interface}: sending and receiving whole frames requires the capability CAP_NET_RAW.\n  Run pinetboot as root: \
         sudo {program} ...\n  or grant the capability once: sudo setcap cap_net_raw+ep {program}\n  or {}",
        in_a_container(CapabilitySet::NET_RAW),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, up: bool) -> EthernetInterface {
        let name = name.to_owned();
        EthernetInterface { name, mac: [2; 6], addresses: Vec::new(), why: Why::Named, up, running: up }
    }

    fn chosen(name: Option<&str>, default: Option<&str>, up: &[&str]) -> Result<(String, Why), String> {
        let all = ["eth0", "eth1", "eth2"].map(|name| interface(name, up.contains(&name)));
        match choose(all.to_vec(), name, default) {
            Ok(interface) => Ok((interface.name, interface.why)),
            Err(failed) => Err(failed.message),
        }
    }

    #[test]
    fn the_named_one_else_the_likeliest() {
        let taken = |name: &str, why| Ok((name.to_owned(), why));
        assert_eq!(chosen(Some("eth1"), Some("eth0"), &["eth0"]), taken("eth1", Why::Named));
        assert_eq!(chosen(None, Some("eth2"), &["eth0", "eth2"]), taken("eth2", Why::DefaultRoute));
        assert_eq!(chosen(None, Some("ppp0"), &["eth1"]), taken("eth1", Why::OnlyOne));
        let say =
            "several Ethernet interfaces are up. Choose one with --interface; the machine has eth0, eth1";
        assert_eq!(chosen(None, None, &["eth0", "eth1"]), Err(say.into()));
        let none = "this machine has no Ethernet interface wlan0; the machine has eth0, eth1, eth2";
        assert_eq!(chosen(Some("wlan0"), None, &[]), Err(none.into()));
        assert!(chosen(None, None, &[]).is_err());
    }
}
