//! A server that sees no process but itself, and nothing of /proc but processes (proc(5): `hidepid`, `subset`), as
//! ProtectProc=invisible and ProcSubset=pid of systemd.exec(5) let a service see it.

use std::process::Command;

use crate::common::{Folder, Serving, fetch};
use pinetboot_core::tftp::Options;

#[test]
#[ignore = "needs root; run by .ci/run"]
fn only_its_own_process_is_read_from_proc() {
    let boot = [("boot/firmware/config.txt", &b""[..]), ("boot/firmware/kernel8.img", b"kernel")];
    let system = [("etc/hostname", &b"pi"[..]), ("etc/hosts", b"")];
    let root = Folder::new(&[&boot[..], &system[..]].concat());
    let state = Folder::new(&[]);
    // The client is in the namespace of the server: 127.0.0.1 is the address of both.
    let script = "mount -t proc -o hidepid=invisible,subset=pid proc /proc && [ ! -e /proc/net ] && [ ! -e /proc/sys ] && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_pinetboot"), "serve"]);
    command.args(["--listen", "127.0.0.1", "--tftp-port", "0", "--nfs-port", "0", "--portmap-port", "0"]);
    command.args(["--require-sandbox", "--nfs"]).arg(root.path()).arg("--state").arg(state.path());
    let serving = Serving::start_as(&mut command);
    for name in ["config.txt", "kernel8.img"] {
        fetch(serving.address(), &format!("aaaa0001/{name}"), Options::RASPBERRY_PI).unwrap();
    }
    let nfs = serving.ready.split("nfs 127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    let url = format!(
        "nfs://127.0.0.1/aaaa0001/etc/machine-id?version=3&uid=0&gid=0&nfsport={nfs}&mountport={nfs}"
    );
    let output = Command::new("nfs-cat").arg(url).output().unwrap();
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
