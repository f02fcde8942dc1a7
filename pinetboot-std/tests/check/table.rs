//! `docs/coverage.md`: where each rule of the catalogue is told, made from the lists that the tests run through.
//!
//! | column | its tests |
//! |---|---|
//! | the log of `serve` | `pinetboot-core/tests/boot/cases.rs`, played here; `tests/boots/lines.rs` |
//! | packets | the names of the tests in `tests/boots/`: `rule_41_..` |
//! | `check` | `rows.rs`, checked here; the names of the tests in `tests/import/checked.rs` |
//! | also | `[rule 41]` in the tests of `probe`, `simulate` and `doctor`, `Some(41)` in those of NETCONSOLE, the texts of `doctor --log` |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use pinetboot_core::pi::rules::{RULES, Rule};

use super::cases::{CASES, play};
use super::lines;
use super::results::results;
use super::rows::ROWS;

/// Sources of tests with real packets.
const PACKETS: &[&str] = &[
    include_str!("../boots/overheard.rs"),
    include_str!("../boots/root.rs"),
    include_str!("../boots/staged.rs"),
];
const IMAGES: &str = include_str!("../import/checked.rs");
const PROBE: &[&str] = &[include_str!("../probe.rs")];
const SIMULATE: &[&str] = &[
    include_str!("../simulate.rs"),
    include_str!("../../src/simulate/checks.rs"),
    include_str!("../../src/simulate/scenarios.rs"),
];
const DOCTOR: &[&str] = &[
    include_str!("../doctor.rs"),
    include_str!("../../src/doctor/machine.rs"),
    include_str!("../../src/doctor/machine/links.rs"),
];
/// The texts that show a rule each.
const LOGS: &str = include_str!("../../src/doctor/text/tests.rs");
const CONSOLE: &str = include_str!("../../../pinetboot-core/src/pi/console.rs");

/// The rules that nothing tells, and why not.
const UNTOLD: &[(u8, &str)] = &[
    (
        18,
        "Nothing has failed: a Pi asks for a file's size so. `serve -v` logs it as a question (asked whether .. is there, and how long it is).",
    ),
    (31, "Such a Pi sends nothing and shows nothing: it is like one without power."),
    (
        69,
        "No packet arrives from such a Pi, as from one without power; its UART alone shows the state of the link.",
    ),
    (85, "These packets go to servers in the internet, and none to this one."),
];

/// What is told of one rule.
#[derive(Default)]
struct Told {
    /// The line of a verdict, `asked 3 times, takes no offer [3 62]`, or of another fact.
    log: Option<String>,
    /// Whether the line was made from this rule's own failure.
    is_staged: bool,
    packets: usize,
    check: Option<String>,
    also: BTreeSet<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    log: usize,
    packets: usize,
    check: usize,
    all: usize,
    /// Of rules 1 to 54, by the log or by `check`.
    first: usize,
}

fn told() -> BTreeMap<u8, Told> {
    let mut told: BTreeMap<u8, Told> = RULES.iter().map(|rule| (rule.number, Told::default())).collect();
    for case in CASES {
        let run = play(case);
        let verdict = run.said.last().unwrap();
        for number in verdict.rules() {
            let told = told.get_mut(number).unwrap();
            let is_staged = *number == case.rule;
            if told.log.is_none() || is_staged && !told.is_staged {
                (told.log, told.is_staged) = (Some(format!("! stuck: {verdict}")), is_staged);
            }
        }
    }
    for (number, words) in lines::ALL {
        let told = told.get_mut(&number).unwrap();
        (told.log, told.is_staged) = (Some(format!("..{words} .. [{number}]").replace("..two", "two")), true);
    }
    for number in PACKETS.iter().flat_map(|source| tests_of_rules(source)) {
        told.get_mut(&number).unwrap().packets += 1;
    }
    for ((number, _, _), checked) in ROWS.iter().zip(results()) {
        let line = checked.lines.iter().find(|line| line.ends_with(&format!("[rule {number}]")));
        told.get_mut(number).unwrap().check.get_or_insert_with(|| line.unwrap().clone());
    }
    for number in tests_of_rules(IMAGES) {
        let line = "a note, by extended attributes of the files";
        told.get_mut(&number).unwrap().check.get_or_insert_with(|| line.to_owned());
    }
    let mut also = |numbers: Vec<u8>, name| {
        for number in numbers {
            told.get_mut(&number).unwrap().also.insert(name);
        }
    };
    also(PROBE.iter().flat_map(|source| numbers(source, "[rule ")).collect(), "probe");
    also(SIMULATE.iter().flat_map(|source| numbers(source, "[rule ")).collect(), "simulate");
    also(DOCTOR.iter().flat_map(|source| numbers(source, "[rule ")).collect(), "doctor");
    let texts = LOGS.split_once("const TEXTS").unwrap().1.split_once("\n];").unwrap().0;
    also(numbers(&texts.replace("(\n        ", "("), "\n    ("), "doctor --log");
    also(numbers(CONSOLE.split("mod tests").nth(1).unwrap(), "Some("), "NETCONSOLE");
    told
}

/// The rules in the names of tests: `rule_41_kernel_silent`.
fn tests_of_rules(source: &str) -> Vec<u8> {
    let names = source.lines().map(|line| line.trim_start().trim_start_matches("fn "));
    names.filter_map(|name| name.strip_prefix("rule_")?.split('_').next()?.parse().ok()).collect()
}

/// The numbers after these words.
fn numbers(source: &str, before: &str) -> Vec<u8> {
    let parts = source.split(before).skip(1);
    parts.filter_map(|part| part.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()).collect()
}

fn counts(told: &BTreeMap<u8, Told>) -> Counts {
    let count =
        |which: fn(&Told) -> bool, most: u8| told.range(..=most).filter(|(_, told)| which(told)).count();
    Counts {
        log: count(|told| told.log.is_some(), u8::MAX),
        packets: count(|told| told.packets > 0, u8::MAX),
        check: count(|told| told.check.is_some(), u8::MAX),
        all: count(|told| told.log.is_some() || told.check.is_some() || !told.also.is_empty(), u8::MAX),
        first: count(|told| told.log.is_some() || told.check.is_some(), 54),
    }
}

fn markdown(told: &BTreeMap<u8, Told>) -> String {
    let Counts { log, packets, check, all, first } = counts(told);
    let rules = RULES.len();
    let mut page = format!(
        "# Where each rule is told\n\n\
         Each of the {rules} rules of the [catalogue](rules.md), and the command that names it. The page is made from the tests: a line of the \
         log is that of the rule's staged failure, and `check`'s is about a tree with that defect. The log has the cause and the remedy \
         beside it.\n\n\
         | named by | rules |\n|---|---|\n\
         | the log of `serve` | {log} |\n\
         | of these, staged with packets to a real server | {packets} |\n\
         | `check` | {check} |\n\
         | any command | {all} of {rules} |\n\
         | the log or `check`, of the rules 1 to 54 | {first} |\n\n\
         *in passing*: no failure of the rule itself is staged; the verdict on another one names it as possible too. **n** tests with \
         packets: simulated Pis in network namespaces.\n\n\
         | rule | the log of `serve` | packets | `check` | also |\n|---|---|---|---|---|\n"
    );
    for (number, Told { log, is_staged, packets, check, also }) in told {
        let symptom = Rule::find(*number).unwrap().symptom;
        let log = match (log, is_staged) {
            (None, _) => String::new(),
            (Some(line), true) => cell(line),
            (Some(line), false) => format!("{} *in passing*", cell(line)),
        };
        let packets = if *packets == 0 { String::new() } else { packets.to_string() };
        let check = check.as_deref().map(cell).unwrap_or_default();
        let also = also.iter().copied().collect::<Vec<_>>().join(", ");
        writeln!(
            page,
            "| [{number}](rules.md#rule-{number}) {symptom} | {log} | {packets} | {check} | {also} |"
        )
        .unwrap();
    }
    page += "\n## What no program tells\n\n| rule | why not |\n|---|---|\n";
    for (number, why) in UNTOLD {
        writeln!(page, "| [{number}](rules.md#rule-{number}) | {why} |").unwrap();
    }
    page
}

fn cell(line: &str) -> String {
    format!("`{}`", line.replace('|', "\\|"))
}

/// With `PINETBOOT_PAGES=DIRECTORY` the page is written there.
#[test]
fn each_rule_is_told_where_the_page_says() {
    let told = told();
    let page = markdown(&told);
    if let Some(directory) = env::var_os("PINETBOOT_PAGES") {
        fs::write(Path::new(&directory).join("coverage.md"), &page).unwrap();
    }
    let is_told = |told: &Told| told.log.is_some() || told.check.is_some() || !told.also.is_empty();
    let untold: Vec<u8> = told.iter().filter(|(_, told)| !is_told(told)).map(|(number, _)| *number).collect();
    assert_eq!(untold, UNTOLD.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    let counts = counts(&told);
    assert!(counts.all >= 60 && counts.log >= 60 && counts.first >= 45, "{counts:?}");
    let remedy = "PINETBOOT_PAGES=docs cargo test --test check table";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coverage.md");
    assert!(fs::read_to_string(file).unwrap() == page, "{file} is not current: {remedy}");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let Counts { log, packets, check, all, .. } = counts;
    let row = format!(
        "| {all} of the {} catalogued failures are named by a command, {log} by the log of `serve`; {packets} are tested with packets of \
         simulated Pis, the others with events; `check` names {check} |",
        RULES.len()
    );
    assert!(readme.contains(&row), "README.md does not have: {row}");
}

#[test]
fn names_of_tests_have_numbers() {
    assert_eq!(tests_of_rules("    rule_4_a, \"4\"\nfn rule_12_b() {}\nrule_x\n// rule_5"), [4, 12]);
    assert_eq!(numbers("a [rule 3] [rule 19", "[rule "), [3, 19]);
}
