//! Answers of the registry to another process.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::inventory::check;
use super::{PiEntry, Pis, Presence};
use crate::events::BootRecord;

/// The registry's knowledge about one Pi.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The name in messages: the owner's, else the serial number or MAC address.
    pub name: String,
    /// The settings that roots need, with those of the Pi's groups.
    pub settings: PiEntry,
    /// The inventory names the Pi.
    pub is_listed: bool,
    /// The Pi's address, with its evidence.
    pub presence: Option<Presence>,
    /// The MAC address of the Pi's neighbour is a bridge's, and proves nothing.
    #[serde(default)]
    pub is_bridged: bool,
    /// The presence is recent.
    pub is_fresh: bool,
    /// The time since a boot began that has not mounted its root yet.
    pub boots_for: Option<Duration>,
    /// The address that fetched a command line with a token.
    pub rendered_to: Option<Ipv4Addr>,
    /// The last boots, oldest first.
    pub boots: Vec<BootRecord>,
}

/// The reason for a refused claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason, as text with the Pi's name.
    pub why: String,
    /// The client may yet prove to be that Pi, and has to repeat its call.
    pub in_doubt: bool,
}

impl Known {
    /// The host name of this Pi: the inventory's, else `pi-SERIAL`.
    pub fn host_name(&self, pi: Prefix) -> String {
        self.settings.name.clone().unwrap_or_else(|| format!("pi-{pi}"))
    }

    /// The imported image to boot instead of the current one.
    pub fn image(&self) -> Option<&str> {
        self.settings.image.as_deref()
    }

    /// Without settings that no inventory has: another process sent them.
    #[must_use]
    pub(crate) fn checked(self) -> Self {
        let settings = Some(self.settings).filter(|settings| check(settings).is_ok()).unwrap_or_default();
        Self { settings, ..self }
    }
}

impl Pis {
    /// The knowledge about a Pi, for another process.
    pub fn known(&self, pi: Prefix) -> Known {
        let (name, now) = (self.name_of(pi).to_string(), self.now());
        let inventory = self.inventory();
        // Without what goes into boot files: a message has a bound.
        let settings = inventory.settings(pi).of_root();
        let is_listed = inventory.lists(pi);
        let Some(known) = self.pi(pi) else { return Known { name, settings, is_listed, ..Known::default() } };
        let boot = known.boot.as_ref();
        Known {
            name,
            settings,
            is_listed,
            presence: known.presence,
            is_bridged: known.bridged.is_some(),
            is_fresh: known.presence.is_some_and(|presence| presence.is_fresh(now)),
            boots_for: boot.filter(|boot| !boot.mounted).map(|boot| now.saturating_sub(boot.began)),
            rendered_to: boot.and_then(super::BootProgress::rendered_to),
            boots: known.records(),
        }
    }
}
