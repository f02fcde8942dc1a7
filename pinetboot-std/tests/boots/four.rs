//! One night of four Pis on one switch: a healthy one, and three that do not boot. The log is in `docs/diagnosis.md`.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pinetboot_core::dhcp::Profile;

use super::namespace::{End, Namespace, Process, SOON, cable, content, end};
use super::pi::{Board, Pi};
use super::router::Router;
use super::world::{FILES, start};

/// The server's seconds of a boot in a second: the page was made with 1.
const CLOCK: u32 = 2;

const KITCHEN: Board = Board { address: Ipv4Addr::new(10, 9, 0, 113), ..Board::KITCHEN };
const GARAGE: Board = Board {
    fourcc: *b"RPi4",
    revision: 0x00c0_3111,
    serial: 0x5b15_4510,
    mac: [0xdc, 0xa6, 0x32, 0x01, 0x36, 0xc2],
    address: Ipv4Addr::new(10, 9, 0, 114),
    prefix: "5b154510/",
};
/// Of stepping D0.
const ATTIC: Board = Board {
    fourcc: *b"RPi5",
    revision: 0x00d0_4171,
    serial: 0x2ccf_6701,
    mac: [0x2c, 0xcf, 0x67, 0x11, 0x12, 0x13],
    address: Ipv4Addr::new(10, 9, 0, 115),
    prefix: "2ccf6701/",
};
/// A Pi 500.
const CELLAR: Board = Board {
    fourcc: *b"RPi5",
    revision: 0x00d0_4190,
    serial: 0x88a2_9e02,
    mac: [0x88, 0xa2, 0x9e, 0x21, 0x22, 0x23],
    address: Ipv4Addr::new(10, 9, 0, 116),
    prefix: "88a29e02/",
};
const BOARDS: [(&str, Board); 4] =
    [("kitchen", KITCHEN), ("garage", GARAGE), ("attic", ATTIC), ("cellar", CELLAR)];

/// A switch with the server, the router and the four.
struct Switch {
    server: Namespace,
    router: Namespace,
    pis: Vec<Namespace>,
}

impl Switch {
    fn new() -> Self {
        let (server, router) = (Namespace::new("server"), Namespace::new("router"));
        let port0 = End { of: &server, interface: "port0", address: None };
        cable(port0, end(&router, "eth", "10.9.0.254/24"), 1500);
        let mut ports = vec!["port0".to_owned()];
        let mut pis = Vec::new();
        for (index, (_, board)) in BOARDS.iter().enumerate() {
            let (pi, port) = (Namespace::new("pi"), format!("port{}", index + 1));
            cable(
                End { of: &server, interface: &port, address: None },
                End { of: &pi, interface: "eth", address: None },
                1500,
            );
            let mac: Vec<_> = board.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            pi.ip(&format!("link set eth address {}", mac.join(":")));
            pi.address("eth", &format!("{}/24", board.address));
            ports.push(port);
            pis.push(pi);
        }
        server.bridge("lan", &ports.iter().map(String::as_str).collect::<Vec<_>>());
        server.address("lan", "10.9.0.1/24");
        Self { server, router, pis }
    }

    /// Does what a Pi does.
    fn pi(&self, name: &str, boot: impl FnOnce(&mut Pi, Profile) + Send) {
        let index = BOARDS.iter().position(|(board, _)| *board == name).unwrap();
        let board = BOARDS[index].1;
        self.pis[index].enter(|| boot(&mut Pi::new(&board, CLOCK), board.profile()));
    }
}

fn files(dir: &Path) {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for (name, len) in FILES.iter().filter(|(name, _)| !name.ends_with("bcm2712d0.dtbo")) {
        write(&format!("tree/{name}"), &content(*len));
    }
    write("tree/config.txt", b"arm_64bit=1\n");
    write("tree/cmdline.txt", b"console=tty1 root=PARTUUID=1-02 rootwait\n");
    write("root/etc/hostname", b"raspberrypi\n");
    write("root/sbin/init", b"init");
    let names: String = BOARDS
        .iter()
        .map(|(name, board)| format!("[pi.{}]\nname = '{name}'\n", board.prefix.trim_matches('/')))
        .collect();
    write("pinetboot.toml", names.as_bytes());
}

fn night(switch: &Switch, server: &mut Process) {
    switch.pi("kitchen", |pi, bootloader| {
        pi.lease_elsewhere(bootloader, KITCHEN.address);
        // Frames are read on a thread of their own: a request that comes at once may overtake them.
        server.line("kitchen has 10.9.0.113", SOON);
        let line = pi.pi5_files();
        pi.wait(4);
        pi.lease_elsewhere(Profile::Plain, KITCHEN.address);
        server.line("kitchen kernel runs", SOON);
        let (mut client, root) = pi.mount(&line);
        client.make(&root, "written");
        server.line("kitchen up, ", SOON);
    });
    switch.pi("garage", |pi, bootloader| {
        for _ in 0..3 {
            pi.discover(bootloader);
            pi.wait(4);
        }
        server.line("garage ! stuck", SOON);
        server.line("do: ", SOON);
    });
    switch.pi("attic", |pi, bootloader| {
        pi.lease_elsewhere(bootloader, ATTIC.address);
        server.line("attic has 10.9.0.115", SOON);
        pi.pi5_files();
        server.line("attic ! stuck", SOON);
        server.line("do: ", SOON);
    });
    switch.pi("cellar", |pi, bootloader| {
        for boot in 1..=3 {
            pi.lease_elsewhere(bootloader, CELLAR.address);
            if boot > 1 {
                server.line("cellar ! stuck", SOON);
            }
            server.line("cellar has 10.9.0.116", SOON);
            pi.file("config.txt");
            pi.miss("pieeprom.sig");
            pi.miss("bcm2712-rpi-500.dtb");
            pi.wait(2);
        }
    });
}

/// A line of the log without its time, its silence and its resent packets, and with an N in the place of each number of seconds.
fn timeless(line: &str) -> String {
    let line = line.trim_start_matches(|char: char| char == ':' || char.is_ascii_digit());
    let mut words: Vec<_> = line.split_whitespace().collect();
    for index in 1..words.len() {
        let is_seconds = matches!(words[index].trim_end_matches([',', ':', ';', '.']), "s");
        if is_seconds && words[index - 1].parse::<f64>().is_ok() {
            words[index - 1] = "N";
        }
    }
    let line = words.join(" ").replace(", since N s", "");
    line.split("; resent packets:").next().unwrap().to_owned()
}

/// The lines of the page below this test's name.
fn page() -> Vec<String> {
    let page = include_str!("../../docs/diagnosis.md");
    let block = page.split("<!-- the log of tests/boots/four.rs -->\n```text\n").nth(1).unwrap();
    block.split("```").next().unwrap().lines().map(timeless).collect()
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_night_of_four_pis_is_the_log_of_the_page() {
    let switch = Switch::new();
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let (root, state) = (dir.path().join("root"), dir.path().join("state"));
    let options = ["--nfs", root.to_str().unwrap(), "--nfs-mode", "rw", "--state", state.to_str().unwrap()];
    let mut server = start(&switch.server, dir.path(), &dir.path().join("tree"), &options, CLOCK);
    switch.router.enter(|| {
        let _router = Router::start(&[]);
        night(&switch, &mut server);
    });
    let log = server.stop();
    let of_a_pi = |line: &&str| {
        line.starts_with("     ") || BOARDS.iter().any(|(name, _)| line.contains(&format!(" {name} ")))
    };
    let lines: Vec<_> = log.lines().filter(of_a_pi).collect();
    println!("{}", lines.join("\n"));
    assert_eq!(lines.iter().map(|line| timeless(line)).collect::<Vec<_>>(), page(), "{log}");
}
