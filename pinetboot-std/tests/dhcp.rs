//! `serve --dhcp` on networks in namespaces, with clients and servers of other projects.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod namespace;

#[path = "dhcp/at_once.rs"]
mod at_once;
#[path = "dhcp/calls.rs"]
mod calls;
#[path = "dhcp/descriptors.rs"]
mod descriptors;
#[path = "dhcp/unread.rs"]
mod unread;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use namespace::{
    Namespace, PINETBOOT, Process, SOON, cable, content, dhcp_client, discover_of, dnsmasq, end, part,
};
use tempfile::TempDir;

/// A server, or a router, and a client on one cable.
struct Home {
    server: Namespace,
    client: Namespace,
    files: Files,
}

impl Home {
    fn new() -> Self {
        let (server, client) = (Namespace::new("server"), Namespace::new("client"));
        cable(
            end(&server, "lan", "10.77.0.1/24"),
            namespace::End { of: &client, interface: "eth", address: None },
            1500,
        );
        Self { server, client, files: Files::new() }
    }

    fn serve(&self, options: &[&str]) -> Process {
        self.server.serve(&self.files.tree(), &[&["--interface", "lan"], options].concat())
    }

    /// Fetches config.txt from our server, as the client.
    fn fetch(&self) {
        let got = self.files.0.path().join("got");
        let mut curl = self.client.command("curl");
        curl.args(["-sS", "-o"]).arg(&got).arg("tftp://10.77.0.1/config.txt");
        assert!(Process::start(curl).finish(SOON).0.success());
        assert_eq!(fs::read(got).unwrap(), content(5000));
    }

    /// Asks for an address with busybox udhcpc, and returns the values that it was given: its address first.
    fn udhcpc(&self, options: &[&str]) -> String {
        self.told("told ", options)
    }

    /// The time of the lease that busybox udhcpc gets, in seconds.
    fn lease_secs(&self, options: &[&str]) -> u32 {
        self.told("lease ", options).parse().unwrap()
    }

    fn told(&self, what: &str, options: &[&str]) -> String {
        let mut command = self.client.command("busybox");
        command
            .args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "5", "-s"])
            .arg(self.files.script())
            .args(options);
        let (status, said) = Process::start(command).finish(SOON);
        assert!(status.success(), "{said}");
        let told = said.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{said}"));
        told.to_owned()
    }
}

/// Our server beside another router, and a client, on one switch.
struct Lan {
    switch: Namespace,
    router: Namespace,
    home: Home,
}

impl Lan {
    fn new() -> Self {
        let (switch, router) = (Namespace::new("switch"), Namespace::new("router"));
        let (server, client) = (Namespace::new("server"), Namespace::new("client"));
        let port = |interface| namespace::End { of: &switch, interface, address: None };
        cable(port("one"), end(&server, "lan", "10.77.0.1/24"), 1500);
        cable(port("two"), end(&router, "eth", "10.77.0.2/24"), 1500);
        cable(port("three"), namespace::End { of: &client, interface: "eth", address: None }, 1500);
        switch.bridge("bridge", &["one", "two", "three"]);
        // The client's end counts the packets that our server sends as a DHCP server.
        client.nft(
            "table ip watch { chain input { type filter hook input priority 0; \
             ip saddr 10.77.0.1 udp sport { 67, 4011 } counter; }; }",
        );
        Self { switch, router, home: Home { server, client, files: Files::new() } }
    }

    /// How many DHCP packets of ours the client has seen.
    fn seen_of_us(&self) -> u64 {
        let mut command = self.home.client.command("nft");
        command.args(["list", "table", "ip", "watch"]);
        let (status, said) = Process::start(command).finish(SOON);
        assert!(status.success(), "{said}");
        let after = said.split("counter packets ").nth(1).unwrap_or_else(|| panic!("{said}"));
        after.split(' ').next().unwrap().parse().unwrap()
    }
}

/// The served files, and a script for udhcpc.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        // For the user that a server becomes: boot files to read, leases to write.
        fs::set_permissions(files.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(files.tree()).unwrap();
        fs::write(files.tree().join("config.txt"), content(5000)).unwrap();
        fs::write(files.tree().join("kernel_2712.img"), content(5000)).unwrap();
        let script = "#!/bin/sh\n\
            [ \"$1\" = bound ] || exit 0\n\
            ip addr flush dev $interface\n\
            ip addr add $ip/$mask dev $interface\n\
            echo lease $lease\n\
            echo told $ip from $serverid, boot $siaddr, option 66 $tftp, router $router, dns $dns\n";
        fs::write(files.script(), script).unwrap();
        fs::set_permissions(files.script(), fs::Permissions::from_mode(0o755)).unwrap();
        files
    }

    fn tree(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    fn script(&self) -> PathBuf {
        self.0.path().join("udhcpc.sh")
    }

    fn leases(&self) -> String {
        self.0.path().join("leases").to_str().unwrap().to_owned()
    }
}

/// The vendor class and the option 97 of a Pi 5 (its serial number is bd989ae1), as udhcpc wants them.
const AS_A_PI: [&str; 6] = [
    "-V",
    "PXEClient:Arch:00000:UNDI:002001",
    "-x",
    "0x5d:0000",
    "-x",
    "0x61:00525069357041d000dde8271ee19a98bd",
];

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_pi_gets_an_address_and_its_files_and_keeps_the_address() {
    let home = Home::new();
    let leases = home.files.leases();
    let lease =
        ["--dhcp", "lease", "--lease-file", &leases, "--router", "10.77.0.254", "--dns", "10.77.0.253"];
    let mut server = home.serve(&lease);

    let told = home.udhcpc(&[&AS_A_PI[..], &["-O", "tftp"]].concat());
    let address = told.split(' ').next().unwrap().to_owned();
    assert_eq!(
        told,
        format!(
            "{address} from 10.77.0.1, boot 10.77.0.1, option 66 10.77.0.1, router 10.77.0.254, dns 10.77.0.253"
        )
    );
    server.line("Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1", SOON);
    server.line(&format!("has the address {address}"), SOON);

    home.fetch();
    // Known by what it said by DHCP, although it asks for the plain name.
    server.line("bd989ae1 fetched config.txt", SOON);
    let mut curl = home.client.command("curl");
    curl.args(["-sS", "-o", "/dev/null", "tftp://10.77.0.1/kernel_2712.img"]);
    assert!(Process::start(curl).finish(SOON).0.success());
    server.line("bd989ae1 files: 2 in ", SOON);

    // The kernel sends no option 97, and userspace another client identifier: the machine stays the same.
    for another in [&[][..], &["-C"], &["-x", "0x3d:0102030405"]] {
        assert_eq!(home.udhcpc(another).split(' ').next().unwrap(), address, "{another:?}");
    }

    // And after a restart.
    assert!(server.stop().contains("DHCP stopped"));
    let server = home.serve(&lease);
    assert_eq!(home.udhcpc(&[]).split(' ').next().unwrap(), address);
    let log = server.stop();
    assert!(log.contains("leases restored"), "{log}");
}

/// The kernel and userspace of a Pi send no option 97.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn an_address_in_the_inventory_is_the_pis() {
    let home = Home::new();
    let config = home.files.0.path().join("pinetboot.toml");
    fs::write(&config, "[pi.bd989ae1]\naddress = '10.77.0.9'\n[pi.00000001]\naddress = '10.77.0.1'\n")
        .unwrap();
    let leases = home.files.leases();
    let config = config.to_str().unwrap();
    let lease = ["--dhcp", "lease", "--dhcp-clients", "all", "--lease-file", &leases, "--config", config];
    let server = home.serve(&lease);
    for who in [&AS_A_PI[..], &[]] {
        assert_eq!(home.udhcpc(who).split(' ').next().unwrap(), "10.77.0.9");
    }
    let log = server.stop();
    assert!(log.contains("10.77.0.1 is not reserved for 00000001"), "{log}");
    let server = home.serve(&lease);
    assert_eq!(home.udhcpc(&[]).split(' ').next().unwrap(), "10.77.0.9");
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_lease_is_short_until_the_pi_fetches_a_file() {
    let home = Home::new();
    let leases = home.files.leases();
    let server = home.serve(&["--dhcp", "lease", "--lease-file", &leases]);
    assert_eq!(home.lease_secs(&AS_A_PI), 300);
    assert_eq!(home.lease_secs(&AS_A_PI), 300);
    assert!(fs::read_to_string(&leases).unwrap().ends_with(" unseen\n"));
    home.fetch();
    assert_eq!(home.lease_secs(&AS_A_PI), 12 * 60 * 60);
    assert!(!fs::read_to_string(&leases).unwrap().ends_with(" unseen\n"));
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn only_pis_are_answered_unless_told() {
    let home = Home::new();
    let server = home.serve(&["--dhcp", "lease"]);
    let mut command = home.client.command("busybox");
    command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "2", "-T", "1"]);
    let (status, said) = Process::start(command).finish(SOON);
    assert!(!status.success() && said.contains("no lease"), "{said}");
    let log = server.stop();
    assert!(log.contains("clients of this kind are not served"), "{log}");

    let server =
        home.serve(&["--dhcp", "lease", "--dhcp-clients", "all", "--lease-range", "10.77.0.7-10.77.0.7"]);
    assert_eq!(home.udhcpc(&[]).split(' ').next().unwrap(), "10.77.0.7");
    server.stop();
}

#[test]
#[ignore = "needs root, network namespaces and dnsmasq; run by .ci/run"]
fn where_another_server_gives_addresses_it_does_not() {
    let home = Home::new();
    // The router is on the other end of the cable.
    home.client.address("eth", "10.77.0.2/24");
    let _dnsmasq = dnsmasq(&home.client, &[]);

    let mut command = home.server.command(PINETBOOT);
    command.args(["serve", "--interface", "lan", "--dhcp", "lease"]).arg(home.files.tree());
    let (status, said) = Process::start(command).finish(SOON);
    assert_eq!(status.code(), Some(10), "{said}");
    assert!(
        said.contains("DHCP server 10.77.0.2 answers on lan already") && said.contains("--dhcp proxy"),
        "{said}"
    );

    let forced = home.serve(&["--dhcp", "lease", "--force"]);
    assert!(forced.stop().contains("--force keeps this server running"));
    let beside = home.serve(&["--dhcp", "proxy"]);
    let log = beside.stop();
    assert!(!log.contains("WARN no DHCP server"), "{log}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_proxy_that_is_alone_says_so() {
    let home = Home::new();
    let mut serving = home.serve(&["--dhcp", "proxy"]);
    serving.line("no DHCP server answers on lan: a proxy alone boots no Pi", SOON);
    serving.stop();
}

#[test]
#[ignore = "needs root, network namespaces, nftables and dnsmasq; run by .ci/run"]
fn a_proxy_answers_pis_only() {
    let lan = Lan::new();
    let _dnsmasq = dnsmasq(&lan.router, &["--dhcp-option=option:router,10.77.0.2"]);
    let mut server = lan.home.serve(&["--dhcp", "proxy"]);

    let told = lan.home.udhcpc(&[]);
    assert!(told.contains(" from 10.77.0.2,"), "{told}");
    assert_eq!(lan.seen_of_us(), 0, "an ordinary client is the router's alone");
    lan.home.fetch();

    // udhcpc does not know proxies, and takes their offer for one of an address; what counts is that it is made.
    let mut command = lan.home.client.command("busybox");
    command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "1", "-T", "1"]).args(AS_A_PI);
    Process::start(command).finish(SOON);
    assert!(lan.seen_of_us() > 0, "a Pi hears from us");
    server.line("Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1", SOON);
    let log = server.stop();
    // If our OFFER comes first, udhcpc requests its 0.0.0.0 again and again, which no Pi does: it is stuck indeed.
    // The tree has no device tree.
    let expected = ["! stuck: requested its address", " bcm2712-rpi-5-b.dtb: not found."];
    let is_warning = |line: &&str| line.contains("WARN") && !expected.iter().any(|part| line.contains(part));
    assert_eq!(log.lines().find(is_warning), None, "{log}");
    assert!(!log.contains("has 0.0.0.0"), "{log}");
    drop(lan.switch);
}

/// A host with a fixed address in the lease range.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn an_address_at_which_another_host_answers_is_not_leased() {
    let (switch, server) = (Namespace::new("switch"), Namespace::new("server"));
    let (host, client) = (Namespace::new("host"), Namespace::new("client"));
    let port = |interface| namespace::End { of: &switch, interface, address: None };
    cable(port("one"), end(&server, "lan", "10.77.0.1/24"), 1500);
    cable(port("two"), end(&host, "eth", "10.77.0.7/24"), 1500);
    cable(port("three"), namespace::End { of: &client, interface: "eth", address: None }, 1500);
    switch.bridge("bridge", &["one", "two", "three"]);
    let home = Home { server, client, files: Files::new() };
    let mut server =
        home.serve(&["--dhcp", "lease", "--dhcp-clients", "all", "--lease-range", "10.77.0.7-10.77.0.8"]);
    for number in 0..4 {
        home.client.ip("addr flush dev eth");
        home.client.ip(&format!("link set eth address 02:00:00:00:00:{number:02x}"));
        let mut command = home.client.command("busybox");
        command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "2", "-T", "1"]);
        command.arg("-s").arg(home.files.script());
        let (_, said) = Process::start(command).finish(SOON);
        assert!(!said.contains("told 10.77.0.7"), "{said}");
        assert!(number > 0 || said.contains("told 10.77.0.8"), "{said}");
    }
    let line = server.line("does not get 10.77.0.7: the host ", SOON);
    assert!(line.contains("WARN") && line.contains(" answers at that address"), "{line}");
    server.stop();
}

/// Each claims to be another Pi, with an invented MAC address.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_flood_of_made_up_pis_leaves_room_for_a_real_one() {
    if part().is_some() {
        let socket = dhcp_client();
        for number in 0..100_000 {
            socket.send_to(&discover_of(2, number), "10.77.0.255:67").unwrap();
        }
        return;
    }
    let home = Home::new();
    let server = home.server.serve(&home.files.tree(), &["--interface", "lan", "--dhcp", "lease"]);
    let before = server.peak_memory();
    home.client.address("eth", "10.77.0.9/24");
    home.client.rerun("a_flood_of_made_up_pis_leaves_room_for_a_real_one", "flood");
    let told = home.udhcpc(&AS_A_PI);
    assert!(told.starts_with("10.77.0."), "{told}");
    let grown = server.peak_memory() - before;
    println!("100,000 made-up Pis cost {grown} KiB of memory");
    // 4096 of them in the registry and in `pinetboot status`, 6 MB at most (tests/allocations.rs), and 3 MiB of messages that wait.
    assert!(grown < 10 << 10, "grown by {grown} KiB");
    server.stop();
}

/// 100,000 DISCOVERs of made-up Pis, 10,000 in a second, on a /16: meanwhile a known Pi and new ones have an address from one
/// DISCOVER, of which udhcpc waits a second for the OFFER.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn while_made_up_pis_flood_the_server_a_known_and_a_new_pi_get_addresses() {
    const NAME: &str = "while_made_up_pis_flood_the_server_a_known_and_a_new_pi_get_addresses";
    const COUNT: u32 = 100_000;
    const PER_SECOND: u32 = 10_000;
    if part().is_some() {
        let socket = dhcp_client();
        let began = Instant::now();
        for number in 0..COUNT {
            if number == PER_SECOND {
                println!("a second of the flood is over");
            }
            if number.is_multiple_of(50) {
                let due = Duration::from_secs(1) * number / PER_SECOND;
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            socket.send_to(&discover_of(6, number), "10.77.255.255:67").unwrap();
        }
        println!("the flood took {:.1} s", began.elapsed().as_secs_f64());
        return;
    }
    let (server, flooder, client) =
        (Namespace::new("server"), Namespace::new("flooder"), Namespace::new("client"));
    let switch = Namespace::new("switch");
    let port = |interface| namespace::End { of: &switch, interface, address: None };
    cable(port("one"), end(&server, "lan", "10.77.0.1/16"), 1500);
    cable(port("two"), end(&flooder, "eth", "10.77.0.9/16"), 1500);
    cable(port("three"), namespace::End { of: &client, interface: "eth", address: None }, 1500);
    switch.bridge("bridge", &["one", "two", "three"]);
    let home = Home { server, client, files: Files::new() };
    let leases = home.files.leases();
    let server = home.serve(&["--dhcp", "lease", "--lease-file", &leases]);

    let known_mac = "02:00:00:00:01:01";
    home.client.ip(&format!("link set eth address {known_mac}"));
    home.udhcpc(&AS_A_PI);
    home.fetch();
    let (memory, time) = (server.peak_memory(), server.processor_time());
    let mut flood = flooder.start_part(NAME, "flood");
    flood.expect("a second of the flood is over", SOON);
    // udhcpc's socket takes in all packets, and would lose its own reply among 20,000 of the flood in a second.
    home.client.nft(
        "table netdev flood { chain messages { type filter hook ingress device eth priority 0; \
         udp dport 67 drop; udp dport 68 @th,288,8 6 drop; }; }", // the first byte of `chaddr` (RFC 2131, section 2)
    );
    let (mut asked, mut known_served, mut new_served, mut longest) = (0, 0, 0, Duration::ZERO);
    while !flood.has_ended() {
        let new_mac = format!("02:00:00:00:02:{asked:02x}");
        let new_pi = format!("0x61:00525069357041d00000000200{asked:02x}080000");
        let as_a_new_pi = [&AS_A_PI[..5], &[new_pi.as_str()]].concat();
        for (mac, identity, served) in [
            (new_mac.as_str(), &as_a_new_pi[..], &mut new_served),
            (known_mac, &AS_A_PI[..], &mut known_served),
        ] {
            home.client.ip("addr flush dev eth");
            home.client.ip(&format!("link set eth address {mac}"));
            let mut command = home.client.command("busybox");
            command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "1", "-T", "1"]).args(identity);
            command.arg("-s").arg(home.files.script());
            let began = Instant::now();
            let (_, said) = Process::start(command).finish(SOON);
            longest = longest.max(began.elapsed());
            *served += usize::from(said.contains("told 10.77."));
        }
        asked += 1;
    }
    let (status, said) = flood.finish(SOON);
    assert!(status.success(), "{said}");
    let took = said.lines().find(|line| line.starts_with("the flood took")).unwrap().to_owned();
    println!(
        "{took}: the server took {:.1} s of a processor and {} KiB more of memory; served of {asked} each: new Pis \
         {new_served}, the known Pi {known_served}; the slowest in {:.2} s",
        (server.processor_time() - time).as_secs_f64(),
        server.peak_memory() - memory,
        longest.as_secs_f64(),
    );
    assert!(asked > 1, "the flood was over before a client asked");
    // The last of each may have asked after the flood.
    assert_eq!((new_served, known_served), (asked, asked));
    server.stop();
}

/// dhclient sends another client identifier, and requests its last address first.
#[test]
#[ignore = "needs root, network namespaces and dhclient; run by .ci/run"]
fn dhclient_gets_the_address_that_the_machine_has() {
    let home = Home::new();
    let server = home.serve(&["--dhcp", "lease", "--dhcp-clients", "all"]);
    let told = home.udhcpc(&[]);
    let address = told.split(' ').next().unwrap();
    let mut command = home.client.command("dhclient");
    let files = home.files.0.path();
    command.args(["-4", "-1", "-v", "-d", "-sf", "/bin/true", "-pf"]).arg(files.join("pid"));
    command.arg("-lf").arg(files.join("dhclient.leases")).arg("eth");
    let mut dhclient = Process::start(command);
    dhclient.expect(&format!("DHCPACK of {address} from 10.77.0.1"), SOON);
    drop(dhclient);
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn with_all_addresses_taken_the_operator_is_told() {
    let home = Home::new();
    let one = ["--dhcp", "lease", "--dhcp-clients", "all", "--lease-range", "10.77.0.7-10.77.0.7"];
    let mut server = home.serve(&one);
    home.udhcpc(&[]);
    home.client.ip("link set eth address 02:00:00:00:00:99");
    let mut command = home.client.command("busybox");
    command.args(["udhcpc", "-i", "eth", "-n", "-q", "-t", "1", "-T", "1"]);
    let (status, said) = Process::start(command).finish(SOON);
    assert!(!status.success(), "{said}");
    server.line("WARN 02:00:00:00:00:99 gets no address: all addresses of the lease range are in use", SOON);
    server.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn two_networks_are_served_each_with_its_own_addresses() {
    let (one, files) = (Home::new(), Files::new());
    let other = Namespace::new("other");
    cable(
        end(&one.server, "attic", "10.88.0.1/24"),
        namespace::End { of: &other, interface: "eth", address: None },
        1500,
    );
    let both = ["--interface", "lan", "--interface", "attic", "--dhcp", "lease", "--dhcp-clients", "all"];
    let server = one.server.serve(&files.tree(), &both);
    let told = one.udhcpc(&[]);
    assert!(told.starts_with("10.77.0.") && told.contains("boot 10.77.0.1"), "{told}");
    let attic = Home { server: Namespace::new("unused"), client: other, files };
    let told = attic.udhcpc(&[]);
    assert!(told.starts_with("10.88.0.") && told.contains("boot 10.88.0.1"), "{told}");
    server.stop();
}
