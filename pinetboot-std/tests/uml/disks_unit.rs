//! The disks of Pis under the packaged unit: a user without a home or capabilities serves the image of a card in a home.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use super::machine::MINUTES;
use super::service::{ADDRESS, SERIAL, World};
use crate::card;
use crate::namespace::{A_WHILE, End, Namespace, PINETBOOT, Process, cable};
use crate::nbd_client::Client;
use crate::shell::Shell;

#[test]
#[ignore = "needs root, network namespaces, user-mode Linux and PINETBOOT_UML_SERVER; run by .ci/run"]
fn the_unit_without_roots_keeps_the_disks_of_pis() {
    let world = World::new();
    card::make(&world.host.path().join("card.img"));
    fs::write(world.host.path().join("init"), card::program(card::ARM64, "first program")).unwrap();
    let mut server = world.boot();
    server.run(ADDRESS, A_WHILE);
    server.run(PREPARE, A_WHILE);
    let (_, said) = server.try_run(&format!("/host/pinetboot service install || {LOG}"), MINUTES);
    assert!(said.contains("write   /etc/systemd/system/pinetboot.service.d/directories.conf"), "{said}");
    assert!(said.contains("start   pinetboot.service: active (running), serving /home/card.img"), "{said}");

    let pi = Namespace::new("pi");
    let end = |of, interface, address| End { of, interface, address };
    cable(end(&world.network, "uplink", None), end(&pi, "eth", Some("10.77.0.60/24")), 1500);
    world.network.ip("link set uplink master lan");
    let files = tempfile::tempdir().unwrap();
    let boot = |server: &mut Shell| {
        for file in ["config.txt", "cmdline.txt", "pinetboot-initramfs", "kernel8.img"] {
            let mut get: Command = pi.command(PINETBOOT);
            get.args(["get", "-q", "-o"]).arg(files.path().join(file));
            get.arg(format!("tftp://10.77.0.1/{SERIAL}/{file}"));
            let (status, said) = Process::start(get).finish(MINUTES);
            assert!(status.success(), "{file}: {said}\n{}", server.run(LOG, A_WHILE));
        }
        let line = fs::read_to_string(files.path().join("cmdline.txt")).unwrap();
        let name = line.split("nbd://10.77.0.1:10809/").nth(1).and_then(|rest| rest.split(' ').next());
        let name = name.unwrap_or_else(|| panic!("no disk: {line}")).to_owned();
        pi.enter(move || Client::connect(Ipv4Addr::new(10, 77, 0, 60), NBD, &name)).unwrap()
    };
    let mut disk = boot(&mut server);
    assert_eq!(disk.write(40 << 20, b"of this Pi").unwrap(), 0);
    assert_eq!(disk.flush().unwrap(), 0);
    drop(disk);
    // All that is written is in the directory that systemd gives to the unit's user.
    server.run("systemctl restart pinetboot.service", MINUTES);
    let mut disk = boot(&mut server);
    assert_eq!(disk.read(40 << 20, 10), b"of this Pi");
    drop(disk);
    let listed = server.run("/host/pinetboot disks list --dir /var/lib/pinetboot-leases", A_WHILE);
    assert!(listed.contains(SERIAL), "{listed}");
    assert_eq!(server.run("stat -L -c %U /var/lib/pinetboot-leases/disks", A_WHILE), "pinetboot");
    let log = server.run(LOG, A_WHILE);
    assert!(!log.contains("ERROR"), "{log}");
    server.run("cmp /host/card.img /home/card.img && systemctl stop pinetboot.service", MINUTES);
}

const LOG: &str = "journalctl --unit pinetboot.service --output cat --no-pager --lines=40";

const NBD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 10809);

/// user-mode Linux has no landlock. A debug build has no first program inside.
const PREPARE: &str = r#"cp /host/card.img /host/init /home && chmod a+r /home/* && \
    printf 'disk = "/home/card.img"\ninit = "/home/init"\nrequire-sandbox = false\n' >/etc/pinetboot.toml"#;
