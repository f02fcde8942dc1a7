//! Received datagrams, read ahead and handed out one by one.

use super::batch::{self, Received};
use super::socket::Socket;

/// A queue of received datagrams, with memory for a fixed number.
#[derive(Debug)]
pub(super) struct RxQueue {
    memory: Box<[u8]>,
    /// Bytes for a datagram; a longer one is cut.
    slot: usize,
    /// Received datagrams, each in the slot of the same index.
    arrived: Vec<Received>,
    /// The index of the next datagram to hand out.
    next: usize,
    /// Datagrams to ask for in a call: each costs time, whether it arrives or not.
    ask: usize,
}

impl RxQueue {
    /// A queue of `slots` datagrams of at most `slot` bytes. The kernel commits memory only where datagrams are written.
    pub(super) fn new(slots: usize, slot: usize) -> Self {
        Self {
            memory: vec![0; slots * slot].into(),
            slot,
            arrived: Vec::with_capacity(slots),
            next: 0,
            ask: FEW,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.arrived.len()
    }

    /// Reads datagrams of `socket`, at `place`, with one system call. Returns whether the socket may have more.
    pub(super) fn fill(&mut self, socket: &Socket, place: usize) -> bool {
        if self.is_empty() {
            self.arrived.clear();
            self.next = 0;
        }
        let free = self.memory.get_mut(self.arrived.len() * self.slot..).unwrap_or_default();
        let room = (free.len() / self.slot).min(self.ask);
        let free = free.get_mut(..room * self.slot).unwrap_or_default();
        if room == 0 {
            return false;
        }
        let count = batch::receive(socket, place, free, self.slot, &mut self.arrived);
        self.ask = (2 * count).clamp(FEW, batch::BATCH);
        count == room
    }

    /// The next datagram's metadata, and its slot.
    pub(super) fn pop(&mut self) -> Option<(Received, usize)> {
        let received = *self.arrived.get(self.next)?;
        self.next += 1;
        Some((received, self.next - 1))
    }

    /// The bytes in a slot.
    pub(super) fn bytes(&self, slot: usize, len: usize) -> &[u8] {
        let start = slot * self.slot;
        self.memory.get(start..start + len).unwrap_or_default()
    }
}

const FEW: usize = 4;
