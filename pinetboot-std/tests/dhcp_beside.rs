//! `serve --dhcp proxy` beside other people's DHCP servers: a Pi boots from us with an address of theirs.

mod dhcp_world;
mod namespace;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use dhcp_world::clients::{Answer, Clients, discover, pi, rebind, request};
use dhcp_world::{Server, Settings, World, pinetboot};
use namespace::{Namespace, Process, SOON, cable, end};
use pinetboot_core::dhcp::{
    Emitter, HardwareAddress, Header, MAX_LEN, Message, MessageType, OptionCode, Profile,
};

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
        let line = serving.line(" asks by DHCP: ", SOON);
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

/// Our server leases the addresses of a network behind a relay agent, and none in its own network.
#[test]
#[ignore = "needs root, network namespaces and dhcrelay; run by .ci/run"]
fn a_network_behind_a_relay_has_a_table() {
    let world = World::new();
    let between = world.machine("relay", Some("10.77.0.1/24"));
    let ours = Namespace::new("ours");
    cable(end(&between, "far", "10.79.0.254/24"), end(&ours, "lan", "10.79.0.1/24"), 1500);
    between.forward();
    ours.gateway("10.79.0.254");
    let tree = world.tree("tree");
    let config = tree.with_file_name("attic.toml");
    let table = |subnet: &str| {
        let text = format!(
            "dhcp = 'lease'\n[network.attic]\nsubnet = '{subnet}'\nrouter = '10.77.0.1'\n\
             [pi.bd989ae1]\nname = 'kitchen'\naddress = '10.77.0.33'\n"
        );
        fs::write(&config, text).unwrap();
    };
    table("10.77.0.0/24");
    let options = ["--dhcp", "lease", "--interface", "lan", "--config", config.to_str().unwrap()];
    let mut serving = ours.serve(&tree, &options);
    let mut relay = between.command("dhcrelay");
    relay.args(["-d", "-4", "-a", "-pf", "/dev/null", "-i", "eth0", "-i", "far", "10.79.0.1"]);
    let mut relay = Process::start(relay);
    relay.expect("Sending on   Socket/fallback", SOON);

    let client = world.machine("client", Some("10.77.0.9/24"));
    client.gateway("10.77.0.1");
    let (code, said) = pinetboot(&client, &["simulate", "--interface", "eth0"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("10.77.0.33") && said.contains("boot server: 10.79.0.1"), "{said}");
    serving.expect("has the address 10.77.0.33", SOON);
    let log = serving.stop();
    assert!(log.contains("no addresses are leased to the network 10.79.0.0/24 of lan itself"), "{log}");

    // Without a table for it.
    fs::write(&config, "[network.lab]\nsubnet = '10.80.0.0/24'\n").unwrap();
    let mut serving = ours.serve(&tree, &options);
    client.enter(|| Clients::new().broadcast(&discover(&pi(1).0, pi(1).1)));
    let line = serving
        .line("the relay agent 10.77.0.1 asks for the network of 10.77.0.1, and none is configured", SOON);
    assert!(line.contains("WARN") && line.contains("[network.NAME]"), "{line}");
    serving.stop();
}

/// Two addresses of the server on one interface, each in a network with a table.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn networks_on_one_wire_have_each_a_range_and_an_address_of_the_server() {
    let world = World::new();
    let ours = world.machine("ours", Some("10.77.0.1/24"));
    ours.address("eth0", "10.78.0.1/24");
    let tree = world.tree("tree");
    let config = tree.with_file_name("wire.toml");
    let text = "[network.one]\nsubnet = '10.77.0.0/24'\nlease-range = '10.77.0.200-10.77.0.200'\n\
                [network.two]\nsubnet = '10.78.0.0/24'\nlease-range = '10.78.0.200-10.78.0.209'\n\
                [pi.01000003]\nname = 'attic'\naddress = '10.78.0.33'\n";
    fs::write(&config, text).unwrap();
    let leases = tree.with_file_name("leases");
    let of_another_network = "02:00:00:00:00:01 10.99.0.5 1000\n02:00:00:00:00:02 10.99.0.6 4000000000\n";
    fs::write(&leases, of_another_network).unwrap();
    let options = ["--dhcp", "lease", "--interface", "eth0", "--config", config.to_str().unwrap()];
    let serving = ours.serve(&tree, &[&options[..], &["--lease-file", leases.to_str().unwrap()]].concat());
    let client = world.machine("client", None);
    client.enter(|| {
        let clients = Clients::new();
        let ask = |message: Vec<u8>| {
            clients.broadcast(&message);
            clients.answers(|answers| !answers.is_empty()).pop().unwrap()
        };
        let lease = |number: u8| {
            let (profile, mac) = pi(number);
            let offer = ask(discover(&profile, mac));
            assert_eq!(offer.server, offer.next_server, "{offer:?}");
            let ack = ask(request(&profile, mac, offer.address, offer.server));
            assert_eq!((ack.kind, ack.address), (Some(MessageType::Ack), offer.address), "{ack:?}");
            (ack.address.to_string(), ack.server.to_string())
        };
        let of = |address: &str, server: &str| (address.to_owned(), server.to_owned());
        let (first, second) = (of("10.77.0.200", "10.77.0.1"), lease(2));
        let full_first = lease(1);
        // The first network has one address: one of the two clients has it, the other has one of the second network.
        assert_eq!(second, first);
        assert!(full_first.0.starts_with("10.78.0.20") && full_first.1 == "10.78.0.1", "{full_first:?}");
        assert_eq!(lease(3), of("10.78.0.33", "10.78.0.1"), "the fixed address");
        // Each client stays in its network, in which its kernel asks too.
        assert_eq!((lease(2), lease(1)), (first, full_first.clone()));
        let mac = pi(1).1;
        let kernel = ask(discover(&Profile::Plain, mac));
        assert_eq!((kernel.address.to_string(), kernel.server.to_string()), full_first);
        let kernel = ask(discover(&Profile::Plain, pi(3).1));
        assert_eq!(kernel.option(12), Some(&b"attic"[..]), "{kernel:?}");
        // A system that comes from another network is refused.
        let mut header = Header::request(HardwareAddress::ethernet(mac), 9);
        header.flags = Header::BROADCAST;
        let mut out = [0; MAX_LEN];
        let mut reboot = Emitter::new(&header, &mut out).unwrap();
        reboot.kind(MessageType::Request).unwrap();
        reboot.address(OptionCode::REQUESTED_ADDRESS, Ipv4Addr::new(192, 0, 2, 7)).unwrap();
        let len = reboot.finish().unwrap();
        assert_eq!(ask(out[..len].to_vec()).kind, Some(MessageType::Nak));
    });
    let log = serving.stop();
    for address in ["10.77.0.1", "10.78.0.1"] {
        assert!(log.contains(&format!("DHCP answers on eth0 as {address}")), "{log}");
    }
    assert!(!log.contains("cannot look for hosts"), "{log}");
    // Of a network that is not served, the leases that run are kept.
    let kept = fs::read_to_string(&leases).unwrap();
    let has = |address: &str| kept.contains(&format!(" {address} "));
    assert!(has("10.99.0.6") && !has("10.99.0.5") && has("10.78.0.33"), "{kept}");
}

/// The way to a network behind a relay agent changes, and with it the server's address that its clients can reach.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn with_another_route_the_clients_behind_a_relay_are_told_another_address() {
    let ours = Namespace::new("ours");
    let relays = [Namespace::new("relay"), Namespace::new("relay")];
    for (relay, (third, interface)) in relays.iter().zip([(77, "one"), (79, "two")]) {
        let (server, hop) = (format!("10.{third}.0.1/24"), format!("10.{third}.0.254/24"));
        cable(end(&ours, interface, &server), end(relay, "eth0", &hop), 1500);
        relay.address("lo", "10.90.0.1/32");
    }
    let world = World::new();
    let tree = world.tree("tree");
    let config = tree.with_file_name("route.toml");
    fs::write(&config, "[network.far]\nsubnet = '10.90.0.0/24'\n").unwrap();
    ours.ip("route add 10.90.0.0/24 via 10.77.0.254");
    let options = ["--interface", "one", "--interface", "two", "--config", config.to_str().unwrap()];
    let serving = ours.serve(&tree, &[&["--dhcp", "lease"], &options[..]].concat());
    let told = |relay: &Namespace, server: Ipv4Addr| {
        relay.enter(|| {
            let socket = UdpSocket::bind("10.90.0.1:67").unwrap();
            socket.set_read_timeout(Some(SOON / 40)).unwrap();
            let mut message = discover(&pi(1).0, pi(1).1);
            message[24..28].copy_from_slice(&[10, 90, 0, 1]); // `giaddr`
            socket.send_to(&message, (server, 67)).unwrap();
            let mut answer = [0; 2048];
            let len = socket.recv(&mut answer).ok()?;
            Message::parse(&answer[..len]).unwrap().server_id()
        })
    };
    let until_told = |relay, server| {
        let told = (0..40).find(|_| told(relay, server) == Some(server));
        assert!(told.is_some(), "{server} is not told");
    };
    until_told(&relays[0], Ipv4Addr::new(10, 77, 0, 1));
    ours.ip("route replace 10.90.0.0/24 via 10.79.0.254");
    until_told(&relays[1], Ipv4Addr::new(10, 79, 0, 1));
    serving.stop();
}

const PIS: u8 = 50;

/// Two servers with one inventory: each alone keeps all Pis at their addresses, and both together answer alike.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn either_of_two_servers_may_die() {
    let world = World::new();
    let tree = world.tree("tree");
    let config = tree.with_file_name("pis.toml");
    let entry =
        |number| format!("[pi.010000{number:02x}]\naddress = '10.77.0.{}'\n", address(number).octets()[3]);
    fs::write(&config, (0..PIS).map(entry).collect::<String>()).unwrap();
    let machines =
        [2, 3].map(|last| world.machine(&format!("server{last}"), Some(&format!("10.77.0.{last}/24"))));
    let client = world.machine("client", Some("10.77.0.9/24"));
    let start = |place: usize| {
        let state = tree.with_file_name(format!("state{place}"));
        let options =
            ["--dhcp", "lease", "--interface", "eth0", "--dhcp-clients", "listed", "--lease-range", "none"];
        let files = ["--config", config.to_str().unwrap(), "--state", state.to_str().unwrap()];
        machines[place].serve(&tree, &[&options[..], &files].concat())
    };
    let servers = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];
    // One machine plays all Pis: it takes packets to their addresses, and answers no ARP request for them.
    let mut command = client.command("sh");
    command.args([
        "-c",
        "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore; ip link set eth0 address dc:a6:32:00:02:00",
    ]);
    assert!(Process::start(command).finish(SOON).0.success());
    for number in 0..PIS {
        client.ip(&format!("addr add {}/32 dev lo", address(number)));
        let neighbour = format!("neigh replace {} lladdr dc:a6:32:00:02:00 dev eth0", address(number));
        machines.iter().for_each(|machine| machine.ip(&neighbour));
    }
    let mut running = [Some(start(0)), Some(start(1))];

    // All boot from the first server, whatever the other one says.
    client.enter(|| {
        let clients = Clients::new();
        let offers = ask(&clients, 2 * usize::from(PIS), |number| discover(&pi(number).0, pi(number).1));
        assert_eq!(by_pi(&offers).values().map(Vec::len).sum::<usize>(), 2 * usize::from(PIS), "{offers:?}");
        let acks = ask(&clients, usize::from(PIS), |number| {
            request(&pi(number).0, pi(number).1, address(number), servers[0])
        });
        are_all_acknowledged(&acks, servers[0]);
    });
    for dead in [0, 1, 0] {
        drop(running[dead].take()); // by SIGKILL
        let alive = servers[1 - dead];
        client.enter(|| {
            let clients = Clients::new();
            // A running system, which names no serial number, and whose server is silent.
            are_all_acknowledged(
                &ask(&clients, usize::from(PIS), |number| rebind(pi(number).1, address(number))),
                alive,
            );
            // A kernel that starts.
            let offers = ask(&clients, usize::from(PIS), |number| discover(&Profile::Plain, pi(number).1));
            assert!(offers.iter().all(|offer| offer.server == alive), "{offers:?}");
            let acks = ask(&clients, usize::from(PIS), |number| {
                request(&Profile::Plain, pi(number).1, address(number), alive)
            });
            are_all_acknowledged(&acks, alive);
        });
        running[dead] = Some(start(dead));
    }
    for server in running.into_iter().flatten() {
        let log = server.stop();
        assert!(!log.contains(" NAK "), "{log}");
    }
}

/// The answers to a message of each Pi.
fn ask(clients: &Clients, expected: usize, message: impl Fn(u8) -> Vec<u8>) -> Vec<Answer> {
    (0..PIS).for_each(|number| clients.broadcast(&message(number)));
    clients.answers(|answers| answers.len() >= expected)
}

fn by_pi(answers: &[Answer]) -> BTreeMap<u8, Vec<Ipv4Addr>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for answer in answers {
        assert_eq!(answer.address, address(answer.mac[5]), "{answer:?}");
        all.entry(answer.mac[5]).or_default().push(answer.server);
    }
    all
}

fn are_all_acknowledged(answers: &[Answer], server: Ipv4Addr) {
    assert!(answers.iter().all(|answer| answer.kind == Some(MessageType::Ack)), "{answers:?}");
    let all = by_pi(answers);
    assert_eq!(all.len(), usize::from(PIS), "{all:?}");
    assert!(all.values().all(|servers| servers[..] == [server]), "{all:?}");
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + number)
}
