//! Lines about DHCP: one when a Pi has its address, warnings for what keeps Pis from getting one.

use pinetboot_core::dhcp::NoReply;
use tracing::{debug, error, info, warn};

use crate::events::{Dhcp, Event};

pub(super) fn log(event: &Event, fact: &Dhcp) {
    // A client of which nothing else is known goes by its hardware address.
    let named = |hardware: &dyn std::fmt::Display| match &event.pi {
        Some(pi) => format!("{pi} ({hardware})"),
        None => hardware.to_string(),
    };
    match fact {
        Dhcp::Asked { .. } => {}
        Dhcp::Leased { hardware, address } => {
            let client = named(hardware);
            info!(mac = %hardware, %address, "{client} has the address {address}");
        }
        Dhcp::TookOther { hardware, address } => {
            debug!(mac = %hardware, %address, "{} takes {address} from another server", named(hardware));
        }
        Dhcp::Answered { hardware, kind, address, to } => {
            debug!(mac = %hardware, "{}: {kind} {address} to {to}", named(hardware));
        }
        Dhcp::Unanswered { hardware, why: NoReply::Exhausted } if !event.again => warn!(
            mac = %hardware,
            "all addresses are taken, so {} gets none: give a larger --lease-range, or wait until leases are over",
            named(hardware)
        ),
        Dhcp::Unanswered { hardware, why: NoReply::Declined(address) } => warn!(
            mac = %hardware,
            %address,
            "{} found {address} in use by another host: look for a host with that fixed address",
            named(hardware)
        ),
        Dhcp::Unanswered { hardware, why } => {
            debug!(mac = %hardware, "no answer to {}: {why}", named(hardware));
        }
        Dhcp::Malformed { peer, why } => debug!("{peer}: {why}"),
        Dhcp::LeasesRestored { path, restored, lost } => {
            info!("leases restored from {path}: {restored}");
            if *lost > 0 {
                warn!("leases in {path} that are unreadable or do not fit this network: {lost}");
            }
        }
        Dhcp::LeasesWritten { path, leases } => debug!("leases written to {path}: {leases}"),
        Dhcp::LeaseFileFailed { path, operation, error } => {
            warn!("cannot {operation} the lease file {path}: {error}");
        }
        Dhcp::OtherServer { interface, server } => {
            warn!("{server} answers DHCP on {interface} too; going on, as --force says");
        }
        Dhcp::NoServer { interface } => warn!(
            "no DHCP server answers on {interface}: a proxy alone boots no Pi, since no server gives it an address. On a \
             network without a router, use --dhcp lease"
        ),
        Dhcp::CannotLook { interface, error } => warn!(
            "cannot see whether there is another DHCP server on {interface}: {error} (it takes CAP_NET_RAW)"
        ),
        Dhcp::Ended { error: None } => info!("DHCP stopped"),
        Dhcp::Ended { error: Some(error) } => error!("DHCP ended, the network failed: {error}"),
    }
}
