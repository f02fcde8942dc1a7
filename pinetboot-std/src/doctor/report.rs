//! The report of all parts, for people and programs.

use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::finding::{Findings, Severity, more};
use crate::output::Output;
use crate::text::{line, without_secrets, wrap};

/// The result.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    parts: Vec<Part>,
    exit: u8,
}

/// One part of what was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    /// configuration, machine, network, files, server, pi, log.
    pub(super) part: &'static str,
    /// The place, and the result in words.
    pub(super) about: String,
    /// What was seen, a line each.
    pub(super) facts: Vec<String>,
    /// The faults.
    pub(super) findings: Findings,
}

impl Part {
    pub(super) fn new(part: &'static str, about: impl Into<String>) -> Self {
        Self { part, about: about.into(), facts: Vec::new(), findings: Findings::default() }
    }
}

impl Report {
    /// Adds a part, without the secrets of boots: a report is shown to others, and the command line of a Pi's log has one.
    pub(super) fn add(&mut self, mut part: Part) {
        part.facts.iter_mut().for_each(|fact| *fact = without_secrets(fact));
        part.findings.reword(without_secrets);
        if part.findings.of(Severity::Problem).next().is_some() {
            self.exit = Exit::WouldNotBoot as u8;
        }
        self.parts.push(part);
    }

    /// [`Exit::WouldNotBoot`] if a problem was found.
    pub(super) const fn exit(&self) -> Exit {
        if self.exit == Exit::Success as u8 { Exit::Success } else { Exit::WouldNotBoot }
    }

    pub(super) fn print(&self, out: &mut Output) -> Result<(), Failed> {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let title = format!("{}: {}", titled(part.part), part.about);
            writeln!(out, "{}", wrap(&title, WIDTH, "  "))?;
            for fact in &part.facts {
                writeln!(out, "  {}", line(fact))?;
            }
            part.findings.print(out)?;
        }
        let all = || self.parts.iter().map(|part| &part.findings);
        let count = |severity| all().map(|findings| findings.of(severity).count()).sum::<usize>();
        match (count(Severity::Problem), count(Severity::Warning)) {
            (0, 0) => writeln!(out, "\nNo fault was found.")?,
            (problems, warnings) => writeln!(out, "\nProblems: {problems}; warnings: {warnings}.")?,
        }
        match more(all()) {
            Some(more) => writeln!(out, "{more}"),
            None => Ok(()),
        }
    }
}

/// The word with a capital letter.
fn titled(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// Columns of prose.
const WIDTH: usize = 98;
