//! The contents of the log, and its omissions.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use pinetboot_core::tftp::Options;

use crate::common::{Folder, Peer, Serving, fetch, json};

/// A Pi asks for many files that need not exist.
#[test]
fn expected_misses_are_not_warned_about() {
    let tree = Folder::boots(&[]);
    let serving = Serving::start(&tree, &["-v"]);
    let optional = ["autoboot.txt", "pieeprom.upd", "recovery.elf", "armstub8-2712.bin", "kernel8.img"];
    for name in optional {
        fetch(serving.address(), &format!("bd989ae1/{name}"), Options::RASPBERRY_PI).unwrap_err();
    }
    let log = serving.stop();
    assert!(!log.contains("WARN"), "{log}");
    for name in optional {
        let line = log
            .lines()
            .find(|line| line.contains("DEBUG") && line.contains(&format!("{name}, which does not exist")));
        assert!(line.is_some(), "{name}: {log}");
    }
    let serving = Serving::start(&tree, &[]);
    fetch(serving.address(), "bd989ae1/autoboot.txt", Options::RASPBERRY_PI).unwrap_err();
    let log = serving.stop();
    assert!(!log.contains("autoboot.txt"), "not without -v: {log}");
}

#[test]
fn an_unexpected_miss_is_a_warning_with_where_it_was_looked_for() {
    let tree = Folder::tree(&[("7bf18f79/config.txt", b""), ("7bf18f79/closed", b"")]);
    fs::set_permissions(tree.join("7bf18f79/closed"), fs::Permissions::from_mode(0o640)).unwrap();
    let root = tree.path().display().to_string();
    symlink("/etc/passwd", tree.join("out")).unwrap();
    let serving = Serving::start(&tree, &["-v"]);
    for (asked, level, place) in [
        ("bcm2712-rpi-5-b.dtb", "WARN", "bcm2712-rpi-5-b.dtb"),
        // A boot that ends there has a line of its own.
        ("0badcafe//bcm2712-rpi-5-b.dtb", "DEBUG", "bcm2712-rpi-5-b.dtb"), // the shared directory: the Pi has no own file
        ("7bf18f79/bcm2712-rpi-5-b.dtb", "DEBUG", "7bf18f79/bcm2712-rpi-5-b.dtb"),
        ("my-own-kernel", "DEBUG", "my-own-kernel"),
        ("out", "WARN", "out: a link in the path leads out of the tree"),
        ("7bf18f79/closed", "WARN", "7bf18f79/closed: not readable by others (chmod o+r"),
    ] {
        fetch(serving.address(), asked, Options::RASPBERRY_PI).unwrap_err();
        let line = serving.wait_for_log(&format!(" requested {asked}: "));
        for part in [level, &format!("{root}/{place}")] {
            assert!(line.contains(part), "{part:?} is not in: {line}");
        }
    }
    fetch(serving.address(), "../../etc/shadow", Options::default()).unwrap_err();
    let warning = serving.wait_for_log(" requested ../../etc/shadow");
    assert!(warning.contains("WARN") && warning.contains("'..'"), "{warning}");
    serving.stop();
}

#[test]
fn a_transfer_and_a_boot_have_their_lines() {
    let tree = Folder::boots(&[]);
    for level in [&["-v"][..], &[]] {
        let serving = Serving::start(&tree, level);
        for name in ["config.txt", "bcm2712-rpi-5-b.dtb", "kernel_2712.img"] {
            fetch(serving.address(), &format!("bd989ae1/{name}"), Options::RASPBERRY_PI).unwrap();
        }
        let log = serving.stop();
        assert!(!log.contains("WARN"), "{log}");
        for part in [
            "bd989ae1 fetched bd989ae1/kernel_2712.img: 5.00 kB in ",
            "bd989ae1 reached stage: config",
            "bd989ae1 reached stage: device tree",
            "bd989ae1 reached stage: kernel",
        ] {
            assert_eq!(log.contains(part), level == ["-v"], "{part:?}:\n{log}");
        }
        assert!(log.contains("bd989ae1 files: 3 in "), "{log}");
    }
}

#[test]
fn probes_are_not_worth_a_line() {
    let tree = Folder::tree(&[]);
    for (level, lines) in [("-q", 0), ("-v", 1)] {
        let serving = Serving::start(&tree, &[level]);
        for farewell in ["ERROR 0 Early terminate", "ERROR 8 no"] {
            let mut peer = Peer::of(serving.address());
            peer.exchange("RRQ config.txt octet tsize=0 blksize=1468", "OACK tsize=6 blksize=1468");
            peer.say(farewell);
            // The probe is over: the same again from the same port is served.
            peer.exchange("RRQ config.txt octet tsize=0 blksize=1468", "OACK tsize=6 blksize=1468");
            peer.exchange("ACK 0", "DATA 1 +6");
            peer.say("ACK 1");
        }
        let log = serving.stop();
        assert!(!log.contains("WARN"), "{log}");
        assert_eq!(log.matches("requested the size of config.txt only").count(), 2 * lines, "{log}");
    }
}

#[test]
fn json_lines_have_their_fields() {
    let tree = Folder::tree(&[("kernel8.img", &[0; 5000]), ("wéird \"name\"", b"x")]);
    let uploads = Folder::new(&[]);
    let upload = uploads.path().to_str().unwrap();
    let serving = Serving::start(&tree, &["--log-format", "json", "-v", "--allow-upload", upload]);
    fetch(serving.address(), "kernel8.img", Options::RASPBERRY_PI).unwrap();
    fetch(serving.address(), "wéird \"name\"", Options::default()).unwrap();
    fetch(serving.address(), "missing\\n", Options::default()).unwrap_err();
    fetch(serving.address(), "missing.bin", Options::default()).unwrap_err();
    fetch(serving.address(), "bcm2712-rpi-5-b.dtb", Options::default()).unwrap_err();
    crate::common::fetch::put(serving.address(), "up", Options::default(), b"up").unwrap();
    let log = serving.stop();
    let lines: Vec<_> = log.lines().map(json::fields).collect();
    for line in &lines {
        assert!(line["timestamp"].contains('T'), "{line:?}");
        assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&&*line["level"]), "{line:?}");
        assert!(!line["message"].is_empty(), "{line:?}");
    }
    let line = |start: &str| {
        let found = lines.iter().find(|line| line["message"].starts_with(start));
        found.unwrap_or_else(|| panic!("no line that starts with {start:?}:\n{log}"))
    };
    let sent = line("127.0.0.1 fetched kernel8.img: ");
    assert_eq!(sent["level"], "INFO");
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("file", "kernel8.img"),
        ("bytes", "5000"),
        ("resent", "0"),
        ("direction", "sent"),
    ] {
        assert_eq!(sent[name], value, "{name}: {sent:?}");
    }
    for name in ["seconds", "rate"] {
        assert!(sent[name].parse::<f64>().unwrap() > 0.0, "{name}: {sent:?}");
    }
    assert_eq!(line("127.0.0.1 uploaded up: ")["direction"], "received");
    // A name of another client's choice, and a file that a Pi cannot boot without.
    for (file, level) in [("missing.bin", "INFO"), ("bcm2712-rpi-5-b.dtb", "WARN")] {
        let missed = line(&format!("127.0.0.1 requested {file}"));
        assert_eq!(missed["level"], level);
        assert_eq!(missed["file"], file);
        assert_eq!(missed["place"], tree.join(file).to_str().unwrap());
    }
}

/// A client that asks for another file from the same port; the log has the file that the client got in the end.
#[test]
fn a_transfer_left_for_another_is_told_apart_from_it() {
    let tree = Folder::tree(&[("first", &[0; 600]), ("second", &[0; 100])]);
    let serving = Serving::start(&tree, &["-v"]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("RRQ first octet", "DATA 1 +512");
    peer.exchange("RRQ second octet", "DATA 1 +100");
    peer.say("ACK 1");
    serving.wait_for_log("fetched second");
    let log = serving.stop();
    assert!(log.contains("127.0.0.1 replaced the transfer of first by another"), "{log}");
}

#[test]
fn quiet_logs_warnings_only() {
    let tree = Folder::tree(&[("file", b"")]);
    let serving = Serving::start(&tree, &["-q"]);
    fetch(serving.address(), "file", Options::default()).unwrap();
    fetch(serving.address(), "missing", Options::default()).unwrap_err();
    fetch(serving.address(), "bcm2712-rpi-5-b.dtb", Options::default()).unwrap_err();
    let log = serving.stop();
    assert_eq!(log.lines().count(), 1, "{log}");
}
