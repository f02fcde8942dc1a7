//! The server loses its power: what it has acknowledged is there afterwards.
//!
//! The server and its client run in one machine, which also has the disk. The tests start themselves again in that machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::disk::{Recorded, run};
use super::listing::{Listing, differences, listing};
use super::machine::{MINUTES, Uml};
use super::work::Work;
use crate::namespace::{Namespace, PINETBOOT, Process, SOON, part};
use crate::nfs_client::Client;

#[test]
#[ignore = "needs root, network namespaces and user-mode Linux; run by .ci/run"]
fn what_nfs_acknowledged_outlives_a_power_cut() {
    let Some(part) = part() else {
        return in_a_machine(
            "uml::power::what_nfs_acknowledged_outlives_a_power_cut",
            &["rw 50", "overlay 50"],
        );
    };
    let (nfs_mode, changes) = part.split_once(' ').unwrap();
    let mut disk = Recorded::mount(Path::new(DISK));
    plant(&Path::new(DISK).join("base"));
    nix::unistd::sync();
    let _server = serve(&["--nfs-mode", nfs_mode, "--nfs", "/run/disk/base", "--state", "/run/disk/state"]);
    run(PINETBOOT, &["get", "-q", "-o", "/run/got", &format!("tftp://127.0.0.1/{SERIAL}/kernel8.img")]);
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2049);
    let mut work = Work::new(Client::connect_reserved(server), &format!("/{SERIAL}"), SEED);

    let mut acknowledged = Vec::new();
    for _ in 0..changes.parse().unwrap() {
        let change = work.change_one();
        disk.mark();
        acknowledged.push((change, now()));
    }
    drop((work, _server));
    compare(disk, acknowledged);
}

/// Cuts the power at each mark, and compares with what was there.
fn compare(disk: Recorded, acknowledged: Vec<(String, Listing)>) {
    let mut replay = disk.finish();
    let (mut right, all) = (0, acknowledged.len());
    for (number, (change, before)) in acknowledged.into_iter().enumerate() {
        let lost = differences(&before, &replay.after_next_cut(now));
        if lost.is_empty() {
            right += 1;
        } else {
            println!("cut after {}, {change}:\n    {}", number + 1, lost.join("\n    "));
        }
    }
    println!("power cuts: {right} of {all} lost nothing that was acknowledged");
    assert_eq!(right, all);
}

/// What the disk holds, but for the directories in which overlayfs works.
fn now() -> Listing {
    listing(Path::new(DISK), &|path| !path.ends_with("work") && !path.ends_with("lost+found"))
}

/// Runs the test once more in a machine for each of its parts.
fn in_a_machine(test: &str, parts: &[&str]) {
    for part in parts {
        let network = Namespace::new("power");
        let began = Instant::now();
        let mut machine = Uml::boot(&network, None, "dm-log-writes overlay");
        machine.start(test, part);
        let said = machine.finish(MINUTES);
        let line = said.lines().find(|line| line.starts_with("power cuts: ")).unwrap();
        println!("{part}: {line}; {:.1} s", began.elapsed().as_secs_f64());
    }
}

/// Starts the server, and returns when it is ready.
fn serve(options: &[&str]) -> Process {
    let mut command = Command::new(PINETBOOT);
    command.args(["serve", "-v", "--listen", "127.0.0.1"]).args(options);
    let mut server = Process::start(command);
    server.line("ready tftp ", SOON);
    server
}

/// A root, and the boot files of a Pi.
fn plant(base: &Path) {
    for (name, content) in [
        ("boot/firmware/config.txt", "arm_64bit=1\n"),
        ("boot/firmware/cmdline.txt", "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait\n"),
        ("boot/firmware/kernel8.img", "kernel"),
        ("etc/hostname", "raspberrypi\n"),
        ("home/there", "there before\n"),
    ] {
        let path = base.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

const DISK: &str = "/run/disk";
const SERIAL: &str = "0badcaf1";
const SEED: u64 = 0x5e9f_2a17_0bad_caf1;
