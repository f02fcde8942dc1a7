//! Datagrams that were read ahead, to be handed out one by one.

use super::batch::{self, Received};
use super::socket::Socket;

/// Memory for a number of datagrams, and what of it is taken.
#[derive(Debug)]
pub(super) struct RxQueue {
    memory: Box<[u8]>,
    /// The largest datagram; a longer one is cut.
    slot: usize,
    /// What came, in the slot of the same number.
    arrived: Vec<Received>,
    /// The next to be handed out.
    next: usize,
    /// How many are asked for: to ask costs something for each, whether it comes or not.
    ask: usize,
}

impl RxQueue {
    /// Room for `slots` datagrams of at most `slot` bytes. Memory is used only as far as datagrams reach.
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

    /// Reads what `socket`, at `place`, has, with one system call. Says whether there may be more of it.
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

    /// The next datagram: what is known of it, and its slot.
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
