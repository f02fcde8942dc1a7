//! A network that keeps the datagrams that the server prepares, as a chip with memory for each port does.

use core::net::SocketAddrV4;
use std::collections::BTreeMap;

use pinetboot_core::{Datagram, Instant, Net};

use super::rng::Rng;

/// Keeps datagrams over the network `N`, or with `KEEPS` false behaves as `N`.
pub(crate) struct Keeping<N: Net, const KEEPS: bool> {
    net: N,
    kept: BTreeMap<u16, (SocketAddrV4, Vec<u8>)>,
    rng: Rng,
    /// How many datagrams in a thousand are not kept, or lost before they are sent.
    pub(crate) forgets: u64,
    /// Datagrams that were kept, and those of them that were sent.
    pub(crate) prepared: usize,
    pub(crate) sent: usize,
}

impl<N: Net, const KEEPS: bool> Keeping<N, KEEPS> {
    pub(crate) fn new(net: N, rng: Rng, forgets: u64) -> Self {
        Self { net, kept: BTreeMap::new(), rng, forgets, prepared: 0, sent: 0 }
    }
}

impl<N: Net<Local = u16>, const KEEPS: bool> Net for Keeping<N, KEEPS> {
    type Error = N::Error;
    type Local = u16;

    fn now(&self) -> Instant {
        self.net.now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, N::Error> {
        self.net.recv(deadline).await
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.net.buffer()
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        self.kept.remove(&from);
        self.net.send(from, to, len).await;
    }

    const PREPARES: bool = KEEPS;

    async fn prepare(&mut self, from: u16, to: SocketAddrV4, len: usize) -> bool {
        assert!(KEEPS, "prepared for a network that keeps nothing");
        self.kept.remove(&from);
        if self.rng.chance(self.forgets) {
            return false;
        }
        let bytes = self.net.buffer()[..len].to_vec();
        self.prepared += 1;
        self.net.buffer().fill(0xee); // the memory is the caller's again
        if !self.rng.chance(self.forgets) {
            self.kept.insert(from, (to, bytes));
        }
        true
    }

    async fn send_prepared(&mut self, from: u16, to: SocketAddrV4) -> bool {
        assert!(KEEPS, "asked for what a network does not keep");
        let Some((_, bytes)) = self.kept.remove(&from).filter(|(kept, _)| *kept == to) else { return false };
        self.net.buffer()[..bytes.len()].copy_from_slice(&bytes);
        self.net.send(from, to, bytes.len()).await;
        self.sent += 1;
        true
    }

    fn open(&mut self, at: u16, peer: SocketAddrV4) -> Option<u16> {
        self.net.open(at, peer)
    }

    fn close(&mut self, local: u16) {
        self.kept.remove(&local);
        self.net.close(local);
    }
}
