//! Simulated Pis on the server's real roots: the verdict reaches to the first program, and a trial takes nothing from a Pi.

use std::fs;

use super::client::GRANTED;
use super::world::{ONE, World, run};
use super::{SOON, root_of};

fn simulate(pi: &super::world::Pi, options: &[&str]) -> (bool, String) {
    let mut command = pi.command();
    command.args(["simulate", "--server", &pi.server, "--serial", ONE]).args(options);
    let (fine, said) = run(&mut command);
    (fine, said.replace("\n  ", " "))
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_simulated_mount_reaches_the_first_program_and_proves_nothing() {
    let world = World::new();
    world.make_bootable();
    let mut server = world.serve(&[]);

    let (fine, said) = simulate(&world.intruder, &[]);
    assert!(fine && said.contains("then /usr/lib/systemd/systemd of 10.77.3.1:/0badcaf1-"), "{said}");
    assert!(said.contains("a program for arm64"), "{said}");
    server.line(" unmounts /0badcaf1-", SOON);
    // The address and the MAC address of the trial are not the Pi's: another board gets the root at once.
    let record = world.dir.path().join(format!("state/pis/{ONE}/pi.toml"));
    let record = fs::read_to_string(record).unwrap();
    assert!(!record.contains("10.77.3.2") && !record.contains("mac ="), "{record}");
    world.one.boot(ONE);
    let handle = world.path("handle");
    let root = root_of(&world.one.get(&format!("{ONE}//cmdline.txt"))).to_owned();
    world.one.ask(&format!("mount 10.77.1.1 {root} {handle} {GRANTED}"));

    // A trial at another address takes nothing from a Pi that is up.
    let (fine, said) = simulate(&world.intruder, &[]);
    assert!(!fine && said.contains("Would not boot"), "{said}");
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    // Nor does a trial at the Pi's own address.
    let (fine, said) = simulate(&world.one, &[]);
    assert!(fine, "{said}");
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    let (fine, said) = simulate(&world.intruder, &[]);
    assert!(!fine, "{said}");
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_root_that_cannot_be_reached_or_started_is_named() {
    let world = World::new();
    world.make_bootable();
    let server = world.serve(&[]);
    let chain = "table inet f {\nchain i {\ntype filter hook input priority 0;\ntcp dport { 111, 2049 }";
    for (action, says) in [
        (
            "drop",
            "portmapper of 10.77.1.1 does not answer on TCP port 111. [rule 38] To do: Open the ports 111 and 2049",
        ),
        ("reject with tcp reset", "portmapper of 10.77.1.1 refuses the connection on TCP port 111."),
    ] {
        world.server.nft(&format!("{chain} {action}\n}}\n}}\n"));
        let (fine, said) = simulate(&world.one, &[]);
        assert!(!fine && said.contains("Would not boot") && said.contains(says), "{said}");
        world.server.nft("delete table inet f");
    }
    let (fine, said) = simulate(&world.one, &["--json"]);
    assert!(fine && said.contains("\"verdict\": \"would-boot\""), "{said}");
    server.stop();

    // Another server's command line, and a root without a first program.
    let line = world.dir.path().join("images/one/root/boot/firmware/cmdline.txt");
    fs::write(&line, "root=/dev/nfs nfsroot=10.77.1.1:/srv/old,vers=3,tcp ip=dhcp\n").unwrap();
    let server = world.serve(&[]);
    let (fine, said) = simulate(&world.one, &[]);
    assert!(!fine && said.contains("10.77.1.1:/srv/old: the server"), "{said}");
    server.stop();

    let world = World::new();
    world.make_bootable();
    fs::remove_file(world.dir.path().join("images/one/root/usr/lib/systemd/systemd")).unwrap();
    let server = world.serve(&[]);
    let (fine, said) = simulate(&world.one, &[]);
    assert!(!fine && said.contains("/sbin/init: not found: /usr/lib/systemd/systemd."), "{said}");
    server.stop();
}
