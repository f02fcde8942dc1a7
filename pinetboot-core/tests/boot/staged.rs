//! Staged failures: for each rule that events can show, the events of that failure and the verdict, alone and within its time.

use core::time::Duration;

use pinetboot_core::pi::boot::{Certainty, Hearing, State};
use pinetboot_core::pi::rules::RULES;

use super::cases::{ALL, CASES, DHCP, DISK, KERNEL, MOUNTED, play};
use super::script::{Run, Who};

#[test]
fn each_staged_failure_gets_its_rule_and_no_other() {
    for case in CASES {
        let run = play(case);
        let numbers = run.numbers();
        let (last, earlier) = numbers.split_last().unwrap();
        assert_eq!(last, case.says, "rule {}: {}: {:?}", case.rule, case.script, run.boot);
        // A loop has a verdict after its first boot, and one with the loop's rule beside it later.
        assert!(
            earlier.iter().all(|numbers| *numbers != case.says && case.says.starts_with(numbers)),
            "rule {}: {earlier:?}",
            case.rule
        );
        assert!(case.says.contains(&case.rule), "rule {}", case.rule);
    }
}

/// The catalogue, counted: a rule counts if a staged failure gets a verdict that names it.
#[test]
fn so_many_rules_are_told() {
    let count = |which: &dyn Fn(u8) -> bool, most: u8| {
        RULES.iter().filter(|rule| rule.number <= most && which(rule.number)).count()
    };
    let named = |number: u8| CASES.iter().any(|case| case.says.contains(&number));
    let staged = |number: u8| CASES.iter().any(|case| case.rule == number);
    let first =
        |number: u8| CASES.iter().any(|case| case.rule == number && case.says.first() == Some(&number));
    let counts = [count(&named, u8::MAX), count(&named, 54), count(&staged, u8::MAX), count(&first, u8::MAX)];
    assert_eq!(counts, [NAMED, NAMED_OF_54, STAGED, FIRST]);
}

/// Rules in verdicts.
const NAMED: usize = 68;
const NAMED_OF_54: usize = 39;
/// Rules whose own failure is staged.
const STAGED: usize = 63;
/// Rules that are the first of the verdict on their own failure.
const FIRST: usize = 60;

#[test]
fn progress_clears_a_verdict() {
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{KERNEL} +31"));
    assert_eq!(run.numbers(), [[41]]);
    assert!(run.boot.verdict().is_some());
    run.at_once("linux");
    assert_eq!(run.gone_on, [[41]]);
    assert!(run.boot.verdict().is_none());
}

#[test]
fn a_loop_is_told_once_and_then_as_a_loop() {
    let mut run = Run::new(Who::Pi5, ALL);
    for _ in 0..8 {
        run.at_once(&format!("new-xid {DHCP} config.txt -pieeprom.sig -bcm2712-rpi-5-b.dtb +8"));
    }
    assert_eq!(run.numbers(), [&[19][..], &[19, 79]]);
    assert_eq!(run.said[0].certainty, Certainty::Certain);
    assert!(run.gone_on.is_empty());
    // The file is there now.
    run.at_once(&format!("new-xid {KERNEL} +5 linux"));
    assert_eq!(run.gone_on, [[19, 79]]);
    assert_eq!(run.boots, 9);
}

/// A root on a disk has its own states, and what comes late of the connection before changes none of them.
#[test]
fn the_states_of_a_disk() {
    let mut run = Run::new(Who::Pi5, ALL);
    for (words, state) in [
        (DISK, State::HasNetwork),
        ("disk-connect", State::Connecting),
        ("disk-open", State::DiskInUse),
        ("+5 active +5 active", State::DiskInUse),
        ("+5 active +5 active", State::Up),
        ("lost disk-connect disk-open", State::Up),
        ("unmount", State::Unseen),
        ("new-xid discover lost disk-connect disk-open", State::DiskInUse),
    ] {
        assert!(run.at_once(words).is_at(state), "{words}: {:?}", run.boot);
    }
    // The server has no memory for the disk, and its log says this.
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("{DISK} disk-connect disk-failed +600"));
    assert!(run.said.is_empty() && run.is_at(State::Connecting), "{:?}", run.said);
    run.at_once("disk-connect disk-denied +60 disk-open");
    assert_eq!((run.numbers(), &*run.gone_on), (vec![vec![98]], &[vec![98]][..]));
}

/// A server that hears no DHCP cannot tell what the kernel does.
#[test]
fn what_cannot_be_heard_is_no_silence() {
    let deaf = Hearing { dhcp: false, nfs: false, ..ALL };
    let mut run = Run::new(Who::Pi5, deaf);
    run.at_once("config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt elsewhere kernel_2712.img +600");
    assert!(run.said.is_empty());
    // Another server is named as the boot server.
    let mut run = Run::new(Who::Pi5, Hearing { tftp: false, ..ALL });
    run.at_once(&format!("{DHCP} +600"));
    assert!(run.said.is_empty());
    // The log has the reason already.
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once("discover told +4 discover told +4 discover told +600");
    assert!(run.said.is_empty());
}

#[test]
fn a_machine_asks_for_no_tick_without_need() {
    let mut run = Run::new(Who::Pi5, ALL);
    assert_eq!(run.boot.deadline(), pinetboot_core::Instant::MAX);
    run.at_once(&format!("{MOUNTED} +30"));
    assert_eq!(run.boot.deadline(), pinetboot_core::Instant::MAX, "a system that runs");
    run.pass(Duration::from_secs(100_000));
    assert!(run.said.is_empty());
}
