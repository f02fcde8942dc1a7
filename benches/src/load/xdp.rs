//! Clients in lock-step whose blocks are acknowledged by the XDP program `xdp.c`, on the [test bed](crate::bed).
//!
//! The program answers what is plain: full DATA that is the next of its client. Requests, OACK, the last block, repeated blocks and ERROR
//! are this module's. Of the content, it compares the last block of each file, repeated blocks, and at the end one block of
//! each client, which also tells how far the client has come.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::transfer::{self, Ask, DATA, Habit, Heard, OACK, Say, Transfer, Want};
use super::{BUFFER, LISTENER, TICK, Tally};
use crate::Failed;
use crate::batch::{self, Incoming, Outgoing};
use crate::bed::Bed;
use crate::tree::Entry;
use crate::world;

/// The clients and their state.
pub(crate) struct XdpLoad {
    bed: Bed,
    ask: Ask,
    socket: UdpSocket,
    incoming: Box<Incoming>,
    outgoing: Box<Outgoing>,
    clients: Vec<Client>,
    /// Packets that the interface had received before.
    before: u64,
    /// Datagrams that came to the socket.
    taken: u64,
    /// The program is gone: DATA is the place where a client ends.
    ending: bool,
    pub(crate) tally: Tally,
}

struct Client {
    /// `None`: the client has failed.
    transfer: Option<Transfer>,
    /// The blocks of its complete transfers.
    complete: u64,
    ended: bool,
}

impl XdpLoad {
    /// `count` clients that fetch this file without end, on the bed.
    pub(crate) fn new(bed: Bed, count: usize, file: &Entry, block_size: u16) -> Result<Self, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::from(format!("no socket for the clients: {error}"));
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| failed(&error))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).map_err(|error| failed(&error))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).map_err(|error| failed(&error))?;
        socket.set_read_timeout(Some(TICK)).map_err(|error| failed(&error))?;
        batch::never_fragment(socket.as_fd()).map_err(|error| failed(&error))?;
        let want = Want::File { len: file.len, content: file.content };
        let ask = Ask { name: file.name.as_str().into(), block_size, window: 1, want, habit: Habit::Gaps };
        let client = || Client { transfer: None, complete: 0, ended: false };
        Ok(Self {
            before: bed.received(),
            bed,
            socket,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            clients: (0..count).map(|_| client()).collect(),
            ask,
            taken: 0,
            ending: false,
            tally: Tally::default(),
        })
    }

    /// All clients ask.
    pub(crate) fn begin(&mut self) -> Result<(), Failed> {
        for index in 0..self.clients.len() {
            self.clients[index].transfer = Some(Transfer::new(self.ask.clone(), Instant::now()));
            self.outgoing.add(world::client(index), LISTENER, |memory| self.ask.emit(memory));
            // Answer in between: not every server enlarges the buffer of its socket.
            if index % 16 == 15 {
                self.take_in(false)?;
                self.outgoing.send(self.socket.as_fd());
            }
        }
        self.outgoing.send(self.socket.as_fd());
        Ok(())
    }

    /// Runs until `done` returns true.
    pub(crate) fn run(&mut self, mut done: impl FnMut(&Self, Instant) -> bool) -> Result<(), Failed> {
        loop {
            let now = self.take_in(true)?;
            self.ask_again(now);
            if done(self, now) {
                return Ok(());
            }
        }
    }

    /// How many clients wait for the first answer to their request.
    pub(crate) fn unanswered(&self) -> usize {
        let transfers = self.clients.iter().filter_map(|client| client.transfer.as_ref());
        transfers.filter(|transfer| !transfer.answered()).count()
    }

    /// The blocks that the program acknowledged so far: of the packets that came, those that did not reach the socket.
    pub(crate) fn blocks(&self) -> u64 {
        (self.bed.received() - self.before).saturating_sub(self.taken)
    }

    /// Removes the program, waits at most `time` for the next block of each client, and returns the blocks of each client; `None`
    /// for those that failed or stand still. Fails if the clients do not have the blocks that were counted.
    pub(crate) fn end(&mut self, time: Duration) -> Result<Vec<Option<u64>>, Failed> {
        let counted = self.blocks();
        self.bed.detach()?;
        self.ending = true;
        let until = Instant::now() + time;
        self.run(|load, now| now >= until || load.clients.iter().all(Client::is_over))?;
        for (index, client) in self.clients.iter().enumerate() {
            if let Some(transfer) = client.transfer.as_ref().filter(|transfer| transfer.answered()) {
                if self.outgoing.is_full() {
                    self.outgoing.send(self.socket.as_fd());
                }
                let to = SocketAddrV4::new(world::SERVER, transfer.tid());
                self.outgoing.add(world::client(index), to, transfer::enough);
            }
        }
        self.outgoing.send(self.socket.as_fd());
        let blocks = self.clients.iter().map(|client| {
            let transfer = client.transfer.as_ref().filter(|_| client.ended)?;
            Some(client.complete + transfer.blocks())
        });
        let blocks: Vec<_> = blocks.collect();
        let sum: u64 = blocks.iter().flatten().sum();
        // Until the program was gone, some more came.
        if blocks.iter().all(Option::is_some) && !(0.98..1.1).contains(&(sum as f64 / counted as f64)) {
            return Err(format!("the clients' interface counted {counted} blocks, the clients {sum}").into());
        }
        Ok(blocks)
    }

    /// Receives the waiting datagrams and answers them.
    fn take_in(&mut self, wait: bool) -> Result<Instant, Failed> {
        self.outgoing.send(self.socket.as_fd());
        self.incoming
            .receive(self.socket.as_fd(), wait)
            .map_err(|error| Failed::from(format!("the clients' socket failed: {error}")))?;
        let now = Instant::now();
        let Self { clients, incoming, outgoing, taken, ending, tally, ask, .. } = self;
        for datagram in incoming.iter() {
            *taken += 1;
            let Some(index) = world::client_index(datagram.to) else { continue };
            let Some(client) = clients.get_mut(index) else { continue };
            let Some(transfer) = client.transfer.as_mut() else { continue };
            if *datagram.from.ip() != world::SERVER || client.ended {
                continue;
            }
            let port = datagram.from.port();
            if let [_, DATA, high, low, ..] = *datagram.bytes
                && port == transfer.tid()
            {
                transfer.skip_to(u16::from_be_bytes([high, low]));
            }
            if outgoing.room() < 2 {
                outgoing.send(self.socket.as_fd());
            }
            let say = match transfer.handle(now, port, datagram.bytes) {
                // Our ACK of the options was lost.
                Heard::Stray if datagram.bytes.get(1) == Some(&OACK) && port == transfer.tid() => Say::Ack(0),
                Heard::Stray => continue,
                Heard::Options(say) => say,
                Heard::Block(_) | Heard::Duplicate(_) | Heard::Complete(_) if *ending => {
                    client.ended = true;
                    continue;
                }
                Heard::Block(say) | Heard::Duplicate(say) => {
                    tally.duplicates += 1;
                    say
                }
                Heard::Complete(say) => {
                    tally.complete += 1;
                    client.complete += transfer.blocks();
                    *transfer = Transfer::new(ask.clone(), now);
                    if let Say::Ack(block) = say {
                        outgoing.add(datagram.to, datagram.from, transfer::ack(block));
                    }
                    outgoing.add(datagram.to, LISTENER, |memory| ask.emit(memory));
                    continue;
                }
                end @ (Heard::Wrong | Heard::Refused) => {
                    tally.wrong += u64::from(end == Heard::Wrong);
                    client.transfer = None;
                    continue;
                }
            };
            if let Say::Ack(block) = say {
                outgoing.add(datagram.to, datagram.from, transfer::ack(block));
            }
        }
        Ok(now)
    }

    /// Repeats requests without an answer.
    fn ask_again(&mut self, now: Instant) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            let late = |transfer: &&mut Transfer| !transfer.answered() && transfer.deadline <= now;
            let Some(transfer) = client.transfer.as_mut().filter(late) else { continue };
            if transfer.again(now).is_none() {
                client.transfer = None;
                continue;
            }
            self.tally.retried += 1;
            if self.outgoing.is_full() {
                self.outgoing.send(self.socket.as_fd());
            }
            self.outgoing.add(world::client(index), LISTENER, |memory| self.ask.emit(memory));
        }
    }
}

impl Client {
    /// Whether nothing more is expected.
    fn is_over(&self) -> bool {
        self.ended || self.transfer.is_none()
    }
}
