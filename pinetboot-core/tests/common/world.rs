//! A network on a virtual clock: hosts, and packets between them that get lost, doubled and delayed as a seed has it.

use core::cell::RefCell;
use core::future::poll_fn;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use pinetboot_core::{Datagram, Instant, Net};

use super::rng::Rng;
use super::wire::show;

/// What happens to packets. Chances are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
    /// How many are held up on the way and overtaken by others.
    pub(crate) lateness: u64,
    /// For how long at most, in milliseconds.
    pub(crate) late_by: u64,
}

/// Someone who sees every packet when it is sent and when it arrives.
pub(crate) trait Watch {
    fn sent(&mut self, now: Instant, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]);
    fn arrived(&mut self, now: Instant, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]);
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub(crate) struct World(Rc<RefCell<Inner>>);

struct Inner {
    now: Instant,
    rng: Rng,
    weather: Weather,
    watch: Rc<RefCell<dyn Watch>>,
    /// Packets on their way, by when they arrive, and then by when they left.
    flying: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    hosts: Vec<Host>,
    /// Whether to print every packet.
    verbose: bool,
}

struct Packet {
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Host {
    ports: BTreeSet<u16>,
    inbox: VecDeque<Packet>,
    /// What it waits for, if nothing comes.
    deadline: Option<Instant>,
}

pub(crate) type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

impl World {
    pub(crate) fn new(rng: Rng, weather: Weather, watch: Rc<RefCell<dyn Watch>>, verbose: bool) -> Self {
        let (flying, hosts) = (BTreeMap::new(), Vec::new());
        Self(Rc::new(RefCell::new(Inner {
            now: Instant::ZERO,
            rng,
            weather,
            watch,
            flying,
            count: 0,
            hosts,
            verbose,
        })))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// A new host; its address is 10.0.0.1, 10.0.0.2 and so on.
    pub(crate) fn link(&self, ports: Ports) -> Link {
        let mut inner = self.0.borrow_mut();
        inner.hosts.push(Host::default());
        let host = inner.hosts.len() - 1;
        let (incoming, outgoing) = (Vec::new(), vec![0; 1472]);
        Link {
            world: self.clone(),
            host,
            ports,
            next_port: 49152,
            vanishes: Instant::MAX,
            idle: (Instant::ZERO, 0),
            incoming,
            outgoing,
        }
    }

    /// Lets a packet arrive from anyone at all.
    pub(crate) fn inject(&self, at: Instant, from: SocketAddrV4, to: SocketAddrV4, bytes: Vec<u8>) {
        self.0.borrow_mut().fly(at, Packet { from, to, bytes });
    }

    /// Runs the tasks, the first host's being the first, until all but that one are done and nothing is left to happen.
    /// Panics if that takes longer than `limit`.
    pub(crate) fn run(&self, mut tasks: Vec<Option<Task<'_>>>, limit: Duration) {
        let mut ready: Vec<usize> = (0..tasks.len()).collect();
        loop {
            for index in ready {
                let Some(task) = &mut tasks[index] else { continue };
                if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    tasks[index] = None;
                    self.0.borrow_mut().hosts[index].deadline = None;
                }
            }
            let Some(next) = self.0.borrow_mut().step() else { break };
            ready = next;
            let now = self.now();
            assert!(now <= Instant::ZERO + limit, "not over after {now}");
        }
        assert!(tasks.iter().skip(1).all(Option::is_none), "someone waits for ever");
    }
}

impl Inner {
    /// Lets time pass until the next packet arrives or the next deadline; says who is concerned. `None` at the end.
    fn step(&mut self) -> Option<Vec<usize>> {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.hosts.iter().filter_map(|host| host.deadline).min();
        let next = arrival.into_iter().chain(deadline).min()?;
        if next == Instant::MAX {
            return None;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let packet = entry.remove();
            let index = usize::from(packet.to.ip().octets()[3]) - 1;
            let Some(host) = self.hosts.get_mut(index) else { continue };
            if host.ports.contains(&packet.to.port()) {
                if self.verbose {
                    eprintln!("{} arrived {} {}", self.now, packet.from, show(&packet.bytes));
                }
                self.watch.borrow_mut().arrived(self.now, packet.from, packet.to, &packet.bytes);
                host.inbox.push_back(packet);
            }
        }
        let concerned = |host: &Host| {
            !host.inbox.is_empty() || host.deadline.is_some_and(|deadline| deadline <= self.now)
        };
        Some((0..self.hosts.len()).filter(|index| concerned(&self.hosts[*index])).collect())
    }

    fn send(&mut self, packet: Packet) {
        if self.verbose {
            eprintln!("{} {} > {} {}", self.now, packet.from, packet.to, show(&packet.bytes));
        }
        self.watch.borrow_mut().sent(self.now, packet.from, packet.to, &packet.bytes);
        let copies = if self.rng.chance(self.weather.doubling) { 2 } else { 1 };
        for _ in 0..copies {
            let mut micros = 500;
            if self.rng.chance(self.weather.lateness) {
                micros += self.rng.within(0..1000 * self.weather.late_by);
            }
            if !self.rng.chance(self.weather.loss) {
                let bytes = packet.bytes.clone();
                self.fly(self.now + Duration::from_micros(micros), Packet { bytes, ..packet });
            }
        }
    }

    fn fly(&mut self, at: Instant, packet: Packet) {
        self.count += 1;
        self.flying.insert((at, self.count), packet);
    }
}

/// What ports a host has for its transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Everything goes over the one that listens.
    One,
    /// Always one that was not used before.
    Fresh,
    /// The lowest that is free.
    Pool,
}

/// A host's access to the network.
pub(crate) struct Link {
    world: World,
    host: usize,
    ports: Ports,
    next_port: u16,
    /// From when on the host is gone.
    pub(crate) vanishes: Instant,
    /// When nothing came the last time, and how often it did not.
    idle: (Instant, usize),
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// The host is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vanished;

impl Link {
    pub(crate) fn address(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, self.host as u8 + 1), port)
    }

    pub(crate) fn bind(&mut self, port: u16) {
        let new = self.world.0.borrow_mut().hosts[self.host].ports.insert(port);
        assert!(new, "port {port} is taken");
    }

    /// Binds a port that was not used before.
    pub(crate) fn bind_fresh(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port += 1;
        self.bind(port);
        port
    }
}

impl Net for Link {
    type Error = Vanished;
    type Local = u16;

    fn now(&self) -> Instant {
        self.world.now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, Vanished> {
        let deadline = deadline.min(self.vanishes);
        let packet = poll_fn(|_| {
            let mut inner = self.world.0.borrow_mut();
            let now = inner.now;
            let host = &mut inner.hosts[self.host];
            while let Some(packet) = host.inbox.pop_front() {
                if host.ports.contains(&packet.to.port()) {
                    return Poll::Ready(Some(packet));
                }
            }
            host.deadline = (now < deadline).then_some(deadline);
            if host.deadline.is_some() { Poll::Pending } else { Poll::Ready(None) }
        })
        .await;
        let now = self.now();
        if now >= self.vanishes {
            return Err(Vanished);
        }
        let Some(Packet { from, to, bytes }) = packet else {
            self.idle = (now, if self.idle.0 == now { self.idle.1 + 1 } else { 0 });
            assert!(self.idle.1 < 100, "waits again and again for the past");
            return Ok(None);
        };
        self.incoming = bytes;
        let (local, listening) = (to.port(), to.port() == 69);
        Ok(Some(Datagram::new(now, local, from, &self.incoming).with_listening(listening)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        let packet = Packet { from: self.address(from), to, bytes: self.outgoing[..len].to_vec() };
        self.world.0.borrow_mut().send(packet);
    }

    fn open(&mut self, at: u16, _: SocketAddrV4) -> Option<u16> {
        Some(match self.ports {
            Ports::One => at,
            Ports::Fresh => self.bind_fresh(),
            Ports::Pool => {
                let mut inner = self.world.0.borrow_mut();
                let ports = &mut inner.hosts[self.host].ports;
                let port = (1001..).find(|port| !ports.contains(port))?;
                ports.insert(port);
                port
            }
        })
    }

    fn close(&mut self, local: u16) {
        if self.ports != Ports::One || local != 69 {
            let closed = self.world.0.borrow_mut().hosts[self.host].ports.remove(&local);
            assert!(closed, "port {local} was not open");
        }
    }
}
