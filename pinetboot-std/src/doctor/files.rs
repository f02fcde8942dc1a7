//! The trees and roots of a configuration, by the rules of `check`.

use std::path::Path;

use super::report::{Part, Report};
use crate::check::{self, Assumptions};
use crate::config::{Config, NfsMode};
use crate::finding::Finding;

/// Checks all trees that the configuration names.
pub(super) fn look(config: &Config, report: &mut Report) {
    let assumed = assumed(config);
    let root = config.root.nfs.as_deref().filter(|_| config.root.mode != NfsMode::Off);
    place(config.serving(), root.filter(|_| config.tree.is_some()), &assumed, report);
    let mut trees: Vec<_> =
        config.inventory.tables().filter_map(|(table, entry)| Some((entry.tree.clone()?, table))).collect();
    trees.sort();
    trees.dedup_by(|(one, _), (other, _)| one == other);
    for (tree, _) in trees {
        place(&tree, None, &assumed, report);
    }
}

/// What the server makes of the files.
pub(super) fn assumed(config: &Config) -> Assumptions {
    // For imported images the check knows that by itself.
    let serves_roots = config.root.mode != NfsMode::Off && config.root.nfs.is_some();
    Assumptions {
        server_adds_root: serves_roots && config.root.rewrite,
        own_identity: serves_roots && config.root.mode == NfsMode::Overlay,
        servers: check::own_addresses(),
        is_thorough: true,
        ..Assumptions::default()
    }
}

/// Checks a place.
pub(super) fn place(place: &Path, root: Option<&Path>, assumed: &Assumptions, report: &mut Report) {
    match check::look(place, root, assumed) {
        Ok(checked) => {
            for (about, note, findings) in checked.into_systems() {
                let facts = note.map(str::to_owned).into_iter().collect();
                report.add(Part { part: "files", about, facts, findings });
            }
        }
        Err(failed) => {
            let mut part = Part::new("files", place.display().to_string());
            let finding = Finding::problem(format!("The files cannot be checked: {failed}."));
            part.findings.add(finding.remedy("Name an existing directory in the configuration."));
            report.add(part);
        }
    }
}
