//! The core's network trait on embassy-net: a pool of UDP sockets.
//!
//! smoltcp, beneath embassy-net, keeps a datagram whose receiver answers no ARP request at the head of its socket's
//! queue, and the datagrams behind it wait: on a single socket one such peer stops a server. Here every transfer has a socket
//! and a port, as RFC 1350 wants. An answer from a listening port leaves by another socket while an answer before it waits.
//!
//! Not done: IPv6; more than one address of the board (smoltcp chooses the one to send from).

use core::convert::Infallible;
use core::future::poll_fn;
use core::net::SocketAddrV4;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_net::udp::{PacketMetadata, SendError, UdpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::Timer;
use pinetboot_core::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

use crate::capacity::TRANSFERS;
use crate::liveness;
use crate::port::Port;

/// Sockets of the stack that [`run`](crate::run) takes: one that listens and one for each transfer, two for DHCP, its own
/// DHCP client's, and one each for the page and the name.
pub const SOCKETS: usize = TRANSFERS + 6;

/// UDP on some sockets: the first of them listen, the others are lent to transfers.
///
/// The number of sockets is no part of the type, so that pools of any number share their code.
pub struct Pool<'s, 'a> {
    slots: &'s mut [Slot<'a>],
    /// The listening ports, a slot for each.
    listen: &'static [u16],
    /// The last received datagram, and the next outgoing one.
    rx: &'s mut [u8],
    tx: &'s mut [u8],
    /// The number of datagrams in a row that came to transfers.
    streak: u8,
}

/// The sockets of a [`Pool`], and memory for a datagram each way.
pub(crate) struct Sockets<'a, const SOCKETS: usize> {
    slots: [Slot<'a>; SOCKETS],
    rx: &'a mut [u8],
    tx: &'a mut [u8],
}

/// The memory of a [`Pool`]: for each socket, room for several short datagrams in and one of the longest out. All of it
/// begins at whole words: copying a block from one such place to another takes an eighth of the time.
#[repr(align(4))]
pub struct Memory<const SOCKETS: usize> {
    sockets: [SocketMemory; SOCKETS],
    rx: [u8; RX],
    tx: [u8; MAX],
}

#[repr(align(4))]
struct SocketMemory {
    rx: [u8; RX],
    tx: [u8; MAX],
}

const _: () = assert!(RX.is_multiple_of(4) && MAX.is_multiple_of(4));

/// The metadata of a [`Pool`]'s sockets. Apart from [`Memory`], for these are not zeros at first.
pub(crate) struct Metadata<const SOCKETS: usize>([SocketMetadata; SOCKETS]);

struct SocketMetadata {
    rx: [PacketMetadata; 8],
    tx: [PacketMetadata; 3],
}

impl<const SOCKETS: usize> Memory<SOCKETS> {
    /// All of it, empty.
    pub const fn new() -> Self {
        Self { sockets: [const { SocketMemory::new() }; SOCKETS], rx: [0; RX], tx: [0; MAX] }
    }
}

impl<const SOCKETS: usize> Default for Memory<SOCKETS> {
    fn default() -> Self {
        Self::new()
    }
}

impl SocketMemory {
    const fn new() -> Self {
        Self { rx: [0; RX], tx: [0; MAX] }
    }
}

impl<const SOCKETS: usize> Metadata<SOCKETS> {
    pub(crate) const fn new() -> Self {
        const EMPTY: SocketMetadata =
            SocketMetadata { rx: [PacketMetadata::EMPTY; 8], tx: [PacketMetadata::EMPTY; 3] };
        Self([EMPTY; SOCKETS])
    }
}

struct Slot<'a> {
    socket: UdpSocket<'a>,
    state: State,
    /// The time since when the device or an ARP request holds up the queue.
    held_up: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    /// Receives nothing more, and is closed when its queue is empty, or at this time.
    Closing(Instant),
}

impl<'a, const SOCKETS: usize> Sockets<'a, SOCKETS> {
    /// Closed sockets of this stack.
    pub(crate) fn new(
        stack: Stack<'a>,
        memory: &'a mut Memory<SOCKETS>,
        metadata: &'a mut Metadata<SOCKETS>,
    ) -> Self {
        let Memory { sockets, rx, tx } = memory;
        let mut metadata = metadata.0.iter_mut();
        let slots = sockets.each_mut().map(|SocketMemory { rx, tx }| {
            // Both have the same number.
            let (rx_meta, tx_meta) = metadata
                .next()
                .map_or((&mut [][..], &mut [][..]), |metadata| (&mut metadata.rx[..], &mut metadata.tx[..]));
            Slot {
                socket: UdpSocket::new(stack, rx_meta, rx, tx_meta, tx),
                state: State::Closed,
                held_up: None,
            }
        });
        Self { slots, rx, tx }
    }
}

impl<'s, 'a> Pool<'s, 'a> {
    /// Listens on these ports, and keeps the other sockets for transfers.
    pub(crate) fn new<const SOCKETS: usize>(
        sockets: &'s mut Sockets<'a, SOCKETS>,
        listen: &'static [u16],
    ) -> Self {
        let Sockets { slots, rx, tx } = sockets;
        let mut pool = Self { slots, listen, rx, tx, streak: 0 };
        for (index, port) in listen.iter().enumerate() {
            pool.bind(index, *port, State::Open);
        }
        pool
    }

    /// Gives a closed socket a port, any that is free if it is 0.
    fn bind(&mut self, index: usize, port: u16, state: State) -> Option<()> {
        let slot = self.slots.get_mut(index)?;
        slot.socket.bind(port).ok()?;
        slot.state = state;
        slot.held_up = None;
        Some(())
    }

    fn closed(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.state == State::Closed)
    }

    /// The socket that has a datagram. Transfers come first: a client that ends one and at once asks for a file has sent the
    /// end first. A flood to transfers does not keep requests from being read.
    fn arrived(&mut self) -> Option<usize> {
        let listening = self.listen.len();
        let has = |(_, slot): &(usize, &Slot<'_>)| slot.state == State::Open && slot.socket.may_recv();
        let mut slots = self.slots.iter().enumerate();
        let found = if self.streak < STREAK {
            let mut slots = slots.by_ref().skip(listening);
            slots.find(has).or_else(|| self.slots.iter().enumerate().take(listening).find(has))
        } else {
            slots.find(has)
        };
        let index = found?.0;
        self.streak = if index < listening || self.streak >= STREAK { 0 } else { self.streak + 1 };
        Some(index)
    }

    /// Closes the socket that is next to be closed, and drops the datagrams that wait in it for an ARP reply.
    fn cut_short(&mut self) -> Option<usize> {
        let closing = self.slots.iter_mut().enumerate().filter_map(|(index, slot)| match slot.state {
            State::Closing(until) => Some((until, index, slot)),
            State::Closed | State::Open => None,
        });
        let (_, index, slot) = closing.min_by_key(|(until, ..)| *until)?;
        slot.socket.close();
        slot.state = State::Closed;
        Some(index)
    }

    /// Takes in the datagram of a socket: its length and its sender.
    async fn take(&mut self, index: usize) -> Option<(usize, SocketAddrV4)> {
        let Self { slots, rx, .. } = self;
        let receive = slots.get_mut(index)?.socket.recv_from_with(|bytes, from| {
            let IpAddress::Ipv4(ip) = from.endpoint.addr;
            rx.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some((bytes.len(), SocketAddrV4::new(ip, from.endpoint.port)))
        });
        receive.await
    }

    /// Waits for a datagram. A socket that closes is checked at intervals; no event tells that its queue is empty.
    async fn wait(&self, until: Instant) {
        let ready = poll_fn(|context| {
            // Every socket has to know the waker, so no `any`.
            let open = self.slots.iter().filter(|slot| slot.state == State::Open);
            let ready = open.filter(|slot| slot.socket.poll_recv_ready(context).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        select(ready, Timer::at(embassy_time::Instant::from_micros(until.as_micros()))).await;
    }

    /// Closes the sockets that are due. The time of the next check.
    async fn retire(&mut self, now: Instant) -> Instant {
        let mut again = Instant::MAX;
        for slot in &mut *self.slots {
            let State::Closing(until) = slot.state else { continue };
            if now >= until || flushed(&mut slot.socket).await {
                slot.socket.close();
                slot.state = State::Closed;
            } else {
                again = again.min(until.min(now + GLANCE));
            }
        }
        again
    }

    /// The socket by which a datagram of this port leaves.
    ///
    /// While an answer from a listening port waits for ARP, a free socket sends the others. A waiting answer is dropped when the
    /// next one is due a second later; received datagrams that were not read are lost with it.
    async fn way_out(&mut self, from: Port) -> usize {
        let index = from.index();
        let (Some(port), Some(slot)) = (self.listen.get(index), self.slots.get_mut(index)) else {
            return index;
        };
        if flushed(&mut slot.socket).await {
            slot.held_up = None;
            return index;
        }
        let now = self.now();
        let Some(slot) = self.slots.get_mut(index) else { return index };
        if now.since(*slot.held_up.get_or_insert(now)) >= ANSWER_PATIENCE {
            slot.socket.close();
            self.bind(index, *port, State::Open);
        } else if let Some(other) = self.closed() {
            self.bind(other, *port, State::Closing(now + PATIENCE));
            return other;
        }
        index
    }
}

impl Net for Pool<'_, '_> {
    type Error = Infallible;
    type Local = Port;

    fn now(&self) -> Instant {
        liveness::now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Port>>, Infallible> {
        let (index, len, peer) = loop {
            let now = self.now();
            let closing = self.retire(now).await;
            if let Some(index) = self.arrived() {
                match self.take(index).await {
                    Some((len, peer)) => break (index, len, peer),
                    None => continue, // too long for anything that is served here
                }
            }
            if now >= deadline {
                return Ok(None);
            }
            self.wait(deadline.min(closing)).await;
        };
        let at = self.now();
        let listening = index < self.listen.len();
        let bytes = self.rx.get(..len).unwrap_or_default();
        Ok(Some(Datagram::new(at, Port::new(index), peer, bytes).with_listening(listening)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.tx
    }

    /// Waits for a busy device, or the last blocks of every window would be lost.
    async fn send(&mut self, from: Port, to: SocketAddrV4, len: usize) {
        let index = self.way_out(from).await;
        let now = self.now();
        let Self { slots, tx, .. } = self;
        let (Some(slot), Some(payload)) = (slots.get_mut(index), tx.get(..len)) else { return };
        let mut sending = pin!(slot.socket.send_to(payload, (*to.ip(), to.port())));
        let mut sent = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
        if sent.is_pending() && slot.held_up.is_none() {
            sent = match select(sending, Timer::after_millis(SEND_AT_MOST_MS)).await {
                Either::First(sent) => Poll::Ready(sent),
                Either::Second(()) => Poll::Pending,
            };
        }
        match sent {
            Poll::Ready(Ok(())) => slot.held_up = None,
            Poll::Ready(Err(SendError::NoRoute | SendError::SocketNotBound | SendError::PacketTooLarge)) => {
                debug!("no way to send to {}", to);
            }
            Poll::Pending => {
                slot.held_up.get_or_insert(now);
                debug!("no room to send to {}", to);
            }
        }
    }

    fn open(&mut self, _: Port, _: SocketAddrV4) -> Option<Port> {
        let index = self.closed().or_else(|| self.cut_short())?;
        self.bind(index, 0, State::Open)?;
        Some(Port::new(index))
    }

    fn close(&mut self, local: Port) {
        let until = self.now() + PATIENCE;
        if let Some(slot) = self.slots.get_mut(local.index())
            && local.index() >= self.listen.len()
            && slot.state == State::Open
        {
            slot.state = State::Closing(until);
        }
    }
}

/// Whether every sent datagram has left.
async fn flushed(socket: &mut UdpSocket<'_>) -> bool {
    let mut flush = pin!(socket.flush());
    poll_fn(|context| Poll::Ready(flush.as_mut().poll(context).is_ready())).await
}

/// The longest datagram.
const MAX: usize = ETHERNET_MAX_PAYLOAD as usize;

/// Memory for received datagrams: two of the longest DHCP messages in practice, a request of RFC 2347's 512 bytes
/// and more, or a row of ACKs.
const RX: usize = 1200;

/// Datagrams of transfers in a row before a listening port is looked at first.
const STREAK: u8 = 16;

/// The longest wait of a datagram for ARP before its socket is closed: three ARP requests.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same while the next answer waits.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// The interval of the checks of a closing socket.
const GLANCE: Duration = Duration::from_millis(10);

/// The longest wait for a busy device before a datagram is dropped, in milliseconds. A W5500 takes less than one for a frame.
const SEND_AT_MOST_MS: u64 = 20;

#[cfg(test)]
mod tests;
