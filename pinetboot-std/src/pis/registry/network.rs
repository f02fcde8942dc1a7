//! Knowledge from frames: for the boot machines alone, no evidence of who may have a root.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::boot::ArpTarget;

use super::{Applied, Registry};
use crate::events::Network;
use crate::pis::Subject;

impl Registry {
    pub(super) fn network(&mut self, client: Option<Ipv4Addr>, fact: &Network) -> Applied {
        let subject = match fact {
            Network::Console { hardware, .. } => {
                // A system's line comes from the address that fetched the boot files.
                self.board_of(hardware).or_else(|| Some(self.subject_at(client?)))
            }
            Network::ArpAsked { hardware, .. }
            | Network::AddressRequested { hardware, .. }
            | Network::Surveyed { hardware, .. }
            | Network::ArpAnswered { hardware, .. } => self.board_of(hardware),
            Network::OtherServer { .. }
            | Network::SpanningTree { .. }
            | Network::AsksNetwork { .. }
            | Network::AsksPi { .. }
            | Network::Unheard { .. }
            | Network::TooMany { .. } => None,
        };
        let boot = subject.and_then(|subject| self.pis.get_mut(&subject)?.boot.as_mut());
        match (fact, boot) {
            (Network::ArpAsked { address, target: ArpTarget::Elsewhere, .. }, Some(boot)) => {
                boot.looked_for = Some(*address);
            }
            (Network::Surveyed { said, .. }, Some(boot)) => boot.texts_mut().offers.clone_from(said),
            (Network::Console { line, rule: Some(_), .. }, Some(boot)) => {
                boot.texts_mut().line = Some(line.clone());
            }
            _ => {}
        }
        Applied { subject, ..Applied::default() }
    }

    /// The Pi with this MAC address, if its bootloader has sent a DHCP message.
    pub(super) fn board_of(&self, hardware: &HardwareAddress) -> Option<Subject> {
        self.adapters.get(hardware)?.identity?;
        self.subject_of(hardware)
    }
}
