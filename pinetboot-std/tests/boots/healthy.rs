//! Healthy boots: seven lines at most, and no verdict.

use pinetboot_core::dhcp::Profile;

use super::namespace::SOON;
use super::pi::{ADDRESS, Got, Pi, pi4, pi5, pi5_d0};
use super::world::{World, verdicts};

/// The lines about the Pi.
fn lines(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" kitchen ")).collect()
}

/// From DISCOVER to a running system.
fn boot(pi: &mut Pi, lease: impl Fn(&mut Pi, Profile)) {
    lease(pi, pi5());
    let line = pi.pi5_files();
    pi.wait(4);
    lease(pi, Profile::Plain);
    let (mut client, root) = pi.mount(&line);
    client.make(&root, "written");
    pi.wait(40);
    client.attributes(&root).unwrap();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_healthy_boot_is_seven_lines_at_most() {
    let world = World::new();
    let mut server = world.serve_root(&["--dhcp", "lease"]);
    world.pi(|pi| boot(pi, |pi, profile| pi.lease(profile)));
    server.line("kitchen up, ", SOON);
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
    let lines = lines(&log);
    assert!(lines.len() <= 7, "{lines:#?}");
    for (line, part) in lines.iter().zip([
        "kitchen asks by DHCP: Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1, d8:3a:dd:e8:27:1e (boot 1)",
        "kitchen has 10.9.0.60",
        "kitchen files: 9 in ",
        "kitchen kernel runs: asks by DHCP again",
        "kitchen root / mounted",
        "kitchen up, ",
    ]) {
        assert!(line.contains(part), "{part}: {lines:#?}");
    }
    println!("{}", lines.join("\n"));
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_boot_beside_another_dhcp_server_gets_no_verdict() {
    let world = World::new();
    let mut server = world.serve_root(&["--dhcp", "proxy"]);
    world.pi(|pi| boot(pi, |pi, profile| pi.lease_elsewhere(profile, ADDRESS)));
    server.line("kitchen up, ", SOON);
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn boots_of_other_kinds_get_no_verdict() {
    let world = World::new().without(&["kernel_2712.img", "bcm2712-rpi-5-b.dtb", "cmdline.txt"]);
    let server = world.serve_root(&["--dhcp", "lease"]);
    world.pi(|pi| {
        // Bare metal with os_check=0.
        pi.lease(pi5());
        pi.file("config.txt");
        for name in
            ["pieeprom.sig", "kernel_2712.img", "bcm2712-rpi-5-b.dtb", "/cmdline.txt", "armstub8-2712.bin"]
        {
            pi.miss(name);
        }
        pi.file("kernel8.img");
        pi.file("kernel8.img");
        pi.wait(70);
        // A Pi 4 that drops its prefix, and then its directory's kernel.
        pi.lease(pi4());
        pi.stat("start4.elf");
        pi.prefix = "";
        for name in ["config.txt", "start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"] {
            pi.file(name);
        }
        assert_eq!(pi.get("recovery.elf"), Got::Error(1));
        pi.stat("kernel8.img");
        pi.file("kernel8.img");
        pi.wait(40);
        // The next board.
        pi.prefix = "bd989ae1/";
        pi.lease(pi5_d0());
        pi.stat("config.txt");
    });
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}
