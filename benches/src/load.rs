//! The load: many clients in one thread, on a few sockets.
//!
//! Every client has a private IP address, as Pis have, and takes the next of a few ports for each request, as Pis
//! do. All clients share one socket for each port: one recvmmsg(2) takes the datagrams of 64 clients, one sendmmsg(2)
//! sends their answers. So the client end costs less than any server's. While all transfers are on
//! one port, the thread blocks in recvmmsg itself, and else in epoll_wait(2).

pub(crate) mod storm;
pub(crate) mod transfer;
pub(crate) mod xdp;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

use crate::Failed;
use crate::batch::{self, Incoming, Outgoing};
use crate::world;
use transfer::{Again, Ask, Heard, Say, Transfer};

/// The clients, their sockets and their state.
pub(crate) struct Load {
    sockets: Vec<UdpSocket>,
    /// How many transfers are on each.
    active: Vec<usize>,
    epoll: Epoll,
    incoming: Box<Incoming>,
    outgoing: Queue,
    clients: Vec<Client>,
    sweep_at: Instant,
    /// One datagram of so many is overtaken by the next.
    pub(crate) reorders: Option<u32>,
    random: u32,
    pub(crate) tally: Tally,
    /// For each request, how long its first answer took.
    pub(crate) first_answers: Vec<Duration>,
}

/// Decides what a client does next.
pub(crate) trait Plan {
    /// What client number `client` asks for now; `None`: nothing more. `well` is how its last one ended.
    fn next(&mut self, client: usize, well: bool) -> Option<Ask>;
}

/// The counters of a load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Requests that ended as expected.
    pub(crate) complete: u64,
    /// Requests that ended otherwise.
    pub(crate) failed: u64,
    /// Of those: with bytes that are not the file's, or another answer than expected.
    pub(crate) wrong: u64,
    /// Requests and ACKs that were sent again.
    pub(crate) retried: u64,
    /// Blocks that came again.
    pub(crate) duplicates: u64,
}

struct Client {
    transfer: Option<Transfer>,
    /// Which socket its transfer is on.
    socket: usize,
    blocks: u64,
}

impl Load {
    /// Prepares `clients` clients.
    pub(crate) fn new(clients: usize) -> Result<Self, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::from(format!("no sockets for the clients: {error}"));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| failed(&error))?;
        let mut sockets = Vec::new();
        for number in 0..PORTS {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| failed(&error))?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).map_err(|error| failed(&error))?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).map_err(|error| failed(&error))?;
            setsockopt(&socket, sockopt::SndBuf, &BUFFER).map_err(|error| failed(&error))?;
            batch::never_fragment(socket.as_fd()).map_err(|error| failed(&error))?;
            socket.set_read_timeout(Some(TICK)).map_err(|error| failed(&error))?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            epoll.add(&socket, event).map_err(|error| failed(&error))?;
            sockets.push(socket);
        }
        let clients = (0..clients).map(|_| Client { transfer: None, socket: 0, blocks: 0 }).collect();
        Ok(Self {
            active: vec![0; sockets.len()],
            sockets,
            epoll,
            incoming: Incoming::new(),
            outgoing: Queue { datagrams: Outgoing::new(), socket: 0 },
            clients,
            sweep_at: Instant::now() + TICK,
            reorders: None,
            random: 0x9e37_79b9,
            tally: Tally::default(),
            first_answers: Vec::new(),
        })
    }

    /// All clients ask.
    pub(crate) fn begin(&mut self, plan: &mut dyn Plan) -> Result<(), Failed> {
        for client in 0..self.clients.len() {
            self.ask(client, plan, true);
            // Receive in between, or the first answers wait for the last questions.
            if client % 64 == 63 {
                self.outgoing.flush(&self.sockets);
                self.take_in(plan, false)?;
            }
        }
        self.outgoing.flush(&self.sockets);
        Ok(())
    }

    /// Client number `client`, which has nothing under way, asks.
    pub(crate) fn begin_one(&mut self, client: usize, plan: &mut dyn Plan) {
        self.ask(client, plan, true);
        self.outgoing.flush(&self.sockets);
    }

    /// Runs the clients until `done` returns true; every system call is followed by a question to `done`.
    pub(crate) fn run(
        &mut self,
        plan: &mut dyn Plan,
        mut done: impl FnMut(&Self, Instant) -> bool,
    ) -> Result<(), Failed> {
        loop {
            let now = self.take_in(plan, true)?;
            if now >= self.sweep_at {
                self.sweep(now, plan);
                self.sweep_at = now + TICK;
            }
            if done(self, now) {
                return Ok(());
            }
        }
    }

    /// Sends the server an ERROR for every transfer that is still open.
    pub(crate) fn leave(&mut self) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            if let Some(transfer) = client.transfer.take()
                && transfer.answered()
            {
                let to = SocketAddrV4::new(world::SERVER, transfer.tid());
                self.outgoing.add(&self.sockets, client.socket, index, to, transfer::enough);
            }
        }
        self.outgoing.flush(&self.sockets);
        self.active.fill(0);
    }

    pub(crate) fn is_busy(&self, client: usize) -> bool {
        self.clients[client].transfer.is_some()
    }

    /// How many transfers are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.active.iter().sum()
    }

    /// How many wait for their first answer.
    pub(crate) fn unanswered(&self) -> usize {
        let transfers = self.clients.iter().filter_map(|client| client.transfer.as_ref());
        transfers.filter(|transfer| !transfer.answered()).count()
    }

    /// How many blocks each client has got.
    pub(crate) fn blocks(&self) -> Vec<u64> {
        self.clients.iter().map(|client| client.blocks).collect()
    }

    /// The window that the server agreed to, for the first client that has a transfer.
    pub(crate) fn window(&self) -> u16 {
        self.clients.iter().find_map(|client| client.transfer.as_ref()).map_or(1, Transfer::window)
    }

    fn ask(&mut self, index: usize, plan: &mut dyn Plan, well: bool) {
        let client = &mut self.clients[index];
        let Some(ask) = plan.next(index, well) else { return };
        client.socket = (client.socket + 1) % self.sockets.len();
        self.active[client.socket] += 1;
        self.outgoing.add(&self.sockets, client.socket, index, LISTENER, |memory| ask.emit(memory));
        client.transfer = Some(Transfer::new(ask, Instant::now()));
    }

    /// Receives the waiting datagrams and answers them.
    fn take_in(&mut self, plan: &mut dyn Plan, wait: bool) -> Result<Instant, Failed> {
        let failed = |error: std::io::Error| Failed::from(format!("the clients' socket failed: {error}"));
        let mut on =
            self.active.iter().enumerate().filter(|(_, count)| **count > 0).map(|(socket, _)| socket);
        let (first, more) = (on.next().unwrap_or(0), on.next().is_some());
        if !more {
            self.incoming.receive(self.sockets[first].as_fd(), wait).map_err(failed)?;
            let now = Instant::now();
            self.handle(first, now, plan);
            return Ok(now);
        }
        let mut events = [EpollEvent::empty(); PORTS];
        let timeout = if wait { TICK.as_millis() as u16 } else { 0 };
        let count = self.epoll.wait(&mut events, EpollTimeout::from(timeout)).unwrap_or(0);
        for event in &events[..count] {
            let socket = event.data() as usize;
            self.incoming.receive(self.sockets[socket].as_fd(), false).map_err(failed)?;
            self.handle(socket, Instant::now(), plan);
        }
        Ok(Instant::now())
    }

    /// The order in which received datagrams are handled.
    fn order(&mut self) -> [usize; batch::BATCH] {
        let mut order = core::array::from_fn(|i| i);
        let (Some(one_of), count) = (self.reorders, self.incoming.iter().len()) else { return order };
        for i in 1..count {
            // Xorshift (Marsaglia 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            if self.random.is_multiple_of(one_of) {
                order.swap(i - 1, i);
            }
        }
        order
    }

    /// The datagrams of this socket.
    fn handle(&mut self, socket: usize, now: Instant, plan: &mut dyn Plan) {
        let order = self.order();
        let Self { clients, incoming, outgoing, sockets, tally, first_answers, active, .. } = self;
        let mut ended = [(0, false); batch::BATCH];
        let mut endings = 0;
        for datagram in order.into_iter().take(incoming.iter().len()).map(|i| incoming.at(i)) {
            let Some(index) = world::client_index(datagram.to) else { continue };
            let Some(client) = clients.get_mut(index) else { continue };
            if client.socket != socket || *datagram.from.ip() != world::SERVER {
                continue;
            }
            let Some(transfer) = &mut client.transfer else { continue };
            let first = !transfer.answered();
            let heard = transfer.handle(now, datagram.from.port(), datagram.bytes);
            if first && heard != Heard::Stray {
                first_answers.push(now.saturating_duration_since(transfer.asked_at));
            }
            let (say, end) = match heard {
                Heard::Stray => continue,
                Heard::Options(say) => (say, None),
                Heard::Duplicate(say) => {
                    tally.duplicates += 1;
                    (say, None)
                }
                Heard::Block(say) => {
                    client.blocks += 1;
                    tally.blocks += 1;
                    tally.bytes += datagram.bytes.len() as u64 - 4;
                    (say, None)
                }
                Heard::Complete(say) => {
                    if let Say::Ack(_) = say {
                        client.blocks += 1;
                        tally.blocks += 1;
                        tally.bytes += datagram.bytes.len() as u64 - 4;
                    }
                    (say, Some(true))
                }
                Heard::Wrong => {
                    tally.wrong += 1;
                    (Say::Enough, Some(false))
                }
                Heard::Refused => (Say::Nothing, Some(false)),
            };
            match say {
                Say::Nothing => {}
                Say::Ack(block) => outgoing.add(sockets, socket, index, datagram.from, transfer::ack(block)),
                Say::Enough => outgoing.add(sockets, socket, index, datagram.from, transfer::enough),
            }
            if let Some(well) = end {
                client.transfer = None;
                active[socket] -= 1;
                *(if well { &mut tally.complete } else { &mut tally.failed }) += 1;
                ended[endings] = (index, well);
                endings += 1;
            }
        }
        for &(index, well) in &ended[..endings] {
            self.ask(index, plan, well);
        }
        self.outgoing.flush(&self.sockets);
    }

    /// Repeats the packets that were not answered in time.
    fn sweep(&mut self, now: Instant, plan: &mut dyn Plan) {
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let Some(transfer) = client.transfer.as_mut().filter(|transfer| transfer.deadline <= now) else {
                continue;
            };
            let Some(again) = transfer.again(now) else {
                client.transfer = None;
                self.active[client.socket] -= 1;
                self.tally.failed += 1;
                self.ask(index, plan, false);
                continue;
            };
            self.tally.retried += 1;
            let to = SocketAddrV4::new(world::SERVER, transfer.tid());
            match again {
                Again::Ask => self
                    .outgoing
                    .add(&self.sockets, client.socket, index, LISTENER, |memory| transfer.ask.emit(memory)),
                Again::Ack(block) => {
                    self.outgoing.add(&self.sockets, client.socket, index, to, transfer::ack(block));
                }
            }
        }
        self.outgoing.flush(&self.sockets);
    }
}

/// Datagrams to send, all on one socket.
struct Queue {
    datagrams: Box<Outgoing>,
    socket: usize,
}

impl Queue {
    fn add(
        &mut self,
        sockets: &[UdpSocket],
        socket: usize,
        client: usize,
        to: SocketAddrV4,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        if self.socket != socket || self.datagrams.is_full() {
            self.flush(sockets);
            self.socket = socket;
        }
        self.datagrams.add(world::client(client), to, write);
    }

    fn flush(&mut self, sockets: &[UdpSocket]) {
        self.datagrams.send(sockets[self.socket].as_fd());
    }
}

const LISTENER: SocketAddrV4 = SocketAddrV4::new(world::SERVER, 69);

/// How many ports a client takes turns with.
const PORTS: usize = 16;

/// The interval at which unanswered packets are looked for.
const TICK: Duration = Duration::from_millis(20);

/// Room for all that a thousand clients are sent at once.
const BUFFER: usize = 16 << 20;
