//! Knowledge from frames: for the boot machines alone, no evidence of who may have a root.

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::boot::ArpTarget;

use super::{Applied, Registry};
use crate::events::Network;
use crate::pis::Subject;

impl Registry {
    pub(super) fn network(&mut self, fact: &Network) -> Applied {
        let subject = match fact {
            Network::ArpAsked { hardware, .. } => self.board_of(hardware),
            Network::Unheard { .. } | Network::TooMany { .. } => None,
        };
        if let (Network::ArpAsked { address, target: ArpTarget::Elsewhere, .. }, Some(subject)) =
            (fact, subject)
            && let Some(boot) = self.pis.get_mut(&subject).and_then(|pi| pi.boot.as_mut())
        {
            boot.looked_for = Some(*address);
        }
        Applied { subject, ..Applied::default() }
    }

    /// The Pi with this MAC address, if its bootloader has sent a DHCP message.
    pub(super) fn board_of(&self, hardware: &HardwareAddress) -> Option<Subject> {
        self.adapters.get(hardware)?.identity?;
        self.subject_of(hardware)
    }
}
