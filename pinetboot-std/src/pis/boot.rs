//! One boot of a Pi: its beginning and its progress.
//!
//! A boot has a number. A new one begins
//!
//! * with a DISCOVER, if its transaction id is new and the boot before requested a file: a bootloader that repeats a DISCOVER
//!   keeps the id, or has requested no file yet. A Pi 3 always has the same id (0x26f30339, captured,
//!   raspberrypi/documentation boot-net), so a DISCOVER after a kernel begins a boot too;
//! * with a request for a file of the first stage, if the boot before has its kernel.
//!
//! Silence begins no boot: a Pi that restarts at once after a failure (the default of bootloaders since 2026-04-14, release
//! notes of raspberrypi/rpi-eeprom) is back within seconds.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::{BootFile, Need, Stage};

use crate::events::BootRecord;

/// A boot under way, or the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct BootProgress {
    /// The boot's number: 1 for the first known boot of the Pi.
    pub number: u32,
    /// Beginning, since the server started.
    pub began: Duration,
    /// The transaction id of the DISCOVER that began the boot.
    pub(super) xid: Option<u32>,
    /// The first request by TFTP.
    pub(super) first_request: Option<Duration>,
    /// The time of the last message.
    pub(super) last: Duration,
    /// Number of requests after a pause.
    pub(super) visit: u32,
    /// The highest stage of which a file was sent.
    pub stage: Option<Stage>,
    /// Files sent.
    pub files: u32,
    /// Bytes sent.
    pub bytes: u64,
    /// Boot files that the server lacks.
    pub missing: u32,
    /// Packets sent more than once.
    pub resent: u32,
    /// The kernel was sent.
    pub kernel: bool,
    /// The kernel's file, without its directory.
    pub kernel_file: Option<String>,
    /// The kernel asked by DHCP.
    pub kernel_asked: bool,
    /// The root was mounted.
    pub mounted: bool,
    /// The address that fetched a command line with a token.
    pub(super) rendered_to: Option<Ipv4Addr>,
    /// Beginning, in seconds since 1970: the nonce of the token.
    pub(super) nonce: u32,
    /// Requested files of which the boot needs one, and none exists.
    pub(super) wanted: Vec<(Stage, String)>,
}

impl BootProgress {
    pub(super) const fn new(number: u32, began: Duration, nonce: u32) -> Self {
        Self {
            number,
            began,
            xid: None,
            first_request: None,
            last: began,
            visit: 0,
            stage: None,
            files: 0,
            bytes: 0,
            missing: 0,
            resent: 0,
            kernel: false,
            kernel_file: None,
            kernel_asked: false,
            mounted: false,
            rendered_to: None,
            nonce,
            wanted: Vec::new(),
        }
    }

    /// Whether a DISCOVER of this transaction begins another boot.
    pub(super) fn ends_with_discover(&self, xid: u32) -> bool {
        self.first_request.is_some() && (self.xid != Some(xid) || self.is_done())
    }

    /// Whether a request for this file begins another boot.
    pub(super) fn ends_with_request(&self, file: Option<BootFile>) -> bool {
        self.is_done() && file.is_some_and(|file| FIRST.contains(&file.stage))
    }

    /// The address that fetched a command line with this boot's token.
    pub const fn rendered_to(&self) -> Option<Ipv4Addr> {
        self.rendered_to
    }

    /// Whether the bootloader's part is over.
    pub(super) const fn is_done(&self) -> bool {
        self.kernel || self.mounted
    }

    pub(super) fn requested(&mut self, now: Duration) {
        self.first_request.get_or_insert(now);
        if now.saturating_sub(self.last) >= PAUSE {
            self.visit += 1;
        }
        self.last = now;
    }

    /// Records a request for a missing file.
    pub(super) fn missed(&mut self, now: Duration, file: BootFile, name: &str) {
        self.missing += 1;
        self.last = now;
        // A Pi requests a single device tree: its miss is reported at once.
        let one_of = file.need == Need::OneOf && file.stage != Stage::DeviceTree;
        let known = |(stage, wanted): &(Stage, String)| *stage == file.stage && wanted == name;
        if one_of && !self.is_done() && self.wanted.len() < MOST_WANTED && !self.wanted.iter().any(known) {
            self.wanted.push((file.stage, name.to_owned()));
        }
    }

    /// Records a sent file; returns the stage if the file is its first.
    pub(super) fn sent(&mut self, now: Duration, stage: Stage, bytes: u64, resent: u32) -> Option<Stage> {
        self.last = now;
        self.files += 1;
        self.bytes += bytes;
        self.resent += resent;
        self.wanted.retain(|(wanted, _)| *wanted != stage);
        let begins = self.stage.is_none_or(|reached| stage > reached);
        self.stage = self.stage.max(Some(stage));
        begins.then_some(stage)
    }

    /// The time at which the boot counts as stopped without a further message.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.wanted.is_empty() && !self.is_done()).then(|| self.last + STOPPED)
    }

    /// The time from the first message to the last.
    pub(super) fn took(&self) -> Duration {
        self.last.saturating_sub(self.began)
    }

    pub(super) fn record(&self) -> BootRecord {
        BootRecord {
            number: self.number,
            began: self.nonce.into(),
            files: self.files,
            bytes: self.bytes,
            missing: self.missing,
            stage: self.stage.map(|stage| stage.to_string()),
            kernel: self.kernel,
            kernel_file: self.kernel_file.clone(),
            mounted: self.mounted,
            took_ms: u64::try_from(self.took().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The stages with which boot code begins: `bootcode.bin`, `config.txt`, `start4.elf`.
const FIRST: [Stage; 3] = [Stage::Loader, Stage::Config, Stage::Firmware];

/// Silence after which a boot counts as stopped. A bootloader requests the next file at once, and repeats an unanswered request
/// after 2 s (captured, raspberrypi/rpi-eeprom#74).
const STOPPED: Duration = Duration::from_secs(10);

/// Pause that separates visits: a bootloader repeats a lost request after 2 s, and needs longer to start over.
const PAUSE: Duration = Duration::from_secs(4);

const MOST_WANTED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn file(stage: Stage) -> Option<BootFile> {
        Some(BootFile::new(stage, Need::OneOf))
    }

    #[test]
    fn a_discover_begins_a_boot_once_a_file_was_asked_for() {
        let mut boot = BootProgress::new(1, Duration::ZERO, 0);
        boot.xid = Some(7);
        assert!(!boot.ends_with_discover(7) && !boot.ends_with_discover(8), "the question is repeated");
        boot.requested(SOON);
        assert!(!boot.ends_with_discover(7), "a late copy");
        assert!(boot.ends_with_discover(8), "within a second");
        boot.kernel = true;
        assert!(boot.ends_with_discover(7), "a Pi 3 has one id for all times");
    }

    #[test]
    fn the_first_stage_after_a_kernel_begins_a_boot() {
        let mut boot = BootProgress::new(1, Duration::ZERO, 0);
        boot.requested(SOON);
        assert!(!boot.ends_with_request(file(Stage::Config)), "asked for up to six times in a boot");
        boot.kernel = true;
        assert!(boot.ends_with_request(file(Stage::Config)) && boot.ends_with_request(file(Stage::Loader)));
        assert!(!boot.ends_with_request(file(Stage::Kernel)), "fetched twice by some");
        assert!(!boot.ends_with_request(None));
    }

    #[test]
    fn one_of_several_files_is_enough() {
        let kernel = BootFile::new(Stage::Kernel, Need::OneOf);
        let mut boot = BootProgress::new(1, Duration::ZERO, 0);
        boot.missed(SOON, kernel, "kernel_2712.img");
        assert_eq!(boot.deadline(), Some(SOON + STOPPED));
        boot.sent(SOON, Stage::Kernel, 1, 0);
        assert_eq!(boot.deadline(), None);
        assert_eq!((boot.missing, boot.files), (1, 1));
    }
}
