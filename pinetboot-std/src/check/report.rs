//! The report of a check, for people and programs.

use std::path::Path;

use pinetboot_core::pi::Model;
use serde::{Serialize, Serializer};

use super::ModelResult;
use super::place::System;
use super::tree::Budget;
use crate::exit::{Exit, Failed};
use crate::finding::{Finding, Findings, Severity, more};
use crate::output::Output;
use crate::text::{shown, wrap};
use pinetboot_core::pi::rules::{self, Rule};

/// The result of a check.
#[derive(Debug, Serialize)]
pub struct Report {
    place: String,
    systems: Vec<SystemReport>,
    exit: u8,
}

#[derive(Debug, Serialize)]
struct SystemReport {
    /// The image's name.
    name: Option<String>,
    models: Vec<ModelResult>,
    /// Whether time and bytes sufficed.
    complete: bool,
    findings: Findings,
}

impl Report {
    pub(super) fn new(place: &Path) -> Self {
        Self { place: shown(place).to_string(), systems: Vec::new(), exit: Exit::Success as u8 }
    }

    pub(super) fn add(
        &mut self,
        system: &System,
        models: Vec<ModelResult>,
        mut findings: Findings,
        budget: &Budget,
    ) {
        if system.is_for_card {
            let mut changed = Findings::default();
            changed.extend(findings.iter().map(before_import));
            findings = changed;
        }
        for (path, why) in budget.faults() {
            let finding =
                Finding::warning(format!("{path} cannot be read: {why}.")).rule(&rules::NO_BOOT_FILES);
            findings
                .add(finding.remedy("Run the check as root; a server needs the right to read boot files."));
        }
        let complete = !budget.is_spent();
        if findings.of(Severity::Problem).next().is_some() {
            self.exit = Exit::WouldNotBoot as u8;
        }
        self.systems.push(SystemReport { name: system.name.clone(), models, complete, findings });
    }

    /// [`Exit::WouldNotBoot`] if a problem was found.
    pub fn exit(&self) -> Exit {
        if self.exit == Exit::Success as u8 { Exit::Success } else { Exit::WouldNotBoot }
    }

    pub(super) fn print(&self, out: &mut Output) -> Result<(), Failed> {
        for (index, system) in self.systems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            writeln!(out, "{}", wrap(&self.about(system), WIDTH, "  "))?;
            system.findings.print(out)?;
            if !system.complete {
                writeln!(out, "\n{INCOMPLETE}")?;
            }
        }
        if let Some(more) = more(self.systems.iter().map(|system| &system.findings)) {
            writeln!(out, "\n{more}")?;
        }
        Ok(())
    }

    fn about(&self, system: &SystemReport) -> String {
        let name = system.name.as_ref().map_or(String::new(), |name| format!(", image {name}"));
        format!("{}{name}: {}", self.place, system.models())
    }

    /// Each system: the place with its result, what is to be known of the check, and the findings.
    pub(crate) fn into_systems(self) -> Vec<(String, Option<&'static str>, Findings)> {
        let about: Vec<_> = self.systems.iter().map(|system| self.about(system)).collect();
        let rest = self.systems.into_iter();
        let rest = rest.map(|system| ((!system.complete).then_some(INCOMPLETE), system.findings));
        about.into_iter().zip(rest).map(|(about, (note, findings))| (about, note, findings)).collect()
    }
}

impl SystemReport {
    fn models(&self) -> String {
        let names = |boots: bool| -> Vec<&str> {
            let chosen = self.models.iter().rev().filter(|result| result.boots == boots);
            chosen.map(|result| result.model.profile().name).collect()
        };
        let (booting, others) = (names(true), names(false));
        let found = [Severity::Problem, Severity::Warning]
            .iter()
            .any(|severity| self.findings.of(*severity).next().is_some());
        let rest = if found { "" } else { " No fault was found." };
        match (booting.as_slice(), others.as_slice()) {
            ([], []) => format!("a root without boot files.{rest}"),
            ([], _) => "no Pi boots.".into(),
            (booting, []) => format!("boots {}.{rest}", booting.join(", ")),
            (booting, others) => format!("boots {}; not {}.{rest}", booting.join(", "), others.join(", ")),
        }
    }
}

/// A finding about a card's system, if an import changes what it is about.
fn before_import(finding: &Finding) -> Finding {
    let changed = finding.rule.is_some_and(|rule| CHANGED.contains(rule));
    if !changed {
        return finding.clone();
    }
    let finding = Finding { severity: Severity::Note, ..finding.clone() };
    finding.remedy("No change is needed: 'pinetboot import' makes it.")
}

/// What an import of a known system changes.
const CHANGED: &[Rule] = &[
    rules::ROOT_ON_CARD,
    rules::FSTAB_OF_CARD,
    rules::SWAP_ON_NFS,
    rules::FIRST_BOOT_SERVICES,
    rules::CLOUD_INIT,
    rules::INTERFACE_RECONFIGURED,
    rules::SHUTDOWN_HANGS,
    rules::NETWORK_WAIT,
];

/// The model's word in JSON: `pi5`.
pub(super) fn word<S: Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    model.profile().word.serialize(serializer)
}

const INCOMPLETE: &str = "Not all was checked: the check took too long, or the files are too large.";
/// Columns of prose.
const WIDTH: usize = 98;
