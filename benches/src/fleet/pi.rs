//! A Pi from DISCOVER to its first program: an address of its own by DHCP, TFTP, and its root by NFS, on smoltcp.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::dhcp;
use super::peer::Target;
use super::root::{self, Root};
use super::tftp::{self, BOOT, Transfer, Want};
use super::wire::{self, Wire};
use crate::world::SERVER;

/// A Pi, with the times at which its steps ended.
pub(super) struct Pi {
    number: usize,
    /// The first port of its kernel.
    first_port: u16,
    stage: Stage,
    host: Option<Host>,
    /// The time at which the last packet is sent again.
    deadline: Option<Instant>,
    tries: u32,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) times: Times,
    /// Packets that were sent again: of DHCP, of TFTP, and for the root.
    pub(super) again: [u64; 3],
    pub(super) bytes: u64,
}

/// When what ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) power: Option<Instant>,
    pub(super) leased: Option<Instant>,
    /// The first config.txt is complete.
    pub(super) config: Option<Instant>,
    /// The last byte of the boot files.
    pub(super) files: Option<Instant>,
    /// The first program was read.
    pub(super) root: Option<Instant>,
}

enum Stage {
    Off,
    Discover,
    Request {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Files {
        next: usize,
        transfer: Transfer,
    },
    Connect(Root),
    Call {
        root: Root,
        call: Vec<u8>,
    },
    /// The server asked for a repetition.
    Wait {
        root: Root,
        call: Vec<u8>,
    },
    Up,
    Failed(String),
}

/// A host of smoltcp with a socket for UDP and one for TCP.
struct Host {
    iface: Interface,
    sockets: SocketSet<'static>,
    /// In turn: what is in the queue of one leaves while the next request is made by the other.
    udp: [SocketHandle; 2],
    tcp: SocketHandle,
    port: u16,
}

impl Pi {
    /// A Pi; each of its boots has other ports.
    pub(super) fn new(number: usize, boot: u16) -> Self {
        Self {
            number,
            first_port: 700 + 10 * boot,
            stage: Stage::Off,
            host: None,
            deadline: None,
            tries: 0,
            address: None,
            times: Times::default(),
            again: [0; 3],
            bytes: 0,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Up | Stage::Failed(_))
    }

    /// The reason of a failure.
    pub(super) fn failure(&self) -> Option<&str> {
        if let Stage::Failed(why) = &self.stage { Some(why) } else { None }
    }

    /// The power comes.
    pub(super) fn power_on(&mut self, now: Instant, wire: &Wire) {
        self.times.power = Some(now);
        self.stage = Stage::Discover;
        self.send_dhcp(now, wire);
    }

    /// The power goes, once the first file is there.
    pub(super) fn has_config(&self) -> bool {
        self.times.config.is_some()
    }

    /// A frame for this Pi.
    pub(super) fn receive(&mut self, now: Instant, frame: &[u8], target: &Target, wire: &Wire) {
        if let Some(message) = wire::dhcp(frame) {
            if let Some(heard) = dhcp::parse(message, self.xid()) {
                self.hear_dhcp(now, heard, target, wire);
            }
            return;
        }
        self.poll(now, Some(frame), target, wire);
    }

    /// Sends again what was not answered in time, and lets smoltcp do so.
    pub(super) fn tick(&mut self, now: Instant, target: &Target, wire: &Wire) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.tries += 1;
            self.count_again();
            if self.tries > MOST_TRIES {
                return self.fail(&format!("no answer {}", self.doing()));
            }
            match &self.stage {
                Stage::Discover | Stage::Request { .. } => {
                    // RFC 2131: after REQUESTs without an answer, from the beginning.
                    if self.tries.is_multiple_of(4) {
                        self.stage = Stage::Discover;
                    }
                    self.send_dhcp(now, wire);
                }
                Stage::Files { .. } => self.send_tftp(now),
                Stage::Wait { .. } => self.repeat(now),
                // TCP repeats by itself.
                _ => self.deadline = Some(now + PATIENCE),
            }
        }
        if self.host.is_some() {
            self.poll(now, None, target, wire);
        }
    }

    fn count_again(&mut self) {
        let of = match self.stage {
            Stage::Discover | Stage::Request { .. } => 0,
            Stage::Files { .. } => 1,
            _ => 2,
        };
        self.again[of] += 1;
    }

    fn doing(&self) -> String {
        match &self.stage {
            Stage::Discover => "to DISCOVER".into(),
            Stage::Request { .. } => "to REQUEST".into(),
            Stage::Files { transfer, .. } => format!("for {}", transfer.ask.name),
            Stage::Connect(_) => "to a connection".into(),
            _ => "to a call".into(),
        }
    }

    fn fail(&mut self, why: &str) {
        self.stage = Stage::Failed(why.into());
        self.deadline = None;
    }

    fn xid(&self) -> u32 {
        0x1000_0000 + self.number as u32
    }

    fn send_dhcp(&mut self, now: Instant, wire: &Wire) {
        let message = match self.stage {
            Stage::Request { address, server } => dhcp::request(self.number, self.xid(), address, server),
            _ => dhcp::discover(self.number, self.xid()),
        };
        wire.send(&wire::dhcp_frame(self.number, &message));
        self.deadline = Some(now + AGAIN);
    }

    fn hear_dhcp(&mut self, now: Instant, heard: dhcp::Heard, target: &Target, wire: &Wire) {
        match (heard, &self.stage) {
            (dhcp::Heard::Offer { address, server }, Stage::Discover) => {
                self.stage = Stage::Request { address, server };
                self.tries = 0;
                self.send_dhcp(now, wire);
            }
            (dhcp::Heard::Ack { address }, Stage::Request { .. }) => {
                self.address = Some(address);
                self.times.leased = Some(now);
                self.host = Some(Host::new(self.number, address, now));
                self.ask(now, 0);
                self.poll(now, None, target, wire);
            }
            (dhcp::Heard::Nak, Stage::Request { .. }) => {
                self.stage = Stage::Discover;
                self.count_again();
                self.send_dhcp(now, wire);
            }
            _ => {}
        }
    }

    /// Makes the request of this number, or goes on to the root after the last.
    fn ask(&mut self, now: Instant, next: usize) {
        self.tries = 0;
        let Some(ask) = BOOT.get(next) else {
            self.times.files = Some(now);
            self.stage = Stage::Connect(Root::default());
            self.deadline = Some(now + PATIENCE);
            return;
        };
        self.stage = Stage::Files { next, transfer: Transfer::new(self.number, *ask) };
        if let Some(host) = &mut self.host {
            host.next_port(self.first_port);
        }
        self.send_tftp(now);
    }

    fn send_tftp(&mut self, now: Instant) {
        if let (Stage::Files { transfer, .. }, Some(host)) = (&self.stage, &mut self.host) {
            host.send(if transfer.tid == 0 { 69 } else { transfer.tid }, &transfer.last);
            self.deadline = Some(now + AGAIN);
        }
    }

    fn repeat(&mut self, now: Instant) {
        if let (Stage::Wait { root, call }, Some(host)) = (&mut self.stage, &mut self.host) {
            let _has_room = host.sockets.get_mut::<tcp::Socket<'_>>(host.tcp).send_slice(call);
            self.stage = Stage::Call { root: std::mem::take(root), call: std::mem::take(call) };
            self.deadline = Some(now + PATIENCE);
        }
    }

    fn poll(&mut self, now: Instant, frame: Option<&[u8]>, target: &Target, wire: &Wire) {
        let Some(mut host) = self.host.take() else { return };
        host.poll(now, frame, wire);
        self.host = Some(host);
        if self.work(now, target)
            && let Some(host) = &mut self.host
        {
            host.poll(now, None, wire);
        }
    }

    /// Handles what came; whether something is to be sent.
    fn work(&mut self, now: Instant, target: &Target) -> bool {
        let Some(host) = &mut self.host else { return false };
        if let Stage::Files { .. } = self.stage {
            let mut sends = false;
            while let Some((from, packet)) = self.host.as_mut().and_then(Host::receive) {
                sends |= self.hear_tftp(now, from, &packet);
            }
            return sends || matches!(self.stage, Stage::Connect(_)) && self.work(now, target);
        }
        let socket = host.sockets.get_mut::<tcp::Socket<'_>>(host.tcp);
        match &mut self.stage {
            Stage::Connect(root) => match socket.state() {
                tcp::State::Closed => {
                    let port = if root.mounts() { target.mount_port } else { target.nfs_port };
                    host.port = if host.port < 1000 { host.port + 1 } else { self.first_port };
                    let server = (IpAddress::from(SERVER), port);
                    let _bad_port = socket.connect(host.iface.context(), server, host.port);
                    true
                }
                tcp::State::Established => {
                    let mut root = std::mem::take(root);
                    let call = root.call(self.number, &target.path);
                    let _has_room = socket.send_slice(&call);
                    self.stage = Stage::Call { root, call };
                    self.deadline = Some(now + PATIENCE);
                    true
                }
                _ => false,
            },
            Stage::Call { root, call } => {
                let mut heard = root::Heard::Nothing;
                let taken = socket.recv(|bytes| {
                    heard = root.handle(bytes);
                    (bytes.len(), bytes.len())
                });
                match heard {
                    root::Heard::Nothing => {
                        // A server that makes room closes an idle connection.
                        if taken.is_err() && !socket.may_recv() && socket.state() != tcp::State::SynSent {
                            socket.abort();
                            self.again[2] += 1;
                            self.stage = Stage::Connect(std::mem::take(root));
                            return true;
                        }
                        return taken.is_ok_and(|taken| taken > 0);
                    }
                    root::Heard::Mounted => {
                        socket.abort();
                        self.stage = Stage::Connect(std::mem::take(root));
                    }
                    root::Heard::Next => {
                        *call = root.call(self.number, &target.path);
                        let _has_room = socket.send_slice(call);
                    }
                    root::Heard::Later => {
                        self.stage = Stage::Wait { root: std::mem::take(root), call: std::mem::take(call) };
                        self.deadline = Some(now + AGAIN);
                        return true;
                    }
                    root::Heard::Done => {
                        self.times.root = Some(now);
                        self.stage = Stage::Up;
                        self.deadline = None;
                        return true;
                    }
                    root::Heard::Failed(status) => {
                        let what = if root.mounts() { "MNT" } else { "a call" };
                        self.fail(&format!("{what}: status {status}"));
                        return false;
                    }
                }
                self.deadline = Some(now + PATIENCE);
                true
            }
            _ => false,
        }
    }

    fn hear_tftp(&mut self, now: Instant, from: u16, packet: &[u8]) -> bool {
        let Stage::Files { next, transfer } = &mut self.stage else { return false };
        let next = *next;
        match transfer.handle(from, packet) {
            tftp::Heard::Stray => false,
            tftp::Heard::Answer => {
                self.tries = 0;
                self.send_tftp(now);
                true
            }
            tftp::Heard::Done => {
                self.bytes += transfer.bytes;
                let is_file = transfer.ask.want == Want::File;
                if !transfer.last.is_empty() {
                    self.send_tftp(now);
                }
                if is_file && self.times.config.is_none() {
                    self.times.config = Some(now);
                }
                self.ask(now, next + 1);
                true
            }
            tftp::Heard::Failed => {
                let name = transfer.ask.name;
                self.fail(&format!("{name}: another answer than expected"));
                false
            }
        }
    }
}

impl Host {
    fn new(number: usize, address: Ipv4Addr, now: Instant) -> Self {
        let mut config = Config::new(EthernetAddress(wire::mac(number)).into());
        config.random_seed = number as u64;
        let mut iface = Interface::new(config, &mut Card { frame: None, wire: None }, stack_instant(now));
        iface.update_ip_addrs(|addresses| {
            let _has_room_for_one = addresses.push(IpCidr::new(address.into(), 16));
        });
        let packets = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4 * 1500]);
        let bytes = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut sockets = SocketSet::new(Vec::new());
        let udp = [(); 2].map(|()| sockets.add(udp::Socket::new(packets(), packets())));
        let mut stream = tcp::Socket::new(bytes(2 * root::INIT_LEN), bytes(4096));
        stream.set_nagle_enabled(false);
        stream.set_ack_delay(None);
        let tcp = sockets.add(stream);
        // As the bootloader's and the kernel's ports: no two Pis need different ones.
        Self { iface, sockets, udp, tcp, port: 49_152 }
    }

    /// Takes another port for the next request, as a Pi does; another boot has others.
    fn next_port(&mut self, boot: u16) {
        self.port += 1;
        self.udp.swap(0, 1);
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp[0]);
        socket.close();
        let _is_closed = socket.bind(self.port + 8 * boot);
    }

    fn send(&mut self, port: u16, packet: &[u8]) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp[0]);
        let _lost = socket.send_slice(packet, (SERVER, port));
    }

    fn receive(&mut self) -> Option<(u16, Vec<u8>)> {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp[0]);
        let (packet, from) = socket.recv().ok()?;
        Some((from.endpoint.port, packet.to_vec()))
    }

    fn poll(&mut self, now: Instant, frame: Option<&[u8]>, wire: &Wire) {
        let mut card = Card { frame, wire: Some(wire) };
        self.iface.poll(stack_instant(now), &mut card, &mut self.sockets);
    }
}

/// A network card with one received frame.
struct Card<'a> {
    frame: Option<&'a [u8]>,
    wire: Option<&'a Wire>,
}

struct Received<'a>(&'a [u8]);

struct Outgoing<'a>(Option<&'a Wire>);

impl<'a> Device for Card<'a> {
    type RxToken<'b>
        = Received<'a>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'a>
    where
        Self: 'b;

    fn receive(&mut self, _: StackInstant) -> Option<(Received<'a>, Outgoing<'a>)> {
        Some((Received(self.frame.take()?), Outgoing(self.wire)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'a>> {
        Some(Outgoing(self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        // A virtual cable leaves checksums undone.
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        use_frame(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut memory = [0; 1514];
        let frame = &mut memory[..len];
        let result = fill(frame);
        if let Some(wire) = self.0 {
            wire.send(frame);
        }
        result
    }
}

fn stack_instant(now: Instant) -> StackInstant {
    static BORN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = now.saturating_duration_since(*BORN.get_or_init(|| now));
    StackInstant::from_micros(elapsed.as_micros() as i64)
}

/// A Pi repeats a packet after a second or two (captures).
const AGAIN: Duration = Duration::from_secs(1);
/// A Linux client waits for an answer by TCP for a minute (`timeo=600`).
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_TRIES: u32 = 12;
