//! The document of `/api/v1/status`, as docs/monitoring.md describes it: a reader passes over keys that it does not know, and a key
//! never gets another meaning.

use std::time::Duration;

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::Prefix;
use pinetboot_core::pi::boot::{State, Verdict};
use pinetboot_core::pi::rules::Rule;
use serde::{Deserialize, Serialize};

use super::boots::PiBoots;
use super::timeline::{Sent, Timeline};
use crate::events::Evidence;
use crate::pis::Glance;

/// The version of the document.
pub(super) const SCHEMA: u32 = 1;

/// All that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The version of the document: 1.
    pub schema: u32,
    /// The server.
    pub server: ServerStatus,
    /// The Pis of the inventory, and those that were seen; by serial number.
    pub pis: Vec<PiStatus>,
}

/// The server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerStatus {
    /// The program's version.
    pub version: String,
    /// The tree.
    pub serving: String,
    /// The start, in seconds since 1970.
    pub began: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
}

/// A Pi.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PiStatus {
    /// The name of the Pi's directory: the serial number, else the MAC address with hyphens.
    pub id: String,
    /// The owner's name, else the id.
    pub name: String,
    /// The board, by option 97.
    pub model: Option<String>,
    /// The serial number: eight digits.
    pub serial: Option<String>,
    /// The MAC address.
    pub mac: Option<String>,
    /// The IPv4 address.
    pub address: Option<String>,
    /// The evidence of the address: fetched, dhcp, same-adapter, mount, inventory.
    pub evidence: Option<String>,
    /// How far the boot is: unseen, asking, requested, addressed, fetching, kernel-sent, kernel-asks, has-network, mounting,
    /// root-in-use, up.
    pub state: String,
    /// Milliseconds in this state.
    pub state_ms: Option<u64>,
    /// The transfer under way.
    pub transfer: Option<TransferStatus>,
    /// What keeps the boot in this state.
    pub verdict: Option<VerdictStatus>,
    /// The mounted path.
    pub root: Option<String>,
    /// The base image of the Pi's layer, if the layer was made or adopted since the start.
    pub image: Option<String>,
    /// The space of the Pi's changes on the server in bytes: of its layers and disks; `None`: not measured yet, or none.
    #[serde(default)]
    pub space_bytes: Option<u64>,
    /// The boots since the server's start, oldest first: at most 5, of which the last one is under way or the latest.
    pub boots: Vec<BootStatus>,
    /// The last good boot before the latest.
    pub last_good: Option<BootStatus>,
}

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransferStatus {
    /// The requested name.
    pub file: String,
    /// Bytes that arrived, counted in mebibytes.
    pub bytes: u64,
    /// The length, if it is known.
    pub length: Option<u64>,
    /// Milliseconds since the request.
    pub for_ms: u64,
}

/// What keeps a boot where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VerdictStatus {
    /// Numbers of rules, the likeliest first.
    pub rules: Vec<u8>,
    /// certain, likely, one-of.
    pub certainty: String,
    /// What was seen.
    pub seen: String,
    /// Missing files, or the reason of a refusal.
    pub details: Vec<String>,
    /// For each rule the cause.
    pub causes: Vec<String>,
    /// For each rule the remedy.
    pub remedies: Vec<String>,
}

impl VerdictStatus {
    /// Of a verdict, with missing files or the reason of a refusal.
    pub(crate) fn of(seen: &Verdict, details: &[String]) -> Self {
        verdict(seen, details)
    }
}

/// A boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BootStatus {
    /// The id in log lines: `bd989ae1.3`.
    pub id: String,
    /// The number.
    pub number: u32,
    /// Beginning, in milliseconds since 1970.
    pub began_ms: u64,
    /// Whether the system came up.
    pub up: bool,
    /// Bytes of files that arrived.
    pub bytes: u64,
    /// Packets that were sent again.
    pub resent: u32,
    /// The phases so far.
    pub phases: Vec<PhaseStatus>,
    /// The verdict at the end.
    pub verdict: Option<VerdictStatus>,
    /// The files; in the document of one Pi only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileStatus>,
}

/// A phase of a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PhaseStatus {
    /// dhcp, files, kernel, mount, system.
    pub phase: String,
    /// Beginning, in milliseconds since the boot's.
    pub from_ms: u64,
    /// Duration in milliseconds; `null`: under way.
    pub took_ms: Option<u64>,
}

/// A file of a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileStatus {
    /// The requested name.
    pub file: String,
    /// Beginning, in milliseconds since the boot's.
    pub from_ms: u64,
    /// Duration in milliseconds.
    pub took_ms: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Packets that were sent again.
    pub resent: u32,
    /// Whether the whole file arrived.
    pub whole: bool,
}

/// A Pi's part of the document.
pub(super) fn pi(
    pi: Prefix,
    glance: &Glance,
    boots: &PiBoots,
    space_bytes: Option<u64>,
    (began, now): (Duration, Duration),
    whole: bool,
) -> PiStatus {
    let boot = |timeline: &Timeline| boot(pi, timeline, began, whole);
    let latest = boots.now.as_deref();
    // Another boot has begun, of which no event has come here yet.
    let latest_now = latest.filter(|latest| latest.number == glance.boot);
    let details = latest_now.and_then(|now| now.verdict.as_deref()).map_or(&[][..], |(_, details)| details);
    let under_way = latest_now.and_then(|now| now.under_way.as_deref());
    let under_way = under_way.filter(|_| glance.state == State::Fetching);
    PiStatus {
        id: pi.to_string(),
        name: glance.name.to_string(),
        model: glance.identity.map(|identity| match identity.revision() {
            Some(revision) => revision.to_string(),
            None => identity.to_string(),
        }),
        serial: match pi {
            Prefix::Serial(_) => Some(pi.to_string()),
            _ => glance.identity.and_then(|identity| identity.serial()).map(|serial| format!("{serial:08x}")),
        },
        mac: glance.mac.map(|mac| HardwareAddress::ethernet(mac).to_string()),
        address: glance.presence.map(|presence| presence.address.to_string()),
        evidence: glance.presence.map(|presence| evidence(presence.evidence).into()),
        state: state(glance.state),
        state_ms: glance.state_for.map(millis),
        transfer: under_way.map(|under_way| TransferStatus {
            file: under_way.name.clone(),
            bytes: under_way.bytes,
            length: under_way.len,
            for_ms: millis(now.saturating_sub(under_way.from)),
        }),
        verdict: glance.verdict.as_ref().map(|seen| verdict(seen, details)),
        root: boots.root.clone(),
        image: boots.image.clone(),
        space_bytes,
        boots: boots.before.iter().chain(latest).map(boot).collect(),
        last_good: boots.good.as_deref().map(boot),
    }
}

fn boot(pi: Prefix, timeline: &Timeline, began: Duration, whole: bool) -> BootStatus {
    let from = |at: Duration| millis(at.saturating_sub(timeline.began));
    let file = |sent: &Sent| FileStatus {
        file: sent.name.clone(),
        from_ms: from(sent.from),
        took_ms: millis(sent.to.saturating_sub(sent.from)),
        bytes: sent.bytes,
        resent: sent.resent,
        whole: sent.is_whole,
    };
    BootStatus {
        id: crate::events::BootKey { pi, number: timeline.number }.to_string(),
        number: timeline.number,
        began_ms: millis(began + timeline.began),
        up: timeline.up.is_some(),
        bytes: timeline.bytes,
        resent: timeline.resent,
        phases: timeline
            .phases()
            .into_iter()
            .map(|(phase, began, ended)| PhaseStatus {
                phase: phase.name().into(),
                from_ms: from(began),
                took_ms: ended.map(|ended| millis(ended.saturating_sub(began))),
            })
            .collect(),
        verdict: timeline.verdict.as_deref().map(|(seen, details)| verdict(seen, details)),
        files: if whole { timeline.files.iter().map(file).collect() } else { Vec::new() },
    }
}

fn verdict(verdict: &Verdict, details: &[String]) -> VerdictStatus {
    let rules = || verdict.rules().iter().filter_map(|number| Rule::find(*number));
    VerdictStatus {
        rules: verdict.rules().to_vec(),
        certainty: verdict.certainty.to_string(),
        seen: verdict.seen.to_string(),
        details: details.to_vec(),
        causes: rules().map(|rule| rule.cause.to_owned()).collect(),
        remedies: rules().map(|rule| rule.remedy.to_owned()).collect(),
    }
}

fn state(state: State) -> String {
    state.to_string().replace(' ', "-")
}

const fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Fetched => "fetched",
        Evidence::Dhcp => "dhcp",
        Evidence::SameAdapter => "same-adapter",
        Evidence::Mount => "mount",
        Evidence::Inventory => "inventory",
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
