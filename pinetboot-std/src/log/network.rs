//! Lines about frames that are for no port of this server.

use tracing::{debug, info, trace};

use crate::events::{Event, Network};
use crate::text;

pub(super) fn log(event: &Event, fact: &Network) {
    let pi = event.pi.as_deref();
    match fact {
        Network::ArpAsked { hardware, address, target } => {
            trace!(mac = %hardware, %address, "{hardware} asks by ARP for {address}: {target:?}");
        }
        Network::AddressRequested { hardware, address } => {
            debug!(mac = %hardware, %address, "{hardware} requests {address} of another DHCP server");
        }
        Network::OtherServer { hardware, server } => {
            trace!(mac = %hardware, %server, "DHCP server {server} answers {hardware}");
        }
        Network::SpanningTree { interface, forward_delay } => info!(
            interface,
            forward_delay,
            "the switch at {interface} runs STP: it closes a port for {} s whenever a Pi's link comes up, unless the port is an edge port (portfast) [7]",
            2 * u16::from(*forward_delay)
        ),
        Network::Console { hardware, line, .. } => {
            debug!(mac = %hardware, "{} says: {}", pi.map_or_else(|| hardware.to_string(), ToString::to_string), text::line(line));
        }
        Network::AsksNetwork { model, .. } => debug!("asks the network as a {}", model.profile().name),
        Network::Surveyed { said, .. } => debug!("the network's answers: {}", said.join("; ")),
        Network::AsksPi { address, .. } => trace!(%address, "asks by ARP for {address}"),
        Network::ArpAnswered { hardware, alive } => {
            debug!(mac = %hardware, "{hardware} {} an ARP request", if *alive { "answers" } else { "does not answer" });
        }
        Network::Unheard { interface, error } => info!(
            interface,
            "frames on {interface} are not heard: {error}. Verdicts lack ARP, spanning trees and other DHCP servers (rules 3, 5, 7, 10, \
             15, 64). A packet socket takes the capability NET_RAW"
        ),
        Network::TooMany { interface, most } => {
            debug!(
                interface,
                most, "more than {most} frames of ARP and DHCP a second on {interface}: the rest is left out"
            );
        }
    }
}
