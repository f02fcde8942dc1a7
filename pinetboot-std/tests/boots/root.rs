//! Failures from the kernel's address on, and lines about boots that go on.

use nfs3_types::nfs3::{nfs_fh3, nfsstat3};
use pinetboot_core::dhcp::Profile;

use super::lines::{FIXED_ADDRESS, ONE_SERIAL};
use super::namespace::SOON;
use super::nfs_client::Client;
use super::pi::{ADDRESS, Board, pi5};
use super::staged::{LEASE, expect, kernel, serve, serve_root, serve_without, staged};
use super::world::{World, verdicts};

const DHCP_OFF: &[&str] = &[];

/// Looks a path up, name by name.
fn find(client: &mut Client, root: &nfs_fh3, path: &str) -> Result<nfs_fh3, nfsstat3> {
    path.split('/').try_fold(root.clone(), |directory, name| client.lookup(&directory, name))
}

staged! {
    rule_45_emergency_mode, "45", {
        let world = World::new();
        world.write("root/usr/lib/systemd/systemd-sulogin-shell", b"a shell");
        let server = world.serve_root(LEASE);
        (world, server)
    }, |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        find(&mut client, &root, "usr/lib/systemd/systemd-sulogin-shell").unwrap();
        // Its connection stays.
        std::mem::forget(client);
    };

    rule_68_nothing_after_the_address_of_the_kernel, "41 33 68", serve_root(LEASE), |pi| drop(kernel(pi));

    rule_70_requests_without_end, "70", serve_without(&["start4.elf", "config.txt"], DHCP_OFF), |pi| {
        pi.storm(&["start4.elf", "config.txt"], 1010);
    };

    rule_97_no_first_program, "97", {
        let world = World::new();
        std::fs::remove_file(world.path("root/sbin/init")).unwrap();
        let server = world.serve_root(LEASE);
        (world, server)
    }, |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        for place in ["sbin/init", "etc/init", "bin/init", "bin/sh"] {
            find(&mut client, &root, place).unwrap_err();
        }
        std::mem::forget(client);
    };
}

/// A system finds its first program and no emergency mode: it runs.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_root_with_a_first_program_gets_no_verdict() {
    let (world, mut server) = serve_root(LEASE);
    world.pi(|pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        find(&mut client, &root, "etc/init").unwrap_err();
        find(&mut client, &root, "sbin/init").unwrap();
        find(&mut client, &root, "usr/lib/systemd/systemd-sulogin-shell").unwrap_err();
        pi.wait(30);
        client.make(&root, "written");
        pi.wait(30);
    });
    server.line("kitchen up, ", SOON);
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}

/// Correct, and worth a word: the DHCP server's log has nothing of this Pi.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn rule_11_a_fixed_address() {
    let (world, mut server) = serve(LEASE);
    world.pi(|pi| drop(pi.pi5_files()));
    let line = server.line("kitchen files: ", SOON);
    assert!(line.ends_with(&format!("{} [{}]", FIXED_ADDRESS.1, FIXED_ADDRESS.0)), "{line}");
    world.pi(|pi| {
        pi.lease(pi5());
        pi.pi5_files();
    });
    let line = server.line("kitchen files: ", SOON);
    assert!(!line.contains("[11]"), "{line}");
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn rule_66_two_boards_with_one_serial_number() {
    let (world, mut server) = serve_root(LEASE);
    world.pi(|pi| {
        pi.lease(pi5());
        let line = pi.pi5_files();
        pi.wait(3);
        pi.lease(Profile::Plain);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        server.line("kitchen up, ", SOON);
        pi.new_xid();
        pi.discover_as(&Board { mac: [0xd8, 0x3a, 0xdd, 0, 0, 0], address: ADDRESS, ..Board::KITCHEN });
        let line = server.line(ONE_SERIAL.1, SOON);
        assert!(line.ends_with(&format!("[{}]", ONE_SERIAL.0)), "{line}");
    });
    let log = server.stop();
    assert_eq!(log.matches(" [66]").count(), 1, "{log}");
}
