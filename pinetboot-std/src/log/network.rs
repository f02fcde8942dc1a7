//! Lines about frames that are for no port of this server.

use tracing::{debug, info, trace};

use crate::events::Network;

pub(super) fn log(fact: &Network) {
    match fact {
        Network::ArpAsked { hardware, address, target } => {
            trace!(mac = %hardware, %address, "{hardware} asks by ARP for {address}: {target:?}");
        }
        Network::Unheard { interface, error } => info!(
            interface,
            "frames on {interface} are not heard: {error}. Verdicts lack ARP, spanning trees and other DHCP servers (rules 3, 5, 7, 10, \
             15, 64). Start as root or with the capability CAP_NET_RAW; in a container: 'cap_add: [NET_RAW]'"
        ),
        Network::TooMany { interface, most } => {
            debug!(
                interface,
                most, "more than {most} frames of ARP and DHCP a second on {interface}: the rest is left out"
            );
        }
    }
}
