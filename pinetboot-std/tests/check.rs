//! `pinetboot check` on trees with one defect each, and on healthy ones.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "../../pinetboot-core/tests/boot/cases.rs"]
#[allow(dead_code, reason = "for the tests of the boot machine")]
mod cases;
#[path = "common/device_tree.rs"]
mod device_tree;
#[path = "check/layouts.rs"]
mod layouts;
#[path = "boots/lines.rs"]
#[allow(dead_code, reason = "for the tests with packets")]
mod lines;
#[path = "check/results.rs"]
mod results;
#[path = "check/rows.rs"]
mod rows;
#[path = "../../pinetboot-core/tests/boot/script.rs"]
#[allow(dead_code, reason = "for the tests of the boot machine")]
mod script;
#[path = "check/table.rs"]
mod table;
#[path = "check/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::fs;

use pinetboot_core::pi::rules::RULES;
use results::results;
use rows::ROWS;
use tree::{Checked, System};

/// Every row of the catalogue that `check` names is named for its defect, and for no other.
#[test]
fn each_defect_has_its_rule() {
    let mut wrong = Vec::new();
    for ((number, what, _), found) in ROWS.iter().zip(results()) {
        if !found.rules.contains(number)
            || found.rules.iter().any(|rule| rule != number && !allowed(*number, *rule))
        {
            wrong.push(format!("{number} ({what}): {:?}\n{}", found.rules, found.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rules that one defect may have besides its own: a kernel with two faults, and ifupdown, which starts and stops the interface.
fn allowed(number: u8, other: u8) -> bool {
    matches!((number, other), (40, 86) | (86, 40) | (44, 43))
}

#[test]
fn a_healthy_system_has_no_finding() {
    let system = System::healthy();
    let Checked { rules, text, code, .. } = system.check();
    assert!(rules.is_empty() && code == Some(0), "{rules:?}\n{text}");
    assert!(text.contains("\"boots\": true"), "{text}");
}

#[test]
fn so_many_rows_are_named() {
    let named: BTreeSet<u8> = ROWS.iter().map(|(number, _, _)| *number).collect();
    assert!(named.iter().all(|number| RULES.iter().any(|rule| rule.number == *number)));
    assert_eq!(named.len(), NAMED, "{named:?}");
}

/// `serve` warns of the same, once, and a healthy tree has no warning.
#[test]
fn a_server_warns_at_its_start_and_at_a_reload_once() {
    let system = System::healthy();
    let said = tree::served(&system);
    assert!(!said.contains("WARN"), "{said}");
    system.command_line("vers=3,tcp", "vers=4.1,proto=tcp");
    system.write("boot/0c8f7e5cbd989ae1/config.txt", "");
    let said = tree::served(&system);
    assert_eq!(said.matches("[rule 33]").count(), 1, "{said}");
    assert_eq!(said.matches("[rule 17] To do: Rename the directory to bd989ae1.").count(), 1, "{said}");
}

/// The rows of the catalogue with a defect that `check` names.
const NAMED: usize = 42;

#[test]
fn a_defect_that_keeps_every_pi_from_booting_is_the_exit_code() {
    let system = System::healthy();
    fs::remove_file(system.boot().join("bcm2712-rpi-5-b.dtb")).unwrap();
    assert_eq!(system.check().code, Some(7));
    let nothing = tempfile::tempdir().unwrap();
    let checked = tree::check(&[nothing.path().to_str().unwrap()]);
    assert!(checked.code == Some(7) && checked.rules.contains(&17), "{}", checked.text);
    assert_eq!(tree::check(&["/no/such/tree"]).code, Some(4));
}
