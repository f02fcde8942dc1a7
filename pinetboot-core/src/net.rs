//! The pluggable network: UDP, and the clock it waits by.

use core::net::{Ipv4Addr, SocketAddrV4};

use crate::Instant;

/// UDP over IPv4 as the loops of this crate need it; Linux sockets, embassy-net and smoltcp each implement it.
///
/// Memory is lent, not taken: [`recv`](Self::recv) lends the datagram that came, [`buffer`](Self::buffer) lends the
/// memory of the next one to go. An implementation may batch as it likes behind this: hand out one by one what a
/// system call brought in, and hold back what is sent until the next `recv`.
#[allow(async_fn_in_trait)] // The loops are generic over the implementation and never need their futures to be `Send`.
pub trait Net {
    /// What ends the loop: nothing that concerns one datagram or one peer, only the failure of the network itself, or
    /// the wish to stop.
    type Error: core::fmt::Debug;

    /// Names one of our ports: `()` where there is but one, a descriptor on Linux, an index in a pool of sockets.
    type Local: Copy + Eq + core::fmt::Debug;

    /// The time. May be as old as the last return of [`recv`](Self::recv).
    fn now(&self) -> Instant;

    /// The next datagram, or `None` once `deadline` has passed.
    ///
    /// Whatever was sent has left before this waits. A deadline in the past means: do not wait, but still hand out a
    /// datagram that is already here. [`Instant::MAX`] is never over.
    ///
    /// A datagram that is longer than the network's memory is dropped. To a port that takes requests it may be handed out
    /// cut, if more than 512 bytes are left: the longest request that there may be (RFC 2347), so that one that is too long is
    /// known for that.
    ///
    /// # Errors
    ///
    /// Only what ends the loop.
    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, Self::Local>>, Self::Error>;

    /// Memory for the next outgoing datagram, to be filled and then committed by [`send`](Self::send).
    ///
    /// Its length is the largest payload that can be sent at all; there is always room for one.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends the first `len` bytes of [`buffer`](Self::buffer). A failure is a loss: datagrams get lost anyhow.
    async fn send(&mut self, from: Self::Local, to: SocketAddrV4, len: usize);

    /// A port of its own for a transfer with `peer`, who sent the request to `at`: RFC 1350's transfer identifier.
    ///
    /// `None` when there is none left. The default answers everything from the port that was asked.
    fn open(&mut self, at: Self::Local, peer: SocketAddrV4) -> Option<Self::Local> {
        let _ = peer;
        Some(at)
    }

    /// Gives back what [`open`](Self::open) gave. Datagrams already sent from it still leave; one that is sent from it after
    /// that may get lost, and does no harm.
    fn close(&mut self, local: Self::Local) {
        let _ = local;
    }

    /// The address of ours that a port of ours answers from, where its name tells: what a storage may write into a file
    /// for a client that is to come back to this server.
    ///
    /// The default does not know.
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

    fn open(&mut self, at: Self::Local, peer: SocketAddrV4) -> Option<Self::Local> {
        (**self).open(at, peer)
    }

    fn close(&mut self, local: Self::Local) {
        (**self).close(local);
    }

    fn address(local: Self::Local) -> Option<Ipv4Addr> {
        N::address(local)
    }

    fn max_payload(&self, local: Self::Local, peer: SocketAddrV4) -> u16 {
        (**self).max_payload(local, peer)
    }
}

/// A datagram that came, lent until the next call of the [`Net`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a, L> {
    /// When it came.
    pub at: Instant,
    /// The port of ours that it came to.
    pub local: L,
    /// Whether that is a port that takes requests (69, unless configured) and not one of a transfer's own.
    ///
    /// Where everything goes over one port it is always true.
    pub listening: bool,
    /// Who sent it.
    pub peer: SocketAddrV4,
    /// What it says.
    pub bytes: &'a [u8],
}

impl<'a, L> Datagram<'a, L> {
    /// A datagram that came at this time, to this port of ours, from this peer. Its port takes requests; where another may
    /// have taken it, see [`with_listening`](Self::with_listening).
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
