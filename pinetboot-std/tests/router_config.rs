//! The output of `pinetboot router-config` is accepted by the real servers, and a Pi boots with it.

mod dhcp_world;
mod namespace;

use std::process::Command;

use dhcp_world::clients::{Clients, pc};
use dhcp_world::{Server, Settings, World, pinetboot, without_option_66};
use namespace::{PINETBOOT, Process, SOON};

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn dnsmasq_takes_its_lines() {
    lines_are_taken(Server::Dnsmasq);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn isc_dhcpd_takes_its_lines() {
    lines_are_taken(Server::Isc);
}

#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn kea_takes_its_lines() {
    lines_are_taken(Server::Kea);
}

fn lines_are_taken(server: Server) {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let _boot = world.boot_server("boot", "10.77.0.2/24");
    let client = world.machine("client", Some("10.77.0.9/24"));
    let probe = |lines: &str, model: &str| {
        let _running = world.start(server, &router, &Settings { lines, ..Settings::default() });
        pinetboot(&client, &["probe", "--seconds", "3", "--as", model])
    };
    let lines = lines_for(server.name());
    for model in ["pi5", "pi4", "pi3"] {
        let (exit, said) = probe(&lines, model);
        assert!(said.contains("would boot from 10.77.0.2, because of option 66."), "{model}: {said}");
        assert!(!said.contains("Warning"), "{model}: {said}");
        assert_eq!(exit, 0, "{model}: {said}");
    }

    // And the rest of it by itself, as if a Pi looked at no option 66.
    let rest = without_option_66(&lines);
    for model in ["pi5", "pi3"] {
        let (exit, said) = probe(&rest, model);
        assert!(
            said.contains("would boot from 10.77.0.2, because of siaddr (next-server), believed"),
            "{said}"
        );
        assert_eq!(exit, 0, "{model}: {said}");
    }
}

/// PCs that boot by PXE: with our lines they get what they got before.
#[test]
#[ignore = "needs root, network namespaces and DHCP servers; run by .ci/run"]
fn the_lines_leave_pcs_alone() {
    let world = World::new();
    let router = world.machine("router", Some("10.77.0.1/24"));
    let client = world.machine("client", Some("10.77.0.9/24"));
    for server in Server::ALL {
        let answers = |lines: &str| {
            let settings = Settings { next_server: Some("10.77.0.77"), lines, ..Settings::default() };
            let _running = world.start(server, &router, &settings);
            [false, true].map(|ipxe| {
                client.enter(|| {
                    let answer = Clients::new().exchange(&pc(ipxe));
                    (answer.next_server, [43, 60, 66].map(|code| answer.option(code).map(<[u8]>::to_vec)))
                })
            })
        };
        let without = answers("");
        assert_eq!(without[0].0.to_string(), "10.77.0.77", "{server:?}");
        assert_eq!(answers(&lines_for(server.name())), without, "{server:?}");
    }
}

#[test]
#[ignore = "needs root, network namespaces and nftables; run by .ci/run"]
fn nftables_takes_its_table() {
    let serving = namespace::Namespace::new("serving");
    serving.nft(&lines_for("nft"));
}

#[test]
fn without_a_router_the_command_prints_a_list() {
    let list = run(&["router-config", "--server", "10.77.0.2"], 0);
    for name in [
        "dnsmasq",
        "isc",
        "kea",
        "openwrt",
        "fritzbox",
        "windows",
        "hex",
        "eeprom",
        "ufw",
        "firewalld",
        "nft",
    ] {
        assert!(list.contains(&format!("\n  {name} ")), "{list}");
    }
}

#[test]
fn a_bootloader_has_settings_that_others_have_not() {
    let eeprom = ["router-config", "--server", "10.77.0.2", "--for", "eeprom"];
    assert!(run(&eeprom, 0).contains("\nTFTP_IP=10.77.0.2\n"));
    let fixed = run(&[&eeprom[..], &["--client-ip", "10.77.0.50"]].concat(), 0);
    assert!(fixed.contains("\nCLIENT_IP=10.77.0.50\nSUBNET=255.255.255.0\n"), "{fixed}");
    let other = ["router-config", "--server", "10.77.0.2", "--for", "isc", "--client-ip", "10.77.0.50"];
    assert!(run(&other, 2).contains("are for '--for eeprom', not for isc"));
}

fn lines_for(router: &str) -> String {
    run(&["router-config", "--server", "10.77.0.2", "--for", router], 0)
}

#[track_caller]
fn run(arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(PINETBOOT);
    command.args(arguments);
    let (status, said) = Process::start(command).finish(SOON);
    assert_eq!(status.code(), Some(code), "{said}");
    said
}
