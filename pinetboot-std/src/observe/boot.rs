//! Which stage of its boot each client has reached.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use indicatif::DecimalBytes;
use pinetboot_core::pi::{BootFile, Lookup, Stage};
use pinetboot_core::{BootPath, Instant, Report};
use tracing::info;

use crate::pis::Pis;

/// The boots under way, by client.
#[derive(Debug)]
pub(super) struct Boots {
    by_address: HashMap<Ipv4Addr, Boot>,
    pis: Pis,
}

#[derive(Debug)]
struct Boot {
    began: Instant,
    last: Instant,
    stage: Stage,
    files: u32,
    bytes: u64,
    missing: u32,
    resent: u32,
}

impl Boots {
    /// No boots yet; `pis` are those known by DHCP.
    pub(super) fn new(pis: Pis) -> Self {
        Self { by_address: HashMap::new(), pis }
    }

    /// What to call a client: by the directory it asks for, if that is a Pi's, or by what it said of itself by DHCP; and
    /// by its address.
    pub(super) fn name(&self, peer: SocketAddrV4, path: Option<&BootPath<'_>>) -> String {
        let asked = path.and_then(|path| Lookup::new(*path).prefix());
        match asked.or_else(|| self.pis.name_at(*peer.ip())) {
            Some(prefix) => format!("{prefix} ({})", peer.ip()),
            None => peer.ip().to_string(),
        }
    }

    /// A client did not get a file.
    pub(super) fn missed(&mut self, peer: SocketAddrV4, path: &BootPath<'_>) {
        if BootFile::find(&Lookup::new(*path).file(), None).is_some()
            && let Some(boot) = self.by_address.get_mut(peer.ip())
        {
            boot.missing += 1;
        }
    }

    /// A client got a file: says so if that begins a new stage of its boot.
    pub(super) fn stage(&mut self, now: Instant, report: &Report, path: &BootPath<'_>) {
        let lookup = Lookup::new(*path);
        let Some(file) = BootFile::find(&lookup.file(), None) else { return };
        if let Some(pi) = lookup.prefix() {
            // It has the whole file, so it is there: a request alone may come with a forged address.
            self.pis.asked(*report.peer.ip(), pi);
        }
        let client = self.name(report.peer, Some(path));
        self.forget_old(now);
        let new = Boot {
            began: report.began,
            last: now,
            stage: file.stage,
            files: 0,
            bytes: 0,
            missing: 0,
            resent: 0,
        };
        let known = self.by_address.contains_key(report.peer.ip());
        let boot = self.by_address.entry(*report.peer.ip()).or_insert(new);
        if !known || file.stage > boot.stage {
            let stage = file.stage;
            let seconds = now.since(boot.began).as_secs_f64();
            info!(client, %stage, seconds, "{client} reached stage: {stage}");
        }
        boot.stage = boot.stage.max(file.stage);
        boot.last = now;
        boot.files += 1;
        boot.bytes += report.bytes;
        boot.resent += report.resent;
    }

    /// A file went through: the kernel is the last.
    pub(super) fn finished(&mut self, now: Instant, report: &Report, path: &BootPath<'_>) {
        let file = BootFile::find(&Lookup::new(*path).file(), None);
        if file.is_none_or(|file| file.stage != Stage::Kernel) {
            return;
        }
        let client = self.name(report.peer, Some(path));
        let Some(boot) = self.by_address.remove(report.peer.ip()) else { return };
        let seconds = now.since(boot.began).as_secs_f64();
        let Boot { files, bytes, missing, resent, .. } = boot;
        let booting = self.pis.booting_for(*report.peer.ip()).map(|since| since.as_secs_f64());
        let since_dhcp =
            booting.map_or(String::new(), |since| format!(", {since:.1} s after it asked by DHCP"));
        info!(
            client,
            files,
            bytes,
            seconds,
            booting,
            missing,
            resent,
            "{client} has its kernel: files: {files}, {} in {seconds:.1} s{since_dhcp}; not there: {missing}; packets sent \
             again: {resent}",
            DecimalBytes(bytes),
        );
    }

    /// Forgets boots that ended without a kernel, so that clients that come and go cost no memory.
    fn forget_old(&mut self, now: Instant) {
        self.by_address.retain(|_, boot| now.since(boot.last) < FORGET);
    }
}

/// A Pi that has not asked for anything for so long has started over.
const FORGET: Duration = Duration::from_secs(120);
