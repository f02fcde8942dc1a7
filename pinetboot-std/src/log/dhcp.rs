//! Lines about DHCP: one for each leased address, and warnings for what keeps Pis from getting one.

use pinetboot_core::dhcp::{HardwareAddress, NoReply};
use tracing::{debug, info, warn};

use crate::events::{Dhcp, Event, Lacking};

pub(super) fn log(event: &Event, fact: &Dhcp) {
    // An unknown client is named by its hardware address alone.
    let named = |hardware: &dyn std::fmt::Display| match &event.pi {
        Some(pi) => format!("{pi} ({hardware})"),
        None => hardware.to_string(),
    };
    match fact {
        Dhcp::Asked { .. } => {}
        Dhcp::Leased { hardware, address } => {
            let client = named(hardware);
            // A boot has its own line.
            match event.pi {
                Some(_) => debug!(mac = %hardware, %address, "{client} has the address {address}"),
                None => info!(mac = %hardware, %address, "{client} has the address {address}"),
            }
        }
        Dhcp::TookOther { hardware, address } => {
            debug!(mac = %hardware, %address, "{} takes {address} from another DHCP server", named(hardware));
        }
        Dhcp::Answered { hardware, kind, address, to } => {
            debug!(mac = %hardware, "{}: {kind} {address} to {to}", named(hardware));
        }
        Dhcp::Unanswered { hardware, why: NoReply::Exhausted } if !event.again => warn!(
            mac = %hardware,
            "{} gets no address: all addresses of the lease range are in use. Enlarge --lease-range, or wait until leases expire",
            named(hardware)
        ),
        Dhcp::Unanswered { hardware, why: NoReply::Declined(address) } => warn!(
            mac = %hardware,
            %address,
            "{} declined {address}: another host uses it. Look for a host with that fixed address",
            named(hardware)
        ),
        Dhcp::Unanswered { hardware, why } => {
            debug!(mac = %hardware, "{} gets no DHCP answer: {why}", named(hardware));
        }
        Dhcp::Malformed { peer, why } => debug!("{peer}: {why}"),
        Dhcp::LeasesRestored { path, restored, lost } => {
            info!("leases restored from {path}: {restored}");
            if *lost > 0 {
                warn!(
                    "leases dropped from {path}, outside the lease range or in conflict with others: {lost}"
                );
            }
        }
        Dhcp::LeaseLinesUnreadable { path, lines, copy } => {
            let shown: Vec<_> = lines.iter().take(MOST_LINES).map(ToString::to_string).collect();
            let more = match lines.len().saturating_sub(MOST_LINES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warn!(
                "the lease file {path} has no valid lease in line {}{more}. {copy} is a copy of the file with these lines",
                shown.join(", ")
            );
        }
        Dhcp::NotReserved { pi, address, why } => warn!(
            %pi,
            %address,
            "{address} is not reserved for {pi}: {why}. Correct 'address' in [pi.{pi}]"
        ),
        Dhcp::LeasesWritten { path, leases } => debug!("leases written to {path}: {leases}"),
        Dhcp::LeaseFileFailed { path, operation: "write", error } => warn!(
            "cannot write the lease file {path}: {error}. Leases are in memory only, and a restart loses them. Correct \
             --lease-file, or the permissions and the space of its directory"
        ),
        Dhcp::LeaseFileFailed { path, operation, error } => {
            warn!("cannot {operation} the lease file {path}: {error}");
        }
        Dhcp::Looks { interface, within } => info!(
            interface,
            "looking for another DHCP server on {interface} for up to {} s; TFTP answers meanwhile",
            within.as_secs_f32()
        ),
        Dhcp::Serves { interface, address } => {
            info!(interface, %address, "DHCP answers on {interface} as {address}");
        }
        Dhcp::NoAddress { interface } => {
            warn!(
                interface,
                "{interface} is down or has no IPv4 address: DHCP does not answer there until it has one"
            );
        }
        Dhcp::OtherServer { interface, server } => {
            warn!("DHCP server {server} answers on {interface} too. --force keeps this server running");
        }
        Dhcp::NoServer { interface } => warn!(
            "no DHCP server answers on {interface}: a proxy alone boots no Pi, since a proxy leases no addresses. On a \
             network without a DHCP server, use --dhcp lease"
        ),
        Dhcp::CannotLook { interface, error } => warn!(
            "cannot look for other DHCP servers on {interface}: {error}. The search requires an Ethernet interface that is up, and the \
             capability CAP_NET_RAW; in a container: 'cap_add: [NET_RAW]'"
        ),
        Dhcp::CannotProbe { interface, error } => warn!(
            "cannot look for hosts at the addresses to lease on {interface}: {error}. The start of the search requires the \
             capability CAP_NET_RAW; in a container: 'cap_add: [NET_RAW]'"
        ),
        Dhcp::InUse { hardware, address, mac } => {
            let host = HardwareAddress::ethernet(*mac);
            warn!(
                mac = %hardware,
                %address,
                "{} does not get {address}: the host {host} answers at that address. Give that host an address outside \
                 --lease-range",
                named(hardware)
            );
        }
        Dhcp::Lacks { .. } if event.again => {}
        Dhcp::Lacks { hardware, setting } => lacks(&named(hardware), setting),
        Dhcp::NotAttached { interface, network } => info!(
            "no addresses are leased to the network {network} of {interface} itself: no table [network.NAME] has it"
        ),
        Dhcp::Ended => info!("DHCP stopped"),
    }
}

fn lacks(client: &str, setting: &Lacking) {
    match setting {
        Lacking::Network { relay, link } => warn!(
            %relay,
            "{client} gets no address: the relay agent {relay} asks for the network of {link}, and none is configured. Add \
             [network.NAME] with that subnet to the configuration"
        ),
        Lacking::Entry(pi) => info!(
            %pi,
            "{client} gets no answer: it is not in the inventory. Add [pi.{pi}] to the configuration, or give --dhcp-clients pi"
        ),
        Lacking::Bootp => {
            info!("{client} gets no answer: it asks by BOOTP, which knows no leases. Configure it for DHCP")
        }
        Lacking::BootFile(Some("ipxe")) => {
            info!("{client} runs iPXE and gets no script: give --boot-file ipxe=NAME")
        }
        Lacking::BootFile(Some(arch)) => {
            info!("{client} asks for a boot file and gets none: give --boot-file {arch}=NAME")
        }
        Lacking::BootFile(None) => {
            info!("{client} asks for a boot file and gets none: give --boot-file NAME")
        }
    }
}

/// Numbers of unreadable lines in one log line.
const MOST_LINES: usize = 10;
