//! Sums since the start, and the durations of phases.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use pinetboot_core::pi::Prefix;
use pinetboot_core::tftp::{Direction, Outcome};

use super::boots::Ended;
use super::timeline::Phase;
use crate::events::{Boot, Dhcp, Event, Fact, Nfs, Root, Served, Tftp, Usage};

/// Sums since the start.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Boots that began.
    pub boots: u64,
    /// Boots whose system runs.
    pub up: u64,
    /// Verdicts, by their first rule.
    pub verdicts: BTreeMap<u8, u64>,
    /// Boots that went on after a verdict.
    pub went_on: u64,
    /// Durations of phases.
    pub phases: BTreeMap<Phase, Histogram>,
    /// DHCP messages of clients.
    pub dhcp_messages: u64,
    /// DHCP messages without an answer.
    pub dhcp_unanswered: u64,
    /// ACKs with an address.
    pub leased: u64,
    /// TFTP requests.
    pub requests: u64,
    /// Requests for a file that were answered with an ERROR.
    pub refused: u64,
    /// Ended transfers: whole, size probes, others.
    pub transfers: [u64; 3],
    /// Bytes of ended transfers that clients acknowledged.
    pub sent_bytes: u64,
    /// Bytes of ended transfers from clients.
    pub received_bytes: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Mounted roots.
    pub mounts: u64,
    /// Refused mounts and NFS calls.
    pub nfs_refused: u64,
    /// Connections of NFS: opened, and ended.
    pub nfs_connections: [u64; 2],
    /// Disks: connections that got theirs, connections that ended, refused ones, failed requests.
    pub disks: [u64; 4],
    /// Calls of NFS.
    pub nfs: Served,
    /// Requests of NBD.
    pub nbd: Served,
    /// Space of Pis in bytes: on layers, and on disks.
    pub spaces: BTreeMap<(Prefix, bool), BTreeMap<String, u64>>,
    /// Leases that run.
    pub leases: u64,
}

/// Counts of durations up to each bound of [`SECONDS`].
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Durations up to a bound, and above the one before.
    pub within: [u64; SECONDS.len()],
    /// All durations.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
}

/// The bounds of [`Histogram`], in seconds.
pub const SECONDS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

/// The counts of another process, which may be in the hands of an attacker.
fn bounded(served: &Served) -> Served {
    let short = |(name, _): &&(Cow<'static, str>, u64)| name.len() <= LONGEST_NAME;
    Served { calls: served.calls.iter().filter(short).take(MOST_CALLS).cloned().collect(), ..*served }
}

/// Procedures of a protocol, and bytes of the name of one.
const MOST_CALLS: usize = 32;
const LONGEST_NAME: usize = 32;
/// Pis whose space is kept.
const MOST_SPACES: usize = 65_536;
/// Images on which a Pi has a layer or a disk.
const MOST_IMAGES: usize = 64;

impl Histogram {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(count) =
            self.within.iter_mut().zip(SECONDS).find(|(_, bound)| seconds <= *bound).map(|(count, _)| count)
        {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

impl Counts {
    /// The space of a Pi on all images, in bytes: of its layers and disks.
    pub(super) fn space_of(&self, pi: Prefix) -> Option<u64> {
        let mut all = [false, true]
            .iter()
            .filter_map(|is_disk| self.spaces.get(&(pi, *is_disk)))
            .flat_map(BTreeMap::values);
        let first = *all.next()?;
        Some(all.fold(first, |sum, bytes| sum.saturating_add(*bytes)))
    }

    fn usage(&mut self, usage: &Usage) {
        match usage {
            Usage::Nfs(served) => self.nfs = bounded(served),
            Usage::Disks(served) => self.nbd = bounded(served),
            Usage::Leases { running } => self.leases = *running,
            Usage::Space { pi, image, is_disk, bytes: 0 } => {
                if let Some(images) = self.spaces.get_mut(&(*pi, *is_disk)) {
                    images.remove(image);
                }
                self.spaces.retain(|_, images| !images.is_empty());
            }
            Usage::Space { pi, image, is_disk, bytes } => {
                if self.spaces.len() < MOST_SPACES || self.spaces.contains_key(&(*pi, *is_disk)) {
                    let images = self.spaces.entry((*pi, *is_disk)).or_default();
                    if images.len() < MOST_IMAGES || images.contains_key(image) {
                        images.insert(image.clone(), *bytes);
                    }
                }
            }
        }
    }

    pub(super) fn hear(&mut self, event: &Event, ended: &Ended) {
        if let Some((phase, took)) = ended {
            self.phases.entry(*phase).or_default().add(*took);
        }
        match &event.fact {
            // Other clients than Pis have boots, too.
            Fact::Boot(Boot::Began { .. }) if event.boot.is_some() => self.boots += 1,
            Fact::Boot(Boot::Up { .. }) => self.up += 1,
            Fact::Boot(Boot::Stuck { verdict, .. }) => {
                if let Some(rule) = verdict.rules().first() {
                    *self.verdicts.entry(*rule).or_default() += 1;
                }
            }
            Fact::Boot(Boot::GoesOn { .. }) => self.went_on += 1,
            Fact::Dhcp(Dhcp::Asked { .. }) => self.dhcp_messages += 1,
            Fact::Dhcp(Dhcp::Unanswered { .. }) => self.dhcp_unanswered += 1,
            Fact::Dhcp(Dhcp::Leased { .. }) => self.leased += 1,
            Fact::Tftp(Tftp::Requested { .. }) => self.requests += 1,
            Fact::Tftp(Tftp::Refused { .. }) => self.refused += 1,
            Fact::Tftp(Tftp::Finished(finished)) => {
                let kind = match finished.outcome {
                    Outcome::Complete { .. } => 0,
                    _ if finished.probe => 1,
                    _ => 2,
                };
                if let Some(count) = self.transfers.get_mut(kind) {
                    *count += 1;
                }
                match finished.direction {
                    Direction::Read => self.sent_bytes += finished.bytes,
                    Direction::Write => self.received_bytes += finished.bytes,
                }
                self.resent += u64::from(finished.resent);
            }
            Fact::Root(Root::Mounted { .. }) => self.mounts += 1,
            Fact::Root(Root::DiskOpened { .. }) => self.disks[0] += 1,
            Fact::Root(Root::DiskClosed { .. }) => self.disks[1] += 1,
            Fact::Root(Root::DiskRefused { .. }) => self.disks[2] += 1,
            Fact::Root(Root::DiskFailed { .. }) => self.disks[3] += 1,
            Fact::Usage(usage) => self.usage(usage),
            Fact::Root(Root::MountRefused { .. } | Root::CallRefused { .. })
            | Fact::Nfs(Nfs::CallRefused { .. } | Nfs::HandleRefused { .. }) => self.nfs_refused += 1,
            Fact::Nfs(Nfs::Connected { .. }) => self.nfs_connections[0] += 1,
            Fact::Nfs(Nfs::Disconnected { .. }) => self.nfs_connections[1] += 1,
            _ => {}
        }
    }
}
