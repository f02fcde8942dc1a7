//! How many lines alike the log has in a minute: a flood fills no disk, and hides no other line.
//!
//! A forged address costs a sender one packet. So each kind of line that a packet of a stranger can cause has a bound for each
//! client and one in all. Lines about what needs an answer of the client (a whole file, a mount) have none in all. What is left
//! out is counted, and one line a minute has the counts.
//!
//! Not bounded: lines about this program, which no client causes, and those of `debug` and `trace`.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use pinetboot_core::dhcp::{HardwareAddress, NoReply};
use pinetboot_core::tftp::{ErrorCode, Outcome};
use pinetboot_core::{Instant, Quota};
use tracing::{Level, enabled};

use crate::events::{Boot, Dhcp, Event, Fact, Finished, Nfs, Root, Server, Tftp};

/// The lines of the last minute, by kind.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    counted: BTreeMap<Kind, Counted>,
    /// The time of the next line about what was left out.
    report_at: Option<Duration>,
}

#[derive(Debug)]
struct Counted {
    clients: Box<Quota<512>>,
    all: Quota<1>,
    left_out: u64,
}

/// Lines alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Leased,
    Exhausted,
    InUse,
    Refused,
    Vanished,
    Failed,
    Fetched,
    NotSent,
    Boots,
    Conflicts,
    Roots,
    Refusals,
}

impl Bounds {
    /// Whether the line of an event is written.
    pub(super) fn admit(&mut self, event: &Event) -> bool {
        let Some((kind, client)) = kind(event) else { return true };
        if !kind.is_written() {
            return true;
        }
        let (each, all, _) = kind.bounds();
        let now = Instant::ZERO + event.at;
        let counted = self.counted.entry(kind).or_insert_with(|| Counted {
            clients: Box::default(),
            all: Quota::new(),
            left_out: 0,
        });
        let admitted =
            counted.clients.admit(now, client, each, MINUTE) && counted.all.admit(now, 0, all, MINUTE);
        if !admitted {
            counted.left_out += 1;
            self.report_at.get_or_insert(event.at + MINUTE);
        }
        admitted
    }

    /// The counts of lines left out, if a minute has passed since the first of them, or the server has stopped; and whether all of
    /// them were at level `info`.
    pub(super) fn report(&mut self, event: &Event) -> Option<(String, bool)> {
        let report_at = self.report_at?;
        if event.at < report_at && !matches!(event.fact, Fact::Server(Server::Stopped(_))) {
            return None;
        }
        self.report_at = None;
        let counted = self.counted.iter_mut().map(|(kind, counted)| (kind, mem::take(&mut counted.left_out)));
        let counted: Vec<_> = counted.filter(|(_, left_out)| *left_out > 0).collect();
        let informs = counted.iter().all(|(kind, _)| kind.informs());
        let counts = counted.iter().map(|(kind, left_out)| format!("{}: {left_out}", kind.bounds().2));
        Some((counts.collect::<Vec<_>>().join(", "), informs))
    }
}

impl Kind {
    /// Whether the log has lines of this kind at its level.
    fn is_written(self) -> bool {
        if self.informs() { enabled!(Level::INFO) } else { enabled!(Level::WARN) }
    }

    /// Whether the lines ask for nothing: `info`, not `warn`.
    const fn informs(self) -> bool {
        matches!(self, Self::Leased | Self::Fetched | Self::Boots | Self::Roots)
    }

    /// The lines in a minute for each client, and in all, and the words for them.
    const fn bounds(self) -> (u32, u32, &'static str) {
        match self {
            Self::Leased => (20, 300, "leased addresses"),
            Self::Exhausted => (5, 20, "clients without an address"),
            Self::InUse => (5, 60, "addresses in use"),
            Self::Refused => (60, 300, "refused TFTP requests"),
            Self::Vanished => (5, 20, "unanswered transfers"),
            Self::Failed => (20, 300, "unfinished transfers"),
            Self::Fetched => (300, u32::MAX, "finished transfers"),
            Self::NotSent => (5, 20, "datagrams not sent"),
            Self::Boots => (60, 600, "stages of boots"),
            Self::Conflicts => (5, 60, "problems of boots"),
            Self::Roots => (60, 600, "roots"),
            Self::Refusals => (10, 120, "refused mounts and NFS calls"),
        }
    }
}

/// The kind of an event's line, and its client; `None` for a line without a bound.
fn kind(event: &Event) -> Option<(Kind, u32)> {
    let of_address = |kind| Some((kind, event.client.map_or(0, std::net::Ipv4Addr::to_bits)));
    match &event.fact {
        Fact::Dhcp(fact) => match fact {
            Dhcp::Leased { hardware, .. } if event.pi.is_none() => Some((Kind::Leased, number(hardware))),
            Dhcp::Unanswered { hardware, why: NoReply::Exhausted } => {
                Some((Kind::Exhausted, number(hardware)))
            }
            Dhcp::Lacks { hardware, .. } if !event.again => Some((Kind::Exhausted, number(hardware))),
            Dhcp::Unanswered { hardware, why: NoReply::Declined(_) } | Dhcp::InUse { hardware, .. } => {
                Some((Kind::InUse, number(hardware)))
            }
            _ => None,
        },
        Fact::Tftp(fact) => match fact {
            Tftp::Refused { code: ErrorCode::FILE_NOT_FOUND, foreign: false, .. } if event.pi.is_some() => {
                None
            }
            Tftp::Refused { harmless: false, .. } if !event.again => of_address(Kind::Refused),
            Tftp::Finished(Finished { probe: true, .. }) => None,
            Tftp::Finished(Finished { outcome, bytes, .. }) => match outcome {
                Outcome::Complete { .. } if event.pi.is_some() => None,
                Outcome::Complete { .. } => of_address(Kind::Fetched),
                Outcome::TimedOut if event.pi.is_some() => None,
                Outcome::TimedOut if *bytes == 0 => of_address(Kind::Vanished),
                Outcome::Displaced if *bytes == 0 => None,
                Outcome::Stopped | Outcome::Superseded => None,
                _ => of_address(Kind::Failed),
            },
            Tftp::NotSent { firewall: true, .. } if !event.again => of_address(Kind::NotSent),
            Tftp::UploadFailed { .. } => of_address(Kind::Failed),
            Tftp::NoPort { .. } => Some((Kind::NotSent, 0)),
            _ => None,
        },
        Fact::Boot(fact) => match fact {
            Boot::Stuck { .. } | Boot::SameSerial { .. } | Boot::NotRendered { .. } => {
                of_address(Kind::Conflicts)
            }
            Boot::NothingToServe { .. } | Boot::NoRoot { .. } => of_address(Kind::Conflicts),
            Boot::Stage { .. } | Boot::CommandLine { .. } => None,
            _ => of_address(Kind::Boots),
        },
        Fact::Root(fact) => match fact {
            Root::MountRefused { failed: false, .. } | Root::CallRefused { .. } if event.again => None,
            Root::MountRefused { .. } | Root::CallRefused { .. } => of_address(Kind::Refusals),
            Root::Mounted { .. } | Root::Unmounted { .. } | Root::Moved { .. } | Root::LayerMade { .. } => {
                of_address(Kind::Roots)
            }
            _ => None,
        },
        Fact::Nfs(fact) => match fact {
            Nfs::Disconnected { for_memory: true, .. } => of_address(Kind::Refusals),
            Nfs::CallRefused { remedy: Some(_), .. } | Nfs::HandleRefused { .. } if !event.again => {
                of_address(Kind::Refusals)
            }
            Nfs::Trouble { .. } => Some((Kind::Refusals, 0)),
            _ => None,
        },
        Fact::Network(_) | Fact::Server(_) | Fact::Usage(_) => None,
    }
}

/// A number that tells hardware addresses apart: most differ in the last bytes.
fn number(hardware: &HardwareAddress) -> u32 {
    hardware.as_bytes().iter().fold(0, |number: u32, byte| number.rotate_left(8) ^ u32::from(*byte))
}

const MINUTE: Duration = Duration::from_secs(60);
