//! The directories of a configuration beyond the reach of the units, and the drop-in (systemd.unit(5)) that adds them.
//!
//! The units may write to /srv and the directories of the state, and see neither homes nor the system's temporary files
//! (systemd.exec(5): ProtectSystem, ProtectHome, PrivateTmp).

use std::path::{self, Path, PathBuf};

use super::files::MARK;
use crate::config::Config;
use crate::roots::configured;

/// The text of the drop-in; `None` if the unit reaches all directories.
pub(super) fn drop_in(config: &Config) -> Option<String> {
    let mut lines = Vec::new();
    let (read, written) = (read(config), written(config));
    let all: Vec<_> = read.iter().chain(&written).collect();
    if all.iter().any(|path| is_below(path, &HOMES)) {
        lines.push("ProtectHome=tmpfs".to_owned());
    }
    for path in all.iter().filter(|path| is_below(path, &HOMES) || is_below(path, &TEMPORARY)) {
        lines.push(format!("BindPaths={}", quoted("-", path)));
    }
    for path in written.iter().filter(|path| !is_below(path, &WRITABLE)) {
        lines.push(format!("ReadWritePaths={}", quoted("-", path)));
    }
    let mut seen = Vec::new();
    lines.retain(|line| {
        !seen.contains(line) && {
            seen.push(line.clone());
            true
        }
    });
    (!lines.is_empty()).then(|| format!("{MARK}[Service]\n{}\n", lines.join("\n")))
}

/// The directories with boot files and roots, and the images of disks.
fn read(config: &Config) -> Vec<PathBuf> {
    let of_pis = config.inventory.tables().filter_map(|(_, entry)| entry.tree.clone()).collect::<Vec<_>>();
    let trees = config.tree.iter().chain(&config.root.nfs).cloned();
    let images = config.disk_images().into_iter().chain(config.disk.init.clone());
    trees.chain(of_pis).chain(images).map(from_the_top).collect()
}

/// The directories with layers, uploads and leases; of a state within the tree, the tree.
fn written(config: &Config) -> Vec<PathBuf> {
    let state = configured::state(config).dir().to_owned();
    let state = match &config.tree {
        Some(tree) if state.starts_with(tree) => tree.clone(),
        _ => state,
    };
    let leases = config.dhcp.as_ref().and_then(|dhcp| dhcp.lease_file()).and_then(Path::parent);
    let others = config.allow_upload.clone().into_iter().chain(leases.map(Path::to_owned));
    [state].into_iter().chain(others).map(from_the_top).collect()
}

/// The path as the service sees it, whose working directory is /.
fn from_the_top(path: PathBuf) -> PathBuf {
    path::absolute(Path::new("/").join(&path)).unwrap_or(path)
}

fn is_below(path: &Path, directories: &[&str]) -> bool {
    directories.iter().any(|directory| path.starts_with(directory))
}

/// A path in a list of paths; % would begin a specifier.
fn quoted(prefix: &str, path: &Path) -> String {
    let path = path.display().to_string().replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{prefix}{path}\"")
}

const WRITABLE: [&str; 3] = ["/srv", "/var/lib/pinetboot", "/var/lib/pinetboot-leases"];
/// The directories of ProtectHome.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// The directories of PrivateTmp.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn lines(text: &str) -> Vec<String> {
        let config = toml::from_str::<Settings>(text).unwrap().resolve().unwrap();
        let text = drop_in(&config).unwrap_or_default();
        text.lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_units_reach_srv_and_the_state_as_they_are() {
        assert_eq!(lines("tree = '/srv/pi'"), [""; 0]);
        assert_eq!(
            lines("tree = '/srv/pi'\nstate = '/var/lib/pinetboot'\nallow-upload = '/srv/in'"),
            [""; 0]
        );
        assert_eq!(lines("tree = '/data/boot-files'"), [""; 0], "files that are read alone");
    }

    #[test]
    fn a_directory_elsewhere_is_added_once() {
        let state = "tree = '/data/pi'\nstate = '/data/pi/state'\nallow-upload = '/data/100 %'";
        assert_eq!(lines(state), ["ReadWritePaths=\"-/data/pi\"", "ReadWritePaths=\"-/data/100 %%\""]);
        let home = "tree = '/home/ada/pi'\nstate = '/home/ada/pi/state'\n[pi.00000001]\ntree = '/tmp/one'";
        assert_eq!(
            lines(home),
            [
                "ProtectHome=tmpfs",
                "BindPaths=\"-/home/ada/pi\"",
                "BindPaths=\"-/tmp/one\"",
                "ReadWritePaths=\"-/home/ada/pi\"",
            ]
        );
        let disk = "disk = '/home/ada/raspios.img.xz'\n[pi.00000001]\ndisk = '/data/other.img'";
        assert_eq!(lines(disk), ["ProtectHome=tmpfs", "BindPaths=\"-/home/ada/raspios.img.xz\""]);
    }
}
