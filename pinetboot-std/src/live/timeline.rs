//! One boot of a Pi: when each phase began, and each file.

use std::net::SocketAddrV4;
use std::time::Duration;

use pinetboot_core::pi::boot::Verdict;

use crate::events::{Boot, Cause, Dhcp, Fact, Root, Tftp};

/// A phase of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// From the first DISCOVER to the first request for a file.
    Dhcp,
    /// From there to the kernel's last byte.
    Files,
    /// From there to the kernel's first DHCP message; to the mount, if none is heard.
    Kernel,
    /// From there to the mount of the root.
    Mount,
    /// From there until the system runs.
    System,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Dhcp, Self::Files, Self::Kernel, Self::Mount, Self::System];

    /// The name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Files => "files",
            Self::Kernel => "kernel",
            Self::Mount => "mount",
            Self::System => "system",
        }
    }
}

/// A boot. Times are those of events: since the server started.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    pub(super) number: u32,
    pub(super) began: Duration,
    pub(super) last: Duration,
    asks: Option<Duration>,
    requests: Option<Duration>,
    kernel_sent: Option<Duration>,
    kernel_asks: Option<Duration>,
    mounted: Option<Duration>,
    pub(super) up: Option<Duration>,
    pub(super) files: Vec<Sent>,
    /// Files that are not in the list, which is full.
    pub(super) more_files: u32,
    pub(super) under_way: Option<Box<UnderWay>>,
    /// Apart: few boots have one.
    pub(super) verdict: Option<Box<(Verdict, Vec<String>)>>,
    pub(super) bytes: u64,
    pub(super) resent: u32,
}

/// A file that was sent, or whose transfer ended early.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) name: String,
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) bytes: u64,
    pub(super) resent: u32,
    pub(super) is_whole: bool,
}

/// A transfer under way.
#[derive(Debug, Clone)]
pub(super) struct UnderWay {
    pub(super) name: String,
    peer: SocketAddrV4,
    pub(super) from: Duration,
    pub(super) len: Option<u64>,
    pub(super) bytes: u64,
}

impl Timeline {
    pub(super) fn new(number: u32, began: Duration) -> Self {
        Self { number, began, last: began, ..Self::default() }
    }

    /// Takes in a fact of this boot; returns the phase that it ends, with its duration.
    pub(super) fn hear(&mut self, at: Duration, fact: &Fact) -> Option<(Phase, Duration)> {
        self.last = at;
        match fact {
            Fact::Dhcp(Dhcp::Asked { identity: Some(_), .. }) => {
                self.asks.get_or_insert(at);
                None
            }
            Fact::Boot(Boot::Began { by: Cause::Discover { .. }, .. }) => {
                self.asks.get_or_insert(at);
                None
            }
            Fact::Tftp(fact) => self.tftp(at, fact),
            Fact::Boot(Boot::KernelSent { .. }) => {
                // The event of the kernel's last byte is the same one.
                ends(&mut self.kernel_sent, at, Phase::Files, self.requests)
            }
            Fact::Boot(Boot::KernelAsks { .. }) => {
                ends(&mut self.kernel_asks, at, Phase::Kernel, self.kernel_sent)
            }
            Fact::Root(Root::Mounted { .. } | Root::DiskOpened { .. }) => {
                let (phase, from) = match (self.kernel_asks, self.kernel_sent) {
                    (Some(asks), _) => (Phase::Mount, Some(asks)),
                    (None, sent) => (Phase::Kernel, sent),
                };
                ends(&mut self.mounted, at, phase, from)
            }
            Fact::Boot(Boot::Up { .. }) => ends(&mut self.up, at, Phase::System, self.mounted),
            Fact::Boot(Boot::Stuck { verdict, details, .. }) => {
                let details = details.iter().take(MOST_DETAILS).map(|detail| shortened(detail)).collect();
                self.verdict = Some(Box::new((*verdict, details)));
                None
            }
            Fact::Boot(Boot::GoesOn { .. }) => {
                self.verdict = None;
                None
            }
            _ => None,
        }
    }

    fn tftp(&mut self, at: Duration, fact: &Tftp) -> Option<(Phase, Duration)> {
        match fact {
            Tftp::Requested { peer, file, .. } => {
                let name = shortened(file);
                self.under_way =
                    Some(Box::new(UnderWay { name, peer: *peer, from: at, len: None, bytes: 0 }));
                return ends(&mut self.requests, at, Phase::Dhcp, self.asks);
            }
            Tftp::Started { peer, len, .. } => {
                if let Some(under_way) = self.under_way.as_mut().filter(|under_way| under_way.peer == *peer) {
                    under_way.len = *len;
                }
            }
            Tftp::Progress { peer, bytes } | Tftp::Stalled { peer, bytes, .. } => {
                if let Some(under_way) = self.under_way.as_mut().filter(|under_way| under_way.peer == *peer) {
                    under_way.bytes = *bytes;
                }
            }
            Tftp::Refused { peer, .. } => {
                self.under_way.take_if(|under_way| under_way.peer == *peer);
            }
            Tftp::Finished(finished) => {
                self.under_way.take_if(|under_way| under_way.peer == finished.peer);
                if finished.probe {
                    return None;
                }
                self.bytes += finished.bytes;
                self.resent += finished.resent;
                let is_whole = matches!(finished.outcome, pinetboot_core::tftp::Outcome::Complete { .. });
                if self.files.len() < MOST_FILES {
                    let from =
                        at.saturating_sub(Duration::try_from_secs_f64(finished.seconds).unwrap_or_default());
                    let name = shortened(&finished.file);
                    let (bytes, resent) = (finished.bytes, finished.resent);
                    self.files.push(Sent { name, from, to: at, bytes, resent, is_whole });
                } else {
                    self.more_files += 1;
                }
            }
            _ => {}
        }
        None
    }

    /// The phases so far: beginning and end, `None` for the one under way.
    pub(super) fn phases(&self) -> Vec<(Phase, Duration, Option<Duration>)> {
        let kernel_ends = self.kernel_asks.or(self.mounted);
        let bounds = [
            (Phase::Dhcp, self.asks, self.requests),
            (Phase::Files, self.requests, self.kernel_sent),
            (Phase::Kernel, self.kernel_sent, kernel_ends),
            (Phase::Mount, self.kernel_asks, self.mounted),
            (Phase::System, self.mounted, self.up),
        ];
        bounds.into_iter().filter_map(|(phase, from, to)| Some((phase, from?, to))).collect()
    }

    /// Whether the boot went as far as a boot goes here.
    pub(super) const fn is_good(&self) -> bool {
        self.verdict.is_none() && (self.up.is_some() || self.kernel_sent.is_some())
    }

    /// The same without files: for a boot that is long over.
    pub(super) fn without_files(self) -> Self {
        let more_files = self.more_files + u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        Self { files: Vec::new(), under_way: None, more_files, ..self }
    }
}

/// Marks the end of a phase; a second end is none.
fn ends(
    mark: &mut Option<Duration>,
    at: Duration,
    phase: Phase,
    from: Option<Duration>,
) -> Option<(Phase, Duration)> {
    if mark.is_some() {
        return None;
    }
    *mark = Some(at);
    from.map(|from| (phase, at.saturating_sub(from)))
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}..", name.get(..end).unwrap_or_default()),
    }
}

/// Files of a boot with their times: a Pi 5 of Raspberry Pi OS requests 12.
const MOST_FILES: usize = 40;
const MOST_DETAILS: usize = 8;
const LONGEST: usize = 80;
