//! Knowledge from TFTP: the Pi whose files a client requests, and the progress of the boot.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::BootPath;
use pinetboot_core::pi::boot::Event;
use pinetboot_core::pi::{BootFile, Stage};
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome};

use super::{Applied, Registry, lookup};
use crate::events::{self, Cause, Evidence, Finished, Tftp};
use crate::pis::boot::BootProgress;
use crate::pis::host::Fetched;
use crate::pis::{Presence, Subject};

impl Registry {
    pub(super) fn tftp(&mut self, now: Duration, fact: &Tftp) -> Applied {
        match fact {
            Tftp::Requested { peer, direction: Direction::Read, file, .. } => {
                self.requested(now, *peer.ip(), file)
            }
            Tftp::Refused { peer, direction: Direction::Read, file, code, .. } => {
                let lookup = lookup(file);
                let subject = self.subject_asked(*peer.ip(), lookup.and_then(|lookup| lookup.prefix()));
                if *code == ErrorCode::FILE_NOT_FOUND
                    && let Some(file) = lookup.map(|lookup| lookup.file())
                    && let Some(boot_file) = BootFile::find(&file, None)
                    && let Some(boot) = self.pis.get_mut(&subject).and_then(|pi| pi.boot.as_mut())
                {
                    boot.missed(now, boot_file, &file);
                }
                Applied { subject: Some(subject), ..Applied::default() }
            }
            Tftp::Finished(finished) => self.finished(now, finished),
            Tftp::Requested { peer, file, .. } | Tftp::Refused { peer, file, .. } => {
                Applied { subject: Some(self.subject(*peer.ip(), file)), ..Applied::default() }
            }
            Tftp::NoPort { .. } | Tftp::Unanswered { .. } | Tftp::UploadFailed { .. } => Applied::default(),
            Tftp::Repeated { peer }
            | Tftp::Started { peer, .. }
            | Tftp::Progress { peer, .. }
            | Tftp::Stalled { peer, .. }
            | Tftp::Rejected { peer, .. }
            | Tftp::NotSent { to: peer, .. } => {
                Applied { subject: Some(self.subject_at(*peer.ip())), ..Applied::default() }
            }
        }
    }

    fn requested(&mut self, now: Duration, address: Ipv4Addr, file: &str) -> Applied {
        let lookup = lookup(file);
        let subject = self.subject_asked(address, lookup.and_then(|lookup| lookup.prefix()));
        let mut applied = Applied { subject: Some(subject), ..Applied::default() };
        if let Some(host) = self.hosts.touch(address, now) {
            host.subject = Some(subject);
            if let Some(prefix) = lookup.and_then(|lookup| lookup.prefix()) {
                let before = host.requested.replace((prefix, now));
                let is_other = |(other, at)| other != prefix && now.saturating_sub(at) <= AT_ONCE;
                host.is_shared = before.is_some_and(is_other);
            }
        }
        let nonce = self.nonce(now);
        let path = lookup.map(|lookup| lookup.file());
        let path = path.as_ref().map_or("", BootPath::as_requested);
        let asked = Event::FileAsked { path };
        let begins = self.begins(now, &subject, &asked);
        let Some(known) = self.pis.touch(subject, now) else { return applied };
        if begins {
            let number = known.begin(now, nonce);
            applied.follows.push(events::Boot::Began { number, by: Cause::Request }.into());
        }
        if let Some(boot) = &mut known.boot {
            boot.requested(now);
        }
        applied.follows.extend(self.step(now, subject, &asked));
        applied
    }

    fn finished(&mut self, now: Duration, finished: &Finished) -> Applied {
        let Finished { peer, file, mac, looked, bytes, resent, .. } = finished;
        let address = *peer.ip();
        let lookup = lookup(file);
        let subject = self.subject_asked(address, lookup.and_then(|lookup| lookup.prefix()));
        let mut applied = Applied { subject: Some(subject), ..Applied::default() };
        let whole = matches!(finished.outcome, Outcome::Complete { .. });
        if !whole || finished.direction != Direction::Read {
            return applied;
        }
        // A whole file proves the client's address; a request alone may have a forged one.
        let boot_file = lookup.and_then(|lookup| BootFile::find(&lookup.file(), None));
        let stage = boot_file.map(|file| file.stage);
        if let Subject::Pi(pi) = subject {
            let system = stage.is_none_or(|stage| SYSTEM.contains(&stage));
            let mut mac = *mac;
            if let Some(host) = self.hosts.touch(address, now) {
                if *looked {
                    (host.looked, host.neighbour) = (Some(now), mac);
                }
                mac = mac.or(host.neighbour);
                host.fetch(Fetched { pi, system, mac });
            }
            if let Some(neighbour) = mac {
                self.note_bridge(pi, address, neighbour);
            }
            let mac = mac.or_else(|| self.mac_by_lease(address));
            self.locate(
                pi,
                Presence { address, mac, evidence: Evidence::Fetched, mounted: false, last: now },
            );
        }
        let Some(stage) = stage else { return applied };
        let since_dhcp = self.began_by_dhcp(address).map(|began| now.saturating_sub(began).as_secs_f64());
        let hears_dhcp = self.hears_dhcp();
        let Some(pi) = self.pis.get_mut(&subject) else { return applied };
        let dhcp_unused = hears_dhcp && pi.identity.is_none() && subject.pi().is_some();
        let Some(boot) = &mut pi.boot else { return applied };
        let first = boot.first_request.unwrap_or(now);
        let seconds = now.saturating_sub(first).as_secs_f64();
        let name = file.rsplit('/').next().unwrap_or_default();
        if let Some(stage) = boot.sent(now, stage, *bytes, *resent, name) {
            applied.follows.push(events::Boot::Stage { stage, seconds }.into());
        }
        if stage == Stage::Kernel {
            // Some fetch it twice.
            let is_first = !std::mem::replace(&mut boot.kernel, true);
            boot.texts_mut().kernel_file = Some(name).filter(|name| name.len() <= 64).map(str::to_owned);
            let (largest, wanted) = (boot.largest(), boot.wanting());
            let BootProgress { number, files, bytes, missing, resent, .. } = *boot;
            let sent = events::Boot::KernelSent {
                number,
                files,
                bytes,
                seconds,
                since_dhcp,
                dhcp_unused,
                largest,
                missing,
                wanted,
                resent,
            };
            applied.follows.extend(is_first.then(|| sent.into()));
        }
        applied
    }
}

/// Two Pis request files from one address within that time: neither has the address.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The stages that a bootloader fetches last.
const SYSTEM: [Stage; 3] = [Stage::BootImage, Stage::ArmStub, Stage::Kernel];
