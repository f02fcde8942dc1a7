//! Failures that frames show: those of networks whose DHCP server is another one, and of Pis that are gone.

use nfs3_types::xdr_codec::Void;
use pinetboot_core::dhcp::{OptionCode, Profile};

use super::namespace::SOON;
use super::pi::{ADDRESS, Pi, pi5};
use super::router::Router;
use super::staged::{LEASE, PROXY, expect, kernel, serve, serve_root, staged};
use super::world::verdicts;

const NOTHING: &[(OptionCode, &[u8])] = &[];
/// A menu of PCs: `dnsmasq`'s for `pxe-service=x86PC,"Install Linux"`.
const PC_MENU: &[(OptionCode, &[u8])] = &[
    (OptionCode::VENDOR_CLASS, b"PXEClient"),
    (OptionCode::VENDOR, b"\x06\x01\x03\x0a\x04\0PXE\x09\x10\0\0\x0dInstall Linux\xff"),
];

/// As often as the network is asked for, and once more.
fn ask_in_vain(pi: &Pi) {
    for _ in 0..3 {
        pi.discover(pi5());
        pi.wait(4);
    }
}

staged! {
    rule_4_no_dhcp_server_at_all, "4", serve(&[]), |pi| ask_in_vain(pi);

    rule_5_a_menu_of_pcs, "5", serve(&[]), |pi| {
        let _router = Router::start(PC_MENU);
        ask_in_vain(pi);
    };

    rule_55_nothing_that_is_offered_is_taken, "55 56", serve(LEASE), |pi| ask_in_vain(pi);

    rule_55_neither_router_nor_proxy_is_taken, "55 56", serve(PROXY), |pi| {
        let _router = Router::start(NOTHING);
        ask_in_vain(pi);
    };

    rule_7_spanning_tree, "7 41", serve_root(LEASE), |pi| {
        pi.spanning_tree();
        pi.lease(pi5());
        pi.pi5_files();
    };

    rule_56_the_pi_says_so, "56", serve(LEASE), |pi| {
        pi.discover(pi5());
        pi.say("UDP_CSUM_ERR: 3\n");
    };

    rule_41_kernel_silent_beside_another_dhcp_server, "41", serve_root(&[]), |pi| {
        pi.lease_elsewhere(pi5(), ADDRESS);
        pi.pi5_files();
    };

    rule_44_a_root_that_nobody_uses, "44 43", serve_root(LEASE), |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.reset(client);
    };

    rule_40_a_pi_that_is_gone, "40 86 13", serve_root(LEASE), |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.deafen();
        pi.reset(client);
    };
}

/// A Pi that receives nothing more: its kernel acknowledges no answer, and the connection stays.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn rule_40_a_connection_without_acknowledgements() {
    let (world, server) = serve_root(LEASE);
    expect(&world, server, "40 86 13", |pi| {
        let line = kernel(pi);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.deafen();
        pi.drop_answers();
        client.send(100_003, 3, 0, &Void);
        std::mem::forget(client);
    });
}

/// The verdict names the server that does not name a boot server, and what it offers.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn rule_3_a_router_without_a_boot_server() {
    let (world, server) = serve(&[]);
    let line = expect(&world, server, "3 62", |pi| {
        let _router = Router::start(NOTHING);
        ask_in_vain(pi);
    });
    let offer = "10.9.0.254 offers 10.9.0.114 without a boot server (no option 66, no menu in 43)";
    assert!(line.contains(offer), "{line}");
}

/// With DHCP off, the DHCP messages of a boot are heard, and the boot is as healthy as another.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_boot_is_followed_with_dhcp_off() {
    let (world, mut server) = serve_root(&[]);
    world.pi(|pi| {
        let _router = Router::start(NOTHING);
        pi.spanning_tree();
        pi.lease_elsewhere(pi5(), ADDRESS);
        // Frames are read on a thread of their own: a request that comes at once may overtake them.
        server.line("kitchen has 10.9.0.60", SOON);
        let line = pi.pi5_files();
        pi.wait(4);
        pi.lease_elsewhere(Profile::Plain, ADDRESS);
        server.line("kitchen kernel runs", SOON);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        pi.wait(40);
        client.attributes(&root).unwrap();
    });
    server.line("kitchen up, ", SOON);
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
    assert!(log.contains("kitchen asks by DHCP: "), "{log}");
}
