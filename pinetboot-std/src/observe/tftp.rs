//! Facts about TFTP, from the core's server loop.

use std::mem;
use std::time::Duration;

use pinetboot_core::event::{PeerError, Progress, Refused, Rejected, Rejection, Requested, Stalled, Started};
use pinetboot_core::pi::{BootFile, Lookup, Need, Stage};
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome, Report};
use pinetboot_core::{BootPath, Event, Instant, Observer};

use crate::bus::Bus;
use crate::events::{Finished, Tftp};
use crate::net::neighbour;

/// Emits the events of one TFTP worker as facts.
#[derive(Debug, Clone)]
pub struct TftpObserver {
    bus: Bus,
    rejected: u64,
    /// Requests without an answer since the last report of them.
    unanswered: u64,
    /// The time of the next report.
    report_at: Instant,
}

/// The context of a transfer: the file's name, and the text of the client's ERROR.
#[derive(Debug, Default)]
pub struct Transfer {
    file: String,
    message: Option<String>,
}

impl TftpObserver {
    /// An observer for this bus.
    pub const fn new(bus: Bus) -> Self {
        Self { bus, rejected: 0, unanswered: 0, report_at: Instant::MAX }
    }

    /// Datagrams that belonged to no transfer.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    fn refused(&self, refused: &Refused<'_>) -> Tftp {
        let mut room = [0; BootPath::MAX_LEN];
        let lookup = BootPath::parse_text(refused.filename, &mut room).ok().map(Lookup::new);
        let file = lookup.and_then(|lookup| BootFile::find(&lookup.file(), None));
        let prefix = lookup.and_then(|lookup| lookup.prefix());
        let cause = refused.cause;
        // The code tells it, and a Pi asks for twenty such files in a boot.
        let is_missing = refused.code == ErrorCode::FILE_NOT_FOUND;
        Tftp::Refused {
            peer: refused.peer,
            direction: refused.direction,
            file: refused.filename.escape_ascii().to_string(),
            code: refused.code,
            answer: refused.reason,
            place: cause.and_then(|cause| cause.place()).map(str::to_owned),
            cause: cause.filter(|_| !is_missing).and_then(|cause| cause.reason()).map(ToString::to_string),
            harmless: file.is_some_and(is_harmless),
            foreign: file.is_none() && !self.bus.pis().is_in_bootloader(*refused.peer.ip(), prefix),
        }
    }

    fn finished(&self, now: Instant, report: &Report, transfer: Transfer) {
        let whole = matches!(report.outcome, Outcome::Complete { .. }) && report.direction == Direction::Read;
        let client = *report.peer.ip();
        // A client with a forged address cannot fetch a whole file.
        let looked = whole && self.bus.pis().wants_mac(client);
        let mac = if looked { neighbour(client) } else { None };
        let finished = Finished {
            peer: report.peer,
            mac,
            looked,
            direction: report.direction,
            file: transfer.file,
            outcome: report.outcome,
            message: transfer.message,
            seconds: now.since(report.began).as_secs_f64(),
            bytes: report.bytes,
            resent: report.resent,
            probe: report.is_probe(),
            lacks_last_ack: report.lacks_only_the_last_ack(),
        };
        self.bus.emit(*report.peer.ip(), Tftp::Finished(finished));
    }
}

impl Observer for TftpObserver {
    type Transfer = Transfer;

    const HEARS_STALLS: bool = true;
    const HEARS_PROGRESS: bool = true;

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Transfer>) {
        match event {
            Event::Requested(Requested { peer, direction, filename, options, .. }) => {
                let file = filename.escape_ascii().to_string();
                if let Some(transfer) = transfer {
                    transfer.file.clone_from(&file);
                }
                let (peer, direction, options) = (*peer, *direction, *options);
                self.bus.emit(*peer.ip(), Tftp::Requested { peer, direction, file, options });
            }
            Event::Refused(refused) => self.bus.emit(*refused.peer.ip(), self.refused(refused)),
            Event::Repeated(repeated) => {
                let peer = repeated.peer;
                self.bus.emit(*peer.ip(), Tftp::Repeated { peer });
            }
            Event::Started(Started { peer, len, terms, .. }) => {
                let (peer, len, terms) = (*peer, *len, *terms);
                self.bus.emit(*peer.ip(), Tftp::Started { peer, len, terms });
            }
            Event::Stalled(Stalled { peer, bytes, block_size, after, .. }) => {
                let file = transfer.map_or(String::new(), |transfer| transfer.file.clone());
                let (peer, bytes, block_size, after) = (*peer, *bytes, *block_size, *after);
                self.bus.emit(*peer.ip(), Tftp::Stalled { peer, file, bytes, block_size, after });
            }
            Event::Progress(Progress { peer, bytes, .. }) => {
                let (peer, bytes) = (*peer, *bytes);
                self.bus.emit(*peer.ip(), Tftp::Progress { peer, bytes });
            }
            Event::PeerError(PeerError { message, .. }) => {
                if let Some(transfer) = transfer {
                    transfer.message = Some(message.escape_ascii().to_string());
                }
            }
            Event::Finished(report) => {
                self.finished(now, report, transfer.map(mem::take).unwrap_or_default());
            }
            Event::Rejected(Rejected { why: Rejection::TableFull, .. }) => {
                self.unanswered += 1;
                self.report_at = self.report_at.min(now + UNANSWERED_INTERVAL);
            }
            Event::Tick if now >= self.report_at => {
                let requests = mem::take(&mut self.unanswered);
                self.report_at = Instant::MAX;
                let seconds = UNANSWERED_INTERVAL.as_secs();
                self.bus.emit(None, Tftp::Unanswered { requests, seconds });
            }
            Event::Rejected(rejected) => {
                self.rejected += 1;
                let (peer, why) = (rejected.peer, rejected.why.to_string());
                self.bus.emit(*peer.ip(), Tftp::Rejected { peer, why });
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Instant {
        self.report_at
    }
}

/// The time for which requests without an answer are counted before they are reported.
const UNANSWERED_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a boot continues without a file: the file is optional, or one of several. If all of several are missing, the
/// registry emits that when the boot stops.
fn is_harmless(file: BootFile) -> bool {
    match file.need {
        Need::Optional => true,
        // A Pi requests a single device tree.
        Need::OneOf => file.stage != Stage::DeviceTree,
        Need::Wanted | Need::Required => false,
    }
}
