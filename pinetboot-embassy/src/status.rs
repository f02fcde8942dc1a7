//! The status for people: a log line for each boot and file, and counters.

use core::cell::Cell;
use core::fmt;

use heapless::Vec;
use pinetboot_core::dhcp::MessageType;
use pinetboot_core::event::{Dhcp, Refused, Rejected, Rejection};
use pinetboot_core::tftp::{ErrorCode, Outcome, Report};
use pinetboot_core::{Event, Instant, Observer};

use crate::boots::Boots;

/// The observer of both loops. Logs their events, and counts for the LED.
#[derive(Debug)]
pub(crate) struct Status {
    counts: Cell<Counts>,
    boots: Boots,
}

/// What happened since the start. The numbers wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Transfers under way.
    pub(crate) running: u32,
    /// Files that were sent whole.
    pub(crate) complete: u32,
    /// Transfers that failed.
    pub(crate) failed: u32,
    /// Requests refused for another reason than a missing file.
    pub(crate) refused: u32,
    /// Requests for files that are not there; many files of a Pi are optional.
    pub(crate) missing: u32,
    /// Addresses given.
    pub(crate) leases: u32,
}

impl Status {
    /// Nothing has happened yet; whether DHCP messages of Pis are answered.
    pub(crate) const fn new(dhcp: bool) -> Self {
        let counts = Counts { running: 0, complete: 0, failed: 0, refused: 0, missing: 0, leases: 0 };
        Self { counts: Cell::new(counts), boots: Boots::new(dhcp) }
    }

    /// The rule of a boot that does not go on.
    pub(crate) fn stuck(&self, now: Instant) -> Option<u8> {
        self.boots.pass(now);
        self.boots.rule()
    }

    /// What happened since the start.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// The boots that are watched.
    pub(crate) const fn boots(&self) -> &Boots {
        &self.boots
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    fn finished(&self, now: Instant, report: &Report, name: &Name) {
        self.count(|counts| counts.running = counts.running.saturating_sub(1));
        let Report { peer, bytes, resent, outcome, .. } = *report;
        match outcome {
            _ if report.is_probe() => debug!("{}: {} exists", peer, name),
            Outcome::Complete { .. } => {
                self.count(|counts| counts.complete = counts.complete.wrapping_add(1));
                let millis = now.since(report.began).as_millis() as u64;
                info!("{}: {}, {} bytes in {} ms, {} sent again", peer, name, bytes, millis, resent);
            }
            Outcome::Superseded => debug!("{}: {} begun anew", peer, name),
            // A forged request ends like this, too.
            Outcome::Displaced if bytes == 0 => debug!("{}: {} made room for another", peer, name),
            _ if report.lacks_only_the_last_ack() => {
                self.count(|counts| counts.complete = counts.complete.wrapping_add(1));
                info!("{}: {}, {} bytes, and no word that they came", peer, name, bytes);
            }
            outcome => {
                self.count(|counts| counts.failed = counts.failed.wrapping_add(1));
                warn!("{}: {} failed after {} bytes: {}", peer, name, bytes, Why(outcome));
            }
        }
    }
}

impl Observer for &Status {
    type Transfer = Name;

    const HEARS_STALLS: bool = true;

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Name>) {
        self.boots.hear(now, event, transfer.as_deref().map(|name| name.0.as_slice()));
        match (event, transfer) {
            (Event::Requested(requested), Some(name)) => *name = Name::of(requested.filename),
            (Event::Started(_), _) => self.count(|counts| counts.running += 1),
            (Event::Finished(report), Some(name)) => self.finished(now, report, name),
            // For a Pi this is an ordinary answer: many of its files are optional.
            (Event::Refused(Refused { peer, filename, code: ErrorCode::FILE_NOT_FOUND, .. }), _) => {
                self.count(|counts| counts.missing = counts.missing.wrapping_add(1));
                debug!("{}: {} is not there", peer, Name::of(filename));
            }
            (Event::Refused(Refused { peer, filename, reason, .. }), _) => {
                self.count(|counts| counts.refused = counts.refused.wrapping_add(1));
                warn!("{}: {} refused: {}", peer, Name::of(filename), reason);
            }
            (Event::Rejected(Rejected { peer, why: Rejection::NoPort, .. }), _) => {
                warn!("{}: no port left", peer);
            }
            (Event::Rejected(Rejected { peer, why: Rejection::TableFull, .. }), _) => {
                debug!("{}: not answered, all transfers are in use", peer);
            }
            (Event::Dhcp(Dhcp { request, answer: Ok(reply), .. }), _) if reply.kind == MessageType::Ack => {
                self.count(|counts| counts.leases = counts.leases.wrapping_add(1));
                info!("{} has address {}", request.header.hardware, reply.address);
            }
            (Event::Dhcp(Dhcp { request, answer: Ok(reply), .. }), _) => {
                debug!("{}: {} {}", request.header.hardware, reply.kind, reply.address);
            }
            (Event::Dhcp(Dhcp { request, answer: Err(silence), .. }), _) => {
                debug!("{}: not answered, {}", request.header.hardware, silence);
            }
            _ => {}
        }
    }
}

/// The end of a requested file name, in at most 40 bytes.
#[derive(Debug, Default)]
pub(crate) struct Name(Vec<u8, 40>);

impl Name {
    fn of(filename: &[u8]) -> Self {
        let mut name = Vec::new();
        let from = filename.len().saturating_sub(name.capacity());
        let _fits = name.extend_from_slice(filename.get(from..).unwrap_or_default());
        Self(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Name {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=[u8]:a}", self.0.as_slice());
    }
}

/// The failure of a transfer.
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Why(Outcome);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::TimedOut => f.write_str("no answer"),
            Outcome::Displaced => f.write_str("another client got its place"),
            Outcome::Stopped => f.write_str("the server was stopped"),
            Outcome::PeerError(code) => write!(f, "the client says {code}"),
            Outcome::Aborted(code) => write!(f, "{code}"),
            Outcome::Complete { .. } | Outcome::Superseded => f.write_str("it did not"),
        }
    }
}
