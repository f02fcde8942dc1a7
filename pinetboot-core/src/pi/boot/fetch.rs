//! Requests for files, and what comes of them.

use core::time::Duration;

use super::event::RootLine;
use super::facts::{Open, Pages};
use super::{Boot, Ends, State};
use crate::pi::{BootFile, Model, Need, Stage};
use crate::{BootPath, Instant};

impl Boot {
    pub(super) fn asked(&mut self, path: &str, now: Instant) {
        let facts = &mut self.facts;
        facts.requests = facts.requests.saturating_add(1);
        (facts.repeats, facts.answered, facts.stall) = (0, false, None);
        let known = file(path, facts.model);
        let is_kernel = known.is_some_and(|file| file.stage == Stage::Kernel);
        let name = hash(path);
        // A kernel that was offered and neither taken nor declined, and now a request for another one.
        if let Some(open) = facts.open
            && is_kernel
            && open.kernel
            && open.name != name
            && open.at.until(now) >= DECLINES
        {
            facts.kernel_passed_over = true;
        }
        facts.open = Some(Open { name, kernel: is_kernel, at: now.into() });
        match known.map(|file| file.stage) {
            Some(Stage::CommandLine) => facts.line_asked = true,
            Some(Stage::Config) if path.ends_with("tryboot.txt") => facts.tryboot = true,
            Some(Stage::Initramfs) if is_doubled(path) => facts.prefix_doubled = true,
            _ => {}
        }
        if known.is_none()
            && (path.split('/').any(|name| name == "pxelinux.cfg") || path.ends_with("boot.scr.uimg"))
        {
            facts.u_boot = true;
        }
        if self.state >= State::KernelSent && known.is_none() {
            facts.chained = true;
        }
        if self.state < State::Fetching {
            self.reach(State::Fetching);
        }
    }

    pub(super) fn sent(&mut self, path: &str) {
        let facts = &mut self.facts;
        (facts.open, facts.stall, facts.blocked) = (None, None, false);
        facts.files = facts.files.saturating_add(1);
        let Some(stage) = file(path, facts.model).map(|file| file.stage) else { return };
        facts.sent |= bit(stage);
        let name = path.rsplit('/').next().unwrap_or_default();
        match (stage, Pages::of(name)) {
            (Stage::Kernel, pages @ Some(_)) => facts.kernel_pages = pages,
            (Stage::Initramfs, pages @ Some(_)) => facts.initramfs_pages = pages,
            _ => {}
        }
        match stage {
            Stage::SelfUpdate if path.ends_with("pieeprom.upd") => facts.updates = true,
            Stage::Config if path.ends_with("config.txt") => facts.config_len = facts.len,
            Stage::Firmware if path.ends_with("start_x.elf") => facts.start_x = true,
            Stage::CommandLine if facts.line == RootLine::Missing => facts.line = RootLine::Unknown,
            Stage::Kernel if self.state == State::Fetching => {
                self.ends = Ends { updates: self.ends.updates, ..Ends::NONE };
                self.reach(State::KernelSent);
            }
            _ => {}
        }
    }

    pub(super) fn missing(&mut self, path: &str, own_directory: bool) {
        let facts = &mut self.facts;
        facts.open = None;
        facts.misses = facts.misses.saturating_add(1);
        let Some(file) = file(path, facts.model) else { return };
        if file.need >= Need::Required || file.need == Need::OneOf {
            facts.missed |= bit(file.stage);
            facts.in_own_directory = own_directory;
        }
        match file.stage {
            Stage::CommandLine => facts.line = RootLine::Missing,
            Stage::Overlays if path.ends_with("bcm2712d0.dtbo") => facts.lacks_d0 = true,
            Stage::DeviceTree if path.as_bytes().windows(4).any(|part| part == b"-cm5") => {
                facts.cm5_tree = true
            }
            _ => {}
        }
    }
}

/// What the table of files says of a name, which has no prefix.
pub(super) fn file(path: &str, model: Option<Model>) -> Option<BootFile> {
    BootFile::find(&BootPath::parse(path.as_bytes()).ok()?, model)
}

/// The bit of a stage in a set of stages.
pub(super) const fn bit(stage: Stage) -> u16 {
    1 << stage as u16
}

/// Whether a directory comes twice in a row: `current/current/initramfs8`.
fn is_doubled(path: &str) -> bool {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let Some(mut before) = names.next() else { return false };
    names.any(|name| core::mem::replace(&mut before, name) == name)
}

/// FNV-1a: tells names of one boot apart.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A bootloader that got an answer to a request for a size ends the transfer at once.
const DECLINES: Duration = Duration::from_secs(1);
