//! `serve --dhcp proxy` beside other people's DHCP servers: a Pi boots from us with an address of theirs.

mod dhcp_world;
mod namespace;

use dhcp_world::{Server, Settings, World, pinetboot};
use namespace::{Process, SOON, cable, end};

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn a_pi_boots_beside_dnsmasq() {
    a_pi_boots_beside(Server::Dnsmasq);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn a_pi_boots_beside_isc_dhcpd() {
    a_pi_boots_beside(Server::Isc);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn a_pi_boots_beside_kea() {
    a_pi_boots_beside(Server::Kea);
}

/// The router names itself as the next server, as many do: it does not count.
fn a_pi_boots_beside(server: Server) {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let settings = Settings { next_server: Some("10.77.0.1"), ..Settings::default() };
    let _router = world.start(server, &router, &settings);
    let ours = world.machine("ours", Some("10.77.0.3/24"));
    let mut serving = ours.serve(&world.tree("tree"), &["--dhcp", "proxy", "--interface", "eth0"]);
    let client = world.machine("client", Some("10.77.0.9/24"));

    for model in ["pi5", "pi4"] {
        let (code, said) = pinetboot(&client, &["simulate", "--interface", "eth0", "--model", model]);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("boot server: 10.77.0.3") && said.contains("Would start the kernel: boot.img."),
            "{said}"
        );
        // The proxy has heard whom the router gave which address.
        let line = serving.line("with a DHCP DISCOVER", SOON);
        assert!(line.contains("serial bd989ae1"), "{line}");
        serving.expect(" takes 10.77.0.", SOON);
    }
    let log = serving.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// The Pi and its router are on one network, and we on another; between them a relay agent.
#[test]
#[ignore = "needs root, network namespaces, dnsmasq and dhcrelay; run by .ci/run"]
fn a_pi_boots_through_a_relay() {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.2/24"));
    let lines = "dhcp-option=option:router,10.77.0.1\n";
    let _router = world.start(Server::Dnsmasq, &router, &Settings { lines, ..Settings::default() });
    let between = world.machine("relay", Some("10.77.0.1/24"));
    let ours = namespace::Namespace::new("ours");
    cable(end(&between, "far", "10.79.0.254/24"), end(&ours, "lan", "10.79.0.1/24"), 1500);
    between.forward();
    ours.gateway("10.79.0.254");
    let mut serving = ours.serve(&world.tree("tree"), &["-v", "--dhcp", "proxy", "--interface", "lan"]);
    let mut relay = between.command("dhcrelay");
    relay.args(["-d", "-4", "-pf", "/dev/null", "-i", "eth0", "-i", "far", "10.79.0.1"]);
    let mut relay = Process::start(relay);
    relay.expect("Sending on   Socket/fallback", SOON);

    let client = world.machine("client", Some("10.77.0.9/24"));
    client.gateway("10.77.0.1");
    // The client fetches from an address of this machine, and not from the one that it took: the relay agent may make
    // that known before the first request, as it surely does before the second boot.
    for _ in 0..2 {
        let (code, said) = pinetboot(&client, &["simulate", "--interface", "eth0"]);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("boot server: 10.79.0.1") && said.contains("Would start the kernel: boot.img."),
            "{said}"
        );
        serving.expect(" takes 10.77.0.", SOON);
    }
    let log = serving.stop();
    assert!(log.contains("serial bd989ae1"), "{log}");
}
