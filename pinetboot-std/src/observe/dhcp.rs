//! Log lines about DHCP, by which Pis become known, too.

use pinetboot_core::dhcp::{Message, MessageType, Reply, Silence};
use pinetboot_core::event::{Dhcp, Rejected};
use pinetboot_core::{Event, Instant, Observer};
use tracing::{debug, info, warn};

use crate::pis::Pis;

/// Writes a line when a Pi begins to boot and when it has its address, and what went wrong.
#[derive(Debug, Clone)]
pub struct DhcpLog {
    pis: Pis,
    /// All addresses are taken, and that has been said.
    exhausted: bool,
}

impl DhcpLog {
    /// A log that makes these Pis known.
    pub const fn new(pis: Pis) -> Self {
        Self { pis, exhausted: false }
    }

    fn message(&mut self, request: &Message<'_>, answer: Result<Reply, Silence>) {
        let hardware = request.header.hardware;
        let kind = request.kind();
        if let Some(identity) = request.pi() {
            let begins = self.pis.said(hardware, identity);
            if kind == Some(MessageType::Discover) && begins {
                let serial = identity.prefix().map(|prefix| prefix.to_string());
                info!(mac = %hardware, serial, "{identity} ({hardware}) asks by DHCP whom to boot from");
            }
        }
        match answer {
            Ok(Reply { kind: MessageType::Ack, address, .. }) if !address.is_unspecified() => {
                self.exhausted = false;
                self.pis.has(hardware, address);
                info!(mac = %hardware, %address, "{hardware} has the address {address}");
            }
            Ok(Reply { kind, to, address, .. }) => debug!("{hardware}: {kind} {address} to {to}"),
            // Beside another server this is how one learns which address it gave.
            Err(Silence::ForAnother) => {
                if let Some(address) = request.requested_address() {
                    self.pis.has(hardware, address);
                    debug!("{hardware} takes {address} from another server");
                }
            }
            Err(Silence::Exhausted) if !self.exhausted => {
                self.exhausted = true;
                warn!(
                    "all addresses are taken, so {hardware} gets none: give a larger --lease-range, or wait until leases \
                     are over"
                );
            }
            Err(Silence::Declined(address)) => {
                warn!("{hardware} found {address} in use by another: is it set by hand somewhere?");
            }
            Err(silence) => debug!("no answer to {hardware}: {silence}"),
        }
    }
}

impl Observer for DhcpLog {
    type Transfer = ();

    fn observe(&mut self, _: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        match event {
            Event::Dhcp(Dhcp { request, answer, .. }) => self.message(request, *answer),
            Event::Rejected(Rejected { peer, why, .. }) => debug!("{peer}: {why}"),
            _ => {}
        }
    }
}
