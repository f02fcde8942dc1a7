//! The messages that wait: read ahead of the responder, known clients first.
//!
//! A flood of made-up clients fills the socket's buffer, and the kernel hands out the oldest message first: a Pi's message would
//! wait behind all of them. This network reads what has arrived before it hands out the next messages, so no message waits in the
//! kernel, and orders them by what the server knows of their clients.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use pinetboot_core::dhcp::Standing;
use pinetboot_core::{Datagram, Instant, Net, block_on};

/// A network that hands out the messages of known clients first, and drops those that waited too long.
#[derive(Debug)]
pub(super) struct Queue<N: Net> {
    net: N,
    /// By ascending standing.
    waiting: [VecDeque<Message<N::Local>>; STANDINGS],
    /// Messages to hand out again, and when.
    held: VecDeque<(Instant, Message<N::Local>)>,
    /// The message that was handed out last.
    last: Option<Message<N::Local>>,
    /// Messages handed out.
    turn: usize,
    /// Messages to hand out before the network is read again.
    left: usize,
}

#[derive(Debug)]
struct Message<L> {
    at: Instant,
    local: L,
    peer: SocketAddrV4,
    bytes: Box<[u8]>,
}

impl<N: Net> Queue<N> {
    pub(super) fn new(net: N) -> Self {
        let waiting = [const { VecDeque::new() }; STANDINGS];
        Self { net, waiting, held: VecDeque::new(), last: None, turn: 0, left: 0 }
    }

    /// Reads what has arrived, unless messages of the last time are left. `standing` tells what is known of a client; `None` drops
    /// the message.
    ///
    /// # Errors
    ///
    /// The network's.
    pub(super) fn read_ahead(
        &mut self,
        mut standing: impl FnMut(Instant, &[u8]) -> Option<Standing>,
    ) -> Result<(), N::Error> {
        if self.has_more() {
            return Ok(());
        }
        for _ in 0..MOST_READ {
            let Some(datagram) = block_on(self.net.recv(Instant::ZERO))? else { break };
            let Some(message) = Message::of(&datagram) else { continue };
            let Some(standing) = standing(message.at, &message.bytes) else { continue };
            let Some(waiting) = self.waiting.get_mut(standing as usize) else { continue };
            if waiting.len() >= MOST_WAITING {
                waiting.pop_front();
            }
            waiting.push_back(message);
        }
        self.left = MOST_HANDED;
        Ok(())
    }

    /// Whether the next message is handed out without a look at the network, which would send what was answered.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0 && self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Hands the last message out again at this time. `false` if too many wait for theirs.
    pub(super) fn hold(&mut self, until: Instant) -> bool {
        let fits = self.held.len() < MOST_HELD;
        if fits && let Some(last) = self.last.take() {
            let place = self.held.partition_point(|(due, _)| *due <= until);
            self.held.insert(place, (until, last));
        }
        fits
    }

    fn next(&mut self, now: Instant) -> Option<Message<N::Local>> {
        if self.held.front().is_some_and(|(due, _)| *due <= now) {
            return self.held.pop_front().map(|(_, message)| message);
        }
        self.turn = self.turn.wrapping_add(1);
        self.left = self.left.saturating_sub(1);
        let first = TURNS.get(self.turn % TURNS.len()).copied().unwrap_or(Standing::Known) as usize;
        let order = [first].into_iter().chain((0..STANDINGS).rev());
        for standing in order {
            let Some(waiting) = self.waiting.get_mut(standing) else { continue };
            while let Some(message) = waiting.pop_front() {
                if now.since(message.at) < PATIENCE {
                    return Some(message);
                }
            }
        }
        None
    }
}

impl<N: Net> Net for Queue<N> {
    type Error = N::Error;
    type Local = N::Local;

    fn now(&self) -> Instant {
        self.net.now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, N::Local>>, N::Error> {
        let now = self.net.now();
        self.last = self.next(now);
        if self.last.is_none() {
            let due = self.held.front().map_or(Instant::MAX, |(due, _)| *due);
            self.last = self.net.recv(deadline.min(due)).await?.and_then(|datagram| Message::of(&datagram));
        }
        let now = self.net.now();
        Ok(self.last.as_ref().map(|message| Datagram::new(now, message.local, message.peer, &message.bytes)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.net.buffer()
    }

    async fn send(&mut self, from: N::Local, to: SocketAddrV4, len: usize) {
        self.net.send(from, to, len).await;
    }
}

impl<L: Copy> Message<L> {
    /// A copy of the datagram; `None` if it is longer than any message.
    fn of(datagram: &Datagram<'_, L>) -> Option<Self> {
        let Datagram { at, local, peer, bytes, .. } = *datagram;
        (bytes.len() <= LONGEST).then(|| Self { at, local, peer, bytes: bytes.into() })
    }
}

const STANDINGS: usize = Standing::Known as usize + 1;

/// Which client comes first, in turns: no flood of one kind keeps the others from an answer.
const TURNS: [Standing; 4] = [Standing::New, Standing::Known, Standing::Recorded, Standing::Known];

/// Messages of a standing that wait, 3 MiB; then the oldest is dropped, whose client repeats it soonest. They are answered in
/// 80 ms, and arrive while a busy machine leaves this thread out for 800 ms of a flood of 10,000 a second.
const MOST_WAITING: usize = 8192;

/// Messages read before any is answered: more than the socket's buffer holds. Without a bound a flood as fast as this loop would
/// keep the responder from its work.
const MOST_READ: usize = 4 * MOST_WAITING;

/// Messages handed out before the network is read again.
const MOST_HANDED: usize = 32;

/// Messages that are handed out again later: one of each client for whom an address is searched.
const MOST_HELD: usize = 1024;

/// The time after which a client has repeated its message: a Pi's bootloader does after 4 s (`DHCP_REQ_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(4);

/// Ethernet's MTU: clients do not send fragments.
const LONGEST: usize = 1500;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Messages of one byte, whose value is the client's standing, and a second that tells them apart.
    #[derive(Default)]
    struct Wire {
        now: Cell<Instant>,
        arrived: VecDeque<[u8; 2]>,
        lent: [u8; 2],
    }

    impl Net for Wire {
        type Error = ();
        type Local = ();

        fn now(&self) -> Instant {
            self.now.get()
        }

        async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, ()> {
            let Some(next) = self.arrived.pop_front() else {
                self.now.set(self.now.get().max(deadline.min(Instant::from_millis(1_000_000))));
                return Ok(None);
            };
            self.lent = next;
            Ok(Some(Datagram::new(self.now.get(), (), "10.0.0.1:68".parse().unwrap(), &self.lent)))
        }

        fn buffer(&mut self) -> &mut [u8] {
            &mut []
        }

        async fn send(&mut self, (): (), _: SocketAddrV4, _: usize) {}
    }

    fn standing(_: Instant, bytes: &[u8]) -> Option<Standing> {
        [Standing::New, Standing::Recorded, Standing::Known].get(usize::from(bytes[0])).copied()
    }

    fn next(queue: &mut Queue<Wire>) -> Option<[u8; 2]> {
        queue.read_ahead(standing).unwrap();
        block_on(queue.recv(Instant::ZERO)).unwrap().map(|datagram| datagram.bytes.try_into().unwrap())
    }

    #[test]
    fn a_known_client_waits_for_few_strangers_and_strangers_are_not_forgotten() {
        let mut queue = Queue::new(Wire::default());
        queue.net.arrived.extend((0..200).map(|number| [0, number]));
        queue.net.arrived.extend([[2, 0], [1, 0]]);
        queue.net.arrived.extend((1..100).map(|number| [2, number]));
        let handed: Vec<_> = (0..301).map(|_| next(&mut queue).unwrap()).collect();
        let place = |wanted| handed.iter().position(|message| *message == wanted).unwrap();
        assert!(place([2, 0]) < 4 && place([1, 0]) < 4);
        assert!(place([0, 10]) < 48, "a quarter of the turns");
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn of_too_many_messages_the_oldest_go() {
        let mut queue = Queue::new(Wire::default());
        queue.net.arrived.extend((0..2 * MOST_WAITING).map(|number| [0, (number / MOST_WAITING) as u8]));
        queue.net.arrived.push_back([2, 0]);
        assert_eq!((0..2).filter(|_| next(&mut queue) == Some([2, 0])).count(), 1);
        let handed: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert!(handed.len() >= MOST_WAITING - 1);
        assert!(handed.iter().all(|[_, half]| *half == 1));
    }

    #[test]
    fn a_message_that_waited_too_long_is_dropped() {
        let mut queue = Queue::new(Wire::default());
        queue.net.arrived.extend([[0, 0], [0, 1], [0, 2]]);
        assert_eq!(next(&mut queue), Some([0, 0]));
        queue.net.now.set(Instant::ZERO + PATIENCE);
        queue.net.arrived.push_back([0, 3]);
        assert_eq!(next(&mut queue), Some([0, 3]));
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn a_held_message_comes_again_at_its_time() {
        let mut queue = Queue::new(Wire::default());
        queue.net.arrived.extend([[0, 0], [0, 1]]);
        assert_eq!(next(&mut queue), Some([0, 0]));
        let due = Instant::from_millis(300);
        assert!(queue.hold(due));
        assert_eq!(next(&mut queue), Some([0, 1]), "the others go on");
        queue.read_ahead(standing).unwrap();
        assert!(block_on(queue.recv(Instant::MAX)).unwrap().is_none(), "woken for it");
        assert_eq!(queue.now(), due);
        assert_eq!(next(&mut queue), Some([0, 0]));
    }

    #[test]
    fn held_messages_are_bounded() {
        let mut queue = Queue::new(Wire::default());
        queue.net.arrived.extend([[0, 0]; MOST_HELD + 1]);
        for number in 0..=MOST_HELD {
            assert!(next(&mut queue).is_some());
            assert_eq!(queue.hold(Instant::MAX), number < MOST_HELD);
        }
    }
}
