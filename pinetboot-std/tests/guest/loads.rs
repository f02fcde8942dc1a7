//! Everyday work on a Debian, on a root from our server and on one from NFS-Ganesha at the same time.

use std::fs;
use std::thread;
use std::time::Instant;

use super::ganesha::Ganesha;
use super::world::{SERIALS, network};
use crate::debian::{MINUTES, OPTIONS, import};
use crate::machine::{Machine, UBoot};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, overlayfs, QEMU, U-Boot, NFS-Ganesha and PINETBOOT_GUEST_IMAGE; run by '.ci/run guest-posix'"]
fn debian_works_as_on_ganesha() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    import("PINETBOOT_GUEST_IMAGE", ours.path());
    import("PINETBOOT_GUEST_IMAGE", other.path());
    let (our_network, other_network) = (network("ours"), network("ganesha"));
    let _ours = our_network.serve(ours.path(), &OPTIONS);

    let root = fs::canonicalize(other.path().join("current/root")).unwrap();
    let boot = root.join("boot/firmware");
    let words = fs::read_to_string(boot.join("cmdline.txt")).unwrap();
    // NFS-Ganesha answers `cp -a` with EIO where the client asks for ACLs.
    let on_ganesha =
        format!("root=/dev/nfs nfsroot=10.77.0.1:{},vers=3,tcp,nolock,noacl rw ip=dhcp", root.display());
    fs::write(boot.join("cmdline.txt"), format!("{} {on_ganesha}\n", words.trim())).unwrap();
    let _ganesha = Ganesha::start(&other_network, &root);
    let _others = other_network.serve(&boot, &OPTIONS);

    let machines = [("ours", &our_network), ("NFS-Ganesha", &other_network)];
    let machines = machines.map(|(server, network)| (server, UBoot::switch_on(&Machine::new(network))));
    let took = machines.map(|(server, machine)| thread::spawn(move || work(server, machine)));
    let [ours, ganesha] = took.map(|took| took.join().unwrap());
    for (at, (name, _)) in LOADS.iter().enumerate() {
        println!("{name:<38} {:>7.1} s {:>7.1} s", ours[at], ganesha[at]);
    }
}

/// Runs all steps, and returns the seconds that each took.
fn work(server: &str, machine: UBoot) -> Vec<f64> {
    let mut guest = Shell::log_in(machine.stop().boot(SERIALS[0]), MINUTES);
    guest.run("systemctl is-system-running --wait", MINUTES);
    let took = LOADS.map(|(_, command)| {
        let began = Instant::now();
        let (status, said) = guest.try_run(&format!("cd /root && {command} && sync"), MINUTES);
        assert_eq!(status, 0, "{server}: {command}: {said}");
        began.elapsed().as_secs_f64()
    });
    guest.power_off("poweroff");
    took.to_vec()
}

const LOADS: [(&str, &str); 5] = [
    (
        "apt installs git",
        "apt-get update && apt-get install --yes --no-install-recommends git && dpkg --verify git",
    ),
    (
        "/usr/share copied, compared, removed",
        "cp -a /usr/share s && diff -r --no-dereference /usr/share s && rm -r s",
    ),
    (
        "git: a tree added and packed",
        "git init -q one && cp -a /usr/share/perl5 /etc one && cd one && git add . && \
         git -c user.name=a -c user.email=a@b commit -q -m all && git gc -q",
    ),
    (
        "git: cloned, checked, compared",
        "git clone -q one two && git -C two fsck && diff -r one/perl5 two/perl5",
    ),
    ("dpkg removes git", "dpkg --purge git && ! dpkg --audit | grep ."),
];
