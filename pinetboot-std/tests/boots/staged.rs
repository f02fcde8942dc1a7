//! Staged failures, one for each rule that packets to a server can show.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::dhcp::Profile;

use super::namespace::{Process, SOON};
use super::pi::{ADDRESS, Pi, SERVER, pi4, pi5, pi5_d0};
use super::world::{World, verdicts};

pub(super) const LEASE: &[&str] = &["--dhcp", "lease"];
pub(super) const PROXY: &[&str] = &["--dhcp", "proxy"];

/// Has a Pi do this, waits for a verdict with these rules, and looks for others.
#[track_caller]
pub(super) fn expect(
    world: &World,
    mut server: Process,
    rules: &str,
    boot: impl FnOnce(&mut Pi) + Send,
) -> String {
    let within = SOON * 2;
    let mut line = String::new();
    world.pi(|pi| {
        boot(pi);
        line = server.line("! stuck", within);
    });
    println!("{line}");
    assert!(
        line.contains("kitchen ! stuck: ")
            && line.ends_with(&format!(" {rules}: pinetboot explain {rules}]")),
        "{rules}: {line}"
    );
    server.line("do: ", within);
    let log = server.stop();
    assert_eq!(verdicts(&log), [&line], "{log}");
    line
}

/// Tests, each with its name, the numbers of the verdict, the server, and what the Pi does.
macro_rules! staged {
    ($($(#[$attribute:meta])* $name:ident, $rules:literal, $server:expr, $boot:expr;)+) => {$(
        $(#[$attribute])*
        #[test]
        #[ignore = "needs root and network namespaces; run by .ci/run"]
        fn $name() {
            let (world, server) = $server;
            expect(&world, server, $rules, $boot);
        }
    )+};
}
pub(super) use staged;

pub(super) fn serve(options: &[&str]) -> (World, Process) {
    let world = World::new();
    let server = world.serve(options);
    (world, server)
}

pub(super) fn serve_root(options: &[&str]) -> (World, Process) {
    let world = World::new();
    let server = world.serve_root(options);
    (world, server)
}

pub(super) fn serve_without(names: &[&str], options: &[&str]) -> (World, Process) {
    let world = World::new().without(names);
    let server = world.serve_root(options);
    (world, server)
}

/// A kernel that has its address, and the command line.
pub(super) fn kernel(pi: &mut Pi) -> Vec<u8> {
    pi.lease(pi5());
    let line = pi.pi5_files();
    pi.wait(3);
    pi.lease(Profile::Plain);
    line
}

staged! {
    rule_4_no_dhcp_server_beside_the_proxy, "4", {
        let (world, mut server) = serve(PROXY);
        server.line("no DHCP server answers on lan", SOON);
        (world, server)
    }, |pi| {
        for _ in 0..3 {
            pi.discover(pi5());
            pi.wait(4);
        }
    };

    rule_14_lease_released_under_the_root, "14", serve_root(LEASE), |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.release();
    };

    rule_15_no_request_after_the_address, "15 10 64", serve(LEASE), |pi| pi.lease(pi5());

    rule_10_another_boot_server_is_asked_for, "10", serve(LEASE), |pi| {
        pi.lease(pi5());
        pi.knock(Ipv4Addr::new(10, 9, 0, 214));
    };

    rule_16_requests_do_not_arrive, "16", serve(LEASE), |pi| {
        pi.lease(pi5());
        pi.knock(SERVER);
    };

    rule_64_arp_is_filtered, "64 15", {
        let (world, server) = serve(LEASE);
        world.repeat_arp(1);
        world.firewall("table arp t { chain o { type filter hook output priority 0; arp operation reply drop; }; }");
        (world, server)
    }, |pi| {
        pi.lease(pi5());
        pi.knock(SERVER);
    };

    rule_16_requests_repeat, "16", {
        let (world, server) = serve(&[]);
        world.firewall("table inet t { chain o { type filter hook output priority 0; udp sport 1024-65535 drop; }; }");
        (world, server)
    }, |pi| {
        pi.ask_alone("config.txt");
        for _ in 0..3 {
            pi.wait(2);
            pi.ask_again("config.txt");
        }
    };

    rule_17_nothing_found, "17", {
        let world = World::new();
        std::fs::rename(world.path("tree"), world.path("elsewhere")).unwrap();
        world.write("tree/misplaced/config.txt", b"");
        let server = world.serve(&[]);
        (world, server)
    }, |pi| {
        for name in ["start4.elf", "start.elf", "config.txt", "pieeprom.sig"] {
            pi.miss(name);
        }
    };

    rule_19_no_device_tree, "19", serve_without(&["bcm2712-rpi-5-b.dtb"], LEASE), |pi| {
        pi.lease(pi5());
        pi.file("config.txt");
        pi.miss("pieeprom.sig");
        pi.miss("bcm2712-rpi-5-b.dtb");
    };

    rule_20_no_kernel, "20", serve_without(&["kernel_2712.img", "kernel8.img"], LEASE), |pi| {
        pi.lease(pi5());
        pi.file("config.txt");
        pi.file("bcm2712-rpi-5-b.dtb");
        pi.miss("kernel_2712.img");
        pi.miss("kernel8.img");
    };

    rule_22_block_65535, "22", {
        let (world, server) = serve(&[]);
        world.sparse("initramfs_2712", 100_000_000);
        (world, server)
    }, |pi| {
        pi.file("config.txt");
        pi.take("initramfs_2712", 65_536, Duration::ZERO);
    };

    rule_23_thirty_seconds_for_a_file, "23", serve(&[]), |pi| {
        pi.file("config.txt");
        // 30 s of the server's clock.
        pi.take("initramfs_2712", 60, Duration::from_millis(101));
    };

    rule_25_kernel_passed_over, "25", serve(&[]), |pi| {
        pi.file("config.txt");
        pi.ask_alone("kernel7.img");
        pi.wait(8);
        pi.ask_alone("kernel.img");
    };

    rule_28_signed_boot, "28", serve(&[]), |pi| {
        for _ in 0..3 {
            pi.stat("boot.img");
        }
    };

    rule_33_words_that_klibc_refuses, "33", {
        let world = World::new();
        let line = b"root=/dev/nfs nfsroot=10.9.0.1:/bd989ae1,vers=4.1,proto=tcp ip=dhcp\n";
        world.write("tree/cmdline.txt", line);
        let server = world.serve_root(LEASE);
        (world, server)
    }, |pi| drop(kernel(pi));

    rule_34_nfs_version_4, "34", serve_root(LEASE), |pi| {
        kernel(pi);
        pi.call_version(100_003, 4);
    };

    rule_35_nfs_version_2, "35", serve_root(LEASE), |pi| {
        kernel(pi);
        pi.call_version(100_003, 2);
    };

    rule_36_kernel_not_answered, "36", serve_root(PROXY), |pi| {
        pi.lease_elsewhere(pi5(), ADDRESS);
        pi.pi5_files();
        pi.new_xid();
        for _ in 0..4 {
            pi.wait(4);
            pi.discover(Profile::Plain);
        }
    };

    rule_39_no_command_line, "39", serve_without(&["cmdline.txt"], LEASE), |pi| {
        pi.lease(pi5());
        pi.pi5_files();
    };

    rule_41_kernel_silent, "41", serve_root(LEASE), |pi| {
        pi.lease(pi5());
        pi.pi5_files();
    };

    rule_12_address_changes_under_the_root, "12 43", serve_root(PROXY), |pi| {
        pi.lease_elsewhere(pi5(), ADDRESS);
        let line = pi.pi5_files();
        pi.lease_elsewhere(Profile::Plain, ADDRESS);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.wait(10);
        pi.lease_elsewhere(Profile::Plain, Ipv4Addr::new(10, 9, 0, 77));
    };

    rule_75_no_overlay_for_stepping_d0, "75", serve_without(&["overlays/bcm2712d0.dtbo"], LEASE), |pi| {
        pi.lease(pi5_d0());
        pi.pi5_files();
    };

    rule_82_incomplete_directory, "82 19", {
        let world = World::new();
        world.write("tree/bd989ae1/config.txt", b"arm_64bit=1\n");
        let server = world.serve_root(LEASE);
        (world, server)
    }, |pi| {
        pi.lease(pi5());
        pi.file("config.txt");
        pi.miss("bcm2712-rpi-5-b.dtb");
    };

    rule_95_path_of_another_server, "95 37", serve_root(LEASE), |pi| {
        kernel(pi);
        let mut client = pi.nfs();
        client.mount("/nfs/client1").unwrap_err();
    };

    rule_24_mid_file, "24", serve(LEASE), |pi| {
        pi.lease(pi4());
        pi.file("config.txt");
        pi.take("start4.elf", 60, Duration::ZERO);
    };
}

/// Two boots that end at one file: told after the first, and then as a loop.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn rule_79_a_loop_is_told_twice_and_no_more() {
    let (world, server) = serve_without(&["bcm2712-rpi-5-b.dtb"], LEASE);
    world.pi(|pi| {
        for _ in 0..5 {
            pi.lease(pi5());
            pi.file("config.txt");
            pi.miss("bcm2712-rpi-5-b.dtb");
        }
    });
    let log = server.stop();
    let said = verdicts(&log);
    assert_eq!(said.len(), 2, "{log}");
    assert!(
        said[0].ends_with("[rule 19: pinetboot explain 19]") && said[1].contains(" [rules 19 79: "),
        "{log}"
    );
}

/// A kernel that is late clears its verdict.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_boot_that_goes_on_says_so() {
    let (world, mut server) = serve_root(LEASE);
    world.pi(|pi| {
        pi.lease(pi5());
        pi.pi5_files();
        server.line("! stuck: silent since kernel and initramfs were sent", SOON);
        pi.lease(Profile::Plain);
    });
    let line = server.line("kitchen goes on after ", SOON);
    assert!(line.ends_with("silent since kernel and initramfs were sent [41]"), "{line}");
    server.stop();
}
