//! A server, a Pi, and a host that has as many addresses as it likes.
#![allow(dead_code, reason = "every test uses its own part")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pinetboot_core::tftp::{Options, Outcome};

use crate::common::{Fetch, Folder};
use crate::namespace::{End, Namespace, PINETBOOT, Process, SOON, cable, content, without_control};

pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 69);
pub(crate) const PI: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

pub(crate) struct World {
    pub(crate) server: Namespace,
    /// The host of the attacker: all addresses of 10.96.0.0/12 are its own.
    pub(crate) attacker: Namespace,
    pub(crate) pi: Namespace,
    _switch: Namespace,
    pub(crate) tree: Folder,
}

impl World {
    pub(crate) fn new() -> Self {
        let switch = Namespace::new("switch");
        switch.bridge("br0", &[]);
        let host = |role: &'static str, address: &'static str| {
            let host = Namespace::new(role);
            let port = End { of: &switch, interface: role, address: None };
            cable(End { of: &host, interface: "eth0", address: Some(address) }, port, 1500);
            switch.ip(&format!("link set {role} master br0"));
            host
        };
        let server = host("server", "10.77.0.1/24");
        let attacker = host("attacker", "10.77.0.2/24");
        let pi = host("pi", "10.77.0.3/24");
        // Behind a router, as it were: the server has one neighbour, not thousands.
        server.ip("route add 10.96.0.0/12 via 10.77.0.2");
        attacker.ip("route add local 10.96.0.0/12 dev lo");
        let tree = Folder::tree(&[("kernel8.img", &content(50_000)), ("small", &content(2000))]);
        Self { server, attacker, pi, _switch: switch, tree }
    }

    pub(crate) fn serve(&self, options: &[&str]) -> Process {
        let mut command = self.server.command(PINETBOOT);
        command.arg("serve").args(without_control(options)).args(options).arg(self.tree.path());
        let mut server = Process::start(command);
        server.line("ready tftp ", SOON);
        server
    }

    /// The Pi fetches its kernel this often; how often that fails, and how often the Pi repeated a packet.
    pub(crate) fn boot(&self, times: usize) -> Boots {
        self.pi.enter(|| (0..times).map(|_| fetch_kernel(PI)).fold(Boots::default(), Boots::with))
    }
}

/// Transfers of honest clients.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    pub(crate) complete: usize,
    pub(crate) failed: Vec<Outcome>,
    pub(crate) resent: u32,
}

impl Boots {
    pub(crate) fn with(mut self, (outcome, resent): (Outcome, u32)) -> Self {
        self.resent += resent;
        match outcome {
            Outcome::Complete { bytes: 50_000 } => self.complete += 1,
            other => self.failed.push(other),
        }
        self
    }
}

/// Fetches the kernel as a Pi does, from this address; the outcome, and the packets that were sent again.
pub(crate) fn fetch_kernel(client: Ipv4Addr) -> (Outcome, u32) {
    let mut fetch = Fetch::new(SERVER, "kernel8.img", Options::RASPBERRY_PI, |_| ()).by(client);
    (fetch.run_through(), fetch.resent())
}

/// The attacker's address with this number.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + number % (1 << 20))
}

/// A socket of the attacker; to be opened in its namespace.
pub(crate) fn socket(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Sends forged requests, each from another address, at this rate until `stop`, and at least `least`. Returns their number.
pub(crate) fn flood(rate: u32, least: u32, stop: &AtomicBool, request: impl Fn(u32) -> Vec<u8>) -> u32 {
    paced(rate, least, stop, |number| {
        let _full = socket(address(number), 0).send_to(&request(number), SERVER);
    })
}

/// Acts so many times in a second until `stop`, and at least `least` times. Returns the number.
pub(crate) fn paced(rate: u32, least: u32, stop: &AtomicBool, mut act: impl FnMut(u32)) -> u32 {
    let (began, mut done) = (Instant::now(), 0);
    while done < least || !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while done < due {
            act(done);
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    done
}
