//! A fleet of Pis that gets a new image bit by bit: a canary of some percent, and back.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;

use crate::common::{Folder, Peer, Serving, pinetboot};

const PIS: u8 = 50;

/// Boots every Pi, each at an address of its own; returns those with the second image.
fn boot_all(serving: &Serving) -> BTreeSet<u8> {
    let boots_second = |number: &u8| {
        let get = |file: &str| {
            let mut peer = Peer::at(Ipv4Addr::new(127, 0, 50, *number), serving.address());
            peer.say(&format!("RRQ 1000{number:04x}/{file} octet"));
            let content = peer.hear_data(1);
            peer.say("ACK 1");
            content
        };
        let config = get("config.txt");
        // The kernel is of the same image, and ends the boot.
        assert_eq!(get("kernel8.img"), config);
        config == b"two"
    };
    (1..=PIS).filter(boots_second).collect()
}

#[test]
fn a_canary_of_ten_percent_gets_the_new_image_and_goes_back() {
    let dir = Folder::new(&[]);
    for image in ["one", "two"] {
        for file in ["config.txt", "kernel8.img"] {
            dir.write(&format!("images/{image}/root/boot/firmware/{file}"), image.as_bytes());
        }
        dir.write(&format!("images/{image}/image.toml"), b"boot = 'boot/firmware'\nhas-root = false\n");
    }
    symlink("images/one", dir.join("current")).unwrap();
    dir.write("fleet.toml", b"dhcp = 'off'\n");
    let config = dir.join("fleet.toml");
    let serving =
        Serving::start(dir.path(), &["-v", "--nfs-mode", "off", "--config", config.to_str().unwrap()]);
    let canary = |percent: u8| {
        let table = format!("[group.canary]\nmembers = ['1000*']\npercent = {percent}\nimage = 'two'\n");
        dir.write("fleet.toml.d/canary.toml", table.as_bytes());
    };
    let reload = |times| {
        serving.signal(Signal::SIGHUP);
        serving.wait_for_logs(times, "configuration reloaded");
    };
    assert_eq!(boot_all(&serving).len(), 0);

    canary(10);
    reload(1);
    let some = boot_all(&serving);
    assert!((1..=10).contains(&some.len()), "about 5 of 50: {some:?}");
    assert_eq!(boot_all(&serving), some, "always the same");
    canary(40);
    reload(2);
    let more = boot_all(&serving);
    assert!((12..=28).contains(&more.len()) && more.is_superset(&some), "about 20, with the first: {more:?}");

    // Back in one step, of the canary and of the whole fleet.
    fs::remove_file(dir.join("fleet.toml.d/canary.toml")).unwrap();
    reload(3);
    assert_eq!(boot_all(&serving).len(), 0);
    let images = |arguments: &[&str]| {
        let mut command = pinetboot();
        command.arg("images").args(arguments).arg("--dir").arg(dir.path());
        assert!(command.output().unwrap().status.success());
    };
    images(&["use", "two"]);
    assert_eq!(boot_all(&serving).len(), usize::from(PIS));
    images(&["use", "--previous"]);
    assert_eq!(boot_all(&serving).len(), 0);
    serving.stop();
}
