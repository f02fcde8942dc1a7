//! What a page or a command shows of a Pi: copied from the registry one Pi at a time, so that no service waits for the copy of all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pinetboot_core::pi::boot::{State, Verdict};
use pinetboot_core::pi::{PiIdentity, Prefix};

use super::{Pis, Presence, Registry, Subject};
use crate::events::Mac;

/// A Pi, as far as a page shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// The name in messages.
    pub name: Arc<str>,
    /// The identity in the bootloader's DHCP messages.
    pub identity: Option<PiIdentity>,
    /// The MAC address.
    pub mac: Option<Mac>,
    /// The address, with its evidence.
    pub presence: Option<Presence>,
    /// How far the boot is.
    pub state: State,
    /// The time in this state; `None` if the Pi was not seen.
    pub state_for: Option<Duration>,
    /// What keeps the boot there, if it was told.
    pub verdict: Option<Verdict>,
    /// The number of the boot; 0 without one.
    pub boot: u32,
}

impl Pis {
    /// The Pis of the inventory, and those that were seen.
    pub fn all(&self) -> BTreeSet<Prefix> {
        let inventory = self.inventory();
        let mut all: BTreeSet<_> = self.lock().pis.values().filter_map(|(subject, _)| subject.pi()).collect();
        all.extend(inventory.entries().map(|(pi, _)| pi));
        all
    }

    /// A Pi of the inventory, or one that was seen.
    pub fn glance(&self, pi: Prefix) -> Option<Glance> {
        self.lock().glance(pi)
    }
}

impl Registry {
    fn glance(&mut self, pi: Prefix) -> Option<Glance> {
        let name = self.display_name(Subject::Pi(pi))?;
        let Some(known) = self.pi(pi) else {
            let mac = match pi {
                Prefix::Mac(mac) => Some(mac),
                _ => None,
            };
            let glance = Glance {
                name,
                identity: None,
                mac,
                presence: None,
                state: State::Unseen,
                state_for: None,
                verdict: None,
                boot: 0,
            };
            return self.inventory().entry(pi).map(|_| glance);
        };
        let since = self.watch.duration(known.machine.since()).unwrap_or_default();
        Some(Glance {
            name,
            identity: known.identity,
            mac: known.mac.or(known.presence.and_then(|presence| presence.mac)),
            presence: known.presence,
            state: known.machine.state(),
            state_for: (known.machine.state() != State::Unseen).then(|| self.now().saturating_sub(since)),
            verdict: known.machine.verdict().filter(|_| known.is_told).copied(),
            boot: known.boot.as_ref().map_or(0, |boot| boot.number),
        })
    }
}
