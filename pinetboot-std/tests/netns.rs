//! `pinetboot serve` on networks as they are: behind NAT, with several addresses, narrow, lossy, and with clients that
//! vanish.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[cfg(feature = "disk")]
#[path = "disks/card.rs"]
#[allow(dead_code, reason = "for a server alone")]
mod card;
#[path = "netns/following.rs"]
mod following;
mod namespace;

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use namespace::{FILE, Namespace, PINETBOOT, Process, SOON, atftp, cable, content, curl, end, get, part};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// The time in which our server goes on sending to a client that has answered: 1 + 2 + 4 + 8 + 8 + 8 seconds.
const PATIENCE: Duration = Duration::from_secs(31);

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn behind_nat_a_client_needs_single_port() {
    let (inside, router, outside) = (Namespace::new("in"), Namespace::new("router"), Namespace::new("out"));
    cable(end(&inside, "eth0", "10.77.1.2/24"), end(&router, "lan", "10.77.1.1/24"), 1500);
    cable(end(&outside, "eth0", "192.0.2.69/24"), end(&router, "wan", "192.0.2.1/24"), 1500);
    inside.gateway("10.77.1.1");
    router.forward();
    // The source port changes too, and answers come in only from where the question went: a symmetric NAT.
    router.nft(
        "table ip nat {
            chain postrouting {
                type nat hook postrouting priority srcnat
                oifname wan masquerade fully-random
            }
        }",
    );
    let files = Files::new(MIB);
    let separate = outside.serve(&files.tree(), &[]);
    let single = outside.serve(&files.tree(), &["--single-port", "--tftp-port", "6969"]);
    single_port_passes_where_separate_ports_do_not(&files, &inside, "192.0.2.69", separate, single);

    // The NAT is the cause: with a TFTP helper in it, nothing else is needed.
    router.nft(
        "table ip helper {
            ct helper tftp {
                type \"tftp\" protocol udp
            }
            chain prerouting {
                type filter hook prerouting priority filter
                udp dport 69 ct helper set \"tftp\"
            }
        }",
    );
    let server = outside.serve(&files.tree(), &[]);
    files.fetch("with the helper", curl(&inside, "192.0.2.69:69"));
    drop(server);
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn behind_a_port_forward_a_server_needs_single_port() {
    let (inside, router, outside) = (Namespace::new("in"), Namespace::new("router"), Namespace::new("out"));
    cable(end(&inside, "eth0", "10.77.1.69/24"), end(&router, "lan", "10.77.1.1/24"), 1500);
    cable(end(&outside, "eth0", "192.0.2.2/24"), end(&router, "wan", "192.0.2.1/24"), 1500);
    inside.gateway("10.77.1.1");
    router.forward();
    // Two ports are let in, and nothing may begin inside.
    router.nft(
        "table ip nat {
            chain prerouting {
                type nat hook prerouting priority dstnat
                iifname wan udp dport { 69, 6969 } dnat to 10.77.1.69
            }
            chain forward {
                type filter hook forward priority filter
                policy drop
                ct status dnat accept
            }
        }",
    );
    let files = Files::new(MIB);
    let separate = inside.serve(&files.tree(), &[]);
    let single = inside.serve(&files.tree(), &["--single-port", "--tftp-port", "6969"]);
    single_port_passes_where_separate_ports_do_not(&files, &outside, "192.0.2.1", separate, single);
}

/// `separate` serves at port 69 of `server` as the client sees it, `single` at 6969.
fn single_port_passes_where_separate_ports_do_not(
    files: &Files,
    client: &Namespace,
    server: &str,
    mut separate: Process,
    single: Process,
) {
    let (at_69, at_6969) = (format!("{server}:69"), format!("{server}:6969"));
    let mut impatient = curl(client, &at_69);
    impatient.args(["--max-time", "5"]);
    let failing = [
        ("curl", impatient),
        ("atftp", atftp(client, &at_69, &["timeout 1"])),
        ("get", get(client, &at_69, &[])),
    ];
    let failing = failing.map(|(name, command)| (name, files.start(command)));

    files.fetch("curl", curl(client, &at_6969));
    files.fetch("atftp", atftp(client, &at_6969, &["blksize 1468", "windowsize 8"]));
    files.fetch("get", get(client, &at_6969, &[]));

    for _ in &failing {
        let warning = separate.line("stopped answering after 0 B", SOON);
        assert!(warning.contains("WARN"), "{warning}");
        assert!(warning.contains("firewall") && warning.contains("--single-port"), "{warning}");
    }
    for (name, fetch) in failing {
        let (status, said) = fetch.process.finish(SOON);
        println!("{name} without --single-port: {status}: {}", said.trim());
        assert!(!status.success(), "{name}: {said}");
        assert_eq!(fs::read(fetch.output).unwrap_or_default(), b"", "{name}: {said}");
        if name == "get" {
            assert_eq!(status.code(), Some(5), "{said}");
            assert!(said.contains("firewall"), "{said}");
        }
    }
    let log = single.stop();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_server_with_many_addresses_answers_from_the_one_that_was_asked() {
    if let Some(address) = part() {
        let asked = address.parse().unwrap();
        let source = read(&socket(), asked);
        assert_eq!(source.ip(), *asked.ip());
        assert_eq!(source.port() == asked.port(), asked.port() == 6969);
        return;
    }
    let home = TwoNetworks::new();
    let files = Files::new(100_000);
    let separate = home.server.serve(&files.tree(), &[]);
    let single = home.server.serve(&files.tree(), &["--single-port", "--tftp-port", "6969"]);
    let chosen = ["--listen", "10.77.1.11", "--listen", "10.77.2.1", "--tftp-port", "7069"];
    let chosen = home.server.serve(&files.tree(), &chosen);
    for client in [&home.left, &home.right] {
        // By itself the system would answer each client from the address nearest to it, whichever it asked.
        for address in ["10.77.1.1", "10.77.1.11", "10.77.2.1"] {
            for port in [69, 6969, 7069] {
                if (address, port) != ("10.77.1.1", 7069) {
                    let address = format!("{address}:{port}");
                    client
                        .rerun("a_server_with_many_addresses_answers_from_the_one_that_was_asked", &address);
                    files.fetch(&address, curl(client, &address));
                    files.fetch(&address, get(client, &address, &[]));
                }
            }
        }
    }
    for server in [separate, single, chosen] {
        let log = server.stop();
        assert!(!log.contains("WARN"), "{log}");
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_request_to_everyone_is_answered_from_the_address_of_that_network() {
    if let Some(part) = part() {
        let (everyone, proper) = part.split_once(" from ").unwrap();
        let socket = socket();
        socket.set_broadcast(true).unwrap();
        let source = read(&socket, everyone.parse().unwrap());
        assert_eq!(source.ip().to_string(), proper);
        return;
    }
    let home = TwoNetworks::new();
    let files = Files::new(100_000);
    let _separate = home.server.serve(&files.tree(), &[]);
    let _single = home.server.serve(&files.tree(), &["--single-port", "--tftp-port", "6969"]);
    for (client, network) in [(&home.left, "10.77.1"), (&home.right, "10.77.2")] {
        for everyone in [&format!("{network}.255"), "255.255.255.255"] {
            for port in [69, 6969] {
                client.rerun(
                    "a_request_to_everyone_is_answered_from_the_address_of_that_network",
                    &format!("{everyone}:{port} from {network}.1"),
                );
            }
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn with_an_interface_given_nothing_is_served_on_another() {
    if let Some(address) = part() {
        let socket = socket();
        socket.connect(address).unwrap();
        socket.send(READ_REQUEST).unwrap();
        let refused = socket.recv(&mut [0; 516]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "as by the system where no port is open");
        return;
    }
    let home = TwoNetworks::new();
    let files = Files::new(100_000);
    let separate = home.server.serve(&files.tree(), &["--interface", "left"]);
    let single = ["--interface", "left", "--single-port", "--tftp-port", "6969"];
    let single = home.server.serve(&files.tree(), &single);
    for port in [69, 6969] {
        for address in ["10.77.1.1", "10.77.1.11", "10.77.2.1"] {
            let address = format!("{address}:{port}");
            files.fetch(&address, curl(&home.left, &address));
            home.right.rerun("with_an_interface_given_nothing_is_served_on_another", &address);
        }
    }
    for server in [separate, single] {
        let log = server.stop();
        assert!(log.contains("10.77.1.2") && !log.contains("10.77.2.2"), "{log}");
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn blocks_are_as_large_as_the_way_to_the_client_carries() {
    let (server, narrow, jumbo) =
        (Namespace::new("server"), Namespace::new("narrow"), Namespace::new("jumbo"));
    cable(end(&server, "eth0", "10.77.1.1/24"), end(&narrow, "eth0", "10.77.1.2/24"), 1400);
    cable(end(&server, "eth1", "10.77.2.1/24"), end(&jumbo, "eth0", "10.77.2.2/24"), 9000);
    let files = Files::new(MIB);
    let _separate = server.serve(&files.tree(), &[]);
    let _single = server.serve(&files.tree(), &["--single-port", "--tftp-port", "6969"]);

    let check = |client, address, asked, agreed| {
        for port in [69, 6969] {
            let mut curl = curl(client, &format!("{address}:{port}"));
            curl.args(["--verbose", "--tftp-blksize", asked]);
            let (said, _) = files.fetch(asked, curl);
            assert!(said.contains(&agreement(agreed)), "asked {asked}:\n{said}");
        }
    };
    check(&narrow, "10.77.1.1", "1468", "1368"); // 1400 - 20 (IPv4) - 8 (UDP) - 4 (TFTP)
    check(&jumbo, "10.77.2.1", "8192", "8192");
    check(&narrow, "10.77.1.1", "512", "512");
    check(&jumbo, "10.77.2.1", "65464", "8968");
    // Another address changes nothing about the way.
    server.ip("addr del 10.77.1.1/24 dev eth0");
    server.address("eth0", "10.77.1.9/24");
    check(&narrow, "10.77.1.9", "1468", "1368");
    assert_eq!(server.ip_counter("FragCreates"), 0);

    // The counter works: this ping counts.
    let mut ping = jumbo.command("busybox");
    ping.args(["ping", "-c", "1", "-s", "10000", "10.77.2.1"]);
    let (status, said) = Process::start(ping).finish(SOON);
    assert!(status.success(), "{said}");
    assert!(server.ip_counter("FragCreates") > 0);
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_narrow_way_behind_a_router_is_known_after_the_first_transfer() {
    let (server, router, client) =
        (Namespace::new("server"), Namespace::new("router"), Namespace::new("client"));
    cable(end(&server, "eth0", "10.77.1.1/24"), end(&router, "wide", "10.77.1.2/24"), 1500);
    cable(end(&router, "narrow", "10.77.2.1/24"), end(&client, "eth0", "10.77.2.2/24"), 1400);
    server.gateway("10.77.1.2");
    client.gateway("10.77.2.1");
    router.forward();
    let files = Files::new(MIB);
    for options in [&["--tftp-port", "69"][..], &["--single-port", "--tftp-port", "6969"]] {
        let address = format!("10.77.1.1:{}", options.last().unwrap());
        let _serving = server.serve(&files.tree(), options);
        for agreed in ["1468", "1368"] {
            let mut curl = curl(&client, &address);
            curl.args(["--verbose", "--connect-timeout", "5", "--tftp-blksize", "1468"]);
            let before = server.ip_counter("FragCreates");
            let (said, time) = files.fetch(agreed, curl);
            println!("blocks of {agreed}: {time:?}, {} fragments", server.ip_counter("FragCreates") - before);
            assert!(said.contains(&agreement(agreed)), "{said}");
        }
        // The learned path MTUs are forgotten, for the next round.
        server.ip("route flush cache");
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn every_file_gets_through_where_one_packet_in_twenty_is_lost() {
    let (server, client) = (Namespace::new("server"), Namespace::new("client"));
    cable(end(&server, "eth0", "10.77.1.1/24"), end(&client, "eth0", "10.77.1.2/24"), 9000);
    for receiving in [&server, &client] {
        // But the ACK of an OACK gets through: atftp gives up when it is sent an OACK twice.
        receiving.nft(
            "table ip lossy {
                chain input {
                    type filter hook input priority filter
                    @th,64,32 != 0x00040000 numgen random mod 100 < 5 drop
                }
            }",
        );
    }
    let files = Files::new(2 * MIB);
    let serving = server.serve(&files.tree(), &[]);
    let address = "10.77.1.1:69";
    // In lock-step a lost packet costs a second. Large blocks are few: with those of 1468 bytes this takes three minutes.
    let mut curl = curl(&client, address);
    curl.args(["--tftp-blksize", "8192", "--connect-timeout", "5"]); // the latter makes it ask for 'timeout 1'
    let fetches = [
        ("curl", curl),
        ("atftp", atftp(&client, address, &["timeout 1", "blksize 8192"])),
        ("get", get(&client, address, &["--blksize", "8192", "--windowsize", "1"])),
        ("atftp, windowsize 16", atftp(&client, address, &["timeout 1", "blksize 1468", "windowsize 16"])),
        ("get, windowsize 16", get(&client, address, &["--windowsize", "16"])),
    ];
    let began = Instant::now();
    let fetches = fetches.map(|(name, command)| (name, files.start(command)));
    std::thread::scope(|scope| {
        for (name, fetch) in fetches {
            let files = &files;
            scope.spawn(move || {
                files.finish(name, fetch, 4 * PATIENCE);
                println!("{name}: {:.1} s", began.elapsed().as_secs_f64());
            });
        }
    });
    // Not all have such a line: when the last ACK of all is lost, the client is gone before it is asked for.
    serving
        .stop()
        .lines()
        .filter(|line| line.contains(" fetched kernel.img: "))
        .for_each(|line| println!("{line}"));
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_client_that_vanishes_is_given_up_and_disturbs_no_other() {
    let switch = Namespace::new("switch");
    let (server, other) = (Namespace::new("server"), Namespace::new("other"));
    let victims = [Namespace::new("victim"), Namespace::new("victim")];
    let port = |interface| namespace::End { of: &switch, interface, address: None };
    cable(end(&server, "eth0", "10.77.1.1/24"), port("port0"), 1500);
    cable(end(&other, "eth0", "10.77.1.2/24"), port("port1"), 1500);
    cable(end(&victims[0], "eth0", "10.77.1.3/24"), port("port2"), 1500);
    cable(end(&victims[1], "eth0", "10.77.1.4/24"), port("port3"), 1500);
    switch.bridge("br0", &["port0", "port1", "port2", "port3"]);

    let files = Files::new(MIB);
    fs::File::create(files.tree().join("long.img")).unwrap().set_len(1 << 30).unwrap();
    let separate = server.serve(&files.tree(), &["--max-transfers", "2"]);
    let single =
        server.serve(&files.tree(), &["--max-transfers", "2", "--single-port", "--tftp-port", "6969"]);
    let servers = [("10.77.1.1:69", separate), ("10.77.1.1:6969", single)];

    // The clients stay alive, but their cables are pulled once the first MiB has come. Bytes that they do not hand on, they do not
    // acknowledge: so the transfer is in its middle however slow the test is.
    let alive: Vec<_> = victims
        .iter()
        .zip(&servers)
        .map(|(victim, (address, _))| {
            let mut get = victim.command(PINETBOOT);
            get.args(["get", &format!("tftp://{address}/long.img"), "-o", "-"]);
            let mut get =
                get.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            get.stdout.as_mut().unwrap().read_exact(&mut vec![0; MIB]).unwrap();
            victim.ip("link set eth0 down");
            get
        })
        .collect();
    let down = Instant::now();

    for (address, mut serving) in servers {
        files.fetch("while one is gone", curl(&other, address));
        let warning = serving.line("stopped answering after", PATIENCE + SOON);
        println!("{:.1} s after: {warning}", down.elapsed().as_secs_f64());
        assert!(warning.contains("MB of long.img") && !warning.contains("firewall"), "{warning}");
        // Its place is free again: two transfers at once, of two.
        let both = [curl(&other, address), curl(&other, address)].map(|command| files.start(command));
        both.into_iter().for_each(|fetch| {
            files.finish("once it is given up", fetch, SOON);
        });
    }
    for (mut get, victim) in alive.into_iter().zip(&victims) {
        get.kill().unwrap();
        get.wait().unwrap();
        victim.ip("link set eth0 up");
    }
}

/// A server with a foot in each of two networks, two addresses in one of them, and a client in each.
struct TwoNetworks {
    server: Namespace,
    left: Namespace,
    right: Namespace,
}

impl TwoNetworks {
    fn new() -> Self {
        let new = Self {
            server: Namespace::new("server"),
            left: Namespace::new("left"),
            right: Namespace::new("right"),
        };
        cable(end(&new.server, "left", "10.77.1.1/24"), end(&new.left, "eth0", "10.77.1.2/24"), 1500);
        cable(end(&new.server, "right", "10.77.2.1/24"), end(&new.right, "eth0", "10.77.2.2/24"), 1500);
        new.server.address("left", "10.77.1.11/24");
        new.left.gateway("10.77.1.1");
        new.right.gateway("10.77.2.1");
        new
    }
}

/// A tree with one file to serve, and a place for the fetched files.
struct Files {
    directory: TempDir,
    content: Vec<u8>,
}

/// A client that fetches the file.
struct Fetch {
    process: Process,
    began: Instant,
    output: PathBuf,
}

impl Files {
    fn new(len: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let content = content(len);
        fs::create_dir(directory.path().join("tree")).unwrap();
        fs::create_dir(directory.path().join("fetched")).unwrap();
        let files = Self { directory, content };
        fs::write(files.tree().join(FILE), &files.content).unwrap();
        fs::write(files.tree().join("config.txt"), "").unwrap(); // else the server warns
        files
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// Starts a client, in its own directory.
    fn start(&self, mut command: Command) -> Fetch {
        let place = tempfile::tempdir_in(self.directory.path().join("fetched")).unwrap().keep();
        command.current_dir(&place);
        Fetch { process: Process::start(command), began: Instant::now(), output: place.join(FILE) }
    }

    /// Waits for a client to have the file, byte for byte; returns its output and the time taken.
    fn finish(&self, what: &str, fetch: Fetch, within: Duration) -> (String, Duration) {
        let Fetch { process, began, output } = fetch;
        let (status, said) = process.finish(within);
        let took = began.elapsed();
        assert!(status.success(), "{what}: {status}: {said}");
        let fetched = fs::read(&output).unwrap_or_else(|error| panic!("{what}: {error}: {said}"));
        assert!(fetched == self.content, "{what}: {} bytes, not those of the file: {said}", fetched.len());
        (said, took)
    }

    fn fetch(&self, what: &str, command: Command) -> (String, Duration) {
        self.finish(what, self.start(command), SOON)
    }
}

/// curl's line about an OACK, when verbose.
fn agreement(blksize: &str) -> String {
    format!("got option=(blksize) value=({blksize})")
}

/// A free port; waiting for it ends before any client gives up.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(SOON / 3)).unwrap();
    socket
}

/// Reads the file as RFC 1350 has it, and returns the address that all of it came from.
fn read(socket: &UdpSocket, server: SocketAddrV4) -> SocketAddr {
    socket.send_to(READ_REQUEST, server).unwrap();
    let (mut blocks, mut source, mut packet) = (0, None, [0; 516]);
    loop {
        let (len, from) = socket.recv_from(&mut packet).unwrap();
        assert_eq!(*source.get_or_insert(from), from);
        let Some((&[0, 3, high, low], payload)) = packet[..len].split_first_chunk() else {
            panic!("no DATA: {}", packet[..len].escape_ascii());
        };
        blocks += 1;
        assert_eq!(u16::from_be_bytes([high, low]), blocks);
        socket.send_to(&[0, 4, high, low], from).unwrap();
        if payload.len() < 512 {
            return from;
        }
    }
}

const READ_REQUEST: &[u8] = b"\0\x01kernel.img\0octet\0";
