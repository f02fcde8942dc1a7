//! systemd units of a root: which exist, which a target wants, which are masked.

use super::tree::Tree;

/// Whether a target wants a unit, and the unit is not masked.
pub(super) fn is_enabled(files: &Tree<'_>, unit: &str) -> bool {
    let wants = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
    !is_masked(files, unit)
        && wants.iter().any(|directory| {
            let targets = files.list(directory);
            let mut wanted =
                targets.iter().filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
            wanted.any(|target| files.list(&format!("{directory}/{target}")).iter().any(|name| name == unit))
        })
}

/// Whether a unit is masked: an entry beneath /etc that is no file, for it leads to /dev/null.
pub(super) fn is_masked(files: &Tree<'_>, unit: &str) -> bool {
    let path = format!("etc/systemd/system/{unit}");
    files.has(&path) && files.len(&path).is_none_or(|len| len == 0)
}

/// Whether a unit or an init script of that name exists.
pub(super) fn has_unit(files: &Tree<'_>, unit: &str) -> bool {
    ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system", "etc/init.d"]
        .iter()
        .any(|directory| files.has(&format!("{directory}/{unit}")))
}
