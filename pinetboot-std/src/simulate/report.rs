//! The result of a simulation as data, for `--json`.

use std::net::SocketAddrV4;

use pinetboot_core::pi::{Model, Prefix};
use serde::Serialize;

use super::root::RootCheck;
use super::timeline::Step;
use super::verdict::Summary;
use crate::exit::Exit;
use crate::finding::Findings;
use crate::probe;

/// The result of a simulation.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model, as a value of `--model`.
    model: &'static str,
    /// The low half of the serial number, 8 hexadecimal digits.
    serial: String,
    /// The TFTP server, if one was found.
    server: Option<SocketAddrV4>,
    /// The requests and answers in their order.
    steps: Vec<Step>,
    /// The files in memory when the kernel starts.
    loaded: Vec<String>,
    /// The number of loaded overlays.
    overlays: usize,
    /// Bytes of all files.
    bytes: u64,
    /// The mounted root.
    root: Option<Root>,
    /// The reason why no root was mounted, if that is no fault.
    root_not_checked: Option<String>,
    verdict: Verdict,
    findings: Findings,
    /// The exit code.
    exit: u8,
}

/// A mounted root.
#[derive(Debug, Serialize)]
struct Root {
    /// `SERVER:/PATH`.
    source: String,
    /// The path of the first program.
    init: String,
}

/// The verdict of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// The kernel starts, and its root has a first program.
    WouldBoot,
    /// The kernel starts; its root was not checked.
    WouldStartKernel,
    /// A file is missing or faulty, or the root is.
    WouldNotBoot,
    /// No DHCP server names a boot server that the Pi accepts.
    NoBootServer,
    /// No DHCP server offers an address.
    NoDhcpServer,
}

impl Report {
    pub(super) fn new(
        model: Model,
        serial: u32,
        server: Option<SocketAddrV4>,
        steps: Vec<Step>,
        summary: Summary,
    ) -> Self {
        let verdict = match (summary.would_boot(), &summary.root) {
            (false, _) | (_, RootCheck::Failed) => Verdict::WouldNotBoot,
            (true, RootCheck::Mounted { .. }) => Verdict::WouldBoot,
            (true, RootCheck::Skipped(_)) => Verdict::WouldStartKernel,
        };
        let exit = if verdict == Verdict::WouldNotBoot { Exit::WouldNotBoot } else { Exit::Success };
        let (root, root_not_checked) = match summary.root {
            RootCheck::Mounted { source, init } => (Some(Root { source, init }), None),
            RootCheck::Skipped(why) => (None, Some(why)),
            RootCheck::Failed => (None, None),
        };
        Self {
            model: model.profile().word,
            serial: Prefix::Serial(serial).to_string(),
            server,
            steps,
            loaded: summary.loaded.files,
            overlays: summary.loaded.overlays,
            bytes: summary.totals.bytes,
            root,
            root_not_checked: root_not_checked.filter(|_| verdict == Verdict::WouldStartKernel),
            verdict,
            findings: summary.findings,
            exit: exit as u8,
        }
    }

    /// A boot that ended with DHCP.
    pub(super) fn without_server(
        model: Model,
        serial: u32,
        steps: Vec<Step>,
        findings: Findings,
        verdict: probe::Verdict,
    ) -> Self {
        let summary = Summary { findings, ..Summary::default() };
        let exit = verdict.exit() as u8;
        let verdict = match verdict {
            probe::Verdict::NoDhcpServer => Verdict::NoDhcpServer,
            _ => Verdict::NoBootServer,
        };
        Self { verdict, exit, root_not_checked: None, ..Self::new(model, serial, None, steps, summary) }
    }

    /// The exit code: [`Exit::Success`] if the Pi would boot, as far as was checked.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::WouldBoot | Verdict::WouldStartKernel => Exit::Success,
            Verdict::WouldNotBoot => Exit::WouldNotBoot,
            Verdict::NoBootServer => Exit::NoBootServer,
            Verdict::NoDhcpServer => Exit::NoDhcp,
        }
    }
}
