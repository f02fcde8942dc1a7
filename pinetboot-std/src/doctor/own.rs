//! One Pi's own files: the root as the Pi sees it, checked by the rules of `check`, and the log that its system wrote.

use std::path::Path;

use pinetboot_core::pi::Prefix;

use super::report::{Part, Report};
use super::text::Judge;
use crate::check::Assumptions;
use crate::config::Config;
use crate::exit::Failed;
use crate::finding::Finding;
use crate::roots::{Layer, State, default_state};
use crate::system_log::SystemLog;
use crate::text::line;

/// The state directory of a server.
fn state(config: Option<&Config>) -> State {
    match config.and_then(|config| config.root.state.as_deref()) {
        Some(state) => State::at(state),
        None => default_state(config.map(Config::serving)),
    }
}

/// Looks at the layer that the Pi mounts, or at its disk; returns whether its boot files were checked.
pub(super) fn look(
    pi: Prefix,
    image: Option<&str>,
    config: Option<&Config>,
    assumed: &Assumptions,
    report: &mut Report,
) -> bool {
    let state = state(config);
    if let Some(layer) = layer(&state, pi, image) {
        let about = format!("{pi} on {}", layer.image);
        let is_checked = root(&layer, assumed, report);
        log(&about, "roots", layer.system_log(0), report);
        return is_checked;
    }
    #[cfg(feature = "disk")]
    if let Some((image, found)) = crate::disks::last_log(state.dir(), pi, image) {
        log(&format!("{pi} on {image}"), "disks", found, report);
    }
    false
}

/// The layer on the image of the last mount.
fn layer(state: &State, pi: Prefix, image: Option<&str>) -> Option<Layer> {
    let recorded = state.pi(pi).image;
    let named = [image, recorded.as_deref()].into_iter().flatten().find_map(|image| state.layer(pi, image));
    let only = || match <[Layer; 1]>::try_from(state.layers_of(pi)) {
        Ok([layer]) => Some(layer),
        Err(_) => None,
    };
    named.or_else(only)
}

/// Checks the root as the Pi sees it; returns whether it could be read.
fn root(layer: &Layer, assumed: &Assumptions, report: &mut Report) -> bool {
    let about = format!("the root of {} on {}", layer.pi, layer.image);
    let assumed = Assumptions { server_adds_root: true, own_identity: true, ..assumed.clone() };
    let looked = layer.with_root(|root| crate::check::look(root, None, &assumed));
    let mut part = Part::new("files", about);
    let is_checked = match looked {
        Ok(Ok(checked)) => {
            for (_, note, findings) in checked.into_systems() {
                part.facts.extend(note.map(str::to_owned));
                part.findings.extend(findings.iter().cloned());
            }
            part.facts.extend(changed(&layer.upper()));
            true
        }
        Ok(Err(failed)) => {
            part.facts.push(format!("not checked: {}", failed.message));
            false
        }
        Err(error) => {
            part.facts.push(format!("not checked: {error}"));
            false
        }
    };
    report.add(part);
    is_checked
}

/// The files of a boot that the Pi changed.
fn changed(upper: &Path) -> Option<String> {
    let has = |path: &str| upper.join(path).symlink_metadata().is_ok();
    let found: Vec<_> = DECISIVE.iter().filter(|path| has(path)).map(|path| format!("/{path}")).collect();
    (!found.is_empty())
        .then(|| format!("changed by the Pi: {}; all changes: 'pinetboot roots diff'", found.join(", ")))
}

/// Adds the log of the last boot: its errors as facts, and what its lines show by the rules of pasted text.
fn log(about: &str, command: &str, found: Result<SystemLog, Failed>, report: &mut Report) {
    let log = match found {
        Ok(log) => log,
        Err(failed) => {
            let mut part = Part::new("log", format!("{about}: none"));
            part.facts.push(failed.message);
            report.add(part);
            return;
        }
    };
    let span = log.span().map(|span| format!(", {span}")).unwrap_or_default();
    let mut part = Part::new("log", format!("{about}, {}: the last boot{span}", log.source));
    part.facts.extend(log.notes.iter().cloned());
    let errors: Vec<String> = log.errors().map(|error| line(&error.text()).to_string()).collect();
    part.facts.push(format!(
        "lines: {}, errors: {}; 'pinetboot {command} log' prints them",
        log.lines.len(),
        errors.len()
    ));
    part.facts.extend(errors.into_iter().take(SHOWN));
    for failed in log.failed_units().into_iter().take(SHOWN) {
        let what = format!("The unit {} failed ({}).", line(&failed.unit), line(&failed.result));
        part.findings.add(
            Finding::warning(what).remedy(format!("On the Pi: systemctl status {}.", line(&failed.unit))),
        );
    }
    let mut judge = Judge::default();
    for line in &log.lines {
        let _told_at_the_end = judge.line(&line.text());
    }
    part.findings.extend(judge.findings().iter().cloned());
    report.add(part);
}

/// Files that decide whether a system comes up.
const DECISIVE: &[&str] = &[
    "boot",
    "etc/fstab",
    "etc/network",
    "etc/NetworkManager",
    "etc/systemd/network",
    "etc/netplan",
    "etc/initramfs-tools",
    "usr/lib/modules",
    "lib/modules",
];
/// Errors and failed units that are shown.
const SHOWN: usize = 10;
