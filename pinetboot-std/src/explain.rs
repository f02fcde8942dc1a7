//! `pinetboot explain`: a rule of the catalogue as a page: symptom, cause, remedy and source.

use std::fmt::Write as _;

use pinetboot_core::pi::Model;
use pinetboot_core::pi::rules::{Evidence, Phase, RULES, Rule, Standing};
use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::output::{self, Output};
use crate::text::wrap;

/// Options of `explain`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Numbers of rules, or words that the text of one contains; several words must all be there [default: list all rules]
    #[arg(value_name = "NUMBER|WORD")]
    pub wanted: Vec<String>,

    /// Print the rules as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A rule as text, for people and programs.
#[derive(Debug, Serialize)]
struct Page {
    rule: u8,
    phase: &'static str,
    symptom: &'static str,
    cause: &'static str,
    remedy: &'static str,
    models: Vec<&'static str>,
    standing: &'static str,
    evidence: Vec<&'static str>,
    source: &'static str,
}

#[derive(Debug, Serialize)]
struct Pages {
    rules: Vec<Page>,
}

/// Prints a rule, or those that contain the words.
///
/// # Errors
///
/// If no rule fits, or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let found = find(&options.wanted)?;
    let out = &mut output::stdout();
    if options.json {
        out.json(&Pages { rules: found.iter().map(|rule| Page::of(rule)).collect() })?;
        return Ok(Exit::Success);
    }
    let are_numbered = options.wanted.iter().any(|wanted| number(wanted).is_some());
    if found.len() == 1 || are_numbered {
        for (index, rule) in found.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            page(rule, out)?;
        }
        return Ok(Exit::Success);
    }
    for rule in found {
        writeln!(out, "{}", wrap(&format!("{:>3}  {}", rule.number, rule.symptom), WIDTH, "     "))?;
    }
    Ok(Exit::Success)
}

fn page(rule: &Rule, out: &mut Output) -> Result<(), Failed> {
    let Page { phase, models, standing, evidence, .. } = Page::of(rule);
    for (name, text) in [
        ("Rule", format!("{} ({phase})", rule.number)),
        ("Symptom", rule.symptom.into()),
        ("Cause", rule.cause.into()),
        ("To do", rule.remedy.into()),
        ("Models", models.join(", ")),
        ("Seen in", evidence.join(", ")),
        ("Source", format!("{} ({standing})", rule.source)),
    ] {
        writeln!(out, "{}", wrap(&format!("{:<9}{text}", format!("{name}:")), WIDTH, "         "))?;
    }
    Ok(())
}

/// Rules in a message, with the command that explains them: `rule 41: pinetboot explain 41`.
pub(crate) fn explained(rules: &[u8]) -> String {
    let numbers = rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let word = if rules.len() == 1 { "rule" } else { "rules" };
    format!("{word} {numbers}: pinetboot explain {numbers}")
}

/// The rules of these numbers, or with these words.
fn find(wanted: &[String]) -> Result<Vec<&'static Rule>, Failed> {
    let numbers: Option<Vec<u32>> = wanted.iter().map(|text| number(text)).collect();
    if let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) {
        let rule = |number: u32| {
            let none = || {
                let message = format!("no rule has the number {number}: they are 1 to {}", RULES.len());
                Failed::new(Exit::Usage, message)
            };
            u8::try_from(number).ok().and_then(Rule::find).ok_or_else(none)
        };
        return numbers.into_iter().map(rule).collect();
    }
    let words: Vec<_> = wanted.iter().map(|word| word.to_lowercase()).collect();
    let fits = |rule: &&Rule| {
        let text = [rule.symptom, rule.cause, rule.remedy].join(" ").to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let found: Vec<_> = RULES.iter().filter(fits).collect();
    if found.is_empty() {
        return Err(Failed::new(Exit::Usage, format!("no rule contains {}", wanted.join(" and "))));
    }
    Ok(found)
}

/// A number, as messages show it.
fn number(text: &str) -> Option<u32> {
    text.trim_matches(['[', ']']).parse().ok()
}

impl Page {
    fn of(rule: &Rule) -> Self {
        let models = Model::ALL.iter().filter(|model| rule.models.contains(**model));
        Self {
            rule: rule.number,
            phase: phase(rule.phase).0,
            symptom: rule.symptom,
            cause: rule.cause,
            remedy: rule.remedy,
            models: models.map(|model| model.profile().name).collect(),
            standing: standing(rule.standing),
            evidence: rule.evidence.iter().map(|evidence| place(*evidence)).collect(),
            source: rule.source,
        }
    }
}

/// All rules as a page in Markdown, with an anchor for each number: `rules.md#rule-41`.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    let mut last = None;
    let mut rules: Vec<_> = RULES.iter().collect();
    rules.sort_by_key(|rule| (rule.phase, rule.number));
    for rule in rules {
        if last != Some(rule.phase) {
            let _never_fails = write!(page, "\n## {}\n", phase(rule.phase).1);
            last = Some(rule.phase);
        }
        let Page { models, standing, evidence, .. } = Page::of(rule);
        let evidence =
            if evidence.is_empty() { "nothing outside the Pi".to_owned() } else { evidence.join(", ") };
        let _never_fails = write!(
            page,
            "\n### Rule {}\n\n**{}**\n\n{}\n\nTo do: {}\n\n{}; seen in: {evidence}. Source: {} ({standing}).\n",
            rule.number,
            escaped(rule.symptom),
            escaped(rule.cause),
            escaped(rule.remedy),
            models.join(", "),
            escaped(rule.source),
        );
    }
    page
}

/// Text without the characters that Markdown takes for emphasis, links or HTML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, char| {
        if ['*', '_', '[', ']', '<', '>', '`', '#', '\\'].contains(&char) {
            all.push('\\');
        }
        all.push(char);
        all
    })
}

/// The word and the heading of a phase.
const fn phase(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Dhcp => ("dhcp", "Network, address and boot server"),
        Phase::Tftp => ("tftp", "Boot files"),
        Phase::Kernel => ("kernel", "Kernel and initramfs"),
        _ => ("root", "Root and system"),
    }
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Documented => "documented",
        Standing::Captured => "captured",
        Standing::Staged => "staged with a simulated Pi",
        Standing::Reported => "reported",
        _ => "inferred",
    }
}

const fn place(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Dhcp => "DHCP messages",
        Evidence::Probe => "a DHCP exchange (pinetboot probe)",
        Evidence::Tftp => "TFTP requests",
        Evidence::Nfs => "NFS calls",
        Evidence::Link => "frames on the server's interface",
        Evidence::Tree => "the served files (pinetboot check)",
        Evidence::Host => "the server's machine",
        Evidence::Console => "the Pi's screen, UART or NETCONSOLE",
        Evidence::Eeprom => "the bootloader's configuration",
        _ => "elsewhere",
    }
}

const HEAD: &str = "\
# Why a Raspberry Pi does not boot from the network

Known failures of network boot, each with its number, cause and remedy. Messages of pinetboot name these numbers (`[rule 41]`,
`[41]`), and `pinetboot explain 41` prints one. A number keeps its meaning.

This page is made from the catalogue in `pinetboot-core/src/pi/rules/` by `cargo run --example reference -- DIRECTORY`.
";

const WIDTH: usize = 98;

const EXAMPLES: &str = "\
Examples:
  pinetboot explain 41               the rule that a message names
  pinetboot explain klibc            the rules whose text contains a word
  pinetboot explain                  all rules";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_number_and_by_word() {
        let numbers = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            find(&words).map(|rules| rules.iter().map(|rule| rule.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&["41"]).unwrap(), [41]);
        assert_eq!(numbers(&["[41]"]).unwrap(), [41]);
        assert_eq!(numbers(&["[41", "75]"]).unwrap(), [41, 75]);
        assert_eq!(explained(&[41]), "rule 41: pinetboot explain 41");
        assert_eq!(explained(&[41, 75]), "rules 41 75: pinetboot explain 41 75");
        assert_eq!(numbers(&["KLIBC"]).unwrap(), [33]);
        assert_eq!(numbers(&[]).unwrap().len(), RULES.len());
        let next = (RULES.len() + 1).to_string();
        for wrong in ["0", &next, "4000000000", "no-such-word"] {
            assert_eq!(numbers(&[wrong]).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_page_has_every_rule_once() {
        let page = markdown();
        for rule in RULES {
            assert_eq!(page.matches(&format!("### Rule {}\n", rule.number)).count(), 1, "{rule}");
        }
        assert!(page.contains("root=/dev/nfs nfsroot=SERVER:/PATH") && page.contains("resize2fs\\_once"));
    }
}
