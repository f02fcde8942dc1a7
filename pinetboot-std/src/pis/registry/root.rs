//! Knowledge from NFS roots: the proven address of a Pi.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Applied, MOST_BOOTS, Registry};
use crate::events::{Evidence, Root};
use crate::pis::{BeforeMount, Presence, Subject};

impl Registry {
    pub(super) fn root(&mut self, now: Duration, client: Option<Ipv4Addr>, fact: &Root) -> Applied {
        let pi = match fact {
            Root::Remembered { pi, address, mac, boots } => {
                let Some(known) = self.pis.touch(Subject::Pi(*pi), now) else {
                    return Applied::default();
                };
                (known.mac, known.mac_proven, known.name) = (*mac, mac.is_some(), None);
                known.boots = boots.iter().rev().take(MOST_BOOTS).rev().cloned().collect();
                if let Some(address) = *address {
                    let evidence = Evidence::Mount;
                    self.locate(*pi, Presence { address, mac: *mac, evidence, mounted: true, last: now });
                }
                *pi
            }
            Root::Granted { pi } => {
                if let (Some(by), Some(known)) = (client, self.pis.touch(Subject::Pi(*pi), now)) {
                    let (mac, mac_proven, presence) = (known.mac, known.mac_proven, known.presence);
                    let before = BeforeMount { by, mac, mac_proven, presence };
                    known.before_mount = Some(Box::new(before));
                }
                *pi
            }
            Root::Mounted { pi, mac, evidence, .. }
            | Root::DiskOpened { pi, mac, evidence, .. }
            | Root::Moved { pi, mac, evidence, .. } => {
                let address = client.unwrap_or(Ipv4Addr::UNSPECIFIED);
                let evidence = (*evidence).max(Evidence::Mount);
                self.locate(*pi, Presence { address, mac: *mac, evidence, mounted: true, last: now });
                if let Some(known) = self.pis.get_mut(&Subject::Pi(*pi)) {
                    if mac.is_some() && known.bridged.is_none() {
                        (known.mac, known.mac_proven, known.name) = (*mac, true, None);
                    }
                    if let Some(boot) = &mut known.boot {
                        boot.mounted = true;
                        boot.last = now;
                    }
                }
                *pi
            }
            Root::Unmounted { pi } => {
                if let Some(known) = self.pis.get_mut(&Subject::Pi(*pi))
                    && let Some(before) = known.before_mount.take_if(|before| Some(before.by) == client)
                    && known.presence.is_some_and(|presence| presence.address == before.by)
                {
                    (known.mac, known.mac_proven, known.name) = (before.mac, before.mac_proven, None);
                    // A presence at the same address that was not mounted is that of the trial's own requests.
                    known.presence =
                        before.presence.filter(|presence| presence.mounted || presence.address != before.by);
                    let still_here = before
                        .presence
                        .is_some_and(|presence| presence.mounted && presence.address == before.by);
                    if let Some(boot) = &mut known.boot {
                        boot.mounted = still_here;
                    }
                    if let Some(host) = self.hosts.get_mut(&before.by).filter(|_| !still_here) {
                        host.mounted_by = None;
                    }
                }
                *pi
            }
            Root::Active { pi } => {
                if let Some(presence) =
                    self.pis.get_mut(&Subject::Pi(*pi)).and_then(|pi| pi.presence.as_mut())
                    && Some(presence.address) == client
                {
                    (presence.last, presence.mounted) = (now, true);
                }
                *pi
            }
            Root::LayerMade { pi, .. } | Root::DiskMade { pi, .. } => {
                if let Some(host) = client.and_then(|client| self.hosts.touch(client, now)) {
                    host.layers += 1;
                }
                *pi
            }
            Root::UnusedRemoved { layers } => {
                for address in layers.iter().filter_map(|(_, address)| *address) {
                    if let Some(host) = self.hosts.get_mut(&address) {
                        host.layers = host.layers.saturating_sub(1);
                    }
                }
                return Applied::default();
            }
            Root::MountRefused { .. }
            | Root::CallRefused { .. }
            | Root::DiskConnected
            | Root::DiskRefused { .. }
            | Root::DiskFailed { .. }
            | Root::NoSpace { pi: None, .. }
            | Root::Limits { .. }
            | Root::DiskFilling { .. } => return Applied::default(),
            Root::LayerReset { pi, .. }
            | Root::LayerAdopted { pi, .. }
            | Root::LayerFailed { pi, .. }
            | Root::BaseChanged { pi, .. }
            | Root::DiskUnclean { pi, .. }
            | Root::NoSpace { pi: Some(pi), .. }
            | Root::DiskClosed { pi, .. }
            | Root::Resumed { pi, .. } => *pi,
        };
        Applied { subject: Some(Subject::Pi(pi)), ..Applied::default() }
    }
}
