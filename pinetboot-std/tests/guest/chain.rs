//! The whole chain for two machines at once, which share one tree: an address, the kernel, and a root to write to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::shell::{INIT, Shell};
use crate::machine::{Machine, UBoot, beside_kernel, lay_boot_files};
use crate::namespace::{Namespace, SOON};

#[test]
#[ignore = "needs root, network namespaces, overlayfs, QEMU, U-Boot and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn two_machines_share_a_tree_and_see_nothing_of_each_other() {
    let files = tempfile::tempdir().unwrap();
    let (golden, state) = (files.path().join("golden"), files.path().join("state"));
    plant(&golden);
    let before = everything_in(&golden);

    let network = Namespace::new("chain");
    network.tap("tap0");
    network.tap("tap1");
    network.bridge("lan", &["tap0", "tap1"]);
    network.address("lan", "10.77.0.1/24");
    let options = [
        "--dhcp",
        "lease",
        "--dhcp-clients",
        "all",
        "--interface",
        "lan",
        "--state",
        state.to_str().unwrap(),
        "--nfs",
    ];
    let server = network.serve(&golden, &options);

    let began = Instant::now();
    let switch_on = |number| UBoot::switch_on(&Machine::new(&network).number(number));
    let boot = |machine: UBoot, serial| Shell::on(machine.stop().boot(serial));
    let (one, other) = (switch_on(0), switch_on(1));
    let (mut one, mut other) = thread::scope(|scope| {
        let other = scope.spawn(|| boot(other, SERIALS[1]));
        (boot(one, SERIALS[0]), other.join().unwrap())
    });
    println!("two machines are at their shells after {:.1} s", began.elapsed().as_secs_f64());

    // The same names, so that whatever crosses over shows.
    for (guest, serial) in [(&mut one, SERIALS[0]), (&mut other, SERIALS[1])] {
        assert_eq!(guest.run("cat /etc/motd; ls /home", SOON), "golden");
        guest.run(&format!("echo I am {serial} >/home/mine; touch /home/{serial}; sync"), SOON);
        guest.run(&format!("echo changed by {serial} >/etc/motd"), SOON);
    }
    one.run("rm /etc/rules; mv /srv/data /srv/moved; mknod /home/node c 1 3; ln /home/mine /home/link", SOON);
    other.run("chmod 4700 /etc/rules; rm -r /srv/data", SOON);
    let look = "cat /home/mine /etc/motd; echo /home/* /srv/*";
    let said =
        |serial: &str, names: &str| format!("I am {serial}\nchanged by {serial}\n/home/{serial} {names}");
    assert_eq!(one.run(look, SOON), said(SERIALS[0], "/home/link /home/mine /home/node /srv/moved"));
    assert_eq!(other.run(look, SOON), said(SERIALS[1], "/home/mine /srv/*"));
    one.run("! test -e /etc/rules && test -c /home/node", SOON);
    other.run("test -u /etc/rules", SOON);

    one.power_off("poweroff -f");
    other.power_off("poweroff -f");
    let log = server.stop();
    assert_eq!(everything_in(&golden), before, "the tree is as it was");
    assert!(!log.contains("ERROR"), "{log}");

    // What one has written is there when it boots again, from a server that was started again.
    let _server = network.serve(&golden, &options);
    let mut one = boot(switch_on(0), SERIALS[0]);
    assert_eq!(
        one.run("cat /home/mine; cd /srv/moved; cat file", SOON),
        format!("I am {}\ncontent", SERIALS[0])
    );
    one.power_off("poweroff -f");
    println!("all in {:.1} s", began.elapsed().as_secs_f64());
}

/// A root that has just BusyBox, and what it boots by.
fn plant(golden: &Path) {
    for directory in ["bin", "dev", "etc", "home", "proc", "sbin", "srv/data", "sys"] {
        fs::create_dir_all(golden.join(directory)).unwrap();
    }
    fs::copy(beside_kernel("busybox"), golden.join("bin/busybox")).unwrap();
    let commands =
        "cat chmod cttyhack echo ln ls mkdir mknod mount mv poweroff rm setsid sh stty sync test touch";
    for command in commands.split(' ') {
        symlink("busybox", golden.join("bin").join(command)).unwrap();
    }
    let init = golden.join("sbin/init");
    fs::write(&init, INIT).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(golden.join("etc/motd"), "golden\n").unwrap();
    fs::write(golden.join("etc/rules"), "none\n").unwrap();
    fs::write(golden.join("srv/data/file"), "content\n").unwrap();
    // As on an SD card; what makes a root over the network of it is the server's to know.
    let of_card = "root=PARTUUID=5e9f2a17-02 rootfstype=ext4 fsck.repair=yes rootwait";
    let command_line = format!("console=tty1 console=serial0,115200 {of_card}");
    lay_boot_files(&golden.join("boot/firmware"), &command_line);
}

/// Every file beneath, with what would show that someone wrote to it.
fn everything_in(directory: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let facts = (metadata.mode(), metadata.nlink(), metadata.mtime(), metadata.ctime(), content);
        if metadata.is_dir() {
            all.extend(everything_in(&path));
        }
        all.insert(path, facts);
    }
    all
}

const SERIALS: [&str; 2] = ["5e9f2a01", "5e9f2a02"];
