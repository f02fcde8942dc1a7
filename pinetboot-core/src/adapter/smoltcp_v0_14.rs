//! The network trait on a polled smoltcp interface: a pool of UDP sockets, without `std` or an allocator.
//!
//! smoltcp keeps a datagram whose receiver answers no ARP request at the head of its socket's queue, and the datagrams
//! behind it wait: on a single socket one such peer stops all transfers. Here every transfer has a socket. An answer from the
//! listening port leaves by another socket while that port's queue is stuck, and a datagram that cannot leave within
//! [`Pool::MAX_WAIT`] is dropped.
//!
//! The pool takes frames from the device one at a time: datagrams come in their order of arrival over all sockets, and a
//! socket needs memory for one.
//!
//! ```
//! use pinetboot_core::adapter::smoltcp_v0_14::{Clock, Pool, Stack};
//! use pinetboot_core::Storage;
//! use pinetboot_core::tftp::{Limits, PORT, Server};
//! use smoltcp::iface::SocketHandle;
//! use smoltcp::phy::Device;
//!
//! /// Serves at most three transfers at a time, each from another port.
//! async fn serve<D: Device, C: Clock, S: Storage>(stack: Stack<'_, D, C>, udp: [SocketHandle; 4], files: S) {
//!     let mut places = [const { None }; 3];
//!     let pool = Pool::new(stack, udp, PORT);
//!     match Server::<_, _, _, 4>::new(pool, files, (), Limits::default(), &mut places).run().await {}
//! }
//! ```
//!
//! Not done: IPv6; answering from the address that was asked, on an interface with several (smoltcp chooses it by the
//! subnet). smoltcp sends at most one ARP request a second: a request for a peer that is gone delays the next. Its neighbour
//! cache holds eight addresses, which bounds the transfers, unless a feature of smoltcp (`iface-neighbor-cache-count-16`)
//! enlarges it.

use core::convert::Infallible;
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::udp::{SendError, Socket};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::IpAddress;

use crate::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

/// The parts that smoltcp needs to be polled. The set may hold sockets of other kinds; they are polled too.
#[expect(clippy::exhaustive_structs, reason = "as many parts as smoltcp has")]
pub struct Stack<'a, D, C> {
    /// The interface, with its addresses and routes set.
    pub iface: Interface,
    /// The device that sends and receives its frames.
    pub device: D,
    /// The UDP sockets of the [`Pool`], and any others.
    pub sockets: SocketSet<'a>,
    /// The clock.
    pub clock: C,
}

impl<D, C> fmt::Debug for Stack<'_, D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("addresses", &self.iface.ip_addrs()).finish_non_exhaustive()
    }
}

/// The clock, and the wait for the next frame.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait Clock {
    /// The time.
    fn now(&self) -> Instant;

    /// Waits for a frame, until `until` at the latest. An earlier return does no harm.
    ///
    /// A processor sleeps here until its next interrupt; a task of an executor waits for one. The default returns at once: the
    /// device is polled without a pause.
    async fn idle(&mut self, until: Instant) {
        let _ = until;
    }
}

/// UDP on some sockets of a [`Stack`]: one that listens, and one for every transfer at a time.
///
/// A single socket carries all transfers. That is enough for a [`Client`](crate::tftp::Client), at [`Port::FIRST`];
/// with another socket or more, [`open`](Net::open) gives a client a new port for each transfer.
pub struct Pool<'a, D, C, const SOCKETS: usize> {
    stack: Stack<'a, D, C>,
    slots: [Slot; SOCKETS],
    /// The first socket's port.
    port: u16,
    /// The port to try first for the next transfer.
    next_port: u16,
    /// The memory for outgoing datagrams, and their largest payload.
    buffer: [u8; ETHERNET_MAX_PAYLOAD as usize],
    max_payload: usize,
}

impl<D, C, const SOCKETS: usize> fmt::Debug for Pool<'_, D, C, SOCKETS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, slots, port, max_payload, .. } = self;
        f.debug_struct("Pool")
            .field("stack", stack)
            .field("slots", slots)
            .field("port", port)
            .field("max_payload", max_payload)
            .finish_non_exhaustive()
    }
}

/// One of a [`Pool`]'s ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Port(u8);

impl Port {
    /// The port of the first socket, which takes requests.
    pub const FIRST: Self = Self(0);
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    handle: SocketHandle,
    state: State,
    /// The time since when no queued datagram has left.
    stuck: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    /// Receives nothing more, and is closed when its queue is empty.
    Closing,
}

impl<'a, D: Device, C: Clock, const SOCKETS: usize> Pool<'a, D, C, SOCKETS> {
    /// The longest wait of a datagram for ARP or for the device: three ARP requests.
    pub const MAX_WAIT: Duration = Duration::from_secs(3);

    /// Binds the first of the `sockets` to `port`, or to any free one if that is 0, and keeps the others for transfers.
    ///
    /// The buffers of each socket should hold one datagram each way, of [`ETHERNET_MAX_PAYLOAD`] bytes; more outgoing
    /// ones serve windows better if the device itself queues few.
    ///
    /// # Panics
    ///
    /// As smoltcp does, if a handle belongs to no UDP socket of the stack.
    pub fn new(mut stack: Stack<'a, D, C>, sockets: [SocketHandle; SOCKETS], port: u16) -> Self {
        const { assert!(SOCKETS > 0 && SOCKETS <= 256) };
        let buffer = [0; ETHERNET_MAX_PAYLOAD as usize];
        let mut max_payload = stack.device.capabilities().ip_mtu().saturating_sub(HEADERS).min(buffer.len());
        for handle in sockets {
            let socket = stack.sockets.get_mut::<Socket<'_>>(handle);
            socket.close();
            max_payload = max_payload.min(socket.payload_send_capacity());
        }
        // Not the same ports after every start.
        let next_port = EPHEMERAL + (stack.clock.now().as_micros() % u64::from(u16::MAX - EPHEMERAL)) as u16;
        let slots = sockets.map(|handle| Slot { handle, state: State::Closed, stuck: None });
        let mut pool = Self { stack, slots, port, next_port, buffer, max_payload };
        if port == 0 {
            pool.port = pool.unused_port();
        }
        pool.bind(0, pool.port, State::Open);
        pool
    }

    /// The stack, to change addresses and routes or to use its other sockets between two calls of the [`Net`].
    pub fn stack_mut(&mut self) -> &mut Stack<'a, D, C> {
        &mut self.stack
    }

    fn socket(&mut self, index: usize) -> Option<&mut Socket<'a>> {
        Some(self.stack.sockets.get_mut(self.slots.get(index)?.handle))
    }

    /// Gives a closed socket a port.
    fn bind(&mut self, index: usize, port: u16, state: State) -> Option<()> {
        self.socket(index)?.bind(port).ok()?;
        self.slots.get_mut(index)?.state = state;
        Some(())
    }

    fn closed(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.state == State::Closed)
    }

    /// A port that no socket of the pool has, or had lately.
    fn unused_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(EPHEMERAL);
            let sockets = &self.stack.sockets;
            if self.slots.iter().all(|slot| sockets.get::<Socket<'_>>(slot.handle).endpoint().port != port) {
                return port;
            }
        }
    }

    /// Sends the datagrams that can leave, drops those that waited too long, and closes ports. Whether a datagram left.
    fn egress(&mut self) -> bool {
        let Stack { iface, device, sockets, clock } = &mut self.stack;
        let now = clock.now();
        let queued = self.slots.map(|slot| sockets.get::<Socket<'_>>(slot.handle).send_queue());
        let mut any = false;
        while iface.poll_egress(stack_instant(now), device, sockets) != PollResult::None {
            any = true;
        }

        for (slot, queued) in self.slots.iter_mut().zip(queued) {
            let socket = sockets.get_mut::<Socket<'_>>(slot.handle);
            let left = socket.send_queue();
            slot.stuck = match slot.stuck {
                _ if left == 0 => None,
                Some(since) if left == queued => Some(since),
                _ => Some(now),
            };
            if slot.stuck.is_some_and(|since| now.since(since) >= Self::MAX_WAIT) {
                debug!("{} bytes could not be sent", left);
                let port = socket.endpoint();
                socket.close();
                let _bound = socket.bind(port);
                // A socket that is new to the set does not remember which neighbour it waits for.
                let socket = sockets.remove(slot.handle);
                slot.handle = sockets.add(socket);
                slot.stuck = None;
            }
            if slot.state == State::Closing && slot.stuck.is_none() {
                sockets.get_mut::<Socket<'_>>(slot.handle).close();
                slot.state = State::Closed;
            }
        }
        any
    }

    /// Takes in one frame, if the device has one.
    fn ingress(&mut self) -> bool {
        let Stack { iface, device, sockets, clock } = &mut self.stack;
        let now = stack_instant(clock.now());
        iface.poll_maintenance(now);
        iface.poll_ingress_single(now, device, sockets) != PollIngressSingleResult::None
    }

    /// The socket that has a datagram, and its sender.
    fn arrived(&mut self) -> Option<(usize, SocketAddrV4)> {
        for (index, slot) in self.slots.iter().enumerate() {
            let socket = self.stack.sockets.get_mut::<Socket<'_>>(slot.handle);
            // The listening port may be that of a second socket for a moment.
            let wanted = slot.state == State::Open || socket.endpoint().port == self.port;
            while let Ok((_, from)) = socket.peek() {
                #[allow(irrefutable_let_patterns, reason = "others may have turned on smoltcp's IPv6")]
                if let (true, IpAddress::Ipv4(ip)) = (wanted, from.endpoint.addr) {
                    return Some((index, SocketAddrV4::new(ip, from.endpoint.port)));
                }
                let _ = socket.recv();
            }
        }
        None
    }

    /// The time of smoltcp's next poll.
    fn poll_at(&mut self, now: Instant) -> Instant {
        let Stack { iface, sockets, .. } = &mut self.stack;
        match iface.poll_at(stack_instant(now), sockets) {
            Some(at) => Instant::from_micros(at.total_micros().try_into().unwrap_or(0)),
            None => Instant::MAX,
        }
    }

    /// The socket by which a datagram of this port leaves.
    fn way_out(&mut self, from: Port) -> usize {
        let stuck = self.slots.first().is_some_and(|slot| slot.stuck.is_some());
        match self.closed() {
            Some(other) if from == Port::FIRST && stuck => {
                self.bind(other, self.port, State::Closing);
                other
            }
            _ => from.0.into(),
        }
    }

    fn enqueue(&mut self, index: usize, to: SocketAddrV4, len: usize) -> Result<(), SendError> {
        let (Some(slot), Some(payload)) = (self.slots.get(index), self.buffer.get(..len)) else {
            return Ok(());
        };
        let socket = self.stack.sockets.get_mut::<Socket<'_>>(slot.handle);
        socket.send_slice(payload, (*to.ip(), to.port()))
    }
}

impl<D: Device, C: Clock, const SOCKETS: usize> Net for Pool<'_, D, C, SOCKETS> {
    type Error = Infallible;
    type Local = Port;

    fn now(&self) -> Instant {
        self.stack.clock.now()
    }

    /// Polls smoltcp, and calls the clock's [`idle`](Clock::idle) when smoltcp has nothing to do.
    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Port>>, Infallible> {
        let mut frames = 0;
        let (index, peer) = loop {
            self.egress();
            if let Some(arrived) = self.arrived() {
                break arrived;
            }
            let more = self.ingress();
            let now = self.stack.clock.now();
            frames += 1;
            if now >= deadline && (!more || frames > FRAMES_AT_MOST) {
                return Ok(None);
            }
            if !more {
                frames = 0;
                let until = self.poll_at(now).min(deadline);
                self.stack.clock.idle(until).await;
            }
        };
        let at = self.stack.clock.now();
        let listening_port = self.port;
        let Some(socket) = self.socket(index) else { return Ok(None) };
        let listening = socket.endpoint().port == listening_port;
        let local = if listening { Port::FIRST } else { Port(index as u8) };
        let Ok((bytes, _)) = socket.recv() else { return Ok(None) };
        Ok(Some(Datagram { at, local, listening, peer, bytes }))
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.buffer.split_at_mut(self.max_payload).0
    }

    /// Waits for a busy device, or the last blocks of every window would be lost.
    async fn send(&mut self, from: Port, to: SocketAddrV4, len: usize) {
        let index = self.way_out(from);
        let began = self.stack.clock.now();
        while self.enqueue(index, to, len) == Err(SendError::BufferFull) {
            if self.egress() {
                continue;
            }
            let now = self.stack.clock.now();
            if self.poll_at(now) > now || now.since(began) >= SEND_AT_MOST {
                debug!("no room to send to {:?}", to);
                return;
            }
            self.stack.clock.idle(now).await;
        }
    }

    fn open(&mut self, at: Port, _: SocketAddrV4) -> Option<Port> {
        if SOCKETS == 1 {
            return Some(at);
        }
        let index = self.closed()?;
        let port = self.unused_port();
        self.bind(index, port, State::Open)?;
        Some(Port(index as u8))
    }

    fn close(&mut self, local: Port) {
        if let Some(slot) = self.slots.get_mut(usize::from(local.0))
            && local != Port::FIRST
            && slot.state == State::Open
        {
            slot.state = State::Closing;
            self.egress();
        }
    }

    fn max_payload(&self, _: Port, _: SocketAddrV4) -> u16 {
        u16::try_from(self.max_payload).unwrap_or(u16::MAX)
    }
}

fn stack_instant(instant: Instant) -> StackInstant {
    StackInstant::from_micros_const(i64::try_from(instant.as_micros()).unwrap_or(i64::MAX))
}

/// IPv4's header without options, and UDP's.
const HEADERS: usize = 20 + 8;

/// > The Dynamic Ports, also known as the Private or Ephemeral Ports, from 49152-65535 (RFC 6335, section 6)
const EPHEMERAL: u16 = 49152;

/// The most foreign frames to take in after the deadline: a storm of them must not starve the timeouts.
const FRAMES_AT_MOST: usize = 64;

/// The longest wait for a busy device before a datagram is dropped.
const SEND_AT_MOST: Duration = Duration::from_millis(100);
