//! The network, where the kernel has not made it.
//!
//! A kernel with CONFIG_IP_PNP, as the Raspberry Pi's, carries out `ip=` before the first program starts. Others, as Debian's, pass
//! it over; their network driver is a module, too.

mod dhcp;
mod link;

use core::net::Ipv4Addr;
use std::fs;
use std::io;
use std::path::Path;

use crate::console::Console;
use crate::failure::Failure;
use crate::settings::Network;
use link::{Address, Link};

/// Carries out `ip=`, unless the kernel has, and tells the system's network services to leave the interface alone.
pub(crate) fn configure(console: &Console, network: &Network) -> Result<(), Failure> {
    let by_kernel = Path::new(BY_KERNEL).exists();
    let (interface, fixed) = match network {
        Network::Foreign => return Ok(()),
        _ if by_kernel => {
            let name = link::carrying_default_or_first().map_err(failed)?;
            return keep(&name).map_err(failed);
        }
        Network::Dhcp(interface) => (interface, None),
        Network::Static { address, mask, router, interface } => {
            let mask = mask.unwrap_or_else(|| class_mask(*address));
            (interface, Some(Address { address: *address, mask, router: *router }))
        }
    };
    let mut link = Link::up(interface.as_deref()).map_err(failed)?;
    let address = match fixed {
        Some(address) => address,
        None => dhcp::lease(console, &link)?,
    };
    link.configure(&address).map_err(failed)?;
    console.info(format_args!("{} has the address {}", link.name(), address.address));
    keep(link.name()).map_err(failed)
}

/// Writes what the system's network services have to know into /run, which the system keeps. The disk hangs on this interface: taken
/// down, or given another address, it takes the root with it.
fn keep(interface: &str) -> io::Result<()> {
    // systemd.network(5): the first file by name that matches counts.
    let networkd = format!("[Match]\nName={interface}\n\n[Network]\nKeepConfiguration=yes\n");
    // NetworkManager.conf(5): a file in /run is read before the one of this name in /etc.
    let manager = format!("[keyfile]\nunmanaged-devices=interface-name:{interface}\n");
    for (directory, file, text) in [
        ("/run/systemd/network", "05-pinetboot.network", networkd),
        ("/run/NetworkManager/conf.d", "90-pinetboot.conf", manager),
    ] {
        fs::create_dir_all(directory)?;
        fs::write(format!("{directory}/{file}"), text)?;
    }
    Ok(())
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
        format!("the network is not configured: {error}"),
        "Check the cable, and that the initramfs has this machine's network driver",
    )
}

/// Exists in a kernel with CONFIG_IP_PNP (net/ipv4/ipconfig.c).
const BY_KERNEL: &str = "/proc/net/pnp";
