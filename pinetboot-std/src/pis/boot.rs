//! One boot of a Pi: what it fetched, and when. When a boot begins and how far it is, the machine says (`watch`).

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::BootPath;
use pinetboot_core::pi::{BootFile, Need, Stage};

use crate::events::BootRecord;

/// A boot under way, or the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct BootProgress {
    /// The boot's number: 1 for the first known boot of the Pi.
    pub number: u32,
    /// Beginning, since the server started.
    pub began: Duration,
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
    /// The root was mounted.
    pub mounted: bool,
    /// The address that fetched a command line with a token.
    pub(super) rendered_to: Option<Ipv4Addr>,
    /// Beginning, in seconds since 1970: the nonce of the token.
    pub(super) nonce: u32,
    /// The address that the bootloader asked for by ARP, and no DHCP server names.
    pub(super) looked_for: Option<Ipv4Addr>,
    /// Apart: a made-up Pi has none, and a flood makes thousands of them.
    texts: Option<Box<Texts>>,
}

/// Names and lines that the messages of a boot had.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Texts {
    /// The kernel's file, without its directory.
    pub(super) kernel_file: Option<String>,
    /// Requested files that do not exist, and that a boot needs or is hardly whole without.
    pub(super) wanted: Vec<(BootFile, String)>,
    /// What other DHCP servers offer to such a Pi.
    pub(super) offers: Vec<String>,
    /// The line of the Pi's own log that shows a rule.
    pub(super) line: Option<String>,
    /// The largest files with their bytes, largest first.
    largest: Vec<(u64, String)>,
}

impl BootProgress {
    pub(super) const fn new(number: u32, began: Duration, nonce: u32) -> Self {
        Self {
            number,
            began,
            first_request: None,
            last: began,
            visit: 0,
            stage: None,
            files: 0,
            bytes: 0,
            missing: 0,
            resent: 0,
            kernel: false,
            mounted: false,
            rendered_to: None,
            nonce,
            looked_for: None,
            texts: None,
        }
    }

    /// Names and lines, if there are any.
    pub(super) fn texts(&self) -> Option<&Texts> {
        self.texts.as_deref()
    }

    pub(super) fn texts_mut(&mut self) -> &mut Texts {
        self.texts.get_or_insert_default()
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
    pub(super) fn missed(&mut self, now: Duration, file: BootFile, name: &BootPath<'_>) {
        self.missing += 1;
        self.last = now;
        if file.need == Need::Optional || self.is_done() {
            return;
        }
        let (name, wanted) = (name.to_string(), &mut self.texts_mut().wanted);
        if wanted.len() < MOST_WANTED && !wanted.iter().any(|known| known.0 == file && known.1 == name) {
            wanted.push((file, name));
        }
    }

    /// The missing files that a boot needs or is hardly whole without.
    pub(super) fn wanted(&self) -> &[(BootFile, String)] {
        self.texts().map_or(&[], |texts| &texts.wanted)
    }

    /// The missing files of a stage.
    pub(super) fn lacking(&self, stage: Stage) -> Vec<String> {
        self.wanted().iter().filter(|(file, _)| file.stage == stage).map(|(_, name)| name.clone()).collect()
    }

    /// The missing files without which a system is hardly whole.
    pub(super) fn wanting(&self) -> Vec<String> {
        let wanted = self.wanted().iter().filter(|(file, _)| file.need == Need::Wanted);
        wanted.map(|(_, name)| name.clone()).collect()
    }

    /// The names of the largest files, largest first.
    pub(super) fn largest(&self) -> Vec<String> {
        self.texts().into_iter().flat_map(|texts| &texts.largest).map(|(_, name)| name.clone()).collect()
    }

    /// Records a sent file; returns the stage if the file is its first.
    pub(super) fn sent(
        &mut self,
        now: Duration,
        stage: Stage,
        bytes: u64,
        resent: u32,
        name: &str,
    ) -> Option<Stage> {
        self.last = now;
        self.files += 1;
        self.bytes += bytes;
        self.resent += resent;
        let Texts { largest, wanted, .. } = self.texts_mut();
        if !largest.iter().any(|(_, known)| known == name) {
            largest.push((bytes, name.chars().take(LONGEST_NAME).collect()));
            largest.sort_by(|(a, _), (b, _)| b.cmp(a));
            largest.truncate(MOST_NAMED);
        }
        wanted.retain(|(wanted, _)| wanted.stage != stage || wanted.need == Need::Wanted);
        let begins = self.stage.is_none_or(|reached| stage > reached);
        self.stage = self.stage.max(Some(stage));
        begins.then_some(stage)
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
            kernel_file: self.texts().and_then(|texts| texts.kernel_file.clone()),
            mounted: self.mounted,
            took_ms: u64::try_from(self.took().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Pause that separates visits: a bootloader repeats a lost request after 2 s, and needs longer to start over.
const PAUSE: Duration = Duration::from_secs(4);

const MOST_WANTED: usize = 16;
/// Files that a line names.
const MOST_NAMED: usize = 2;
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn path(name: &str) -> BootPath<'_> {
        BootPath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn one_of_several_files_is_enough() {
        let kernel = BootFile::new(Stage::Kernel, Need::OneOf);
        let mut boot = BootProgress::new(1, Duration::ZERO, 0);
        boot.missed(SOON, kernel, &path("kernel_2712.img"));
        boot.missed(SOON, BootFile::new(Stage::CommandLine, Need::Wanted), &path("cmdline.txt"));
        assert_eq!(boot.lacking(Stage::Kernel), ["kernel_2712.img"]);
        boot.sent(SOON, Stage::Kernel, 1, 0, "kernel8.img");
        assert!(boot.lacking(Stage::Kernel).is_empty());
        assert_eq!(
            (boot.wanting(), boot.largest()),
            (vec!["cmdline.txt".into()], vec!["kernel8.img".into()])
        );
        assert_eq!((boot.missing, boot.files), (2, 1));
    }
}
