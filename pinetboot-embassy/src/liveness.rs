//! The liveness of the loops: the watchdog is fed while all of them turn.

use core::cell::Cell;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use pinetboot_core::{Datagram, Instant, Net};

/// The liveness of one loop. The loop reports in whenever it waits for the network, and so at least once a second while
/// nothing happens. A loop that hangs elsewhere does not report in.
#[derive(Debug, Default)]
pub struct Liveness(Cell<Option<Instant>>);

impl Liveness {
    /// A loop that has not reported in yet, and counts as alive.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The loop reports in.
    pub(crate) fn report(&self, now: Instant) {
        self.0.set(Some(now));
    }

    /// Whether the loop reported in within the last four seconds. A loop that never did has not begun, and counts as alive.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.get().is_none_or(|last| now().since(last) < MISSED)
    }
}

/// A network whose loop reports in.
pub(crate) struct Watched<'a, N> {
    pub(crate) net: &'a mut N,
    pub(crate) liveness: &'a Liveness,
}

impl<N: Net> Net for Watched<'_, N> {
    type Error = N::Error;
    type Local = N::Local;

    fn now(&self) -> Instant {
        self.net.now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, N::Local>>, N::Error> {
        let now = self.net.now();
        self.liveness.report(now);
        self.net.recv(deadline.min(now + INTERVAL)).await
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.net.buffer()
    }

    async fn send(&mut self, from: N::Local, to: SocketAddrV4, len: usize) {
        self.net.send(from, to, len).await;
    }

    const PREPARES: bool = N::PREPARES;

    async fn prepare(&mut self, from: N::Local, to: SocketAddrV4, len: usize) -> bool {
        self.net.prepare(from, to, len).await
    }

    async fn send_prepared(&mut self, from: N::Local, to: SocketAddrV4) -> bool {
        self.net.send_prepared(from, to).await
    }

    fn open(&mut self, at: N::Local, peer: SocketAddrV4) -> Option<N::Local> {
        self.net.open(at, peer)
    }

    fn close(&mut self, local: N::Local) {
        self.net.close(local);
    }

    fn hold(&mut self) {
        self.net.hold();
    }

    fn release(&mut self, peer: SocketAddrV4) {
        self.net.release(peer);
    }

    fn address(local: N::Local) -> Option<Ipv4Addr> {
        N::address(local)
    }

    fn max_payload(&self, local: N::Local, peer: SocketAddrV4) -> u16 {
        self.net.max_payload(local, peer)
    }
}

/// The time, on the clock of embassy-time.
pub(crate) fn now() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros())
}

/// Longer than a loop does anything but wait: at worst it reads a block from a card.
const MISSED: Duration = Duration::from_secs(4);

/// How often an idle loop reports in.
const INTERVAL: Duration = Duration::from_secs(1);
