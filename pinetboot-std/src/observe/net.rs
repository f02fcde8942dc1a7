//! Facts about failed system calls of a network.

use nix::errno::Errno;

use crate::bus::Bus;
use crate::events::Tftp;
use crate::net::{Trouble, Watch};

/// Emits failed system calls of a network as facts.
pub fn watch(bus: &Bus) -> Watch {
    let bus = bus.clone();
    Watch::new(move |trouble| match trouble {
        Trouble::NotSent { to, error } => {
            let firewall = error.raw_os_error() == Some(Errno::EPERM as i32);
            bus.emit(*to.ip(), Tftp::NotSent { to: *to, error: error.to_string(), firewall });
        }
        Trouble::NoPort(error) => bus.emit(None, Tftp::NoPort { error: error.to_string() }),
    })
}
