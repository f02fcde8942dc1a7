//! A server that stands still or gets little time: it blames no Pi for what it did not hear.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pinetboot_core::dhcp::{MAX_LEN, Message, MessageType, Selected};

use super::namespace::{End, Namespace, cable, content, dhcp_client, end};
use super::pi::{Board, Pi, RATE, pi5};
use super::world::{World, start, verdicts};

fn signal(server: u32, signal: Signal) {
    kill(Pid::from_raw(server as i32), signal).unwrap();
}

/// Half a minute of a boot in each state, and messages that wait meanwhile.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_server_that_was_stopped_blames_no_pi() {
    let world = World::new();
    let server = world.serve(&["--dhcp", "lease"]);
    let id = server.id();
    let stand_still = |pi: &Pi, meanwhile: &dyn Fn()| {
        signal(id, Signal::SIGSTOP);
        meanwhile();
        pi.wait(30);
        signal(id, Signal::SIGCONT);
    };
    world.pi(|pi| {
        pi.new_xid();
        stand_still(pi, &|| {
            for _ in 0..5 {
                pi.discover(pi5());
                pi.wait(4);
            }
        });
        pi.lease(pi5());
        stand_still(pi, &|| {});
        pi.file("config.txt");
        stand_still(pi, &|| {});
        pi.file("bcm2712-rpi-5-b.dtb");
        pi.file("/cmdline.txt");
        pi.file("kernel8.img");
        stand_still(pi, &|| {});
        pi.lease(pi5());
        pi.file("config.txt");
        pi.file("kernel8.img");
        pi.wait(40);
    });
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}

/// A Pi that boots beside others: DHCP of another server, and files.
struct Member {
    board: Board,
    step: Step,
    /// The last packet was sent then.
    sent: Instant,
    xid: u32,
    socket: UdpSocket,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Asks,
    /// The file of this number, and its last block.
    Fetches(usize, u16, Option<SocketAddrV4>),
    Done,
}

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
const NAMES: [&str; 4] = ["config.txt", "bcm2712-rpi-5-b.dtb", "cmdline.txt", "kernel8.img"];
const BLOCK: usize = 1468;

impl Member {
    fn new(number: u32) -> Self {
        let [.., high, low] = number.to_be_bytes();
        let mac = [0xd8, 0x3a, 0xdd, 0x77, high, low];
        let address = Ipv4Addr::new(10, 9, 16 + high, low);
        let board = Board { serial: 0x7700_0000 + number, mac, address, ..Board::KITCHEN };
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { board, step: Step::Asks, sent: Instant::now(), xid: 0x1000 + number, socket }
    }

    /// Sends the packet of its step, the first time or once more.
    fn send(&mut self, dhcp: &UdpSocket) {
        self.sent = Instant::now();
        match self.step {
            Step::Asks => {
                let mut message = [0; MAX_LEN];
                let len = self.board.profile().discover(self.board.mac, self.xid, 0, &mut message).unwrap();
                dhcp.send_to(&message[..len], BROADCAST).unwrap();
            }
            Step::Fetches(file, _, None) => {
                let name = format!("{:08x}/{}", self.board.serial, NAMES[file]);
                let request = format!("\0\x01{name}\0octet\0tsize\x000\0blksize\0{BLOCK}\0");
                self.socket.send_to(request.as_bytes(), SERVER).unwrap();
            }
            Step::Fetches(_, block, Some(tid)) => {
                let [high, low] = block.to_be_bytes();
                self.socket.send_to(&[0, 4, high, low], tid).unwrap();
            }
            Step::Done => {}
        }
    }

    fn offered(&mut self, dhcp: &UdpSocket) {
        if self.step != Step::Asks {
            return;
        }
        let (selected, mut message) = (Selected::new(self.board.address, ROUTER), [0; MAX_LEN]);
        let len = self.board.profile().request(self.board.mac, self.xid, 0, &selected, &mut message).unwrap();
        dhcp.send_to(&message[..len], BROADCAST).unwrap();
        self.step = Step::Fetches(0, 0, None);
        self.send(dhcp);
    }

    fn receive(&mut self, dhcp: &UdpSocket) {
        let mut packet = [0; 2000];
        while let Ok((len, from)) = self.socket.recv_from(&mut packet) {
            let Step::Fetches(file, block, tid) = self.step else { return };
            let std::net::SocketAddr::V4(from) = from else { continue };
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            match (packet[1], tid) {
                (6, None) => self.step = Step::Fetches(file, 0, Some(from)),
                (3, Some(tid)) if tid == from && number == block + 1 => {
                    self.step = Step::Fetches(file, number, Some(tid));
                    self.send(dhcp);
                    if len >= 4 + BLOCK {
                        continue;
                    }
                    self.step = match file + 1 {
                        next if next == NAMES.len() => Step::Done,
                        next => Step::Fetches(next, 0, None),
                    };
                    // Each request comes from a port of its own.
                    self.socket = UdpSocket::bind((self.board.address, 0)).unwrap();
                    self.socket.set_nonblocking(true).unwrap();
                }
                (3, Some(tid)) if tid == from => {}
                // The server gave the transfer up, or a packet of the last file was late.
                (5, _) if packet[3] == 5 => self.step = Step::Fetches(file, 0, None),
                (5, _) => panic!("{:?}: {}", self.step, String::from_utf8_lossy(&packet[4..len])),
                _ => continue,
            }
            self.send(dhcp);
        }
    }
}

const BROADCAST: &str = "10.9.0.255:67";
const SERVER: &str = "10.9.0.1:69";

/// Boots all at once, until each has its kernel.
fn boot_all(count: u32) {
    let dhcp = dhcp_client();
    dhcp.set_nonblocking(true).unwrap();
    let mut members: Vec<Member> = (0..count).map(Member::new).collect();
    members.iter_mut().for_each(|member| member.send(&dhcp));
    let (begun, mut message) = (Instant::now(), [0; 1500]);
    while members.iter().any(|member| member.step != Step::Done) {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{:?}",
            members.iter().map(|member| member.step).collect::<Vec<_>>()
        );
        while let Ok((len, _)) = dhcp.recv_from(&mut message) {
            let Ok(offer) = Message::parse(&message[..len]) else { continue };
            let number = offer.header.xid.wrapping_sub(0x1000) as usize;
            if offer.kind() == Some(MessageType::Offer)
                && let Some(member) = members.get_mut(number)
            {
                member.offered(&dhcp);
            }
        }
        for member in &mut members {
            member.receive(&dhcp);
            let patience = if member.step == Step::Asks { 4 } else { 2 };
            if member.sent.elapsed() >= Duration::from_secs(patience) / RATE {
                member.send(&dhcp);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A hundred Pis that boot at once, and a server that gets a ninth of the time: queues overflow, answers come late.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn a_server_with_too_little_time_blames_no_pi_of_a_fleet() {
    let (at, pis) = (Namespace::new("server"), Namespace::new("pi"));
    cable(end(&at, "lan", "10.9.0.1/24"), End { of: &pis, interface: "eth", address: None }, 1500);
    pis.address("eth", "10.9.0.60/24");
    // Behind a router: they have one MAC address here, and each its own in DHCP.
    pis.ip("route add local 10.9.16.0/20 dev eth");
    at.ip("route add 10.9.16.0/20 via 10.9.0.60");
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    for name in NAMES {
        std::fs::write(tree.join(name), content(if name == "kernel8.img" { 20_000 } else { 400 })).unwrap();
    }
    std::fs::write(dir.path().join("pinetboot.toml"), "").unwrap();
    let server = start(&at, dir.path(), &tree, &["--dhcp", "proxy"], RATE);
    let (is_over, id) = (AtomicBool::new(false), server.id());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                signal(id, Signal::SIGSTOP);
                thread::sleep(Duration::from_millis(2500));
                signal(id, Signal::SIGCONT);
                thread::sleep(Duration::from_millis(300));
            }
        });
        let booted = pis.enter(|| std::panic::catch_unwind(|| boot_all(100)));
        is_over.store(true, Ordering::Relaxed);
        booted.unwrap();
    });
    thread::sleep(Duration::from_secs(60) / RATE);
    let log = server.stop();
    assert_eq!(verdicts(&log), <[&str; 0]>::default(), "{log}");
}
