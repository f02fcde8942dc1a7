//! The pluggable network: UDP, and the clock it waits by.

use core::net::{Ipv4Addr, SocketAddrV4};

use crate::Instant;

/// UDP over IPv4 as the loops of this crate need it. Linux sockets, embassy-net and smoltcp each implement it.
///
/// The network lends memory: [`recv`](Self::recv) lends the received datagram, [`buffer`](Self::buffer) lends the memory of
/// the next one to send. An implementation may batch behind this: hand out the datagrams of one system call one by one, and
/// hold sent datagrams back until the next `recv`.
#[allow(async_fn_in_trait)] // The loops are generic over the implementation and never need their futures to be `Send`.
pub trait Net {
    /// The error that ends the loop: a failure of the network itself, or a request to stop. A failure that concerns one
    /// datagram or one peer is none.
    type Error: core::fmt::Debug;

    /// Names one of the server's ports: `()` for a network of one port, a descriptor on Linux, an index in a pool of sockets.
    type Local: Copy + Eq + core::fmt::Debug;

    /// The time now, or that of the last return of [`recv`](Self::recv).
    fn now(&self) -> Instant;

    /// The next datagram, or `None` once `deadline` has passed.
    ///
    /// Sent datagrams leave before this waits. With a deadline in the past, a datagram that arrived already is handed out, and
    /// nothing is waited for. [`Instant::MAX`] never passes; [`Instant::wait_from`] bounds the wait for a timer. A return
    /// before the deadline does no harm: the loops wait again.
    ///
    /// A datagram that is longer than the network's memory is dropped. On a port that takes requests it may be handed out
    /// cut if more than 512 bytes are left: the longest request has 512 (RFC 2347), so a cut one is refused as too long.
    ///
    /// # Errors
    ///
    /// Only what ends the loop.
    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Self::Local>>, Self::Error>;

    /// Memory for the next outgoing datagram: the caller fills it and commits it by [`send`](Self::send).
    ///
    /// Its length is the largest payload that the network can send, in bytes. One buffer is always free.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends the first `len` bytes of [`buffer`](Self::buffer). A failure counts as a lost datagram.
    async fn send(&mut self, from: Self::Local, to: SocketAddrV4, len: usize);

    /// Whether [`prepare`](Self::prepare) keeps datagrams. If not, no loop calls it.
    const PREPARES: bool = false;

    /// Keeps the first `len` bytes of [`buffer`](Self::buffer) as the likely next datagram from this port to `to`, in the place
    /// where sending takes the least time: a chip's memory, for example. The loops call this when they would wait otherwise.
    /// Nothing is sent. Returns whether the datagram is kept.
    ///
    /// A port keeps one datagram. A call of [`send`](Self::send), `prepare` or [`close`](Self::close) for the port drops the one
    /// that was kept.
    async fn prepare(&mut self, from: Self::Local, to: SocketAddrV4, len: usize) -> bool {
        let _ = (from, to, len);
        false
    }

    /// Sends the datagram that this port keeps for `to`, as [`send`](Self::send) would. `false`: the port keeps none.
    async fn send_prepared(&mut self, from: Self::Local, to: SocketAddrV4) -> bool {
        let _ = (from, to);
        false
    }

    /// Opens a port for a transfer with `peer`, which sent its request to `at`: RFC 1350's transfer identifier.
    ///
    /// `None` when no port is left. The default answers all transfers from the port that takes requests.
    fn open(&mut self, at: Self::Local, peer: SocketAddrV4) -> Option<Self::Local> {
        let _ = peer;
        Some(at)
    }

    /// Closes a port of [`open`](Self::open). Datagrams sent before still leave; one sent later may get lost.
    fn close(&mut self, local: Self::Local) {
        let _ = local;
    }

    /// The last datagram of [`recv`](Self::recv) cannot be answered yet: keeps it, to hand it out again after
    /// [`release`](Self::release) of its sender.
    ///
    /// The default drops the datagram: a client repeats its request.
    fn hold(&mut self) {}

    /// Hands out the held datagram of this sender again, if there is one.
    fn release(&mut self, peer: SocketAddrV4) {
        let _ = peer;
    }

    /// The server's address that this port answers from, if the port's name tells it. A storage may write the address into
    /// a file, so that the client comes back to this server.
    ///
    /// The default says `None`.
    fn address(local: Self::Local) -> Option<Ipv4Addr> {
        let _ = local;
        None
    }

    /// The largest UDP payload, in bytes, that reaches `peer` from `local` without being fragmented.
    ///
    /// The default is Ethernet's: an MTU of 1500 less the IPv4 and UDP headers. Network bootloaders do not reassemble
    /// fragments, so DATA is never made larger than this.
    fn max_payload(&self, local: Self::Local, peer: SocketAddrV4) -> u16 {
        let _ = (local, peer);
        ETHERNET_MAX_PAYLOAD
    }
}

/// A borrowed network is a network.
impl<N: Net> Net for &mut N {
    type Error = N::Error;
    type Local = N::Local;

    fn now(&self) -> Instant {
        (**self).now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Self::Local>>, Self::Error> {
        (**self).recv(deadline).await
    }

    fn buffer(&mut self) -> &mut [u8] {
        (**self).buffer()
    }

    async fn send(&mut self, from: Self::Local, to: SocketAddrV4, len: usize) {
        (**self).send(from, to, len).await;
    }

    const PREPARES: bool = N::PREPARES;

    async fn prepare(&mut self, from: Self::Local, to: SocketAddrV4, len: usize) -> bool {
        (**self).prepare(from, to, len).await
    }

    async fn send_prepared(&mut self, from: Self::Local, to: SocketAddrV4) -> bool {
        (**self).send_prepared(from, to).await
    }

    fn open(&mut self, at: Self::Local, peer: SocketAddrV4) -> Option<Self::Local> {
        (**self).open(at, peer)
    }

    fn close(&mut self, local: Self::Local) {
        (**self).close(local);
    }

    fn hold(&mut self) {
        (**self).hold();
    }

    fn release(&mut self, peer: SocketAddrV4) {
        (**self).release(peer);
    }

    fn address(local: Self::Local) -> Option<Ipv4Addr> {
        N::address(local)
    }

    fn max_payload(&self, local: Self::Local, peer: SocketAddrV4) -> u16 {
        (**self).max_payload(local, peer)
    }
}

/// A received datagram, lent until the next call of the [`Net`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a, L> {
    /// The time of arrival.
    pub at: Instant,
    /// The port of this side that received it.
    pub local: L,
    /// Whether that port takes requests (69, unless configured); false for a transfer's port.
    ///
    /// Always true for a network of one port.
    pub listening: bool,
    /// The sender.
    pub peer: SocketAddrV4,
    /// The payload.
    pub bytes: &'a [u8],
}

impl<'a, L> Datagram<'a, L> {
    /// A datagram that this port received at this time from this peer. The port takes requests, unless
    /// [`with_listening`](Self::with_listening) says otherwise.
    pub const fn new(at: Instant, local: L, peer: SocketAddrV4, bytes: &'a [u8]) -> Self {
        Self { at, local, listening: true, peer, bytes }
    }

    /// The same; `listening` says whether its port takes requests.
    #[must_use]
    pub fn with_listening(self, listening: bool) -> Self {
        Self { listening, ..self }
    }
}

/// 1500 (Ethernet's MTU) - 20 (IPv4) - 8 (UDP).
pub const ETHERNET_MAX_PAYLOAD: u16 = 1472;

/// Runs a future to its end by polling it, for a [`Net`] whose futures never pend (its calls block instead).
///
/// A future that does pend is polled again at once: correct, but busy. Use an executor for those.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = core::pin::pin!(future);
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    loop {
        if let core::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        core::hint::spin_loop();
    }
}
