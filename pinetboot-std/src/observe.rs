//! Log lines, from what the core's loop tells.

mod boot;
mod dhcp;

use std::net::Ipv4Addr;
use std::rc::Rc;

use indicatif::DecimalBytes;
use pinetboot_core::event::{Refused, Rejected, Requested, Started};
use pinetboot_core::pi::{BOOT_FILES, BootFile, Lookup, Model, Need, Row, Stage};
use pinetboot_core::tftp::{ErrorCode, Outcome};
use pinetboot_core::{BootPath, Direction, Event, Instant, Observer, Refusal, Report};
use tracing::{debug, info, warn};

use crate::pis::Pis;
use crate::storage::Trees;
use boot::Boots;

pub use dhcp::DhcpLog;

/// Writes a line for every transfer and every stage of a boot, a warning for what someone should look at, and the
/// many things that are normal (probes, optional files that are not there) only when asked for more.
#[derive(Debug)]
pub struct Log {
    trees: Rc<Trees>,
    boots: Boots,
    rejected: u64,
}

impl Log {
    /// A log for what is served from these trees; `pis` are those that are known.
    pub fn new(trees: Rc<Trees>, pis: Pis) -> Self {
        let boots = Boots::new(pis);
        Self { trees, boots, rejected: 0 }
    }

    /// How many datagrams were no part of any transfer.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    fn refused(&mut self, refused: &Refused<'_>) {
        let Refused { peer, direction, filename, code, reason, cause, .. } = *refused;
        let file = filename.escape_ascii().to_string();
        let client = peer.ip();
        let path = BootPath::parse(filename).ok();
        match (direction, code, path) {
            (Direction::Read, ErrorCode::FILE_NOT_FOUND, Some(path)) => {
                self.boots.missed(peer, &path);
                let place = cause.and_then(Refusal::place).unwrap_or(&file);
                if self.may_be_missing(*client, &path) {
                    debug!(%client, file, "{client} asked for {file}, which is not there; that is normal");
                } else {
                    warn!(%client, file, place, "{client} asked for {file}: there is no {place}");
                }
            }
            (Direction::Read, ErrorCode::ACCESS_VIOLATION, Some(_)) => {
                match cause.and_then(|cause| cause.place().zip(cause.reason())) {
                    Some((place, why)) => {
                        warn!(%client, file, place, "{client} asked for {file}: cannot open {place}: {why}");
                    }
                    None => warn!(%client, file, "{client} asked for {file}: {reason}"),
                }
            }
            (Direction::Read, ..) => warn!(%client, file, "{client} asked for {file}: {reason}"),
            (Direction::Write, ErrorCode::ACCESS_VIOLATION, Some(_)) => {
                warn!(%client, file, "{client} wants to write {file}: {reason}; only --allow-upload DIR lets clients write, beneath DIR");
            }
            (Direction::Write, ..) => warn!(%client, file, "{client} wants to write {file}: {reason}"),
        }
    }

    /// Whether a Pi does without this file: it is optional, or one of several and another is there.
    fn may_be_missing(&self, client: Ipv4Addr, path: &BootPath<'_>) -> bool {
        let Some(file) = BootFile::find(&Lookup::new(*path).file(), None) else { return false };
        match file.need {
            Need::Optional => true,
            // Of all device trees a Pi takes only the one that it asks for.
            Need::OneOf => file.stage != Stage::DeviceTree && self.has_another(client, path, file.stage),
            _ => false,
        }
    }

    /// Whether there is another file of the same stage where this one would be.
    fn has_another(&self, client: Ipv4Addr, path: &BootPath<'_>, stage: Stage) -> bool {
        let Some(tree) = self.trees.tree_of(client) else { return false };
        let one_of = |row: &&Row| Model::ALL.iter().any(|model| row.need(*model) == Some(Need::OneOf));
        let others = BOOT_FILES.iter().filter(|row| row.stage == stage && row.is_exact()).filter(one_of);
        let mut components: Vec<&str> = path.components().collect();
        components.pop();
        let directory = components.join("/");
        others
            .map(|row| format!("{directory}/{}", row.pattern))
            .any(|name| BootPath::parse(name.as_bytes()).is_ok_and(|another| tree.open(&another).is_ok()))
    }

    fn finished(&mut self, now: Instant, report: &Report, file: &str) {
        let path = BootPath::parse(file.as_bytes()).ok();
        let client = self.boots.name(report.peer, path.as_ref());
        let Report { bytes, resent, .. } = *report;
        let seconds = now.since(report.began).as_secs_f64();
        let (verb, from) = match report.direction {
            Direction::Read => ("sent", "of"),
            Direction::Write => ("received", "of what should be"),
        };
        match report.outcome {
            Outcome::Complete { .. } => {
                if let Some(path) = &path
                    && report.direction == Direction::Read
                {
                    self.boots.stage(now, report, path);
                }
                let rate = bytes as f64 / seconds.max(1e-6);
                let again =
                    if resent == 0 { String::new() } else { format!("; packets sent again: {resent}") };
                info!(
                    client,
                    file,
                    bytes,
                    seconds,
                    rate,
                    resent,
                    direction = verb,
                    "{client} {verb} {file}: {} in {seconds:.2} s ({}/s){again}",
                    DecimalBytes(bytes),
                    DecimalBytes(rate as u64),
                );
                if let Some(path) = &path
                    && report.direction == Direction::Read
                {
                    self.boots.finished(now, report, path);
                }
            }
            _ if report.is_probe() => {
                debug!(client, file, "{client} asked whether {file} is there, and how long it is");
            }
            Outcome::PeerError(code) => {
                warn!(client, file, bytes, "{client} ended {file} after {}: {code}", DecimalBytes(bytes));
            }
            Outcome::TimedOut if report.lacks_only_the_last_ack() && report.direction == Direction::Read => {
                let amount = DecimalBytes(bytes);
                info!(
                    client,
                    file,
                    bytes,
                    "{client} was sent {file} and left without acknowledging the end of it, after {amount}"
                );
            }
            Outcome::TimedOut => {
                let hint = if bytes == 0 {
                    "; if this happens always, a firewall stops our answers: each transfer's come from a port of its own, \
                     unless --single-port is given"
                } else {
                    ""
                };
                let amount = DecimalBytes(bytes);
                warn!(client, file, bytes, "{client} fell silent after {amount} {from} {file}{hint}");
            }
            Outcome::Aborted(code) => {
                warn!(
                    client,
                    file,
                    bytes,
                    "{file} for {client} broke off after {}: {code}",
                    DecimalBytes(bytes)
                );
            }
            Outcome::Superseded => debug!(client, file, "{client} left {file} for another"),
        }
    }
}

impl Observer for Log {
    /// The file's name.
    type Transfer = String;

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut String>) {
        match (event, transfer) {
            (Event::Requested(Requested { peer, direction, filename, options, .. }), Some(name)) => {
                let file = filename.escape_ascii().to_string();
                let verb = match direction {
                    Direction::Read => "wants",
                    Direction::Write => "wants to write",
                };
                debug!("{peer} {verb} {file}, {options}");
                *name = file;
            }
            (Event::Refused(refused), _) => self.refused(refused),
            (Event::Repeated(repeated), _) => debug!("{} repeats its request", repeated.peer),
            (Event::Started(Started { peer, len: Some(len), terms, .. }), _) => {
                debug!("{peer}: {len} bytes in {terms}");
            }
            (Event::Started(Started { peer, terms, .. }), _) => debug!("{peer}: {terms}"),
            (Event::Finished(report), Some(file)) => self.finished(now, report, file),
            (Event::Rejected(Rejected { peer, why, .. }), _) => {
                self.rejected += 1;
                debug!("{peer}: {why}");
            }
            _ => {}
        }
    }
}
