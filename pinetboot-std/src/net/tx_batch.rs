//! Outgoing datagrams, held back and sent many at a time.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::Local;
use super::batch::{self, BATCH, Sending};
use super::drops;
use super::socket::Socket;
use super::trouble::{Trouble, Watch};

/// A batch of outgoing datagrams, back to back in one piece of memory.
///
/// A window is a run of blocks of the same size for the same peer. Back to back, it becomes one message without copying: the
/// kernel carries the message through its layers and cuts it at their end (UDP_SEGMENT). Where a path refuses that (a card
/// without checksums, a path that became narrower), the datagrams go one by one.
///
/// The first datagram goes alone: its receiver wakes up while the rest is on its way. A window of 16 gave one client 30 % more
/// throughput so; windows of 4 and 64 lost nothing.
#[derive(Debug)]
pub(super) struct TxBatch {
    memory: Box<[u8]>,
    used: usize,
    queue: Vec<Message>,
    segments: bool,
    watch: Watch,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    place: usize,
    source: Ipv4Addr,
    to: SocketAddrV4,
    start: usize,
    len: usize,
    /// Bytes of each datagram but the last.
    segment: usize,
    count: usize,
}

impl TxBatch {
    /// An empty batch; `segments`: the kernel cuts long messages.
    pub(super) fn new(segments: bool) -> Self {
        let (memory, watch) = (vec![0; MEMORY].into(), Watch::default());
        Self { memory, used: 0, queue: Vec::with_capacity(BATCH), segments, watch }
    }

    pub(super) fn set_watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// Whether the kernel cuts long messages.
    pub(super) const fn segments(&self) -> bool {
        self.segments
    }

    /// Memory for the next datagram; the largest one fits if [`has_room`](Self::has_room), as after [`flush`](Self::flush).
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        let end = self.memory.len().min(self.used + LARGEST);
        self.memory.get_mut(self.used..end).unwrap_or_default()
    }

    pub(super) fn has_room(&self) -> bool {
        self.used + LARGEST <= self.memory.len() && self.queue.len() < BATCH
    }

    /// Adds the first `len` bytes of [`buffer`](Self::buffer) as a datagram.
    pub(super) fn push(&mut self, from: Local, to: SocketAddrV4, len: usize) {
        let start = self.used;
        self.used += len;
        let is_behind_the_first = self.queue.len() > 1;
        if let Some(last) = self.queue.last_mut()
            && self.segments
            && is_behind_the_first
            && (last.place, last.source, last.to) == (from.socket, from.source, to)
            // All datagrams of a message have one length, but the last may be shorter.
            && last.len == last.segment * last.count
            && len <= last.segment
            && len > 0
            && last.count < MOST_SEGMENTS
            && last.len + len <= LARGEST
        {
            last.len += len;
            last.count += 1;
            return;
        }
        let Local { socket: place, source } = from;
        self.queue.push(Message { place, source, to, start, len, segment: len, count: 1 });
    }

    /// Sends all datagrams.
    pub(super) fn flush(&mut self, sockets: &[Socket]) {
        if self.queue.is_empty() {
            return;
        }
        // Sorted by socket, in the order of their addition; transfers first, as they are read first.
        let order = |message: &Message| (Reverse(message.place), message.start);
        if !self.queue.is_sorted_by_key(order) {
            self.queue.sort_unstable_by_key(order);
        }
        let mut rest = self.queue.as_slice();
        while let Some(first) = rest.first() {
            let len = rest.iter().position(|message| !message.goes_with(first)).unwrap_or(rest.len());
            let (now, later) = rest.split_at(len);
            rest = later;
            if let Some(socket) = sockets.get(first.place) {
                self.send(socket, now);
            }
        }
        self.queue.clear();
        self.used = 0;
    }

    /// Sends messages that go together.
    fn send(&self, socket: &Socket, mut messages: &[Message]) {
        let mut again = false;
        while let Some(first) = messages.first() {
            let segment = (first.count > 1).then_some(first.segment as u16);
            let how = Sending { socket, source: first.source, segment };
            let sent = batch::send(&how, messages.iter().map(|message| (self.bytes(message), message.to)));
            if sent.map_or_else(|errno| errno == Errno::EAGAIN, |count| count < messages.len()) {
                drops::refused();
            }
            let done = match sent {
                Ok(count) => count,
                Err(Errno::EAGAIN) if !again => {
                    // The send buffer is full. A short wait costs less than a lost datagram, which costs a timeout.
                    let mut writable = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    let _ready = nix::poll::poll(&mut writable, PollTimeout::from(SEND_WAIT_MS));
                    again = true;
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP) if first.count > 1 => {
                    self.send_one_by_one(socket, first);
                    1
                }
                // The path became narrower than the negotiated blocks. A Pi cannot reassemble fragments; other clients can.
                Err(Errno::EMSGSIZE) if !again && socket.allow_fragments().is_ok() => {
                    again = true;
                    continue;
                }
                Err(error) => {
                    self.watch.tell(&Trouble::NotSent { to: first.to, error: error.into() });
                    1
                }
            };
            again = false;
            messages = messages.get(done..).unwrap_or_default();
        }
    }

    /// Sends the datagrams of a message that the path refuses as a whole.
    fn send_one_by_one(&self, socket: &Socket, message: &Message) {
        let mut parts = [*message; MOST_SEGMENTS];
        for (number, part) in parts.iter_mut().enumerate() {
            let start = number * message.segment;
            let len = message.len.saturating_sub(start).min(message.segment);
            *part = Message { start: message.start + start, len, segment: len, count: 1, ..*message };
        }
        self.send(socket, parts.get(..message.count).unwrap_or_default());
    }

    fn bytes(&self, message: &Message) -> &[u8] {
        self.memory.get(message.start..message.start + message.len).unwrap_or_default()
    }
}

impl Message {
    /// Whether one system call can send both.
    fn goes_with(&self, other: &Self) -> bool {
        let how =
            |message: &Self| (message.place, message.source, (message.count > 1).then_some(message.segment));
        how(self) == how(other)
    }
}

/// The largest UDP payload over IPv4, also of a message that the kernel cuts.
pub(super) const LARGEST: usize = 65507;

/// The kernel's own limit (UDP_MAX_SEGMENTS; newer ones allow more).
const MOST_SEGMENTS: usize = 64;

/// Bytes of a batch: a full queue of Ethernet-sized blocks, or two of the largest datagrams.
const MEMORY: usize = LARGEST + 96 * 1024;

const SEND_WAIT_MS: u8 = 50;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// A socket to send from, and one to receive with.
    fn pair() -> (Vec<Socket>, UdpSocket, SocketAddrV4) {
        let socket = Socket::bind(SocketAddrV4::new(PEER, 0), None).unwrap();
        let receiver = UdpSocket::bind((PEER, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let to = SocketAddrV4::new(PEER, receiver.local_addr().unwrap().port());
        (vec![socket], receiver, to)
    }

    fn push(tx: &mut TxBatch, to: SocketAddrV4, number: u8, len: usize) {
        tx.buffer()[..len].fill(number);
        tx.push(Local { socket: 0, source: PEER }, to, len);
    }

    fn assert_arrives(receiver: &UdpSocket, number: u8, len: usize) {
        let mut bytes = [0; 2000];
        let arrived = receiver.recv(&mut bytes).unwrap();
        assert_eq!((arrived, bytes[0], bytes[len - 1]), (len, number, number));
    }

    #[test]
    fn a_window_is_one_message_and_many_datagrams() {
        let (sockets, receiver, to) = pair();
        let mut tx = TxBatch::new(sockets[0].can_segment());
        for number in 0..10 {
            push(&mut tx, to, number, 1000);
        }
        push(&mut tx, to, 10, 300);
        push(&mut tx, to, 11, 300);
        push(&mut tx, to, 12, 500);
        if tx.segments {
            let counts: Vec<usize> = tx.queue.iter().map(|message| message.count).collect();
            let why = "the first goes alone, the shorter one ends a message, and a longer one begins another";
            assert_eq!(counts, [1, 10, 1, 1], "{why}");
        }
        tx.flush(&sockets);
        for number in 0..10 {
            assert_arrives(&receiver, number, 1000);
        }
        for (number, len) in [(10, 300), (11, 300), (12, 500)] {
            assert_arrives(&receiver, number, len);
        }
    }

    #[test]
    fn a_message_that_is_refused_goes_as_datagrams() {
        let (sockets, receiver, to) = pair();
        let mut tx = TxBatch::new(true);
        for number in 0..4 {
            push(&mut tx, to, number, 1000);
        }
        push(&mut tx, to, 4, 5);
        let message = tx.queue[1];
        assert_eq!(message.count, 4);
        tx.send_one_by_one(&sockets[0], &message);
        for number in 1..4 {
            assert_arrives(&receiver, number, 1000);
        }
        assert_arrives(&receiver, 4, 5);
    }

    #[test]
    fn an_unreachable_peer_delays_no_other() {
        let (sockets, receiver, to) = pair();
        let mut tx = TxBatch::new(false);
        push(&mut tx, to, 1, 100);
        push(&mut tx, SocketAddrV4::new(Ipv4Addr::BROADCAST, 9), 2, 100);
        push(&mut tx, SocketAddrV4::new(PEER, 0), 3, 100);
        push(&mut tx, to, 4, 100);
        tx.flush(&sockets);
        assert_arrives(&receiver, 1, 100);
        assert_arrives(&receiver, 4, 100);
    }

    #[test]
    fn there_is_always_room_for_the_largest() {
        let (sockets, _receiver, to) = pair();
        let mut tx = TxBatch::new(true);
        for number in 0..200 {
            if !tx.has_room() {
                tx.flush(&sockets);
            }
            assert_eq!(tx.buffer().len(), LARGEST);
            push(&mut tx, to, number, 1472);
        }
    }
}
