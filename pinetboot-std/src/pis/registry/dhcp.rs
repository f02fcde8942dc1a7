//! Knowledge from DHCP messages: the identity and the address of a network adapter.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::dhcp::{HardwareAddress, MessageType};
use pinetboot_core::pi::PiIdentity;
use pinetboot_core::pi::boot::Event;

use super::{Applied, Refused, Registry};
use crate::events::{self, Cause, Dhcp, Evidence, Fact};
use crate::pis::{Presence, Subject};

impl Registry {
    pub(super) fn dhcp(&mut self, now: Duration, fact: &Dhcp) -> Applied {
        let mut follows = Vec::new();
        let hardware = match fact {
            Dhcp::Asked { hardware, kind, xid, identity, relayed, .. } => {
                if let Some(identity) = identity {
                    let discover = Event::Discover { xid: *xid, identity: *identity, relayed: *relayed };
                    follows = self.asked(now, *hardware, *kind, *identity, &discover);
                }
                hardware
            }
            Dhcp::Leased { hardware, address } => {
                self.has_address(now, *hardware, *address, true);
                hardware
            }
            Dhcp::TookOther { hardware, address } => {
                self.has_address(now, *hardware, *address, false);
                hardware
            }
            Dhcp::Answered { hardware, .. }
            | Dhcp::Unanswered { hardware, .. }
            | Dhcp::Lacks { hardware, .. } => hardware,
            _ => return Applied::default(),
        };
        Applied { subject: self.subject_of(hardware), follows, again: false }
    }

    /// A bootloader's message: a DISCOVER may begin a boot.
    fn asked(
        &mut self,
        now: Duration,
        hardware: HardwareAddress,
        kind: Option<MessageType>,
        identity: PiIdentity,
        discover: &Event<'_>,
    ) -> Vec<Fact> {
        let mut follows = Vec::new();
        let Some(adapter) = self.adapters.touch(hardware, now) else {
            return follows;
        };
        adapter.identity = Some(identity);
        if kind != Some(MessageType::Discover) {
            return follows;
        }
        let mac = hardware.mac();
        let Some(pi) = self.name_of(identity.prefix(), mac) else { return follows };
        if let (Some(serial), Some(other)) = (identity.prefix().filter(|serial| *serial != pi), mac)
            && !self.was_told(Refused::Serial(other))
            && let Some(owner) = self.pi(serial).and_then(|known| known.mac)
        {
            follows.push(events::Boot::SameSerial { serial, owner, other, apart: pi }.into());
        }
        let nonce = self.nonce(now);
        let begins = self.begins(now, &Subject::Pi(pi), discover);
        let Some(known) = self.pis.touch(Subject::Pi(pi), now) else { return follows };
        known.identity = Some(identity);
        if !known.mac_proven {
            (known.mac, known.name) = (mac, None);
        }
        let mut began = None;
        if begins {
            self.crowd.begins(now);
            let number = known.begin(now, nonce);
            let hardware = hardware.to_string();
            follows.push(events::Boot::Began { number, by: Cause::Discover { hardware, identity } }.into());
        }
        if let Some(boot) = &mut known.boot {
            boot.last = now;
            began = Some(boot.began);
        }
        if let Some(adapter) = self.adapters.get_mut(&hardware).filter(|_| begins) {
            adapter.began = now;
        }
        follows.extend(self.step(now, Subject::Pi(pi), discover));
        if began.is_some_and(|began| self.crowd.holds(began)) {
            follows.extend(self.step(now, Subject::Pi(pi), &Event::PoweredTogether));
        }
        follows
    }

    fn has_address(&mut self, now: Duration, hardware: HardwareAddress, address: Ipv4Addr, leased: bool) {
        let Some(adapter) = self.adapters.touch(hardware, now) else {
            return;
        };
        adapter.address = Some(address);
        let Some(host) = self.hosts.touch(address, now) else { return };
        // A client's message about another server's lease does not change a lease of this server.
        if leased || !host.leased {
            (host.mac, host.leased) = (hardware.mac(), leased);
        }
        let Some(Subject::Pi(pi)) = self.subject_of(&hardware) else { return };
        if self.adapters.get(&hardware).is_some_and(|adapter| adapter.identity.is_some()) {
            self.locate(
                pi,
                Presence {
                    address,
                    mac: hardware.mac(),
                    evidence: Evidence::Dhcp,
                    mounted: false,
                    last: now,
                },
            );
        }
    }
}
