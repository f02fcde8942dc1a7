//! Received datagrams that cannot be answered yet, to be handed out again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddrV4;

use super::batch::Received;

/// The last held datagram of each sender: a client repeats its request while it waits.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_sender: HashMap<SocketAddrV4, (Received, Box<[u8]>)>,
    /// Released datagrams.
    ready: VecDeque<(Received, Box<[u8]>)>,
    /// The one that is handed out.
    current: Box<[u8]>,
}

impl Held {
    /// Holds a datagram. Beyond [`MOST`] senders the datagram is dropped.
    pub(super) fn hold(&mut self, received: Received, bytes: Box<[u8]>) {
        if self.by_sender.len() < MOST || self.by_sender.contains_key(&received.peer) {
            self.by_sender.insert(received.peer, (received, bytes));
        }
    }

    pub(super) fn release(&mut self, sender: SocketAddrV4) {
        if !self.by_sender.is_empty() {
            self.ready.extend(self.by_sender.remove(&sender));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The next released datagram.
    pub(super) fn pop(&mut self) -> Option<Received> {
        let (received, bytes) = self.ready.pop_front()?;
        self.current = bytes;
        Some(received)
    }

    /// The bytes of the datagram that [`pop`](Self::pop) returned last.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.current
    }

    /// The same, for good.
    pub(super) fn take(&mut self) -> Box<[u8]> {
        mem::take(&mut self.current)
    }
}

/// Held datagrams of all senders: requests, of at most 512 bytes.
const MOST: usize = 1024;
