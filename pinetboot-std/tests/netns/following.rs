//! A server whose addresses and interfaces change while it runs, or come after its start.

use std::fs;
#[cfg(feature = "disk")]
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use pinetboot_core::dhcp::{MAX_LEN, Message, OptionCode};

use crate::Files;
use crate::namespace::{
    End, Namespace, PINETBOOT, Process, SOON, cable, curl, dhcp_client, discover_of, end, without_control,
};

/// A server and a client on a cable that is laid anew with each interface.
struct Home {
    server: Namespace,
    client: Namespace,
    files: Files,
}

impl Home {
    fn new() -> Self {
        let (server, client) = (Namespace::new("server"), Namespace::new("client"));
        Self { server, client, files: Files::new(100_000) }
    }

    fn cable(&self, address: Option<&str>) {
        let interface = "eth0";
        cable(
            End { of: &self.server, interface, address },
            end(&self.client, interface, "10.77.1.2/24"),
            1500,
        );
    }

    /// A root file system to serve.
    fn root(&self) -> PathBuf {
        let root = self.files.tree().join("../root");
        for directory in ["sbin", "boot/firmware"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("sbin/init"), "").unwrap();
        fs::write(root.join("boot/firmware/config.txt"), "").unwrap();
        root
    }

    fn start(&self, options: &[&str]) -> Process {
        let mut command = self.server.command(PINETBOOT);
        command.arg("serve").args(without_control(options)).args(options).arg(self.files.tree());
        Process::start(command)
    }

    /// Fetches the file from an address.
    fn fetch(&self, address: &str) {
        self.files.fetch(address, curl(&self.client, &format!("{address}:69")));
    }

    /// The address in the offer to a Pi: the server's id, the next server and option 66, which have to agree.
    fn offered(&self) -> Ipv4Addr {
        self.client.enter(|| {
            let socket = dhcp_client();
            socket.set_read_timeout(Some(SOON / 40)).unwrap();
            let discover = discover_of(2, 7);
            let mut offer = [0; MAX_LEN];
            // A new interface sends only once the kernel has seen its carrier, up to a second later: a Pi repeats its DISCOVER.
            let ask = |_| {
                socket.send_to(&discover, "10.77.1.255:67").unwrap();
                socket.recv(&mut offer).ok()
            };
            let len = (0..40).find_map(ask).unwrap();
            let offer = Message::parse(&offer[..len]).unwrap();
            let named = offer.option(OptionCode::TFTP_SERVER_NAME).unwrap();
            let address = offer.server_id().unwrap();
            assert_eq!(offer.header.siaddr, address);
            assert_eq!(String::from_utf8(named.text().collect()).unwrap(), address.to_string());
            address
        })
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_new_address_is_named_and_a_new_interface_is_served() {
    for mode in ["proxy", "lease"] {
        let home = Home::new();
        home.cable(Some("10.77.1.1/24"));
        // Workers share a port, and no process has a capability left.
        let options = ["--interface", "eth0", "--dhcp", mode, "--threads", "2"];
        let mut serving = home.server.serve(&home.files.tree(), &options);
        let id = serving.id();
        assert_eq!(home.offered(), Ipv4Addr::new(10, 77, 1, 1));
        home.fetch("10.77.1.1");
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");

        home.server.ip("addr del 10.77.1.1/24 dev eth0");
        home.server.address("eth0", "10.77.1.9/24");
        serving.line("DHCP answers on eth0 as 10.77.1.9", SOON);
        assert_eq!(home.offered(), Ipv4Addr::new(10, 77, 1, 9));
        home.fetch("10.77.1.9");

        for round in 3..5 {
            home.server.ip("link del eth0");
            serving.line("WARN the interface eth0 is gone", SOON);
            let address = format!("10.77.1.{round}");
            home.cable(Some(&format!("{address}/24")));
            serving.line("the interface eth0 is back", SOON);
            serving.line(&format!("DHCP answers on eth0 as {address}"), SOON);
            assert_eq!(home.offered().to_string(), address);
            home.fetch(&address);
        }
        serving.stop();
    }
}

/// Asks until the portmapper at this address knows the program: rpcbind prints nothing when it is ready.
fn until_registered(at: &Namespace, address: &str, program: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let mut command = at.command("rpcinfo");
        command.args(["-T", "tcp", address, program]);
        let (status, said) = Process::start(command).finish(SOON);
        if status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{said}");
    }
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn an_interface_that_is_renamed_is_named() {
    let home = Home::new();
    home.cable(Some("10.77.1.1/24"));
    let mut serving = home.server.serve(&home.files.tree(), &["--interface", "eth0", "--dhcp", "proxy"]);
    home.server.ip("link set eth0 down");
    home.server.ip("link set eth0 name lan0");
    home.server.ip("link set lan0 up");
    let line = serving.line("the interface eth0 has the name lan0 now", SOON);
    assert!(line.contains("WARN") && line.contains("--interface lan0"), "{line}");
    home.fetch("10.77.1.1");
    home.server.ip("link set lan0 down");
    home.server.ip("link set lan0 name eth0");
    home.server.ip("link set eth0 up");
    serving.line("the interface eth0 is back", SOON);
    assert_eq!(home.offered(), Ipv4Addr::new(10, 77, 1, 1));
    home.fetch("10.77.1.1");
    serving.stop();
}

/// NFS and the portmapper, by TCP.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn nfs_is_served_on_a_new_interface() {
    let home = Home::new();
    home.cable(Some("10.77.1.1/24"));
    let mut command = home.server.command(PINETBOOT);
    command.args(["serve", "--nfs-mode", "shared-ro", "--interface", "eth0", "--nfs"]).arg(home.root());
    let mut serving = Process::start(command);
    let ready = serving.line("ready tftp ", SOON);
    assert!(ready.contains("nfs 0.0.0.0%eth0:2049"), "{ready}");
    let connect = |address: &str| {
        for port in [111, 2049] {
            let stream = home.client.enter(|| TcpStream::connect((address, port)));
            assert!(stream.is_ok(), "{address}:{port}: {stream:?}");
        }
    };
    connect("10.77.1.1");
    home.server.ip("link del eth0");
    serving.line("WARN the interface eth0 is gone", SOON);
    home.cable(Some("10.77.1.5/24"));
    serving.line("the interface eth0 is back", SOON);
    connect("10.77.1.5");
    serving.stop();
}

/// Disks, by a process that has given up all capabilities.
#[cfg(feature = "disk")]
#[test]
#[ignore = "needs root, network namespaces, mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn disks_are_served_on_a_new_interface() {
    let home = Home::new();
    home.cable(Some("10.77.1.1/24"));
    let [card, init, state] =
        ["card.img", "init", "state"].map(|name| home.files.tree().join("..").join(name));
    crate::card::make(&card);
    fs::write(&init, crate::card::program(crate::card::ARM64, "first program")).unwrap();
    let mut command = home.server.command(PINETBOOT);
    command.args(["serve", "--require-sandbox", "--interface", "eth0", "--init"]).arg(init);
    command.arg("--state").arg(state).arg(card);
    let mut serving = Process::start(command);
    let ready = serving.line("ready tftp ", SOON);
    assert!(ready.contains("nbd 0.0.0.0%eth0:10809"), "{ready}");
    let greet = |address: &str| {
        home.client.enter(|| {
            let mut greeting = [0; 8];
            TcpStream::connect((address, 10809)).unwrap().read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"NBDMAGIC");
        });
    };
    greet("10.77.1.1");
    for round in 3..6 {
        home.server.ip("link del eth0");
        serving.line("WARN the interface eth0 is gone", SOON);
        let address = format!("10.77.1.{round}");
        home.cable(Some(&format!("{address}/24")));
        serving.line("the interface eth0 is back", SOON);
        greet(&address);
    }
    serving.stop();
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn an_interface_and_its_address_are_waited_for() {
    let home = Home::new();
    let manager = home.files.tree().join("../manager");
    let manager_hears = UnixDatagram::bind(&manager).unwrap();
    let mut command = home.server.command(PINETBOOT);
    command.args(["serve", "--interface", "eth0", "--dhcp", "proxy"]).arg(home.files.tree());
    command.env("NOTIFY_SOCKET", &manager);
    let mut serving = Process::start(command);
    let told = || {
        let mut message = [0; 256];
        let len = manager_hears.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    };
    assert!(told().starts_with("STATUS=waiting: no interface has the name eth0"));
    assert_eq!(told(), "EXTEND_TIMEOUT_USEC=60000000", "systemd waits too");
    serving.line("waiting: no interface has the name eth0; this machine has lo", SOON);
    home.cable(None);
    serving.line("waiting: eth0 is down or has no IPv4 address", SOON);
    home.server.address("eth0", "10.77.1.1/24");
    home.server.ip("link set eth0 up");
    serving.line("ready tftp ", SOON);
    assert_eq!(home.offered(), Ipv4Addr::new(10, 77, 1, 1));
    home.fetch("10.77.1.1");
    serving.stop();

    let mut waiting = home.start(&["--interface", "eth7"]);
    waiting.line("waiting: no interface has the name eth7; this machine has ", SOON);
    let said = waiting.stop();
    assert!(said.contains("stopped"), "{said}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn of_several_interfaces_dhcp_takes_that_of_the_default_route() {
    let home = Home::new();
    home.cable(Some("10.77.1.1/24"));
    home.server.bridge("docker0", &[]);
    home.server.address("docker0", "172.17.0.1/16");
    let (status, said) = home.start(&["--dhcp", "proxy"]).finish(SOON);
    assert!(status.code() == Some(2) && said.contains("--interface: eth0, docker0"), "{said}");
    home.server.gateway("10.77.1.2");
    let mut serving = home.start(&["--dhcp", "proxy"]);
    serving.line("DHCP answers on eth0, the interface of the default route", SOON);
    serving.line("ready tftp ", SOON);
    assert_eq!(home.offered(), Ipv4Addr::new(10, 77, 1, 1));
    home.server.ip("route replace default via 172.17.0.2 dev docker0");
    let line = serving.line("the default route has the interface docker0 now", SOON);
    assert!(line.contains("WARN") && line.contains("DHCP answers on eth0 still"), "{line}");
    home.server.ip("route replace default via 10.77.1.2 dev eth0");
    serving.line("the default route has the interface eth0 again", SOON);
    serving.stop();
}

/// Pis find NFS by the portmapper, which an upgrade restarts.
#[test]
#[ignore = "needs root, network namespaces and rpcbind; run by .ci/run"]
fn with_a_restarted_portmapper_the_server_registers_again() {
    let home = Home::new();
    home.cable(Some("10.77.1.1/24"));
    let root = home.root();
    let rpcbind = || {
        let mut command = home.server.command("unshare");
        // Its socket in /run is not that of the machine.
        command.args(["--mount", "sh", "-ec", "mount -t tmpfs none /run; exec rpcbind -f"]);
        Process::start(command)
    };
    let first = rpcbind();
    until_registered(&home.server, "127.0.0.1", "portmapper");
    let mut command: Command = home.server.command(PINETBOOT);
    command.args(["serve", "--nfs-mode", "shared-ro", "--nfs"]).arg(&root);
    let mut serving = Process::start(command);
    serving.line("NFS is registered with the system's portmapper", SOON);
    serving.line("ready tftp ", SOON);
    until_registered(&home.client, "10.77.1.1", "nfs");
    drop(first);
    serving.line("WARN NFS: the system's portmapper has lost this server", SOON);
    let _second = rpcbind();
    serving.line("the system's portmapper had lost this server, and has it again", SOON);
    until_registered(&home.client, "10.77.1.1", "nfs");
    serving.stop();
}
