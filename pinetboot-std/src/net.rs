//! The core's network trait on Linux: one epoll, non-blocking UDP sockets, no task or thread per transfer.
//!
//! A transfer has one of a few ports (RFC 1350's transfer identifier, see `net::pool`). With [`Ports::Single`] everything
//! goes over the listening socket. If that socket listens on all addresses, a reply has the destination of
//! its request as source, chosen for each datagram (`IP_PKTINFO`), also on a multi-homed host.
//!
//! The kernel's UDP takes nearly all the time (94 % at 100 clients), so the gain is in fewer system calls:
//!
//! * one call reads or sends many datagrams (`recvmmsg`, `sendmmsg`), over few ports, so that a call finds many;
//! * outgoing datagrams are held back until all received ones are handled, or a batch is full;
//! * a window goes to the kernel as one message, which the kernel cuts into datagrams last (UDP_SEGMENT);
//! * while datagrams come sooner than a sleeping thread wakes up, the thread busy-polls (`net::busy_poll`).
//!
//! Not io_uring. With a socket for each transfer it was as fast with one client (13.2 to 13.1 thousand blocks a second)
//! and slower with a thousand than few sockets and the calls above (116 to 135). A container's default seccomp rules forbid
//! io_uring, so the calls above would be needed anyway.

pub mod arp;
mod backlog;
mod batch;
mod busy_poll;
mod capture;
mod changes;
mod control;
mod default_route;
mod drops;
mod frame;
mod frames;
mod held;
mod holder;
mod interface;
mod link;
mod listen;
mod neighbour;
mod pool;
mod routes;
mod rtnetlink;
mod rx_queue;
mod socket;
mod source;
mod tcp;
mod trouble;
mod tx_batch;
mod virtual_host;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant as Clock};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use pinetboot_core::{Datagram, Instant, Net};

pub use arp::Prober;
use backlog::dropped;
pub(crate) use backlog::is_waiting;
use batch::Received;
use busy_poll::BusyPoll;
pub use capture::{Capture, LONGEST};
pub use changes::Changes;
pub use control::{Control, Interrupt};
pub use default_route::default_route;
pub use drops::{Drops, Lack};
pub use frame::Frame;
pub use frames::Frames;
use held::Held;
pub use holder::{KERNEL, holder_of, is_held};
pub use interface::Interface;
pub use link::{Link, Links, in_one_network};
pub use listen::BindError;
pub use neighbour::{finds_neighbours, most_neighbours, neighbour};
pub use pool::PORTS_OF_AN_ADDRESS;
use pool::Pool;
use routes::Routes;
use rx_queue::RxQueue;
use socket::Socket;
pub use source::source_of;
pub use tcp::connect_reserved;
pub use trouble::{Trouble, Watch};
use tx_batch::{LARGEST, TxBatch};
pub use virtual_host::{HostAddress, UdpPool, VirtualHost, VirtualStream};

/// UDP on Linux, for servers and clients.
#[derive(Debug)]
pub struct LinuxNet {
    epoll: Epoll,
    control: Control,
    options: Options,
    /// Listening sockets first, then the sockets of transfers.
    sockets: Vec<Socket>,
    listening: usize,
    pool: Pool,
    routes: Routes,
    events: Vec<EpollEvent>,
    /// Readable sockets.
    ready: VecDeque<usize>,
    /// Datagrams to read before the control and the requests are checked again.
    burst: usize,
    busy_poll: BusyPoll,
    /// Open transfers.
    transfers: usize,
    /// Received datagrams of transfers; of all clients if all share a port.
    received: RxQueue,
    /// Received datagrams of listening sockets, if transfers have their own ports.
    requests: RxQueue,
    /// Requests that are answered later.
    held: Held,
    /// The datagram of the last `recv`.
    last: Option<(Received, Queue)>,
    /// [`Control::wake`] was called.
    woken: bool,
    tx: TxBatch,
    watch: Watch,
    start: Clock,
    /// The end of the last wait.
    now: Instant,
}

/// The place of a received datagram, and its slot there.
#[derive(Debug, Clone, Copy)]
enum Queue {
    Received(usize),
    Requests(usize),
    Held,
}

/// Options of the sockets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The ports of transfers.
    pub ports: Ports,
    /// The network interfaces to use (`SO_BINDTODEVICE`); empty for all.
    pub interfaces: Vec<String>,
    /// Whether to send to broadcast addresses too.
    pub broadcast: bool,
    /// Busy-poll time before sleeping, while transfers are open. `None` adapts to recent waits: 50 microseconds while datagrams
    /// come that soon, else zero.
    pub busy_poll: Option<Duration>,
}

/// The ports of transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ports {
    /// A port for each transfer (RFC 1350, section 4).
    #[default]
    PerTransfer,
    /// A port of this range for each transfer.
    Range {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// One port for all: passes NAT, containers and simple firewalls.
    Single,
}

/// A local port: the socket, and the local address to answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    socket: usize,
    source: Ipv4Addr,
}

impl Local {
    /// For a listening port: the index of its address in the list of addresses.
    pub const fn listener(self) -> usize {
        self.socket
    }
}

impl LinuxNet {
    /// The listening addresses, with the selected ports.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddrV4>> {
        self.sockets.iter().take(self.listening).map(Socket::address).collect()
    }

    /// The listening addresses as text, with the interface if the socket is bound to one.
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
        self.sockets.iter().take(self.listening).map(named).collect()
    }

    /// Whether a window goes to the kernel as one message (UDP_SEGMENT, Linux 4.18), else datagram by datagram.
    pub fn cuts_windows(&self) -> bool {
        self.tx.segments()
    }

    /// Reports failed system calls to `watch`.
    pub fn set_watch(&mut self, watch: &Watch) {
        self.watch = watch.clone();
        self.tx.set_watch(watch.clone());
    }

    /// The handle by which another thread stops or interrupts this network.
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
            pool: Pool::new(),
            routes: Routes::new(),
            events: vec![EpollEvent::empty(); 64],
            ready: VecDeque::with_capacity(64),
            burst: BURST,
            busy_poll: BusyPoll::new(options.busy_poll),
            transfers: 0,
            received: RxQueue::new(batch::BATCH, SLOT),
            requests: RxQueue::new(REQUESTS, REQUEST),
            held: Held::default(),
            last: None,
            woken: false,
            tx: TxBatch::new(false),
            watch: Watch::default(),
            options,
            start: Clock::now(),
            now: Instant::ZERO,
        })
    }

    /// Binds the sockets to their interface again. If it is gone once more, its next return binds them.
    fn bind_again(&self) -> Result<(), Interrupt> {
        for socket in &self.sockets {
            match socket.bind_again() {
                Err(error) if error.raw_os_error() != Some(Errno::ENODEV as i32) => {
                    let interface = socket.interface().unwrap_or_default();
                    let error = format!("cannot bind to the interface {interface} again: {error}");
                    return Err(Interrupt::Failed(io::Error::other(error)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Instant {
        self.now = Net::now(self);
        self.now
    }

    /// The next received datagram: those of transfers first, then the released requests, then the new ones.
    fn next_here(&mut self) -> Option<(Received, Queue)> {
        while self.received.is_empty()
            && let Some(place) = self.ready.pop_front()
        {
            let more = self.sockets.get(place).is_some_and(|socket| self.received.fill(socket, place));
            self.burst = self.burst.saturating_sub(batch::BATCH);
            if more && self.burst > 0 {
                self.ready.push_back(place); // in turn, so that all ports are served equally
            }
        }
        if let Some((received, slot)) = self.received.pop() {
            return Some((received, Queue::Received(slot)));
        }
        if let Some(received) = self.held.pop() {
            return Some((received, Queue::Held));
        }
        let (received, slot) = self.requests.pop()?;
        Some((received, Queue::Requests(slot)))
    }

    /// The bytes of a datagram that was handed out last.
    fn bytes(&self, received: &Received, queue: Queue) -> &[u8] {
        match queue {
            Queue::Received(slot) => self.received.bytes(slot, received.len),
            Queue::Requests(slot) => self.requests.bytes(slot, received.len),
            Queue::Held => self.held.bytes(),
        }
    }

    fn is_here(&self) -> bool {
        !(self.received.is_empty()
            && self.ready.is_empty()
            && self.requests.is_empty()
            && self.held.is_empty())
    }

    /// Sends the held-back datagrams, and waits until a socket is readable or `deadline` is over.
    fn wait(&mut self, deadline: Instant) -> Result<(), Interrupt> {
        self.tx.flush(&self.sockets);
        if !self.control.has_heard() {
            self.show_heard();
        }
        self.burst = BURST;
        let began = self.tick();
        let awake = if self.transfers > 0 { self.busy_poll.time() } else { Duration::ZERO };
        let until = deadline.min(began + awake);
        while !self.is_here() && !self.woken && self.now < until {
            self.epoll_wait(Duration::ZERO, true)?;
            self.tick();
        }
        if !self.is_here() && !self.woken {
            self.epoll_wait(deadline.since(self.now), true)?;
        }
        let wait = self.tick().since(began);
        self.busy_poll.waited(wait);
        if !self.requests.is_empty() {
            // The requests are queued now. Datagrams of transfers that arrived before them are readable too, and go first:
            // a client may end a transfer and repeat its request at once.
            self.epoll_wait(Duration::ZERO, false)?;
        }
        self.tick();
        Ok(())
    }

    /// Tells the control that all requests were handled, if none waits at a listening socket.
    fn show_heard(&self) {
        let listening = self.sockets.get(..self.listening).unwrap_or_default();
        if !self.is_here() && !listening.iter().any(|socket| is_waiting(socket.as_fd())) {
            self.control.heard(listening.iter().map(dropped).sum());
        }
    }

    /// Waits for readable sockets, and reads requests if `take_requests`.
    fn epoll_wait(&mut self, wait: Duration, take_requests: bool) -> Result<(), Interrupt> {
        // Rounded up: a millisecond late is better than a busy loop.
        let millis = wait.as_micros().div_ceil(1000);
        let timeout = i32::try_from(millis).ok().and_then(|millis| EpollTimeout::try_from(millis).ok());
        let timeout = timeout.unwrap_or(EpollTimeout::NONE);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            // The deadline may be over, but readable datagrams go first.
            Err(Errno::EINTR) => self.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0),
            Err(error) => return Err(Interrupt::Failed(error.into())),
        };
        if self.control.takes_bind_again() {
            self.bind_again()?;
        }
        for event in self.events.iter().take(count) {
            match event.data() {
                CONTROL => self.woken |= self.control.check()?,
                place if (place as usize) < self.listening && self.options.ports != Ports::Single => {
                    let place = place as usize;
                    if let (true, Some(socket)) = (take_requests, self.sockets.get(place)) {
                        self.requests.fill(socket, place);
                    }
                }
                place if self.ready.contains(&(place as usize)) => {}
                place => self.ready.push_back(place as usize),
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
        while !self.is_here() {
            self.wait(deadline)?;
            let woken = mem::take(&mut self.woken);
            if !self.is_here() && (woken || self.now >= deadline) {
                return Ok(None);
            }
        }
        // Not the time of the last wait: handling a datagram may take long, and the timeout of an answer begins now.
        let at = self.tick();
        let listening = self.listening;
        self.last = self.next_here();
        let Some((received, queue)) = self.last else { return Ok(None) };
        let bytes = self.bytes(&received, queue);
        Ok(Some(
            Datagram::new(
                at,
                Local { socket: received.place, source: received.destination },
                received.peer,
                bytes,
            )
            .with_listening(received.place < listening),
        ))
    }

    fn buffer(&mut self) -> &mut [u8] {
        if !self.tx.has_room() {
            self.tx.flush(&self.sockets);
        }
        self.tx.buffer()
    }

    async fn send(&mut self, from: Local, to: SocketAddrV4, len: usize) {
        self.tx.push(from, to, len);
    }

    fn open(&mut self, at: Local, peer: SocketAddrV4) -> Option<Local> {
        let local = match self.options.ports {
            Ports::Single => at,
            Ports::PerTransfer | Ports::Range { .. } => {
                let home = match self.pool.home(at) {
                    Some(home) => home,
                    None => match self.add_pool(at) {
                        Ok(home) => home,
                        Err(error) => {
                            self.watch.tell(&Trouble::NoPort(error));
                            return None;
                        }
                    },
                };
                Local { socket: home.first + self.pool.next(peer), ..at }
            }
        };
        self.transfers += 1;
        Some(local)
    }

    fn close(&mut self, _: Local) {
        self.transfers = self.transfers.saturating_sub(1);
    }

    fn hold(&mut self) {
        let Some((received, queue)) = self.last else { return };
        let bytes = match queue {
            Queue::Received(slot) => self.received.bytes(slot, received.len).into(),
            Queue::Requests(slot) => self.requests.bytes(slot, received.len).into(),
            Queue::Held => self.held.take(),
        };
        self.held.hold(received, bytes);
    }

    fn release(&mut self, peer: SocketAddrV4) {
        self.held.release(peer);
    }

    fn address(local: Local) -> Option<Ipv4Addr> {
        Some(local.source).filter(|source| !source.is_unspecified())
    }

    fn max_payload(&self, local: Local, peer: SocketAddrV4) -> u16 {
        let mtu = self.routes.mtu(local, self.sockets.get(local.socket), peer, self.now);
        mtu.saturating_sub(IP_AND_UDP_HEADERS).min(LARGEST as u16)
    }
}

/// Sends the held-back datagrams.
impl Drop for LinuxNet {
    fn drop(&mut self) {
        self.tx.flush(&self.sockets);
    }
}

const UNSPECIFIED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const CONTROL: u64 = u64::MAX;

const IP_AND_UDP_HEADERS: u16 = 28;

/// Bytes for the largest datagram. Not a power of two: the beginnings of all slots would share a few cache lines.
const SLOT: usize = (64 << 10) + 192;

/// A request has at most 512 bytes (RFC 2347); one more byte shows that a datagram is longer.
const REQUEST: usize = 513;
const REQUESTS: usize = 256;

/// Datagrams between two checks of the control and the requests.
const BURST: usize = 1024;
