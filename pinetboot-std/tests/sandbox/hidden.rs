//! A server that sees no process but itself, and nothing of /proc but processes (proc(5): `hidepid`, `subset`), as
//! ProtectProc=invisible and ProcSubset=pid of systemd.exec(5) let a service see it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::common::{Folder, Serving, fetch, pinetboot};
use pinetboot_core::tftp::Options;

#[test]
#[ignore = "needs root; run by .ci/run"]
fn only_its_own_process_is_read_from_proc() {
    let boot_files = [("boot/firmware/config.txt", &b""[..]), ("boot/firmware/kernel8.img", b"kernel")];
    let system = [("etc/hostname", &b"pi"[..]), ("etc/hosts", b"")];
    let root = Folder::new(&[&boot_files[..], &system[..]].concat());
    let state = Folder::new(&[]);
    // The client is in the namespace of the server: 127.0.0.1 is the address of both.
    let script = "mount -t proc -o hidepid=invisible,subset=pid proc /proc && [ ! -e /proc/net ] && [ ! -e /proc/sys ] && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_pinetboot"), "serve"]);
    command.args(["--listen", "127.0.0.1", "--tftp-port", "0", "--nfs-port", "0", "--portmap-port", "0"]);
    command.args(["--require-sandbox", "--nfs"]).arg(root.path()).arg("--state").arg(state.path());
    let serving = Serving::start_as(&mut command);
    boot(&serving);
    let output = Command::new("nfs-cat").arg(url(&serving.ready, "etc/machine-id")).output().unwrap();
    let id = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        id.trim_end().len(),
        32,
        "{id:?}, {}\n{}",
        String::from_utf8_lossy(&output.stderr),
        serving.log()
    );
    assert!(!serving.stop().contains("WARN"));
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn files_keep_their_capabilities_and_modes() {
    let boot_files = [("boot/firmware/config.txt", &b""[..]), ("boot/firmware/kernel8.img", b"kernel")];
    let root = Folder::new(&[&boot_files[..], &[("usr/bin/ping", &b"old"[..])]].concat());
    let (state, new) = (Folder::new(&[]), Folder::new(&[("new", b"new")]));
    // cap_net_raw=ep (linux/capability.h, struct vfs_cap_data of version 2).
    let mut capability = [0; 20];
    (capability[0], capability[3], capability[5]) = (1, 2, 0x20);
    xattr::set(root.join("usr/bin/ping"), "security.capability", &capability).unwrap();
    let mut command = pinetboot();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1",
        "--tftp-port",
        "0",
        "--nfs-port",
        "0",
        "--portmap-port",
        "0",
    ]);
    let serving = Serving::start_as(command.arg("--nfs").arg(root.path()).arg("--state").arg(state.path()));
    boot(&serving);
    // The mount is made at the first use.
    let output = Command::new("nfs-cat").arg(url(&serving.ready, "usr/bin/ping")).output().unwrap();
    assert_eq!(output.stdout, b"old", "{}\n{}", String::from_utf8_lossy(&output.stderr), serving.log());
    let merged = format!(
        "cd {}/pis/aaaa0001/*/merged && chmod 700 usr/bin/ping && getcap usr/bin/ping",
        state.path().display()
    );
    let output = Command::new("nsenter")
        .args(["--mount", "--target", &serving.id().to_string(), "sh", "-ec", &merged])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("cap_net_raw=ep"), "{said}\n{}", serving.log());
    // The umask is the Pi's, which has applied it: nfs-cp makes files of mode 0660.
    let output =
        Command::new("nfs-cp").arg(new.join("new")).arg(url(&serving.ready, "usr/new")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let layers = fs::read_dir(state.join("pis/aaaa0001")).unwrap().map(|entry| entry.unwrap().path());
    let made: Vec<_> = layers.filter_map(|layer| fs::metadata(layer.join("upper/usr/new")).ok()).collect();
    assert_eq!(made.iter().map(|file| file.mode() & 0o777).collect::<Vec<_>>(), [0o660]);
    serving.stop();
}

/// Fetches what a bootloader does.
pub(super) fn boot(serving: &Serving) {
    for name in ["config.txt", "kernel8.img"] {
        fetch(serving.address(), &format!("aaaa0001/{name}"), Options::RASPBERRY_PI).unwrap();
    }
    // The last acknowledgement proves the client's address.
    serving.settle();
}

/// The URL of a file of the Pi's root, by the server's line of readiness.
pub(super) fn url(ready: &str, file: &str) -> String {
    let port = ready.split("nfs 127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    format!("nfs://127.0.0.1/aaaa0001/{file}?version=3&uid=0&gid=0&nfsport={port}&mountport={port}")
}
