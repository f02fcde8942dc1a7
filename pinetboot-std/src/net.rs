//! The core's network trait on Linux: one epoll, non-blocking UDP sockets, no task or thread per transfer.
//!
//! A transfer has a port of its own (RFC 1350's transfer identifier), bound to the address that the request was sent
//! to, so that replies come from there also on a multi-homed host. With [`Ports::Single`] everything goes over the
//! listening socket, and the reply's source address is chosen datagram by datagram (`IP_PKTINFO`).

mod control;
mod frames;
mod holder;
mod interface;
mod socket;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant as Clock};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use pinetboot_core::{Datagram, Instant, Net};

pub use control::{Control, Interrupt};
pub use frames::Frames;
pub use holder::holder_of;
pub use interface::Interface;
use socket::{Received, Socket};

/// UDP on Linux, for servers and clients.
#[derive(Debug)]
pub struct LinuxNet {
    epoll: Epoll,
    control: Control,
    options: Options,
    /// Listening sockets first, then those of transfers; a free place is `None`.
    sockets: Vec<Option<Socket>>,
    listening: usize,
    events: Vec<EpollEvent>,
    /// Sockets of transfers that have something to read.
    ready: Vec<usize>,
    /// How many datagrams more are read before anything else is looked at.
    burst: usize,
    /// Datagrams that came to listening sockets while transfers had their own ports.
    requests: Requests,
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
    start: Clock,
    /// When the last wait was over.
    now: Instant,
}

/// How to listen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Whether transfers get ports of their own.
    pub ports: Ports,
    /// The only network interfaces to use (`SO_BINDTODEVICE`); all if none is named.
    pub interfaces: Vec<String>,
    /// Whether to send to broadcast addresses too.
    pub broadcast: bool,
}

/// Whether transfers get ports of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ports {
    /// A port for each transfer, as RFC 1350 has it.
    #[default]
    PerTransfer,
    /// One for everything: passes through NAT, containers and simple firewalls.
    Single,
}

/// One of our ports: which socket, and the address of ours to answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    socket: usize,
    source: Ipv4Addr,
}

impl Local {
    /// Of a port that is listened on: which of the addresses it is, in the order in which they were asked for.
    pub const fn listener(self) -> usize {
        self.socket
    }
}

impl LinuxNet {
    /// Listens on these addresses.
    ///
    /// # Errors
    ///
    /// Which address cannot be had, and the system's reason.
    pub fn listen(addresses: &[SocketAddrV4], options: Options) -> Result<Self, BindError> {
        let mut net = Self::new(options).map_err(|error| BindError { address: UNSPECIFIED, error })?;
        let interfaces = match net.options.interfaces.as_slice() {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        for interface in &interfaces {
            for &address in addresses {
                net.add_listener(address, interface.as_deref())
                    .map_err(|error| BindError { address, error })?;
            }
        }
        Ok(net)
    }

    /// A client's end: one free port, for one transfer.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn client(interface: Option<String>) -> io::Result<Self> {
        let mut net = Self::new(Options { ports: Ports::Single, ..Options::default() })?;
        net.add_listener(UNSPECIFIED, interface.as_deref())?;
        Ok(net)
    }

    /// The port of a [`client`](Self::client).
    pub const fn client_port() -> Local {
        Local { socket: 0, source: Ipv4Addr::UNSPECIFIED }
    }

    /// The addresses listened on, with the ports that were picked.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddrV4>> {
        self.sockets.iter().take(self.listening).flatten().map(Socket::address).collect()
    }

    /// The same as people read them: with the interface, if it is the only one that is used.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listeners(&self) -> io::Result<Vec<String>> {
        let named = |socket: &Socket| {
            let address = socket.address()?;
            Ok(match socket.interface() {
                Some(interface) => format!("{}%{interface}:{}", address.ip(), address.port()),
                None => address.to_string(),
            })
        };
        self.sockets.iter().take(self.listening).flatten().map(named).collect()
    }

    /// By which another thread can stop this network, or interrupt it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    fn new(options: Options) -> io::Result<Self> {
        let control = Control::new()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(control.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
        Ok(Self {
            epoll,
            control,
            sockets: Vec::new(),
            listening: 0,
            events: vec![EpollEvent::empty(); 256],
            ready: Vec::with_capacity(256),
            burst: BURST,
            requests: Requests::new(),
            incoming: vec![0; LARGEST].into(),
            outgoing: vec![0; LARGEST].into(),
            options,
            start: Clock::now(),
            now: Instant::ZERO,
        })
    }

    /// The only interface that a port of ours uses.
    fn interface_of(&self, local: Local) -> Option<&str> {
        self.sockets.get(local.socket)?.as_ref()?.interface()
    }

    fn add_listener(&mut self, address: SocketAddrV4, interface: Option<&str>) -> io::Result<()> {
        let mut socket = Socket::bind(address, interface)?;
        socket.ask_for_destination()?;
        if self.options.broadcast {
            socket.allow_broadcast()?;
        }
        socket.enlarge_buffers(LISTEN_BUFFER);
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, self.sockets.len() as u64))?;
        self.sockets.push(Some(socket));
        self.listening = self.sockets.len();
        Ok(())
    }

    fn tick(&mut self) -> Instant {
        self.now = Net::now(self);
        self.now
    }

    /// The next datagram that is here already, from a transfer's own socket or else from the queue of requests.
    fn next_here(&mut self) -> Option<(Arrived, Received, bool)> {
        while let Some(&place) = self.ready.last() {
            let received = match self.sockets.get_mut(place) {
                Some(Some(socket)) => socket.receive(&mut self.incoming),
                _ => None,
            };
            // A listening socket is read for long, another once a round: it has rarely more than one.
            self.burst = self.burst.saturating_sub(1);
            if received.is_none() || place >= self.listening || self.burst == 0 {
                self.ready.pop();
            }
            if let Some(received) = received {
                return Some((Arrived::Now { place }, received, place < self.listening));
            }
        }
        let (place, slot, received) = self.requests.pop()?;
        Some((Arrived::Queued { place, slot }, received, true))
    }

    /// Waits for something to read until `deadline`; says whether there is.
    fn wait(&mut self, deadline: Instant) -> Result<bool, Interrupt> {
        let left = deadline.since(self.tick());
        self.burst = BURST;
        self.epoll_wait(left, true)?;
        if !self.requests.is_empty() {
            // Now that the requests are queued: what came to transfers before them is here too, and goes first. A
            // client that ends a transfer and repeats its request at once is understood so.
            self.epoll_wait(Duration::ZERO, false)?;
        }
        self.tick();
        Ok(!self.ready.is_empty() || !self.requests.is_empty())
    }

    /// Finds out which sockets have something, and reads the requests if there are any to be taken.
    fn epoll_wait(&mut self, wait: Duration, take_requests: bool) -> Result<(), Interrupt> {
        // Rounded up: rather a millisecond late than a busy loop.
        let millis = wait.as_micros().div_ceil(1000);
        let timeout = i32::try_from(millis).ok().and_then(|millis| EpollTimeout::try_from(millis).ok());
        let timeout = timeout.unwrap_or(EpollTimeout::NONE);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            // The deadline may be over, but what is here goes before it.
            Err(Errno::EINTR) => self.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0),
            Err(error) => return Err(Interrupt::Failed(error.into())),
        };
        for event in self.events.iter().take(count) {
            match event.data() {
                CONTROL => self.control.check()?,
                place if (place as usize) < self.listening && self.options.ports == Ports::PerTransfer => {
                    let place = place as usize;
                    if let (true, Some(Some(socket))) = (take_requests, self.sockets.get_mut(place)) {
                        self.requests.fill(place, socket);
                    }
                }
                place => self.ready.push(place as usize),
            }
        }
        Ok(())
    }
}

impl Net for LinuxNet {
    type Error = Interrupt;
    type Local = Local;

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Local>>, Interrupt> {
        let (arrived, received, listening) = loop {
            match self.next_here() {
                Some(here) => break here,
                None if self.wait(deadline)? => {}
                None if self.now >= deadline => return Ok(None),
                None => {}
            }
        };
        // Not the time of the last wait: handling a datagram may have taken long, and an answer has its time from now on.
        let at = self.tick();
        let (place, memory) = match arrived {
            Arrived::Now { place } => (place, &*self.incoming),
            Arrived::Queued { place, slot } => (place, self.requests.slot(slot)),
        };
        Ok(Some(Datagram {
            at,
            local: Local { socket: place, source: received.destination },
            listening,
            peer: received.peer,
            bytes: memory.get(..received.len).unwrap_or_default(),
        }))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, from: Local, to: SocketAddrV4, len: usize) {
        let Some(Some(socket)) = self.sockets.get(from.socket) else { return };
        let Some(bytes) = self.outgoing.get(..len) else { return };
        let mut sent = socket.send(bytes, to, from.source);
        if sent == Err(Errno::EAGAIN) {
            // The send buffer is full. Waiting a moment costs less than a lost datagram, which costs a timeout.
            let mut writable = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            let _ready = nix::poll::poll(&mut writable, PollTimeout::from(SEND_WAIT_MS));
            sent = socket.send(bytes, to, from.source);
        }
        if let Err(error) = sent {
            tracing::debug!("cannot send to {to}: {error}");
        }
    }

    fn open(&mut self, at: Local, _peer: SocketAddrV4) -> Option<Local> {
        if self.options.ports == Ports::Single {
            return Some(at);
        }
        let socket = Socket::bind(SocketAddrV4::new(at.source, 0), self.interface_of(at))
            .inspect_err(|error| tracing::warn!("no port for a transfer: {error}"))
            .ok()?;
        let free = self.sockets.iter().skip(self.listening).position(Option::is_none);
        let place = free.map_or(self.sockets.len(), |free| free + self.listening);
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place as u64)).ok()?;
        match self.sockets.get_mut(place) {
            Some(slot) => *slot = Some(socket),
            None => self.sockets.push(Some(socket)),
        }
        Some(Local { socket: place, source: at.source })
    }

    fn close(&mut self, local: Local) {
        if local.socket >= self.listening
            && let Some(slot) = self.sockets.get_mut(local.socket)
        {
            *slot = None; // epoll forgets a descriptor when it is closed
        }
    }

    fn address(local: Local) -> Option<Ipv4Addr> {
        Some(local.source).filter(|source| !source.is_unspecified())
    }

    fn max_payload(&self, local: Local, peer: SocketAddrV4) -> u16 {
        // A socket for each peer: one keeps the address of ours that it was first connected from, and from 127.0.0.1 no
        // other machine is in reach.
        let interface = self.interface_of(local);
        let route = Socket::bind(SocketAddrV4::new(local.source, 0), interface);
        let mtu = route.ok().and_then(|route| route.path_mtu(peer)).unwrap_or(1500);
        mtu.saturating_sub(IP_AND_UDP_HEADERS).min(LARGEST as u16)
    }
}

/// Where a datagram lies.
enum Arrived {
    Now { place: usize },
    Queued { place: usize, slot: usize },
}

/// Requests read ahead, so that a thousand at once neither overflow the socket nor go before what came earlier.
#[derive(Debug)]
struct Requests {
    memory: Box<[[u8; REQUEST]]>,
    /// Those not yet handed out: socket, and what is in the slot of the same number.
    queued: Vec<(usize, Received)>,
    next: usize,
}

impl Requests {
    fn new() -> Self {
        Self { memory: vec![[0; REQUEST]; REQUESTS].into(), queued: Vec::with_capacity(REQUESTS), next: 0 }
    }

    fn is_empty(&self) -> bool {
        self.next >= self.queued.len()
    }

    /// Reads what `socket` has, as far as there is room. Called only when all earlier ones are handed out or more fit.
    fn fill(&mut self, place: usize, socket: &mut Socket) {
        if self.is_empty() {
            self.queued.clear();
            self.next = 0;
        }
        while let Some(slot) = self.memory.get_mut(self.queued.len()) {
            let Some(received) = socket.receive(slot) else { return };
            self.queued.push((place, received));
        }
    }

    fn pop(&mut self) -> Option<(usize, usize, Received)> {
        let (place, received) = *self.queued.get(self.next)?;
        self.next += 1;
        Some((place, self.next - 1, received))
    }

    fn slot(&self, slot: usize) -> &[u8] {
        self.memory.get(slot).map_or(&[], |slot| slot)
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddrV4,
    /// The system's reason.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for BindError {}

const UNSPECIFIED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const CONTROL: u64 = u64::MAX;

/// The largest UDP payload over IPv4.
const LARGEST: usize = 65507;
const IP_AND_UDP_HEADERS: u16 = 28;

/// A request has at most 512 bytes (RFC 2347); one byte more shows that a datagram has too many.
const REQUEST: usize = 513;
const REQUESTS: usize = 64;

/// Between two looks at whether we are to stop; more than 256 sockets never have something at once.
const BURST: usize = 512;

/// A thousand simultaneous requests overflow the default of 208 KiB.
const LISTEN_BUFFER: usize = 8 << 20;

const SEND_WAIT_MS: u8 = 50;
