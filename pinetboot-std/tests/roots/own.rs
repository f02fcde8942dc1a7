//! `doctor PI` looks at the Pi's own layer: its root as the Pi sees it, and the log that its system wrote.

use std::fs;
use std::io::{Cursor, Write};
use std::process::Command;

use pinetboot_image::Container;
use serde_json::Value;

use super::namespace::PINETBOOT;
use super::world::{ONE, World, run};

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn doctor_checks_a_pis_own_root_and_reads_its_log() {
    let world = World::new();
    world.make_bootable();
    let control = world.path("control");
    let server = world.serve(&["--control", &control]);
    let line = world.one.get(&format!("{ONE}//cmdline.txt"));
    let root = super::root_of(&line);
    world.one.boot(ONE);
    world.one.put("mine", &format!("{root}/etc/mine")).unwrap();

    let config = world.path("pinetboot.toml");
    let look = || {
        let mut command = Command::new(PINETBOOT);
        command.args(["doctor", ONE, "--json", "--control", &control, "--config", &config]);
        let (_, said) = run(&mut command);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(!said.contains(&root), "the report has the secret of the boot: {said}");
        report
    };
    let part = |report: &Value, name: &str| {
        report["parts"].as_array().unwrap().iter().find(|part| part["part"] == name).cloned().unwrap()
    };
    let rules = |part: &Value| {
        let rule = |finding: &Value| finding["rule"].as_u64();
        part["findings"].as_array().unwrap().iter().filter_map(rule).collect::<Vec<_>>()
    };
    // A Pi that keeps its journal in memory, and changed nothing that matters.
    let report = look();
    let files = part(&report, "files");
    assert_eq!(files["about"], format!("the root of {ONE} on one"));
    assert!(!rules(&files).contains(&45), "{files:#}");
    let log = part(&report, "log");
    assert!(log["facts"][0].as_str().unwrap().contains("Storage=persistent"), "{log:#}");
    assert_eq!(log["findings"], serde_json::json!([]));

    let upper = world.layer(ONE).join("upper");
    fs::write(upper.join("etc/fstab"), "PARTUUID=4a3c1b2d-01 /boot/firmware vfat defaults 0 2\n").unwrap();
    let journal = upper.join("var/log/journal/3d1219c7c4c5404aaa1f6d2a48adfda4");
    fs::create_dir_all(&journal).unwrap();
    let mut bytes = Vec::new();
    let packed = Cursor::new(fs::read("image/tests/journal/compact.journal.xz").unwrap());
    Container::Xz.unpack(packed, &mut |piece| bytes.write_all(piece)).unwrap();
    fs::write(journal.join("system.journal"), bytes).unwrap();
    let report = look();
    let files = part(&report, "files");
    assert!(rules(&files).contains(&45), "{files:#}");
    assert!(files["facts"].to_string().contains("changed by the Pi: /etc/fstab;"), "{files:#}");
    let log = part(&report, "log");
    assert!(
        log["about"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{ONE} on one, /var/log/journal: the last boot, "))
    );
    assert_eq!(log["findings"][0]["what"], "The unit ssh.service failed (exit-code).");
    assert!(log["facts"].to_string().contains("Failed to start ssh.service"), "{log:#}");
    // The image is as it was.
    assert!(!fs::exists(world.path("images/one/root/etc/fstab")).unwrap());

    let mut status = Command::new(PINETBOOT);
    let (_, said) = run(status.args(["status", "--json", "--control", &control]));
    assert!(!said.contains(&root) && said.contains(ONE), "{said}");
    let said = server.stop();
    assert!(!said.contains(&root), "the log at -v has the secret of the boot: {said}");
}
