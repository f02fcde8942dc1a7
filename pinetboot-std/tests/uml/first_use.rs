//! The first use of a Debian server with systemd: one command makes a service, from which a simulated Pi boots to its mounted root.

use std::env;
use std::fs;
use std::path::PathBuf;

use super::machine::MINUTES;
use super::service::{ADDRESS, PACKAGE, SERIAL, UNIT, World, next_version, show};
use crate::images::Sources;
use crate::namespace::{A_WHILE, End, Namespace, PINETBOOT, Process, cable};
use crate::shell::Shell;
use crate::up_image;

#[test]
#[ignore = "needs root, network namespaces, user-mode Linux and PINETBOOT_UML_SERVER; run by .ci/run"]
fn a_bare_program_becomes_a_service_with_images_beyond_srv() {
    let world = world();
    let mut server = world.boot();
    server.run(ADDRESS, A_WHILE);
    let said = server.run(&format!("cd / && /host/pinetboot up {UP} --to data/pi --service"), MINUTES);
    assert!(said.contains(&format!("start   {UNIT}: active (running), serving /data/pi")), "{said}");
    assert!(
        said.contains("write   /etc/systemd/system/pinetboot-roots.service.d/directories.conf"),
        "{said}"
    );
    let pi = Pi::at(&world.network);
    pi.boots();
    assert!(server.run("ls /data/pi/state/pis", A_WHILE).contains(SERIAL));

    let mut server = after_a_reboot(&world, server);
    pi.boots();
    let said = server.run("/usr/local/bin/pinetboot up --yes", MINUTES);
    assert!(
        said.contains(&format!("serves already; after a change: sudo systemctl restart {UNIT}")),
        "{said}"
    );

    // A home, which the unit hides.
    let moved = "mv /data/pi /home/pi && sed -i 's|/data/pi|/home/pi|' /etc/pinetboot.toml";
    server.run(&format!("systemctl stop {UNIT} && {moved}"), MINUTES);
    let said = server.run("/usr/local/bin/pinetboot service install", MINUTES);
    assert!(said.contains(&format!("start   {UNIT}: active (running), serving /home/pi")), "{said}");
    pi.boots();

    server.run("/usr/local/bin/pinetboot service uninstall", MINUTES);
    server.run(
        "! test -e /etc/systemd/system/pinetboot-roots.service.d && ! test -e /usr/local/bin/pinetboot",
        A_WHILE,
    );
    assert!(server.run("ls /home/pi/state/pis", A_WHILE).contains(SERIAL));
}

#[test]
#[ignore = "needs root, network namespaces, user-mode Linux, PINETBOOT_UML_SERVER and PINETBOOT_DEB; run by .ci/run"]
fn a_package_serves_from_the_first_start_to_the_purge() {
    let package = env::var_os(PACKAGE).map(PathBuf::from);
    let package = package.unwrap_or_else(|| panic!("{PACKAGE} is not set: '.ci/run release' makes it"));
    let world = world();
    fs::copy(&package, world.host.path().join("first.deb")).unwrap();
    next_version(&package, world.host.path());
    let mut server = world.boot();
    server.run("! command -v cargo && ! command -v rustc && ! command -v cc", A_WHILE);
    server.run("dpkg --install /host/first.deb", MINUTES);
    server.run(ADDRESS, A_WHILE);

    // Not configured yet: the log of the service says what to do.
    server.try_run(&format!("systemctl start {UNIT}"), MINUTES);
    let log = server.run(&format!("journalctl --unit {UNIT} --output cat --no-pager"), A_WHILE);
    assert!(log.contains("/srv/pi") && log.contains("'sudo pinetboot up'"), "{log}");
    server.run(&format!("systemctl stop {UNIT}"), MINUTES);
    // user-mode Linux has no landlock.
    server.run("sed -i 's/^require-sandbox = true/require-sandbox = false/' /etc/pinetboot.toml", A_WHILE);
    let said = server.run(&format!("pinetboot up {UP} --service"), MINUTES);
    assert!(said.contains(&format!("start   {UNIT}: active (running), serving /srv/pi")), "{said}");
    let pi = Pi::at(&world.network);
    pi.boots();

    let mut server = after_a_reboot(&world, server);
    pi.boots();
    server.run("dpkg --install /host/next.deb", MINUTES);
    assert_eq!(show(&mut server, "ActiveState"), "active");
    assert_eq!(server.run("dpkg-query -W -f '${Version}' pinetboot", A_WHILE), "99-1");
    pi.boots();
    assert_eq!(server.run("ls /srv/pi/state/pis", A_WHILE), SERIAL, "one Pi, one layer, over all versions");

    server.run("dpkg --purge pinetboot", MINUTES);
    server.run("! pgrep pinetboot && ! test -e /etc/pinetboot.toml && ! test -e /usr/bin/pinetboot", A_WHILE);
    assert_eq!(server.run("ls /srv/pi/state/pis", A_WHILE), SERIAL);
}

/// The world of the service, with an image at /host/disk.img.
fn world() -> World {
    let world = World::new();
    let disk = up_image::image(&Sources::of_trixie());
    fs::copy(disk.path(), world.host.path().join("disk.img")).unwrap();
    world
}

fn after_a_reboot(world: &World, server: Shell) -> Shell {
    server.power_off("systemctl poweroff");
    let mut server = world.boot();
    server.run(ADDRESS, A_WHILE);
    let active = format!("until systemctl is-active --quiet {UNIT}; do sleep 0.2; done");
    server.run(&active, MINUTES);
    server
}

/// A simulated Pi at a cable of its own.
struct Pi(Namespace);

impl Pi {
    fn at(network: &Namespace) -> Self {
        let pi = Namespace::new("pi");
        let end = |of, interface| End { of, interface, address: None };
        cable(end(network, "uplink"), end(&pi, "eth"), 1500);
        network.ip("link set uplink master lan");
        Self(pi)
    }

    /// From DHCP to the first program in its root.
    fn boots(&self) {
        let mut command = self.0.command(PINETBOOT);
        command.args(["simulate", "--interface", "eth", "--serial", SERIAL]);
        let (status, said) = Process::start(command).finish(MINUTES);
        assert!(
            status.success() && said.contains("Would boot") && said.contains("/usr/lib/systemd/systemd"),
            "{said}"
        );
    }
}

const UP: &str = "/host/disk.img --yes --dhcp lease --interface eth0 --user none";
