//! The network, where the kernel has not made it.
//!
//! A kernel with CONFIG_IP_PNP, as the Raspberry Pi's, carries out `ip=` before the first program starts. Others, as Debian's, pass
//! it over; their network driver is a module, too.

mod dhcp;
mod link;
mod renewal;

use core::net::Ipv4Addr;
use std::fs;
use std::io;
use std::path::Path;

use pinetboot_core::pi::rules::INIT_WITHOUT_ADDRESS;

use crate::console::Console;
use crate::failure::Failure;
use crate::settings::Network;
use link::{Address, Link};
pub(crate) use renewal::Renewal;

/// Carries out `ip=`, unless the kernel has, and tells the system's network services to leave the interface alone.
pub(crate) fn configure(console: &Console, network: &Network) -> Result<(), Failure> {
    let by_kernel = Path::new(BY_KERNEL).exists();
    let (interface, fixed) = match network {
        Network::Foreign => return Ok(()),
        _ if by_kernel => {
            let name = link::carrying_default_or_first().map_err(failed)?;
            let text = fs::read_to_string(BY_KERNEL).map_err(failed)?;
            return keep(&name, &name_servers(&text)).map_err(failed);
        }
        Network::Dhcp(interface) => (interface, None),
        Network::Static { address, mask, router, interface } => {
            let mask = mask.unwrap_or_else(|| class_mask(*address));
            (interface, Some(Address { address: *address, mask, router: *router }))
        }
    };
    let mut link = Link::up(interface.as_deref()).map_err(failed)?;
    let (address, name_servers) = match fixed {
        Some(address) => (address, Vec::new()),
        None => dhcp::lease(console, &link)?,
    };
    link.configure(&address).map_err(failed)?;
    console.info(format_args!("{} has the address {}", link.name(), address.address));
    keep(link.name(), &name_servers).map_err(failed)
}

/// Writes what the system's network services have to know into /run, which the system keeps. The disk hangs on this interface: taken
/// down, or given another address, it takes the root with it.
fn keep(interface: &str, name_servers: &[Ipv4Addr]) -> io::Result<()> {
    let (networkd, manager) = texts(interface, name_servers);
    for (directory, file, text) in [
        ("/run/systemd/network", "05-pinetboot.network", networkd),
        ("/run/NetworkManager/conf.d", "90-pinetboot.conf", manager),
    ] {
        fs::create_dir_all(directory)?;
        fs::write(format!("{directory}/{file}"), text)?;
    }
    Ok(())
}

/// The files for systemd-networkd and for NetworkManager, which would learn the name servers by DHCP.
fn texts(interface: &str, name_servers: &[Ipv4Addr]) -> (String, String) {
    // systemd.network(5): the first file by name that matches counts.
    let mut networkd = format!("[Match]\nName={interface}\n\n[Network]\nKeepConfiguration=yes\n");
    // NetworkManager.conf(5): a file in /run is read before the one of this name in /etc.
    let mut manager = format!("[keyfile]\nunmanaged-devices=interface-name:{interface}\n");
    let servers: Vec<_> = name_servers.iter().map(Ipv4Addr::to_string).collect();
    if !servers.is_empty() {
        networkd += &format!("DNS={}\n", servers.join(" "));
        manager += &format!("\n[global-dns-domain-*]\nservers={}\n", servers.join(","));
    }
    (networkd, manager)
}

/// The name servers that the kernel heard of: lines as in resolv.conf(5).
fn name_servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok()).collect()
}

/// The mask of an address's class, as the kernel fills it in (Linux, net/ipv4/ipconfig.c).
fn class_mask(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..128 => Ipv4Addr::new(255, 0, 0, 0),
        128..192 => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::new(
        &INIT_WITHOUT_ADDRESS,
        format!("the network is not configured: {error}"),
        "Check the cable, and that the initramfs has this machine's network driver",
    )
}

/// Exists in a kernel with CONFIG_IP_PNP (net/ipv4/ipconfig.c).
const BY_KERNEL: &str = "/proc/net/pnp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_services_leave_the_interface_alone_and_learn_the_name_servers() {
        let by_kernel =
            "#PROTO: DHCP\ndomain lan\nnameserver 10.77.0.1\nnameserver 10.77.0.2\nbootserver 10.77.0.1\n";
        let (networkd, manager) = texts("eth0", &name_servers(by_kernel));
        assert_eq!(
            networkd,
            "[Match]\nName=eth0\n\n[Network]\nKeepConfiguration=yes\nDNS=10.77.0.1 10.77.0.2\n"
        );
        let expected = "[keyfile]\nunmanaged-devices=interface-name:eth0\n\n[global-dns-domain-*]\nservers=10.77.0.1,10.77.0.2\n";
        assert_eq!(manager, expected);
        let (networkd, manager) = texts("eth0", &[]);
        assert!(!networkd.contains("DNS") && !manager.contains("dns"));
    }
}
