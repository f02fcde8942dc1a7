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
    /// For each socket, the datagrams to ask for in a call: each costs time, whether it arrives or not. Not one number for all
    /// sockets: a port with many clients would be read twice in a turn, or get the share of a port with few.
    ask: Vec<u8>,
}

impl RxQueue {
    /// A queue of `slots` datagrams of at most `slot` bytes. The kernel commits memory only where datagrams are written.
    pub(super) fn new(slots: usize, slot: usize) -> Self {
        Self {
            memory: vec![0; slots * slot].into(),
            slot,
            arrived: Vec::with_capacity(slots),
            next: 0,
            ask: Vec::with_capacity(SOCKETS),
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
        if self.ask.len() <= place {
            self.ask.resize(place + 1, FEW);
        }
        let Some(ask) = self.ask.get_mut(place) else { return false };
        let room = (free.len() / self.slot).min((*ask).into());
        let free = free.get_mut(..room * self.slot).unwrap_or_default();
        if room == 0 {
            return false;
        }
        let count = batch::receive(socket, place, free, self.slot, &mut self.arrived);
        *ask = u8::try_from(2 * count).unwrap_or(u8::MAX).clamp(FEW, batch::BATCH as u8);
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

const FEW: u8 = 4;

/// Sockets for which no memory is taken once packets come.
const SOCKETS: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

    use super::*;

    #[test]
    fn a_socket_is_asked_for_as_many_as_came_by_it_whatever_came_by_others() {
        let bind = || Socket::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
        let sockets = [bind(), bind()];
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let send = |place: usize, count: usize| {
            let to = sockets[place].address().unwrap();
            (0..count).for_each(|_| assert_eq!(client.send_to(b"ack", to).unwrap(), 3));
        };
        let mut queue = RxQueue::new(64, 64);
        let mut read = |place: usize| {
            let more = queue.fill(&sockets[place], place);
            let mut count = 0;
            while queue.pop().is_some() {
                count += 1;
            }
            (count, more)
        };
        send(0, 20);
        assert_eq!([read(0), read(0), read(0)], [(4, true), (8, true), (8, false)]);
        for _ in 0..3 {
            send(0, 14);
            send(1, 1);
            assert_eq!(read(1), (1, false));
            assert_eq!(read(0), (14, false));
        }
    }
}
