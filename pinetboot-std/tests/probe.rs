//! `pinetboot probe` on networks with real DHCP servers: its output, its reasons and its exit codes.

mod dhcp_world;
mod namespace;

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use dhcp_world::{Server, Settings, World, pinetboot, without_option_66};
use namespace::{Namespace, PINETBOOT, Process, SOON, part};
use pinetboot::router_config::Router;

const WOULD_BOOT: i32 = 0;
const SILENT: i32 = 5;
const NO_FILES: i32 = 7;
const NO_BOOT_SERVER: i32 = 8;
const NO_DHCP: i32 = 9;

/// ISC's dhcpd looks for a second whether an address is free before it offers it.
const PROBE: [&str; 3] = ["probe", "--seconds", "3"];

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn what_dnsmasq_tells_is_understood() {
    what_is_told_is_understood(Server::Dnsmasq, Router::Dnsmasq);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn what_isc_dhcpd_tells_is_understood() {
    what_is_told_is_understood(Server::Isc, Router::Isc);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn what_kea_tells_is_understood() {
    what_is_told_is_understood(Server::Kea, Router::Kea);
}

fn what_is_told_is_understood(server: Server, words: Router) {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let _boot = world.boot_server("boot", "10.77.0.2/24");
    let client = world.machine("client", Some("10.77.0.9/24"));
    let told = |option_66, next_server, code: i32, reasons: &[&str]| {
        let settings = Settings { option_66, next_server, lines: "" };
        let running = world.start(server, &router, &settings);
        said(&client, &PROBE, code, reasons);
        running
    };

    let running = told(
        Some("10.77.0.2"),
        None,
        WOULD_BOOT,
        &[
            "option 66 (TFTP server name): \"10.77.0.2",
            "The Raspberry Pi 5 would boot from 10.77.0.2, because of option 66.",
            "TFTP, from 10.77.0.9: bd989ae1/config.txt: found",
        ],
    );
    running.has_leased_nothing();
    told(
        Some("10.77.0.2"),
        Some("10.77.0.66"),
        WOULD_BOOT,
        &["10.77.0.66", "would boot from 10.77.0.2, because of option 66."],
    );
    told(
        None,
        None,
        NO_BOOT_SERVER,
        &["The Raspberry Pi 5 keeps asking: the offer has neither option 66 nor option 43", ". [rule 3]"],
    );
    told(
        None,
        Some("10.77.0.2"),
        NO_BOOT_SERVER,
        &[
            "keeps asking: the offer has neither option 66 nor option 43; the next server 10.77.0.2 (siaddr) counts only \
             beside option 60 \"PXEClient\" and the menu \"Raspberry Pi Boot\" in option 43.",
            "To do: Add the lines of 'pinetboot router-config",
        ],
    );
    told(
        Some("boot.example"),
        None,
        NO_BOOT_SERVER,
        &[
            "keeps asking: option 66 is not an IP address, and a Pi cannot ask DNS",
            "Warning: option 66 from 10.77.0.1 is boot.example, which is not an address. [rule 3]",
        ],
    );
    told(
        Some("10.77.0.66"),
        None,
        SILENT,
        &[
            "would ask 10.77.0.66 for its files, because of option 66, but the server does not answer",
            "[rule 16]",
            "To do: Check that a TFTP server runs on 10.77.0.66",
        ],
    );

    // A wrong next server that is believed, as all else is right.
    let lines = without_option_66(&words.lines(Ipv4Addr::new(10, 77, 0, 66)));
    let _running = world.start(server, &router, &Settings { lines: &lines, ..Settings::default() });
    let because =
        "would ask 10.77.0.66 for its files, because of siaddr (next-server), believed because of options 60";
    said(&client, &PROBE, SILENT, &[because, "but the server does not answer"]);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn without_a_dhcp_server_no_address_comes() {
    let world = World::new();
    let client = world.machine("client", Some("10.77.0.9/24"));
    said(&client, &["probe", "--seconds", "1"], NO_DHCP, &["No DHCP server answered within 1 s."]);
    let json = ["probe", "--seconds", "1", "--json"];
    let found = parse(&said(&client, &json, NO_DHCP, &[]));
    assert_eq!((&found["verdict"], &found["exit"]), (&"no-dhcp-server".into(), &NO_DHCP.into()));
    let finding = &found["findings"][0];
    assert_eq!((&finding["severity"], &finding["what"]), (&"problem".into(), &found["reason"]));
    assert!(finding["rule"].is_null() && finding["remedy"].is_string(), "{finding}");

    // A network with a proxy alone gets the same verdict.
    let proxy = world.machine("proxy", Some("10.77.0.3/24"));
    let _proxy = world.start(Server::Dnsmasq, &proxy, &PROXY);
    said(&client, &PROBE, NO_DHCP, &["only proxies answered", "[rule 4]"]);
    let found = parse(&said(&client, &["probe", "--seconds", "3", "--json"], NO_DHCP, &[]));
    assert_eq!(found["findings"][0]["rule"], 4);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn offers_of_a_router_and_a_proxy_are_merged() {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let boot = world.boot_server("boot", "10.77.0.2/24");
    let client = world.machine("client", Some("10.77.0.9/24"));
    let _router = world.start(Server::Kea, &router, &Settings::default());
    let _proxy = world.start(Server::Dnsmasq, &boot.machine, &PROXY);
    let reasons = ["no address: a proxy", "would boot from 10.77.0.2, because of", "options 60 and 43"];
    said(&client, &PROBE, WOULD_BOOT, &reasons);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn of_two_servers_the_first_counts() {
    let world = World::new();
    let (one, other) = (world.boot_server("one", "10.77.0.1/24"), world.boot_server("other", "10.77.0.2/24"));
    let client = world.machine("client", Some("10.77.0.9/24"));
    let _kea = world.start(
        Server::Kea,
        &one.machine,
        &Settings { option_66: Some("10.77.0.2"), ..Settings::default() },
    );
    // dhcpd offers nothing before a second is over.
    let _isc = world.start(
        Server::Isc,
        &other.machine,
        &Settings { option_66: Some("10.77.0.1"), ..Settings::default() },
    );
    let reasons = [
        "Offer 1 from 10.77.0.1",
        "Offer 2 from 10.77.0.2",
        "would boot from 10.77.0.2, because of option 66.",
        "the first offer counts: this time 10.77.0.2, another time 10.77.0.1.",
        "2 DHCP servers lease addresses",
    ];
    said(&client, &PROBE, WOULD_BOOT, &reasons);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn programs_are_told_all_of_it_too() {
    let world = World::new();
    let boot = world.boot_server("boot", "10.77.0.2/24");
    let client = world.machine("client", Some("10.77.0.9/24"));
    let settings = Settings { option_66: Some("10.77.0.2"), ..Settings::default() };
    let _kea = world.start(Server::Kea, &boot.machine, &settings);
    let json = ["probe", "--seconds", "1", "--json", "--as", "pi4"];
    let found = parse(&said(&client, &json, WOULD_BOOT, &[]));
    assert_eq!((&found["verdict"], &found["exit"]), (&"would-boot".into(), &WOULD_BOOT.into()));
    assert_eq!(found["offers"].as_array().unwrap().len(), 1);
    assert_eq!(found["boot_server"]["address"], "10.77.0.2");
    assert_eq!(found["boot_server"]["named_by"], "option 66");
    assert_eq!(found["tftp"]["files"][0]["name"], "bd989ae1/start4.elf");
    assert_eq!(found["tftp"]["files"][0]["answer"], "there");
    let options = found["offers"][0]["options"].as_array().unwrap();
    let name = options.iter().find(|option| option["code"] == 66).unwrap();
    assert_eq!((&name["name"], &name["hex"]), (&"TFTP server name".into(), &"31302e37372e302e32".into()));
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn what_cannot_be_seen_from_here_is_said() {
    let world = World::new();
    let boot = world.boot_server("boot", "10.77.0.2/24");
    let settings = |option_66| Settings { option_66: Some(option_66), ..Settings::default() };
    let kea = world.start(Server::Kea, &boot.machine, &settings("10.77.0.2"));
    let client = world.machine("client", None);
    said(
        &client,
        &["probe", "--seconds", "1"],
        WOULD_BOOT,
        &[
            "would boot from 10.77.0.2",
            "TFTP: not tested, this machine has no",
            "eth0, the only interface that is up",
        ],
    );
    let by_name = ["probe", "--seconds", "1", "--interface", "eth0", "--mac", "2c:cf:67:01:02:03"];
    said(&client, &by_name, WOULD_BOOT, &["Probing on eth0, as a Raspberry Pi 5", "2c:cf:67:01:02:03"]);
    said(
        &client,
        &["probe", "--interface", "eth7"],
        2,
        &["this machine has no Ethernet interface eth7; the machine has eth0"],
    );

    // Without the privilege the command fails, and its error names the privilege.
    let mut command = client.command("setpriv");
    command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", PINETBOOT, "probe"]);
    let (status, heard) = Process::start(command).finish(SOON);
    assert_eq!(status.code(), Some(1), "{heard}");
    assert!(heard.contains("CAP_NET_RAW") && heard.contains("setcap cap_net_raw+ep"), "{heard}");

    // A Pi that is known by its serial number, and has no files there.
    client.address("eth0", "10.77.0.9/24");
    let pi3 = ["probe", "--seconds", "1", "--as", "pi3"];
    said(&client, &pi3, NO_BOOT_SERVER, &["asks five times and gives up: option 66 is sent alone"]);
    let uboot = ["probe", "--seconds", "1", "--as", "uboot"];
    said(
        &client,
        &uboot,
        NO_BOOT_SERVER,
        &[
            "as U-Boot, MAC",
            "U-Boot would not boot: no next server (siaddr), and U-Boot looks at nothing else",
        ],
    );
    drop(kea);

    let router = world.machine("router", Some("10.77.0.1/24"));
    let empty = world.boot_server("empty", "10.77.0.4/24");
    let _kea = world.start(Server::Kea, &router, &settings("10.77.0.4"));
    empty.remove_files();
    let known = ["probe", "--seconds", "1", "--serial", "10000000abcd1234"];
    let reasons = ["the server has no abcd1234/config.txt nor config.txt. [rule 17]"];
    said(&client, &known, NO_FILES, &reasons);
}

/// The kernel delivers no frame to the machine that sends it.
#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn a_server_is_known_to_a_probe_on_its_own_machine() {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let ours = world.machine("ours", Some("10.77.0.3/24"));
    let tree = world.tree("tree");
    let kea = world.start(Server::Kea, &router, &Settings::default());
    let proxy = ours.serve(&tree, &["--dhcp", "proxy", "--interface", "eth0"]);
    let tested = "TFTP, from 10.77.0.3: bd989ae1/config.txt: found";
    let says = ["from 10.77.0.1", "from 10.77.0.3", "Boot server: 10.77.0.3", tested];
    let text = said(&ours, &["probe", "--seconds", "2"], WOULD_BOOT, &says);
    assert!(!text.contains("Warning"), "{text}");
    proxy.stop();
    drop(kea);

    let lease = ours.serve(&tree, &["--dhcp", "lease", "--interface", "eth0"]);
    said(
        &ours,
        &["probe", "--seconds", "2"],
        WOULD_BOOT,
        &["from 10.77.0.3", "Boot server: 10.77.0.3", tested],
    );
    lease.stop();
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn a_simulated_boot_begins_with_dhcp() {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let _boot = world.boot_server("boot", "10.77.0.2/24");
    let client = world.machine("client", None);
    let lines = Router::Kea.lines(Ipv4Addr::new(10, 77, 0, 2));
    let mut kea = world.start(Server::Kea, &router, &Settings { lines: &lines, ..Settings::default() });
    let simulate = |model| ["simulate", "--interface", "eth0", "--model", model];
    // The whole boot runs from the leased address: the interface has none.
    let all = [
        "DISCOVER by broadcast",
        "OFFER from 10.77.0.1",
        "boot server: 10.77.0.2",
        "Would start the kernel: boot.img.",
    ];
    for model in ["pi5", "pi4"] {
        said(
            &client,
            &simulate(model),
            WOULD_BOOT,
            &[&all[..], &["REQUEST of 10.77.0.", "ACK from 10.77.0.1"]].concat(),
        );
        kea.expect("DHCP4_LEASE_ALLOC");
        kea.expect("DHCP4_RELEASE ");
    }
    client.address("eth0", "10.77.0.9/24");
    said(&client, &simulate("pi5"), WOULD_BOOT, &all);
    let rom = said(&client, &simulate("pi3"), WOULD_BOOT, &all);
    assert!(!rom.contains("REQUEST"), "{rom}");
    drop(kea);

    let _kea = world.start(Server::Kea, &router, &Settings::default());
    let gives_up = [
        "Would not boot: the Pi asks five times and gives up: the offer has neither option 66",
        "[rule 3]",
        "'pinetboot probe' shows what each server offers",
    ];
    said(&client, &simulate("pi3"), NO_BOOT_SERVER, &gives_up);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn another_dhcp_client_does_not_hinder() {
    if part().is_some() {
        let _holds_the_port = UdpSocket::bind("0.0.0.0:68").unwrap();
        let mut command = Command::new(PINETBOOT);
        command.args(["probe", "--seconds", "1"]);
        let (status, said) = Process::start(command).finish(SOON);
        assert_eq!(status.code(), Some(WOULD_BOOT), "{said}");
        return;
    }
    let world = World::new();
    let boot = world.boot_server("boot", "10.77.0.2/24");
    let settings = Settings { option_66: Some("10.77.0.2"), ..Settings::default() };
    let _kea = world.start(Server::Kea, &boot.machine, &settings);
    let client = world.machine("client", Some("10.77.0.9/24"));
    client.rerun("another_dhcp_client_does_not_hinder", "probe");
}

/// A proxy that dnsmasq makes, for Pis.
const PROXY: Settings<'_> = Settings {
    option_66: None,
    next_server: None,
    lines: "dhcp-range=10.77.0.0,proxy\npxe-service=0,\"Raspberry Pi Boot\"\n",
};

/// Runs `pinetboot`, and checks its exit code and its output.
#[track_caller]
fn said(client: &Namespace, arguments: &[&str], code: i32, reasons: &[&str]) -> String {
    let (exit, said) = pinetboot(client, arguments);
    assert_eq!(exit, code, "{arguments:?}: {said}");
    for reason in reasons {
        assert!(said.contains(reason), "no {reason:?}: {said}");
    }
    said
}

#[track_caller]
fn parse(said: &str) -> serde_json::Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}
