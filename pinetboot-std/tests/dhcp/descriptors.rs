//! A server that has no descriptor left.

use super::*;

/// Lets a process open nothing more: its limit becomes the lowest free number, which the kernel would give next; the lowest of many
/// looks, as a file that is open for a moment hides a free number. To set the limits of another user's process would take
/// CAP_SYS_RESOURCE: the server stays root.
fn leave_no_descriptor(server: &Process) {
    let lowest_free = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
        let open: Vec<u64> =
            descriptors.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        (0..).find(|number| !open.contains(number)).unwrap()
    };
    let limit = (0..200).map(|_| lowest_free()).min().unwrap();
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--pid={}", server.id())).arg(format!("--nofile={limit}:{limit}"));
    assert!(command.status().unwrap().success());
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn leases_are_given_and_written_without_a_free_descriptor() {
    let home = Home::new();
    let leases = home.files.leases();
    let server =
        home.serve(&["--user", "root", "--dhcp", "lease", "--dhcp-clients", "all", "--lease-file", &leases]);
    leave_no_descriptor(&server);
    let mut addresses = Vec::new();
    for number in 0..4 {
        home.client.ip("addr flush dev eth");
        home.client.ip(&format!("link set eth address 02:00:00:00:00:{number:02x}"));
        let address = home.udhcpc(&[]).split(' ').next().unwrap().to_owned();
        assert_eq!(home.udhcpc(&[]).split(' ').next().unwrap(), address);
        let written = fs::read_to_string(&leases).unwrap();
        assert!(written.contains(&format!("02:00:00:00:00:{number:02x} {address} ")), "{written}");
        addresses.push(address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 4);
    // A transfer takes a descriptor: an ERROR, or silence, and no end of the server. What the start still had open is closed by now.
    leave_no_descriptor(&server);
    let mut curl = home.client.command("curl");
    curl.args(["-sS", "--max-time", "3", "-o", "/dev/null", "tftp://10.77.0.1/kernel_2712.img"]);
    assert!(!Process::start(curl).finish(SOON).0.success(), "the limit holds");
    home.udhcpc(&[]);
    server.stop();
}

#[test]
#[ignore = "needs root, network namespaces, nftables and dnsmasq; run by .ci/run"]
fn a_proxy_answers_without_a_free_descriptor() {
    let lan = Lan::new();
    let _dnsmasq = dnsmasq(&lan.router, &["--dhcp-option=option:router,10.77.0.2"]);
    let server = lan.home.serve(&["--user", "root", "--dhcp", "proxy"]);
    leave_no_descriptor(&server);
    let mut command = lan.home.client.command("busybox");
    command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "1", "-T", "1"]).args(AS_A_PI);
    Process::start(command).finish(SOON);
    assert!(lan.seen_of_us() > 0, "a Pi hears from us");
    server.stop();
}
