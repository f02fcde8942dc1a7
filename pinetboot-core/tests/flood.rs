//! Forty Pis boot while others keep the server's 2048 places busy, on a virtual clock.

mod common;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use common::rng::Rng;
use common::{Memory, bytes};
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{Datagram, Instant, Net, block_on};

#[test]
fn forged_requests_harm_nobody() {
    for (per_second, seconds) in [(5_000, 20), (50_000, 1)] {
        let mut world = World::new(seconds);
        world.forge(per_second);
        world.serve("forged requests").assert_unnoticed();
    }
}

/// The requests of one address, each answered once.
#[test]
fn one_silent_address_harms_nobody() {
    let mut world = World::new(20);
    world.hold_all();
    world.serve("one address").assert_unnoticed();
}

#[test]
fn forged_requests_beside_a_silent_address_harm_nobody() {
    let mut world = World::new(20);
    world.hold_all();
    world.forge(5_000);
    world.serve("one address, forged requests").assert_unnoticed();
}

/// Forty addresses acknowledge a block of 8 bytes every 2.5 s, and come back when they lose their place.
#[test]
fn slow_clients_harm_nobody() {
    let mut world = World::new(20);
    world.crawl(|host| Ipv4Addr::new(10, host, 0, 1));
    let served = world.serve("slow clients");
    assert_eq!(served.complete, PIS);
    assert!(served.slowest <= Duration::from_secs(5), "{served:?}");
}

#[test]
fn slow_clients_of_one_network_harm_nobody() {
    let mut world = World::new(20);
    world.crawl(|host| Ipv4Addr::new(10, 1, 0, host));
    world.serve("slow clients of one network").assert_unnoticed();
}

/// The peers and the network between them and the server.
struct World {
    now: Instant,
    end: Instant,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    peers: HashMap<SocketAddrV4, Peer>,
    sequence: u64,
    next_port: u16,
    current: Vec<u8>,
    buffer: [u8; 1472],
}

/// A datagram to the server: when, which of those, from whom, to which port.
type Arrival = (Instant, u64, SocketAddrV4, u16, Vec<u8>);

struct Peer {
    role: Role,
    began: Instant,
    heard: bool,
    requests: u32,
    ended: Option<Result<Instant, Instant>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Answers within a millisecond, and repeats its request every 2 s.
    Pi,
    /// Answers an OACK, and nothing else.
    Silent,
    /// Answers a DATA packet after 2.5 s, and begins anew after an ERROR.
    Slow,
}

/// How the Pis fared.
#[derive(Debug)]
struct Served {
    complete: u16,
    repeated: u16,
    slowest: Duration,
}

impl World {
    /// The Pis begin one after another, within `seconds`.
    fn new(seconds: u64) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            end: Instant::from_millis((seconds + 31) * 1000),
            arrivals: BinaryHeap::new(),
            peers: HashMap::new(),
            sequence: 0,
            next_port: 1001,
            current: Vec::new(),
            buffer: [0; 1472],
        };
        for number in 0..u64::from(PIS) {
            let at = Instant::from_millis(500 + number * (seconds * 1000 - 500) / u64::from(PIS));
            world.add(at, SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1 + number as u8), 49152), Role::Pi);
        }
        world
    }

    /// As many requests a second from addresses that never answer, until the last Pi has begun.
    fn forge(&mut self, per_second: u64) {
        let mut rng = Rng::new(1);
        let millis = (self.end - Instant::ZERO).as_millis() as u64 - 31_000;
        for number in 0..per_second * millis / 1000 {
            let at = Instant::from_micros(number * 1_000_000 / per_second);
            let from = SocketAddrV4::new(Ipv4Addr::from_bits(rng.next() as u32 | 0x8000_0000), 1024);
            self.arrive(at, from, 69, bytes(REQUEST));
        }
    }

    /// 4200 requests of one address, within half a second.
    fn hold_all(&mut self) {
        for number in 0..4200 {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 200), 10_000 + number);
            self.add(Instant::from_micros(u64::from(number) * 110), from, Role::Silent);
        }
    }

    /// More transfers than there are places, of forty addresses, within 0.7 s.
    fn crawl(&mut self, address: impl Fn(u8) -> Ipv4Addr) {
        for number in 0..2080 {
            let from = SocketAddrV4::new(address(1 + (number % 40) as u8), 20_000 + number);
            self.add(Instant::from_millis(u64::from(number) / 3), from, Role::Slow);
        }
    }

    fn add(&mut self, at: Instant, from: SocketAddrV4, role: Role) {
        self.peers.insert(from, Peer { role, began: at, heard: false, requests: 0, ended: None });
        let request = if role == Role::Slow { "RRQ kernel.img octet blksize=8" } else { REQUEST };
        self.arrive(at, from, 69, bytes(request));
    }

    fn arrive(&mut self, at: Instant, from: SocketAddrV4, to: u16, bytes: Vec<u8>) {
        self.sequence += 1;
        self.arrivals.push(Reverse((at, self.sequence, from, to, bytes)));
    }

    fn serve(self, what: &str) -> Served {
        let storage = Memory::default().with("kernel.img", 150_000);
        let mut places: Vec<_> = (0..2048).map(|_| None).collect();
        let mut server = Server::<_, _, _, 4096>::new(self, storage, (), Limits::default(), &mut places);
        while block_on(server.run()) != Err(Over) {}
        let world = server.net_mut();
        let mut served = Served { complete: 0, repeated: 0, slowest: Duration::ZERO };
        for peer in world.peers.values().filter(|peer| peer.role == Role::Pi) {
            let Some(Ok(ended)) = peer.ended else { continue };
            served.complete += 1;
            served.repeated += u16::from(peer.requests > 1);
            served.slowest = served.slowest.max(ended - peer.began);
        }
        println!("{what}: {served:?} of {PIS}");
        served
    }

    /// What a Pi says to a packet.
    fn answered(&mut self, local: u16, to: SocketAddrV4, packet: &[u8]) {
        let (now, end) = (self.now, self.end);
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.ended.is_none()) else { return };
        peer.heard = true;
        let (wait, ack) = match (peer.role, packet) {
            (Role::Silent, [0, 6, ..]) | (Role::Slow | Role::Pi, [0, 6, ..]) => (1, [0, 4, 0, 0]),
            (Role::Pi, [0, 3, high, low, payload @ ..]) => {
                if payload.len() < 1468 {
                    peer.ended = Some(Ok(now));
                }
                (1, [0, 4, *high, *low])
            }
            (Role::Slow, [0, 3, high, low, ..]) => (2500, [0, 4, *high, *low]),
            (Role::Slow, [0, 5, ..]) => {
                let anew = SocketAddrV4::new(*to.ip(), to.port() + 2080);
                peer.ended = Some(Err(now));
                if now < end && to.port() < 60_000 {
                    self.add(now, anew, Role::Slow);
                }
                return;
            }
            (Role::Pi, [0, 5, ..]) => return peer.ended = Some(Err(now)),
            _ => return,
        };
        self.arrive(now + Duration::from_millis(wait), to, local, ack.to_vec());
    }
}

impl Served {
    #[track_caller]
    fn assert_unnoticed(&self) {
        assert!(
            self.complete == PIS && self.repeated == 0 && self.slowest < Duration::from_millis(300),
            "{self:?}"
        );
    }
}

/// The end of the world.
#[derive(Debug, PartialEq, Eq)]
struct Over;

impl Net for World {
    type Error = Over;
    type Local = u16;

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, Over> {
        let due = |arrival: &Reverse<Arrival>| arrival.0.0 <= deadline.max(self.now);
        let Some(Reverse((at, _, from, to, bytes))) =
            self.arrivals.peek().is_some_and(due).then(|| self.arrivals.pop()).flatten()
        else {
            self.now = self.now.max(deadline);
            return if self.now > self.end { Err(Over) } else { Ok(None) };
        };
        self.now = self.now.max(at);
        if to == 69
            && let Some(peer) = self.peers.get_mut(&from)
        {
            peer.requests += u32::from(!peer.heard && peer.ended.is_none());
            if peer.role == Role::Pi && !peer.heard && peer.ended.is_none() {
                self.arrive(at + Duration::from_secs(2), from, to, bytes.clone());
            }
        }
        self.current = bytes;
        Ok(Some(Datagram::new(self.now, to, from, &self.current).with_listening(to == 69)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        let packet = self.buffer;
        self.answered(from, to, &packet[..len]);
    }

    fn open(&mut self, _: u16, _: SocketAddrV4) -> Option<u16> {
        self.next_port = self.next_port.checked_add(1).unwrap_or(1001);
        Some(self.next_port)
    }
}

const PIS: u16 = 40;

const REQUEST: &str = "RRQ kernel.img octet tsize=0 blksize=1468";
