//! `pinetboot roots log`: a Pi's own log from its layer, beside what journalctl shows of the same journal.
//!
//! The journals are those of the crate pinetboot-image's tests: written by journald, two boots each.
#![cfg(all(feature = "import", feature = "nfs"))]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use pinetboot_image::Container;
use serde_json::Value;

const MACHINE: &str = "3d1219c7c4c5404aaa1f6d2a48adfda4";

/// A state directory with a layer of one Pi.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let root = world.0.path().join("images/one/root");
        fs::create_dir_all(root.join("boot/firmware")).unwrap();
        fs::create_dir_all(world.layer("")).unwrap();
        let facts = format!(
            "export = 7\nroot = '{}'\nboot = 'boot/firmware'\nkernel-mounts-root = true\n",
            root.display()
        );
        fs::write(world.0.path().join("state/pis/bd989ae1/one/layer.toml"), facts).unwrap();
        world
    }

    fn layer(&self, path: &str) -> PathBuf {
        self.0.path().join("state/pis/bd989ae1/one/upper").join(path)
    }

    /// Puts a file of the tests into the layer's journal.
    fn put_journal(&self, name: &str, to: &str) -> PathBuf {
        let directory = self.layer("var/log/journal").join(MACHINE);
        fs::create_dir_all(&directory).unwrap();
        let packed = fs::read(format!("image/tests/journal/{name}.journal.xz")).unwrap();
        let mut bytes = Vec::new();
        Container::Xz.unpack(Cursor::new(packed), &mut |piece| bytes.write_all(piece)).unwrap();
        fs::write(directory.join(to), bytes).unwrap();
        directory.join(to)
    }

    fn log(&self, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinetboot"));
        command.args(["roots", "log", "bd989ae1", "--dir"]).arg(self.0.path().join("state")).args(more);
        let output = command.env("TZ", "UTC").output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    }

    #[track_caller]
    fn json(&self, more: &[&str]) -> Value {
        let (code, said) = self.log(&[&["--json", "--lines", "100000"], more].concat());
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).unwrap()
    }
}

/// The messages of a boot that journalctl printed, with their programs.
fn expected(name: &str, boot: usize) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("image/tests/journal/{name}.json")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut boots: Vec<&str> = Vec::new();
    for line in &lines {
        let id = line["_BOOT_ID"].as_str().unwrap();
        if boots.last() != Some(&id) {
            boots.push(id);
        }
    }
    let of_boot = lines.iter().filter(|line| line["_BOOT_ID"] == boots[boot]);
    of_boot
        .map(|line| {
            let message = match &line["MESSAGE"] {
                Value::String(text) => text.clone(),
                Value::Array(bytes) => {
                    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
                    String::from_utf8_lossy(&bytes).into_owned()
                }
                other => panic!("{other}"),
            };
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (format!("{}[{}]", text("SYSLOG_IDENTIFIER"), text("_PID")), message)
        })
        .collect()
}

fn lines(log: &Value) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    log["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(line, "program"), text(line, "message")))
        .collect()
}

#[test]
fn the_last_boot_is_shown_as_journalctl_shows_it_and_its_failures_first() {
    for name in ["regular", "compact"] {
        let world = World::new();
        world.put_journal(name, "system.journal");
        let log = world.json(&[]);
        assert_eq!(lines(&log), expected(name, 1));
        assert_eq!((log["boots"].as_array().unwrap().len(), &log["boot"]), (2, &Value::from(0)));
        assert_eq!(lines(&world.json(&["--boot", "-1"])), expected(name, 0));
        assert_eq!(lines(&world.json(&["-b", "1"])), expected(name, 0));
        let failed = serde_json::json!([{"unit": "ssh.service", "result": "exit-code"}]);
        assert_eq!(log["failed-units"], failed);
        assert_eq!(log["errors"].as_array().unwrap().len(), 2);

        let (code, said) = world.log(&["--lines", "2"]);
        assert_eq!(code, 0, "{said}");
        let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
        assert!(said.starts_with("bd989ae1 on one, /var/log/journal: boot 0 of 2, 2026-12-01 "), "{said}");
        let order = [
            place("\nFailed units:\n  ssh.service (exit-code)\n"),
            place("\nErrors:\n"),
            place(": Failed to start ssh.service - OpenBSD Secure Shell server.\n"),
            place(": two\n      lines\n"),
            place("\nLast lines (2 of "),
            place(": Journal stopped\n"),
        ];
        assert!(order.is_sorted(), "{said}");
        let (code, said) = world.log(&["--boot", "-2"]);
        assert!(code == 2 && said.contains("boot -2 is not in the log: it has 0 to -1"), "{code}: {said}");
        let said = world.log(&["--lines", "20"]).1;
        assert!(!said.contains('\x1b') && said.contains("\\u{1b}[2Jescape"), "{said}");
    }
}

#[test]
fn several_files_are_one_journal_and_a_damaged_one_is_named() {
    let world = World::new();
    world.put_journal("regular", "system.journal");
    let other = world.put_journal("compact", "user-1000.journal");
    let log = world.json(&[]);
    assert_eq!(log["boots"].as_array().unwrap().len(), 4);
    assert_eq!(log["notes"], serde_json::json!([]));
    let text = fs::read_to_string("image/tests/journal/compact.json").unwrap();
    let later = text > fs::read_to_string("image/tests/journal/regular.json").unwrap();
    assert_eq!(lines(&log), expected(if later { "compact" } else { "regular" }, 1));
    fs::write(&other, "not a journal, and long enough to be taken for one: ".repeat(10)).unwrap();
    let log = world.json(&[]);
    assert_eq!(lines(&log), expected("regular", 1));
    let note = log["notes"][0].as_str().unwrap();
    assert!(note.ends_with("/user-1000.journal was not read: the file is no journal"), "{note}");
}

#[test]
fn a_system_without_a_log_is_told_how_to_keep_one() {
    let world = World::new();
    let (code, said) = world.log(&[]);
    assert!(code == 1 && said.contains("the system left no log"), "{code}: {said}");
    assert!(said.contains("Storage=persistent"), "{said}");
    // Neither the server's own log nor a pipe is read by a link of the Pi's.
    fs::create_dir_all(world.layer("var")).unwrap();
    symlink("/var/log", world.layer("var/log")).unwrap();
    assert_eq!(world.log(&[]).0, 1);
    fs::remove_file(world.layer("var/log")).unwrap();
    fs::create_dir_all(world.layer("var/log")).unwrap();
    nix::unistd::mkfifo(&world.layer("var/log/syslog"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(world.log(&[]).0, 1);
    fs::remove_file(world.layer("var/log/syslog")).unwrap();
    let text = "Nov 29 03:01:00 pi kernel: [    0.000000] Linux version 6.12.47\nNov 29 03:01:01 pi mount[7]: \x1b[2JStale\n";
    fs::write(world.layer("var/log/messages"), text).unwrap();
    let (code, said) = world.log(&[]);
    assert!(code == 0 && said.contains("/var/log/messages: boot 0 of 1\n"), "{code}: {said}");
    assert!(said.ends_with("  Nov 29 03:01:01 pi mount[7]: \\u{1b}[2JStale\n"), "{said}");
}
