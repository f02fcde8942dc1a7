//! The whole chain for two machines at once, which share one tree: an address, the kernel, and a root to write to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::world::{SERIALS, network, plant};
use crate::debian::OPTIONS;
use crate::machine::{Machine, UBoot};
use crate::namespace::SOON;
use crate::shell::Shell;

#[test]
#[ignore = "needs root, network namespaces, overlayfs, QEMU, U-Boot and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn two_machines_share_a_tree_and_see_nothing_of_each_other() {
    let files = tempfile::tempdir().unwrap();
    let (base_image, state) = (files.path().join("base"), files.path().join("state"));
    plant(&base_image);
    let before = everything_in(&base_image);

    let network = network("chain");
    let options = [&OPTIONS[..], &["--state", state.to_str().unwrap(), "--nfs"]].concat();
    let server = network.serve(&base_image, &options);

    let began = Instant::now();
    let switch_on = |number| UBoot::switch_on(&Machine::new(&network).number(number));
    let boot = |machine: UBoot, serial| Shell::on(machine.stop().boot(serial));
    let (one, other) = (switch_on(0), switch_on(1));
    let (mut one, mut other) = thread::scope(|scope| {
        let other = scope.spawn(|| boot(other, SERIALS[1]));
        (boot(one, SERIALS[0]), other.join().unwrap())
    });
    println!("two machines are at their shells after {:.1} s", began.elapsed().as_secs_f64());

    // The same names, so that any mix-up shows.
    for (guest, serial) in [(&mut one, SERIALS[0]), (&mut other, SERIALS[1])] {
        assert_eq!(guest.run("cat /etc/motd; ls /home", SOON), "base");
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
    assert_eq!(everything_in(&base_image), before, "the tree is as it was");
    assert!(!log.contains("ERROR"), "{log}");

    // The files that one machine wrote exist when it boots again, from a server that was started again.
    let _server = network.serve(&base_image, &options);
    let mut one = boot(switch_on(0), SERIALS[0]);
    assert_eq!(
        one.run("cat /home/mine; cd /srv/moved; cat file", SOON),
        format!("I am {}\ncontent", SERIALS[0])
    );
    one.power_off("poweroff -f");
    println!("all in {:.1} s", began.elapsed().as_secs_f64());
}

/// Every file beneath, with the attributes that a write would change.
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
