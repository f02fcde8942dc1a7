//! `pinetboot doctor` on a broken machine, network and tree, on pasted logs, and on healthy ones.
//!
//! `.ci/run doctor` runs those in namespaces: they need root.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "common/device_tree.rs"]
mod device_tree;
mod namespace;
#[path = "check/tree.rs"]
#[allow(dead_code, reason = "for the healthy system")]
mod tree;

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use namespace::{End, Namespace, PINETBOOT, Process, SOON, cable, dnsmasq, end};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tree::System;

/// A configuration of a healthy system; NFS is off, whose ports the system of this machine may hold.
fn configuration(system: &System, more: &str) -> String {
    let text = format!("tree = '{}'\nnfs-mode = 'off'\n{more}", system.boot().display());
    system.write("pinetboot.toml", text);
    system.path("pinetboot.toml").to_str().unwrap().to_owned()
}

/// The rules and texts of all findings of a part.
fn findings(report: &Value, part: &str) -> Vec<(Option<u64>, String)> {
    let parts = report["parts"].as_array().unwrap().iter().filter(|found| found["part"] == part);
    let all = parts.flat_map(|part| part["findings"].as_array().unwrap());
    all.map(|finding| (finding["rule"].as_u64(), finding["what"].as_str().unwrap().to_owned())).collect()
}

fn run(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn doctor(arguments: &[&str]) -> (i32, String) {
    run(Command::new(PINETBOOT).arg("doctor").args(arguments))
}

#[test]
fn a_broken_tree_is_named_by_the_configuration() {
    let system = System::healthy();
    let config = configuration(&system, "");
    let control = system.path("none");
    let look = || {
        let arguments = ["--no-send", "--json", "--config", &config, "--control", control.to_str().unwrap()];
        let (code, said) = doctor(&arguments);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(report["exit"], code, "{said}");
        report
    };
    assert_eq!(findings(&look(), "files"), []);
    system.command_line("vers=3,tcp", "vers=4.1,proto=tcp");
    let rules = |report: &Value| -> Vec<_> {
        findings(report, "files").into_iter().filter_map(|(rule, _)| rule).collect()
    };
    assert!(rules(&look()).contains(&33));
    fs::remove_file(system.boot().join("bcm2712-rpi-5-b.dtb")).unwrap();
    let report = look();
    assert!(rules(&report).contains(&19) && report["exit"] == 7, "{report:#}");
    assert_eq!(
        report["parts"].as_array().unwrap().iter().filter(|part| part["part"] == "network").count(),
        1
    );

    system.write("pinetboot.toml", "tree = '/srv'\nno-such-key = 1\n");
    let report = look();
    assert!(findings(&report, "configuration")[0].1.contains("no-such-key"), "{report:#}");
    assert_eq!(doctor(&["--no-send", "--config", "/no/such/file"]).0, 2);
}

#[test]
fn a_pasted_log_names_its_rule_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let text = b"Starting OS\n\x1b[2J\xff bd989ae1-6749b0c2f3a09d51e744 nfsmount: bad option 'vers'\n";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, said) = doctor(&["--log", file]);
    assert!(code == 7 && said.contains("Line 2: \\u{1b}[2J"), "{code}: {said}");
    assert!(said.contains("bd989ae1-.. nfsmount: bad option 'vers' [rule 33]"), "{said}");
    assert!(said.ends_with("More about a rule: pinetboot explain 33\n"), "{said}");
    let (code, said) = doctor(&["--log", file, "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, findings(&report, "log")[0].0), (7, Some(33)));

    let mut pipe = Command::new(PINETBOOT);
    pipe.args(["doctor", "--log", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut pipe = pipe.spawn().unwrap();
    pipe.stdin.take().unwrap().write_all(b"[all]\nBOOT_UART=1\nBOOT_ORDER=0xf21\n").unwrap();
    let output = pipe.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("No fault was found.\n"));
    assert_eq!(doctor(&["--log", "/no/such/file"]).0, 2);
}

#[test]
#[ignore = "needs root, network namespaces and nft; run by .ci/run"]
fn a_broken_machine_is_named_and_a_healthy_one_is_not() {
    let machine = Namespace::new("machine");
    let system = System::healthy();
    let state = system.path("state");
    fs::create_dir(&state).unwrap();
    let config = configuration(&system, &format!("state = '{0}'\nallow-upload = '{0}'\n", state.display()));
    let look = |before: &str| {
        let doctor =
            format!("exec {PINETBOOT} doctor --no-send --config {config} --control {}/none", state.display());
        let mut shell = machine.command("sh");
        run(shell.args(["-ec", &format!("{before}\n{doctor}")]))
    };
    machine.ip("link add br0 type bridge stp_state 0 forward_delay 1500");
    machine.ip("link set br0 up");
    let (code, said) = look("");
    assert!(code == 0 && said.ends_with("No fault was found.\n"), "{code}: {said}");

    machine.ip("link set br0 type bridge stp_state 1");
    machine
        .nft("table inet mine {\nchain input {\ntype filter hook input priority filter; policy drop;\n}\n}");
    let held = machine.enter(|| UdpSocket::bind("0.0.0.0:69").unwrap());
    // In the mounts of this command alone; the test's user may not fill the disk, so a small one is filled.
    let full = format!(
        "mount -t tmpfs -o size=1m tmpfs {0}\nhead --bytes=2M /dev/zero > {0}/file 2>/dev/null || true",
        state.display()
    );
    let (code, said) = look(&full);
    let said = said.replace("\n  ", " ");
    assert_eq!(code, 7, "{said}");
    for part in [
        "holds port 69/udp, which pinetboot needs for TFTP.",
        &format!("(pid {})", std::process::id()),
        "(nftables) drops packets by default, and no rule names 69/udp",
        "nft insert rule inet mine input udp dport 69 accept",
        "The bridge br0 of this machine runs STP with a forward delay of 15 s",
        "[rule 61]",
        "is full down to the reserve of",
        "Problems: 3; warnings: 1.",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    drop(held);
}

#[test]
#[ignore = "needs root, network namespaces and nft; run by .ci/run"]
fn the_firewall_is_tried_by_packets_as_a_pi_sends_them() {
    let (machine, pi) = (Namespace::new("machine"), Namespace::new("pi"));
    cable(end(&machine, "eth", "10.77.0.9/24"), end(&pi, "eth", "10.77.0.1/24"), 1500);
    let system = System::healthy();
    let config = configuration(&system, "interface = 'eth'\ndhcp = 'proxy'\n");
    let nfs = format!("nfs-mode = 'rw'\nnfs = '{}'", system.path("root").display());
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("nfs-mode = 'off'", &nfs)).unwrap();
    let control = system.path("none");
    let look = || {
        let mut command = machine.command(PINETBOOT);
        command.args(["doctor", "--no-send", "--json", "--config", &config, "--control"]).arg(&control);
        let (_, said) = run(&mut command);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let found: Vec<_> =
            findings(&report, "machine").into_iter().filter(|(_, what)| what.contains("firewall")).collect();
        (found, said)
    };
    let (found, said) = look();
    assert!(found.is_empty(), "{said}");
    assert!(said.contains("packets pass to 69/udp, 67/udp, 111/udp, 111/tcp, 2049/tcp"), "{said}");

    // Each rule names a port, and the rules that a reader takes for open are for others.
    let chain = |rules: &str| {
        machine.nft(&format!(
            "table inet mine\ndelete table inet mine\ntable inet mine {{\nchain input {{\ntype filter hook input priority filter; \
             policy drop;\nct state established,related accept\n{rules}\n}}\n}}"
        ));
    };
    chain(
        "ip saddr 192.168.0.0/16 udp dport 69 accept\niifname \"wlan0\" udp dport 67 accept\nip saddr 10.77.0.0/24 udp dport 111 accept\n\
         udp sport 1024-65535 drop\ntcp dport { 111, 2049 } accept",
    );
    let (found, said) = look();
    let text = "drops packets of Pis on eth to 69/udp, 67/udp (tried with a copy of its rules)";
    assert!(found.len() == 1 && found[0].1.contains(text), "{said}");
    assert_eq!(found[0].0, Some(16), "{said}");
    chain(
        "iifname \"eth\" udp dport { 67, 69, 111 } accept\nip saddr 10.77.0.0/24 tcp dport { 111, 2049 } accept",
    );
    let (found, said) = look();
    assert!(found.is_empty(), "{said}");
    machine.nft(
        "table inet out {\nchain output {\ntype filter hook output priority filter;\nudp sport 69 drop\n}\n}",
    );
    let (found, said) = look();
    assert!(found.len() == 1 && found[0].1.contains("drops the answers to Pis on eth from 69/udp"), "{said}");
    // The machine's own network is as it was: its rules, its interfaces, and no namespace more.
    let mut links = machine.command("ip");
    let (_, links) = run(links.args(["-brief", "link"]));
    assert_eq!(links.lines().count(), 2, "{links}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_vlan_a_containers_network_and_missing_checksums_are_named() {
    let (machine, pi) = (Namespace::new("machine"), Namespace::new("pi"));
    cable(end(&machine, "eth", "10.77.0.9/24"), end(&pi, "eth", "10.77.0.1/24"), 1500);
    let system = System::healthy();
    // ip(8) as it answers on a machine with a VLAN: not every kernel of a test has VLANs.
    let shown = r#"[{"ifname": "lo"}, {"ifname": "eth", "linkinfo": {"info_kind": "veth"}}, {"ifname": "eth.10", "link": "eth",
        "linkinfo": {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 10}}}]"#;
    system.write("bin/ip", format!("#!/bin/sh\ncat <<'END'\n{shown}\nEND\n"));
    fs::set_permissions(system.path("bin/ip"), fs::Permissions::from_mode(0o755)).unwrap();
    let with_vlan = format!("PATH={}:$PATH", system.path("bin").display());
    let look = |before: &str, interface: &str, more: &str| {
        let config = configuration(&system, &format!("interface = '{interface}'\n{more}"));
        let control = system.path("none");
        let doctor =
            format!("exec {PINETBOOT} doctor --no-send --config {config} --control {}", control.display());
        system.write("script", format!("{before}\n{doctor}\n"));
        let (code, said) = run(machine.command("sh").arg("-e").arg(system.path("script")));
        (code, said.replace("\n  ", " "))
    };
    let (code, said) = look("", "eth", "");
    assert!(code == 0 && said.ends_with("No fault was found.\n"), "{said}");
    // An interface of this kind leaves checksums out unless told otherwise.
    assert!(said.contains("The virtual interface eth leaves checksums to a network card"), "{said}");
    let (_, told) = run(machine.command("ethtool").args(["-K", "eth", "tx", "off"]));
    let (code, said) = look("", "eth", "");
    assert!(code == 0 && !said.contains("leaves checksums"), "{told}: {said}");
    let (code, said) = look(&with_vlan, "eth", "");
    assert!(code == 0 && said.ends_with("No fault was found.\n"), "{said}");
    assert!(said.contains("Pis in VLAN 10 come by eth.10, which is not served by serving eth"), "{said}");
    let (code, said) = look(&with_vlan, "eth.10", "");
    assert!(code == 0 && said.contains("Pis reach eth.10 by VLAN 10 alone"), "{said}");
    // The first process of a container has its network.
    let inside = "[ $$ = 1 ] || exec unshare --pid --fork --mount-proc sh -e \"$0\"\nmount -t tmpfs tmpfs /run\ntouch /run/.containerenv";
    let (code, said) = look(inside, "eth", "");
    assert!(code == 0 && said.contains("Warning: This is a container ("), "{said}");
    let (code, said) = look(inside, "eth", "dhcp = 'proxy'\n");
    assert!(code == 7 && said.contains("network_mode: host"), "{said}");
}

#[test]
#[ignore = "needs root, network namespaces and dnsmasq; run by .ci/run"]
fn a_broken_network_is_named_and_a_healthy_one_is_not() {
    let (machine, router) = (Namespace::new("machine"), Namespace::new("router"));
    cable(end(&machine, "eth", "10.77.0.9/24"), end(&router, "eth", "10.77.0.1/24"), 1500);
    let system = System::healthy();
    let control = system.path("none");
    let look = |more: &str| {
        let config = configuration(&system, &format!("interface = 'eth'\n{more}"));
        let mut command = machine.command(PINETBOOT);
        command.args(["doctor", "--json", "--config", &config, "--control"]).arg(&control);
        let (code, said) = run(&mut command);
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        (code, findings(&report, "network"), said)
    };
    // The machine is to lease addresses, and does not yet.
    let (code, found, said) = look("dhcp = 'lease'\n");
    assert!(code == 0 && found.is_empty() && said.contains("start 'pinetboot serve'"), "{said}");

    let _router = dnsmasq(&router, &[]);
    let (code, found, said) = look("");
    assert!(code == 7 && found[0].0 == Some(3), "{said}");
    let (code, found, said) = look("dhcp = 'lease'\n");
    assert!(code == 7 && found[0].1.starts_with("Another DHCP server leases addresses"), "{said}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn netconsole_is_heard_and_judged() {
    let (machine, pi) = (Namespace::new("machine"), Namespace::new("pi"));
    cable(
        End { of: &machine, interface: "eth", address: Some("10.77.0.1/24") },
        End { of: &pi, interface: "eth", address: Some("10.77.0.9/24") },
        1500,
    );
    let mut command = machine.command(PINETBOOT);
    command.args(["doctor", "--listen", "--interface", "eth"]);
    let mut listening = Process::start(command);
    listening.line("Listening to frames on eth, UDP port 6665; ctrl-C ends.", SOON);
    let socket = pi.enter(|| UdpSocket::bind("0.0.0.0:6665").unwrap());
    socket.set_broadcast(true).unwrap();
    socket.send_to(b"Link ready\nNETBOOT init failed\n", "10.77.0.255:6666").unwrap();
    assert!(listening.line("Link ready", SOON).contains(':'));
    listening.line("NETBOOT init failed [rule 4]", SOON);
    socket.send_to(b"nfsmount: bad option 'vers'\n", "10.77.0.1:6665").unwrap();
    listening.line("! 10.77.0.9: Line 1: nfsmount: bad option 'vers' [rule 33]", SOON);
    for _ in 0..4 {
        socket.send_to(b"DHCP src: 52:54:00:aa:bb:cc 10.77.0.1\n", "10.77.0.1:6665").unwrap();
        listening.line("10.77.0.9 DHCP src: 52:54:00:aa:bb:cc 10.77.0.1", SOON);
    }
    kill(Pid::from_raw(i32::try_from(listening.id()).unwrap()), Signal::SIGINT).unwrap();
    let (status, said) = listening.finish(SOON);
    assert_eq!(status.code(), Some(7), "{said}");
    // No single line shows that no offer is taken.
    assert!(said.contains("[rule 3]"), "{said}");
}
