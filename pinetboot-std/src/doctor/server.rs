//! A running server: each Pi with its state and verdict; or one Pi with its last boots side by side.

use std::path::{Path, PathBuf};

use indicatif::DecimalBytes;
use pinetboot_core::pi::Model;
use pinetboot_core::pi::rules::Rule;

#[cfg(feature = "import")]
use super::own;
use super::report::{Part, Report};
use super::{Args, files};
use crate::check::Assumptions;
use crate::config::{Config, ControlPlace, NfsMode};
use crate::exit::Failed;
use crate::finding::Finding;
use crate::live::{BootStatus, Phase, PiStatus, VerdictStatus};
use crate::pis;
use crate::status;
use crate::text::{duration, line};

/// Looks at all Pis of the server, if one runs.
pub(super) fn all(options: &Args, config: Option<&Config>, report: &mut Report) {
    let mut part = Part::new("server", "no server answers");
    match status::ask_all(place(options, config).as_deref()) {
        Err(failed) => part.facts.push(failed.message),
        Ok(status) => {
            let stuck = status.pis.iter().filter(|pi| pi.verdict.is_some()).count();
            part.about = format!(
                "pinetboot {} serves {} since {}; Pis: {}, stuck: {stuck}",
                line(&status.server.version),
                line(&status.server.serving),
                duration(status.server.uptime_ms),
                status.pis.len()
            );
            let width = status.pis.iter().map(|pi| pi.name.chars().count()).max().unwrap_or(0).min(32);
            for pi in &status.pis {
                part.facts.push(status::row(pi, width));
                part.findings.extend(pi.verdict.as_ref().map(|verdict| finding(pi, verdict)));
            }
        }
    }
    report.add(part);
}

/// Looks at one Pi.
///
/// # Errors
///
/// If no server answers, or the server does not know the Pi.
pub(super) fn one(
    wanted: &str,
    options: &Args,
    config: Option<&Config>,
    report: &mut Report,
) -> Result<(), Failed> {
    let place = place(options, config);
    let status = status::ask_all(place.as_deref())?;
    let pi = status::ask_one(place.as_deref(), &status, wanted)?;
    let model = pi.model.as_deref().unwrap_or("unknown model");
    let mut part = Part::new("pi", format!("{}, {}", line(&pi.name), line(model)));
    part.facts.push(status::row(&pi, 0).trim_start().to_owned());
    part.facts.extend(side_by_side(&pi));
    part.findings.extend(pi.verdict.as_ref().map(|verdict| finding(&pi, verdict)));
    report.add(part);
    let mut assumed = config.map(files::assumed).unwrap_or_default();
    let is_model =
        |model: &&Model| pi.model.as_deref().is_some_and(|text| text.starts_with(model.profile().name));
    assumed.models = Model::ALL.iter().find(is_model).copied().into_iter().collect();
    #[cfg(feature = "import")]
    if let Some(prefix) = pis::pi(&pi.id)
        && own::look(prefix, pi.image.as_deref(), config, &assumed, report)
    {
        return Ok(());
    }
    if let Some(config) = config {
        own_files(&pi, config, &assumed, report);
    }
    Ok(())
}

/// The place of the control socket; `None`: the default.
fn place(options: &Args, config: Option<&Config>) -> Option<PathBuf> {
    let configured = || match &config?.web.control {
        ControlPlace::At(place) => Some(place.clone()),
        ControlPlace::Default | ControlPlace::Off => None,
    };
    options.control.clone().or_else(configured)
}

/// What keeps a Pi's boot from going on.
fn finding(pi: &PiStatus, verdict: &VerdictStatus) -> Finding {
    let details = match verdict.details.as_slice() {
        [] => String::new(),
        details => format!(": {}", details.join(", ")),
    };
    let finding = Finding::problem(format!("{} is stuck: {}{details}.", pi.name, verdict.seen));
    let rule = verdict.rules.first().and_then(|number| Rule::find(*number));
    let cause = verdict.causes.first();
    match (verdict.certainty.as_str(), cause) {
        ("one-of", _) => {
            let all = verdict.rules.iter().zip(&verdict.causes).zip(&verdict.remedies);
            let all: Vec<_> =
                all.map(|((rule, cause), remedy)| format!("[{rule}] {cause} {remedy}")).collect();
            finding.evidence("One of these is the cause:").remedy(all.join("\n")).rule(rule)
        }
        ("likely", Some(cause)) => finding.evidence(format!("Most likely: {cause}")).rule(rule),
        (_, Some(cause)) => finding.evidence(cause.clone()).rule(rule),
        (_, None) => finding.rule(rule),
    }
}

/// A table: a column for each of the last boots and for the last good one before them, a row for each phase.
fn side_by_side(pi: &PiStatus) -> Vec<String> {
    let last = pi.boots.iter().skip(pi.boots.len().saturating_sub(SHOWN));
    let mut boots: Vec<&BootStatus> = last.collect();
    let good = pi.last_good.iter().filter(|good| boots.iter().all(|boot| boot.number != good.number));
    let good: Vec<_> = good.collect();
    boots.splice(0..0, good);
    if boots.is_empty() {
        return vec!["no boot since the server's start".into()];
    }
    let row = |name: &str, value: &dyn Fn(&BootStatus) -> String| {
        let cells: String = boots.iter().map(|boot| format!("{:<COLUMN$}", value(boot))).collect();
        format!("{name:<8}{cells}").trim_end().to_owned()
    };
    let phase = |boot: &BootStatus, phase: Phase| {
        let found = boot.phases.iter().find(|found| found.phase == phase.name());
        found.map_or("-".into(), |found| found.took_ms.map_or("..".into(), duration))
    };
    let mut rows = vec![row("", &|boot| format!("boot {}", boot.number))];
    rows.extend(Phase::ALL.map(|each| row(each.name(), &|boot| phase(boot, each))));
    rows.push(row("sent", &|boot| DecimalBytes(boot.bytes).to_string()));
    rows.push(row("resent", &|boot| boot.resent.to_string()));
    let slowest = |boot: &BootStatus| {
        let slowest = boot.files.iter().max_by_key(|file| file.took_ms);
        slowest.map_or("-".into(), |file| duration(file.took_ms))
    };
    rows.push(row("slowest", &slowest));
    rows.push(row("end", &|boot| match (&boot.verdict, boot.up) {
        (Some(verdict), _) => {
            let rules = verdict.rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            format!("stuck [{rules}]")
        }
        (None, true) => "up".into(),
        (None, false) => "-".into(),
    }));
    for boot in &boots {
        let lacking = boot.files.iter().filter(|file| !file.whole).take(MOST_FILES);
        rows.extend(lacking.map(|file| {
            format!("boot {}: {} ended after {}", boot.number, line(&file.file), DecimalBytes(file.bytes))
        }));
    }
    rows
}

/// The Pi's own tree or directory, else the shared one; and the root with it.
fn own_files(pi: &PiStatus, config: &Config, assumed: &Assumptions, report: &mut Report) {
    let prefix = pis::pi(&pi.id);
    let entry = prefix.map(|prefix| config.inventory.settings(prefix));
    let own = entry.and_then(|entry| entry.tree);
    let directory = || {
        let beneath = config.serving().join(&pi.id);
        // The id is a name that the server made: a serial number or a MAC address.
        prefix.filter(|_| config.root.nfs.is_none() && beneath.is_dir()).map(|_| beneath)
    };
    let root = config.root.nfs.as_deref().filter(|_| config.root.mode != NfsMode::Off);
    let tree: Option<PathBuf> = own.or_else(directory);
    let tree: &Path = tree.as_deref().unwrap_or(config.serving());
    files::place(tree, root.filter(|root| *root != tree), assumed, report);
}

/// Boots in a table.
const SHOWN: usize = 3;
/// Columns of a boot.
const COLUMN: usize = 16;
/// Incomplete files of one boot that are named.
const MOST_FILES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn pi(text: &str) -> PiStatus {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn boots_are_shown_side_by_side() {
        let boot = |number: u32, up: bool, phases: &str, verdict: &str| {
            format!(
                r#"{{"id": "bd989ae1.{number}", "number": {number}, "began-ms": 0, "up": {up}, "bytes": 6010000, "resent": 0,
                "phases": [{phases}], "verdict": {verdict}}}"#
            )
        };
        let phases = r#"{"phase": "dhcp", "from-ms": 0, "took-ms": 2000}, {"phase": "files", "from-ms": 2000, "took-ms": 400}"#;
        let stuck = r#"{"rules": [41, 75], "certainty": "likely", "seen": "silent since the kernel was sent", "details": [],
            "causes": ["The initramfs lacks a driver.", "x"], "remedies": ["Add it.", "y"]}"#;
        let boots = [
            boot(2, true, phases, "null"),
            boot(3, true, phases, "null"),
            boot(4, false, r#"{"phase": "dhcp", "from-ms": 0, "took-ms": null}"#, stuck),
        ];
        let pi = pi(&format!(
            r#"{{"id": "bd989ae1", "name": "kitchen", "model": null, "serial": "bd989ae1", "mac": null, "address": null,
            "evidence": null, "state": "kernel-sent", "state-ms": 1, "transfer": null, "verdict": {stuck}, "root": null,
            "image": null, "boots": [{}], "last-good": {}}}"#,
            boots.join(","),
            boot(1, true, phases, "null")
        ));
        let rows = side_by_side(&pi);
        assert_eq!(rows[0], "        boot 1          boot 2          boot 3          boot 4");
        assert_eq!(rows[1], "dhcp    2.0 s           2.0 s           2.0 s           ..");
        assert_eq!(rows[2], "files   0.4 s           0.4 s           0.4 s           -");
        assert_eq!(
            rows.last().unwrap(),
            "end     up              up              up              stuck [41 75]"
        );
        let finding = finding(&pi, pi.verdict.as_ref().unwrap());
        assert_eq!(finding.rule.map(|rule| rule.number), Some(41));
        assert_eq!(finding.evidence.as_deref(), Some("Most likely: The initramfs lacks a driver."));
        assert_eq!(finding.what, "kitchen is stuck: silent since the kernel was sent.");
    }
}
