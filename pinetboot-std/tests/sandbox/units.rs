//! The units for systemd, judged by systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Each unit, and its highest exposure in tenths.
const UNITS: [(&str, &str); 2] = [("pinetboot.service", "18"), ("pinetboot-roots.service", "32")];

#[test]
#[ignore = "needs systemd-analyze; run by .ci/run"]
fn the_units_keep_within_their_exposure() {
    for (unit, tenths) in UNITS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", "--threshold", tenths]).arg(&path);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("Overall exposure level"), "{unit}: {said}");
        assert!(output.status.success(), "{unit}: {said}");
    }
}

/// systemd denies openat2(2) wherever a process may not make set-id files, as it cannot see the mode in the call's structure; and the
/// server opens each file of a tree by that call. The step `service` shows it on a booted system.
#[test]
fn the_units_allow_openat2() {
    for (unit, _) in UNITS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        let text = fs::read_to_string(path).unwrap();
        let denies =
            |line: &&str| ["DynamicUser=", "RestrictSUIDSGID="].iter().any(|key| line.starts_with(key));
        assert_eq!(text.lines().find(denies), None, "{unit}");
    }
}
