//! Log lines, from what the core's loop tells.

mod boot;
mod dhcp;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use indicatif::DecimalBytes;
use pinetboot_core::pi::{BOOT_FILES, BootFile, Lookup, Model, Need, Row, Stage};
use pinetboot_core::tftp::{ErrorCode, Outcome};
use pinetboot_core::{BootPath, Direction, Event, Instant, Observer, Report};
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
    /// What the last request was for that was accepted.
    asked: String,
    /// What the transfers under way are about.
    names: HashMap<SocketAddrV4, String>,
    boots: Boots,
    rejected: u64,
}

impl Log {
    /// A log for what is served from these trees; `pis` are those that are known.
    pub fn new(trees: Rc<Trees>, pis: Pis) -> Self {
        let boots = Boots::new(pis);
        Self { trees, asked: String::new(), names: HashMap::new(), boots, rejected: 0 }
    }

    /// How many datagrams were no part of any transfer.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    fn refused(
        &mut self,
        peer: SocketAddrV4,
        direction: Direction,
        filename: &[u8],
        code: ErrorCode,
        reason: &str,
    ) {
        let file = filename.escape_ascii().to_string();
        let client = peer.ip();
        let path = BootPath::parse(filename).ok();
        match (direction, code, path) {
            (Direction::Read, ErrorCode::FILE_NOT_FOUND, Some(path)) => {
                self.boots.missed(peer, &path);
                let place = self.trees.place(*client, &path);
                let place = place.display();
                if self.may_be_missing(*client, &path) {
                    debug!(%client, file, "{client} asked for {file}, which is not there; that is normal");
                } else {
                    warn!(%client, file, %place, "{client} asked for {file}: there is no {place}");
                }
            }
            (Direction::Read, ErrorCode::ACCESS_VIOLATION, Some(path)) => {
                // Asked again, only to say why.
                match self.trees.tree_of(*client).map(|tree| tree.open(&path)) {
                    Some(Err(miss)) => {
                        let place = miss.place.display();
                        warn!(%client, file, %place, "{client} asked for {file}: cannot open {place}: {}", miss.reason);
                    }
                    _ => warn!(%client, file, "{client} asked for {file}: {reason}"),
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

    fn finished(&mut self, now: Instant, report: &Report) {
        let file = self.names.remove(&report.peer).unwrap_or_default();
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
    fn observe(&mut self, now: Instant, event: &Event<'_>) {
        match *event {
            Event::Requested { peer, direction, filename, options } => {
                let file = filename.escape_ascii().to_string();
                let verb = match direction {
                    Direction::Read => "wants",
                    Direction::Write => "wants to write",
                };
                debug!("{peer} {verb} {file}, {options}");
                // If it takes the place of another transfer, that ends before this one begins.
                self.asked = file;
            }
            Event::Refused { peer, direction, filename, code, reason } => {
                self.refused(peer, direction, filename, code, reason);
            }
            Event::Repeated { peer } => debug!("{peer} repeats its request"),
            Event::Started { peer, len, terms, .. } => {
                self.names.insert(peer, std::mem::take(&mut self.asked));
                match len {
                    Some(len) => debug!("{peer}: {len} bytes in {terms}"),
                    None => debug!("{peer}: {terms}"),
                }
            }
            Event::Finished(report) => self.finished(now, &report),
            Event::Rejected { peer, why } => {
                self.rejected += 1;
                debug!("{peer}: {why:?}");
            }
            _ => {}
        }
    }
}
