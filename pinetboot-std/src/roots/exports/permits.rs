//! Whether a client may mount or call: the registry's evidence, and the neighbour that answers at an address.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use pinetboot_core::pi::Prefix;
use pinetboot_nfs::{Export, Permission};

use super::{ExportTable, MOST, Own, lock};
use crate::config::NfsMode;
use crate::events::{self, Evidence, Mac};
use crate::net::neighbour;
use crate::pis::{Claim, Known, Refusal, Token};
use crate::roots::BaseImage;

impl ExportTable {
    /// Claims a shared tree for a Pi; the error names the Pi that has the tree.
    pub(super) fn claim_tree(&self, base_image: &BaseImage, pi: Prefix) -> Result<(), String> {
        if self.roots.mode() != NfsMode::Rw {
            return Ok(());
        }
        match *lock(&self.owners).entry(base_image.id()).or_insert(pi) {
            owner if owner == pi => Ok(()),
            owner => {
                let owner = self.registry.name_of(owner);
                Err(format!(
                    "--nfs-mode rw is one tree for one Pi, and {owner} has it until this server stops. For several Pis use --nfs-mode overlay"
                ))
            }
        }
    }

    /// Checks a client's claim to be a Pi, with the client's MAC address from the kernel.
    pub(super) fn check(
        &self,
        pi: Prefix,
        known: &Known,
        client: Ipv4Addr,
        token: Option<Token>,
        handle: bool,
    ) -> Result<(Evidence, Option<Mac>), Refusal> {
        let mac = neighbour(client);
        self.look_for(pi, known, client, mac);
        let evidence = self.registry.check(Claim { pi, address: client, mac, handle, token })?;
        Ok((evidence, mac.or_else(|| self.registry.mac_at(client))))
    }

    /// Sends an ARP request to a quiet Pi whose root another address claims: an answer shows that the Pi is up.
    fn look_for(&self, pi: Prefix, known: &Known, client: Ipv4Addr, mac: Option<Mac>) {
        let Some(presence) = &known.presence else { return };
        let is_elsewhere =
            presence.mounted && presence.address != client && presence.mac.is_some() && presence.mac != mac;
        if is_elsewhere && !known.is_fresh && self.answering(presence.address) == presence.mac {
            self.registry.emit(presence.address, events::Root::Active { pi });
        }
    }

    /// The MAC address that answers for an address now.
    fn answering(&self, address: Ipv4Addr) -> Option<Mac> {
        self.asker.as_ref()?.ask(address, ANSWERS).ok().flatten()
    }

    /// Whether a client that holds a handle of a Pi's layer is the Pi.
    pub(super) fn permit_layer(&self, own: &Own, client: Ipv4Addr) -> Permission {
        let Own { pi, active, .. } = own;
        if active.is_of(*pi, client, &self.registry) {
            return Permission::Granted;
        }
        // The registry ends: the Pi asks again.
        let Ok(known) = self.registry.known(*pi) else { return Permission::Later };
        match self.check(*pi, &known, client, None, true) {
            Ok((evidence, mac)) => {
                let before = active.address().or_else(|| Some(known.presence?.address));
                active.take(client);
                let moved = before.filter(|before| *before != client);
                let fact = match moved {
                    Some(from) => events::Root::Moved { pi: *pi, from, mac, evidence },
                    None => events::Root::Active { pi: *pi },
                };
                self.registry.emit(client, fact);
                Permission::Granted
            }
            Err(Refusal { why, in_doubt }) => {
                let fact = events::Root::CallRefused { pi: *pi, name: known.name, why, in_doubt };
                self.registry.emit(client, fact);
                if in_doubt { Permission::Later } else { Permission::Denied }
            }
        }
    }

    /// Whether a client may use a tree that is shared.
    pub(super) fn permit_shared(&self, export: &Export, client: Ipv4Addr) -> Permission {
        let key = (export.id, client);
        let now = Instant::now();
        if lock(&self.permitted).get(&key).is_some_and(|then| now.duration_since(*then) < LOOK_AGAIN) {
            return Permission::Granted;
        }
        let pi = self.registry.name_at(client);
        let may = match (pi, self.roots.mode()) {
            (Some(pi), NfsMode::Rw) => *lock(&self.owners).entry(export.id).or_insert(pi) == pi,
            (pi, _) => pi.is_some(),
        };
        if !may {
            let path = export.path.display().to_string();
            let why = "this server does not know the client as a Pi, or another Pi has the tree".to_owned();
            self.registry
                .emit(client, events::Root::MountRefused { pi, path, why, failed: false, not_found: false });
            return Permission::Denied;
        }
        if let Some(pi) = pi {
            self.registry.emit(client, events::Root::Active { pi });
        }
        let mut permitted = lock(&self.permitted);
        if permitted.len() >= MOST {
            permitted.retain(|_, then| now.duration_since(*then) < LOOK_AGAIN);
        }
        permitted.insert(key, now);
        Permission::Granted
    }
}

/// Wait for an ARP reply: a neighbour on Ethernet answers within milliseconds.
const ANSWERS: Duration = Duration::from_millis(300);
/// Time for which a permission holds without another check of the client's address.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
