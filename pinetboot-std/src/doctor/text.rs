//! Pasted text, line by line: a bootloader's UART log, a kernel's console or journal, the output of `rpi-eeprom-config`, packets as tcpdump
//! prints them. All kinds may be mixed: each line shows by itself what the line is.
//!
//! ```text
//! line -> console::rule (core), system (journal, shell)  \
//!      -> eeprom (KEY=VALUE)                              -> Rule, with the first line that shows it -> Findings
//!      -> packets (HOST.PORT > HOST.PORT: ..)            /
//! ```
//!
//! Rules that a single line shows are told at once ([`Judge::line`]); those that take several lines, or the lack of one, at the end
//! ([`Judge::findings`]). The text is untrusted: lines are cut ([`LONGEST`]) and every table is bounded.

mod console;
mod eeprom;
mod packets;
mod system;

use std::collections::BTreeMap;

use pinetboot_core::pi::console as lines;
use pinetboot_core::pi::rules::{self, Phase, Rule};

use crate::finding::{Finding, Findings, Severity};
use console::Console;
use eeprom::Eeprom;
use packets::Packets;

/// What a text shows so far.
#[derive(Debug, Default)]
pub(super) struct Judge {
    lines: u64,
    seen: BTreeMap<u8, Seen>,
    console: Console,
    eeprom: Eeprom,
    packets: Packets,
}

/// The first line that shows a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number of the line, from 1.
    line: u64,
    text: String,
    /// Further lines that show it.
    more: u64,
}

/// The fault of a whole text: the rule, and the line that shows it best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// The rule; 0 for a fault outside the catalogue.
    rule: u8,
    line: u64,
    text: String,
}

impl Judge {
    /// Takes in the next line; returns the finding that the line shows for the first time.
    pub(super) fn line(&mut self, line: &str) -> Option<Finding> {
        self.lines += 1;
        let line = cut(line);
        self.console.line(self.lines, line);
        self.eeprom.line(self.lines, line);
        self.packets.line(self.lines, line);
        let number = lines::rule(line).or_else(|| system::rule(line))?;
        if let Some(seen) = self.seen.get_mut(&number) {
            seen.more += 1;
            return None;
        }
        let seen = Seen { line: self.lines, text: line.trim().to_owned(), more: 0 };
        let finding = finding(number, &seen);
        self.seen.insert(number, seen);
        finding
    }

    /// The number of lines so far.
    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }

    /// All that the text shows, in the order of the lines.
    pub(super) fn findings(&self) -> Findings {
        let mut all: Vec<(u64, Finding)> = self
            .seen
            .iter()
            .filter_map(|(number, seen)| Some((seen.line, finding(*number, seen)?)))
            .chain(self.at_the_end())
            .collect();
        all.sort_by_key(|(line, _)| *line);
        let mut findings = Findings::default();
        findings.extend(all.into_iter().map(|(_, finding)| finding));
        findings
    }

    /// What no single line shows.
    pub(super) fn at_the_end(&self) -> Vec<(u64, Finding)> {
        let mut shown = [self.console.shown(), self.eeprom.shown(), self.packets.shown()].concat();
        if let Some((line, text)) = self.packets.console().filter(|_| self.eeprom.lacks_netconsole()) {
            shown.push(Shown::new(&rules::STRAY_NETCONSOLE, *line, text.clone()));
        }
        let shown = shown.into_iter().filter(|shown| !self.seen.contains_key(&shown.rule));
        let of_lines = shown.filter_map(|Shown { rule, line, text }| match rule {
            0 => Some((line, Finding::problem(text))),
            rule => Some((line, finding(rule, &Seen { line, text, more: 0 })?)),
        });
        let of_command_line = self.console.command_line();
        of_lines.chain(of_command_line).collect()
    }
}

impl Shown {
    fn new(rule: &Rule, line: u64, text: impl Into<String>) -> Self {
        Self { rule: rule.number, line, text: text.into() }
    }
}

/// The finding of a rule that a line shows. A system that runs has a warning.
fn finding(number: u8, seen: &Seen) -> Option<Finding> {
    let rule = Rule::find(number)?;
    let what = format!("Line {}: {}", seen.line, seen.text);
    let finding = match severity(rule) {
        Severity::Problem => Finding::problem(what),
        Severity::Warning => Finding::warning(what),
        Severity::Note => Finding::note(what),
    };
    let more = match seen.more {
        0 => String::new(),
        1 => " (one more line shows the same)".into(),
        more => format!(" ({more} more lines show the same)"),
    };
    Some(finding.evidence(format!("{}{more}", rule.cause)).rule(rule))
}

/// Whether what a rule names keeps a Pi from booting.
fn severity(rule: &Rule) -> Severity {
    match rule.number {
        11 => Severity::Note, // works as configured
        2 | 28 | 32 | 38 | 67 | 68 | 74 | 84 => Severity::Warning,
        43..=45 | 54 | 96 => Severity::Problem,
        _ if rule.phase == Phase::Root => Severity::Warning,
        _ => Severity::Problem,
    }
}

/// The first bytes of a line.
fn cut(line: &str) -> &str {
    let end = line.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last().unwrap_or(0);
    if line.len() <= LONGEST { line } else { line.get(..end).unwrap_or_default() }
}

/// Bytes of a line that are looked at.
pub(super) const LONGEST: usize = 2000;

#[cfg(test)]
mod tests;
