//! `pinetboot status` beside a boot: each state, the file under way, a verdict, and the phases at the end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pinetboot_core::dhcp::Profile;
use serde_json::Value;

use super::namespace::{PINETBOOT, SOON};
use super::pi::{pi5, pi5_d0};
use super::world::World;

/// The document about the one Pi.
fn status(control: &Path) -> Value {
    let output =
        Command::new(PINETBOOT).args(["status", "--json", "--control"]).arg(control).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["pis"][0].clone()
}

/// Waits until the Pi's part of the document is as expected.
#[track_caller]
fn until(control: &Path, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + SOON;
    loop {
        let pi = status(control);
        if is(&pi) {
            return pi;
        }
        assert!(Instant::now() < until, "{what}: {pi:#}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn status_shows_each_state_of_a_boot() {
    let world = World::new();
    world.sparse("initramfs_2712", 4 << 20);
    let control = world.path("control");
    let server = world.serve_root(&["--dhcp", "lease", "--control", control.to_str().unwrap()]);
    let is = |state: &'static str| move |pi: &Value| pi["state"] == state;
    let watch = Command::new(PINETBOOT)
        .args(["watch", "--control"])
        .arg(&control)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let unseen = until(&control, "in the inventory", is("unseen"));
    assert_eq!(unseen["name"], "kitchen");
    world.pi(|pi| {
        pi.lease(pi5());
        let addressed = until(&control, "addressed", is("addressed"));
        let counted = Instant::now() + SOON;
        while !metrics(&control).contains("\npinetboot_dhcp_running_leases 1\n") {
            assert!(Instant::now() < counted, "{}", metrics(&control));
        }
        assert!(addressed["model"].as_str().unwrap().starts_with("Raspberry Pi 5"), "{addressed:#}");
        // In the middle of a file.
        pi.take("initramfs_2712", 1500, Duration::ZERO);
        let fetching = until(&control, "progress", |pi| pi["transfer"]["bytes"].as_u64() >= Some(2 << 20));
        assert_eq!(fetching["state"], "fetching");
        assert_eq!(fetching["transfer"]["file"], "bd989ae1/initramfs_2712");
        assert_eq!(fetching["transfer"]["length"], 4 << 20);
        let stuck = until(&control, "verdict", |pi| pi["verdict"].is_object());
        assert_eq!(stuck["verdict"]["rules"][0], 24, "{stuck:#}");
        let (code, said) = doctor(&control, &[]);
        assert!(
            code == Some(7) && said.contains("kitchen is stuck: ") && said.contains("[rule 24]"),
            "{said}"
        );
        // The next boot is a good one.
        pi.lease(pi5());
        let line = pi.pi5_files();
        until(&control, "kernel sent", is("kernel-sent"));
        pi.lease(Profile::Plain);
        until(&control, "network", is("has-network"));
        let (mut client, root) = pi.mount(&line);
        until(&control, "root", is("root-in-use"));
        client.make(&root, "written");
        let up = until(&control, "up", is("up"));
        assert!(up["verdict"].is_null() && up["root"].is_string(), "{up:#}");
        let boots = up["boots"].as_array().unwrap();
        assert_eq!(boots[0]["verdict"]["rules"][0], 24, "{up:#}");
        let phases: Vec<_> =
            boots[1]["phases"].as_array().unwrap().iter().map(|phase| &phase["phase"]).collect();
        assert_eq!(phases, ["dhcp", "files", "kernel", "mount", "system"], "{up:#}");
        let (_, said) = doctor(&control, &["kitchen"]);
        let row = |name: &str| said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or("-");
        assert!(row("boot 1").ends_with("boot 2") && row("system").ends_with(" s"), "{said}");
        assert!(row("end").contains("stuck [24]") && row("end").ends_with(" up"), "{said}");
        // Another boot has this one to compare with.
        pi.new_xid();
        pi.discover(pi5_d0());
        let next = until(&control, "next boot", is("asking"));
        assert_eq!(next["last-good"]["id"], "bd989ae1.2", "{next:#}");
    });
    server.stop();
    let told = String::from_utf8(watch.wait_with_output().unwrap().stdout).unwrap();
    for part in ["kitchen  unseen", "kitchen  fetching"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// The metrics, by the control socket.
fn metrics(control: &Path) -> String {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks `pinetboot doctor` without a packet.
fn doctor(control: &Path, pi: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(PINETBOOT);
    command.args(["doctor", "--no-send", "--control"]).arg(control).args(pi);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
