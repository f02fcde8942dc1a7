//! Faults of a boot as data: the rule of the catalogue, the evidence and the remedy.
//!
//! `simulate` and `probe` collect findings and show them alike:
//!
//! ```text
//! Warning: config.txt has 17,000 bytes, more than 16,384. [rule 83]
//!   A Raspberry Pi 5 was reported not to boot.
//!   To do: Take comments out of it.
//! ```
//!
//! The catalogue ([`rules`](pinetboot_core::pi::rules)) describes the general case, a finding the case at hand. A finding has
//! its own remedy where that is more exact than the rule's. A fault outside the catalogue is a finding without a rule.

use std::fmt;

use pinetboot_core::pi::rules::Rule;
use serde::{Serialize, Serializer};

use crate::exit::Failed;
use crate::output::Output;
use crate::text::wrap;

/// A fault or peculiarity of a boot.
///
/// ```
/// use pinetboot::finding::Finding;
/// use pinetboot_core::pi::rules;
///
/// let finding = Finding::warning("cmdline.txt has two lines.").rule(&rules::ROOT_ON_CARD).remedy("Join them.");
/// assert_eq!(finding.to_string(), "Warning: cmdline.txt has two lines. [rule 39]\nTo do: Join them.");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The rule of the catalogue; in JSON its number. `None` for a fault outside the catalogue.
    #[serde(serialize_with = "number")]
    pub rule: Option<&'static Rule>,
    /// The boot file, named without the Pi's directory.
    pub file: Option<String>,
    /// The fault, in sentences.
    pub what: String,
    /// The effect on the Pi, or a further observation.
    pub evidence: Option<String>,
    /// The remedy; the rule's, if this case has none.
    pub remedy: Option<String>,
}

/// The severity of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The Pi does not boot, or Linux does not start.
    Problem,
    /// A real Pi may fail, or lacks a part.
    Warning,
    /// The boot is not affected; the fact is worth knowing.
    Note,
}

/// Findings, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Finding {
    /// A fault that keeps the Pi from booting.
    pub fn problem(what: impl Into<String>) -> Self {
        Self::new(Severity::Problem, what.into())
    }

    /// A fault with which a real Pi may fail.
    pub fn warning(what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what.into())
    }

    /// A peculiarity.
    pub fn note(what: impl Into<String>) -> Self {
        Self::new(Severity::Note, what.into())
    }

    /// Adds the rule, and the rule's remedy unless the finding has one.
    pub fn rule(mut self, rule: impl Into<Option<&'static Rule>>) -> Self {
        self.rule = rule.into();
        if let Some(rule) = self.rule {
            self.remedy.get_or_insert_with(|| rule.remedy.to_owned());
        }
        self
    }

    /// Adds the boot file.
    pub fn file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// Adds the evidence.
    pub fn evidence(self, evidence: impl Into<String>) -> Self {
        Self { evidence: Some(evidence.into()), ..self }
    }

    /// Sets the remedy for this case.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    fn new(severity: Severity, what: String) -> Self {
        Self { severity, rule: None, file: None, what, evidence: None, remedy: None }
    }
}

/// The fault, the evidence and the remedy, each on a line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Problem => "",
            Severity::Warning => "Warning: ",
            Severity::Note => "Note: ",
        })?;
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(rule) = self.rule {
            write!(f, " [{rule}]")?;
        }
        if let Some(evidence) = &self.evidence {
            write!(f, "\n{evidence}")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\nTo do: {remedy}"),
            None => Ok(()),
        }
    }
}

impl Findings {
    /// Adds a finding, unless it is a repetition or a second problem of the same file, which follows from the first.
    pub fn add(&mut self, finding: Finding) {
        let is_known = |known: &Finding| {
            let both = known.severity == Severity::Problem && finding.severity == Severity::Problem;
            *known == finding || (both && known.file.is_some() && known.file == finding.file)
        };
        if !self.0.iter().any(is_known) {
            self.0.push(finding);
        }
    }

    /// Changes all texts.
    pub(crate) fn reword(&mut self, change: impl Fn(&str) -> String) {
        for finding in &mut self.0 {
            finding.what = change(&finding.what);
            for text in [&mut finding.evidence, &mut finding.remedy].into_iter().flatten() {
                *text = change(text);
            }
        }
    }

    /// Makes a finding a note, with other evidence.
    pub(crate) fn lower(&mut self, finding: &Finding, evidence: &str) {
        for known in self.0.iter_mut().filter(|known| *known == finding) {
            known.severity = Severity::Note;
            known.evidence = Some(evidence.to_owned());
        }
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(move |finding| finding.severity == severity)
    }

    /// All findings, the worst first.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        [Severity::Problem, Severity::Warning, Severity::Note]
            .into_iter()
            .flat_map(|severity| self.of(severity))
    }
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }
}

impl Findings {
    /// Writes all findings, the worst first, each after an empty line.
    ///
    /// # Errors
    ///
    /// If standard output fails.
    pub(crate) fn print(&self, out: &mut Output) -> Result<(), Failed> {
        self.iter().try_for_each(|finding| writeln!(out, "\n{}", wrap(&finding.to_string(), WIDTH, "  ")))
    }
}

/// The line after findings that names the command for more about a rule; `None` if no finding has a rule.
pub(crate) fn more<'a>(findings: impl IntoIterator<Item = &'a Findings>) -> Option<String> {
    let rule = findings.into_iter().flat_map(Findings::iter).find_map(|finding| finding.rule)?;
    Some(format!("More about a rule: pinetboot explain {}", rule.number))
}

/// Columns of prose.
const WIDTH: usize = 98;

fn number<S: Serializer>(rule: &Option<&'static Rule>, serializer: S) -> Result<S::Ok, S::Error> {
    rule.map(|rule| rule.number).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::rules;

    use super::*;

    #[test]
    fn a_finding_is_shown_whole() {
        let finding = Finding::problem("not found.").file("config.txt").rule(&rules::NO_BOOT_FILES);
        let text = finding.clone().evidence("The Pi goes on.").remedy("Copy it.").to_string();
        assert_eq!(text, "config.txt: not found. [rule 17]\nThe Pi goes on.\nTo do: Copy it.");
        // Without a remedy for the case, the rule's.
        let text = finding.to_string();
        assert_eq!(text, format!("config.txt: not found. [rule 17]\nTo do: {}", rules::NO_BOOT_FILES.remedy));
        let kept = Finding::note("x.").remedy("Nothing.").rule(&rules::NO_BOOT_FILES);
        assert_eq!(kept.to_string(), "Note: x. [rule 17]\nTo do: Nothing.");
        assert_eq!(Finding::warning("x.").rule(None).to_string(), "Warning: x.");
    }

    #[test]
    fn programs_get_the_rule_as_a_number() {
        let json = |finding: Finding| serde_json::to_value(finding).unwrap();
        let known = json(Finding::warning("x").rule(&rules::NO_BOOT_SERVER));
        assert_eq!((&known["rule"], &known["severity"]), (&3.into(), &"warning".into()));
        assert_eq!(json(Finding::note("x"))["rule"], serde_json::Value::Null);
    }

    #[test]
    fn findings_are_kept_once_and_shown_worst_first() {
        let mut findings = Findings::default();
        let problem = |file: &str, what: &str| Finding::problem(what).file(file);
        findings.extend([
            Finding::note("n"),
            Finding::warning("w"),
            problem("a", "first"),
            problem("a", "second"),
            problem("b", "first"),
            Finding::problem("without a file"),
            Finding::problem("another without a file"),
            Finding::warning("w"),
        ]);
        let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
        let expected =
            ["a: first", "b: first", "without a file", "another without a file", "Warning: w", "Note: n"];
        assert_eq!(shown, expected);
    }
}
