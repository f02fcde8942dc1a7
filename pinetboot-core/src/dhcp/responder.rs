//! The DHCP responder: one loop over a [`Net`], around a proxy or a server.

use core::convert::Infallible;
use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use super::emit::MAX_LEN;
use super::message::{Message, Op};
use super::reply::{Arrival, Port, Reply, Respond};
use crate::event::{self, Rejected, Rejection};
use crate::observe::{Event, Observer, Ticks};
use crate::{Datagram, Instant, Net};

/// Answers DHCP messages from a [`Net`] by a [`ProxyDhcp`](super::ProxyDhcp) or a
/// [`LeaseServer`](super::LeaseServer).
///
/// The network must receive broadcasts to port 67 and send them from there, on the served network only: a reply to
/// 255.255.255.255 has to leave by the interface of the request. One responder serves one network.
///
/// ```
/// use pinetboot_core::Net;
/// use pinetboot_core::dhcp::{ProxyDhcp, Responder};
///
/// /// Names this boot server to Raspberry Pis, beside the DHCP server of the network.
/// async fn serve<N: Net>(net: N, our_address: core::net::Ipv4Addr) -> Result<(), N::Error> {
///     let mut responder = Responder::<_, _, _>::new(net, ProxyDhcp::new(our_address), ());
///     match responder.run().await? {}
/// }
/// ```
///
/// `HELD` replies have memory: one that is being written, and the others for delayed ones ([`with_delay`](Self::with_delay)).
pub struct Responder<N: Net, R, O, const HELD: usize = 4> {
    net: N,
    respond: R,
    observer: O,
    delay: Duration,
    port: fn(N::Local) -> Port,
    ticks: Ticks,
    held: [Option<Held<N::Local>>; HELD],
    /// The memory for replies: the network lends a request while its reply is written.
    memory: [[u8; MAX_LEN]; HELD],
}

/// A reply to be sent.
#[derive(Clone, Copy)]
struct Held<L> {
    due: Instant,
    from: L,
    reply: Reply,
}

impl<N: Net, R: Respond, O: Observer, const HELD: usize> Responder<N, R, O, HELD> {
    /// A responder that answers at once, on port 67 only.
    pub fn new(net: N, respond: R, observer: O) -> Self {
        const { assert!(HELD > 0) };
        Self {
            net,
            respond,
            observer,
            delay: Duration::ZERO,
            port: |_| Port::Server,
            ticks: Ticks::default(),
            held: [const { None }; HELD],
            memory: [[0; MAX_LEN]; HELD],
        }
    }

    /// Delays every reply by this time. The boot ROM of some Pi 3B fails if it is answered within two seconds
    /// (reported, raspberrypi/firmware issue 934). With more than `HELD - 1` delayed replies, the oldest leaves early.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Maps a [`Net::Local`] to the server's port, for a network that has port 4011 too.
    #[must_use]
    pub fn with_ports(self, port: fn(N::Local) -> Port) -> Self {
        Self { port, ..self }
    }

    /// Answers until the network fails or is told to stop. A later call goes on with the same replies.
    ///
    /// # Errors
    ///
    /// The network's.
    pub async fn run(&mut self) -> Result<Infallible, N::Error> {
        loop {
            self.turn().await?;
        }
    }

    /// Handles one datagram, or what is due before one comes: delayed replies and the observer's tick.
    ///
    /// # Errors
    ///
    /// The network's.
    pub async fn turn(&mut self) -> Result<(), N::Error> {
        let (due, oldest) = self.oldest();
        let free = self.held.iter().position(Option::is_none);
        let Self { net, respond, observer, held, memory, delay, port, ticks } = self;
        let now = match (net.recv(due.min(ticks.next(observer))).await?, free) {
            (None, _) => net.now(),
            (Some(datagram), free) => {
                let at = datagram.at;
                // One is always free: see `send_due`.
                let place = free.unwrap_or(oldest);
                if let (Some(memory), Some(held)) = (memory.get_mut(place), held.get_mut(place)) {
                    let from = datagram.local;
                    let reply = answer(respond, observer, port(from), datagram, memory);
                    *held = reply.map(|reply| Held { due: at + *delay, from, reply });
                }
                at
            }
        };
        self.send_due(now).await;
        self.ticks.tell(now, &mut self.observer);
        Ok(())
    }

    /// The proxy or the server.
    pub fn respond_mut(&mut self) -> &mut R {
        &mut self.respond
    }

    /// The network, and the proxy or the server.
    pub fn parts_mut(&mut self) -> (&mut N, &mut R) {
        (&mut self.net, &mut self.respond)
    }

    /// The network.
    pub fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// The observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Sends the replies that are due, and the oldest early if the next would find no memory.
    async fn send_due(&mut self, now: Instant) {
        loop {
            let full = self.held.iter().all(Option::is_some);
            let (due, place) = self.oldest();
            if due > now && !full {
                return;
            }
            let (Some(held), Some(memory)) =
                (self.held.get_mut(place).and_then(Option::take), self.memory.get(place))
            else {
                return;
            };
            send(&mut self.net, held.from, held.reply.to, memory, held.reply.len.into()).await;
        }
    }

    /// The next reply that is due, and its time.
    fn oldest(&self) -> (Instant, usize) {
        let held = self.held.iter().enumerate();
        held.filter_map(|(place, held)| Some((held.as_ref()?.due, place))).min().unwrap_or((Instant::MAX, 0))
    }
}

impl<N: Net, R: fmt::Debug, O, const HELD: usize> fmt::Debug for Responder<N, R, O, HELD> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { respond, delay, held, .. } = self;
        f.debug_struct("Responder")
            .field("respond", respond)
            .field("delay", delay)
            .field("held", &held.iter().flatten().count())
            .finish_non_exhaustive()
    }
}

/// Parses a datagram and writes the reply.
fn answer<L, R: Respond, O: Observer>(
    respond: &mut R,
    observer: &mut O,
    port: Port,
    datagram: Datagram<'_, L>,
    out: &mut [u8],
) -> Option<Reply> {
    let Datagram { at, peer, bytes, .. } = datagram;
    let request = match Message::parse(bytes) {
        Ok(request) => request,
        Err(error) => {
            let rejected = Rejected { peer, why: Rejection::NotDhcp(error) };
            observer.observe(at, &Event::Rejected(rejected), None);
            return None;
        }
    };
    if request.header.op != Op::Request {
        return None;
    }
    trace!("from {}: {}", peer, request);
    let answer = respond.respond(&Arrival { at, port, peer }, &request, out);
    match &answer {
        Ok(reply) => trace!("to {}: {} {}", reply.to, reply.kind, reply.address),
        Err(why) => trace!("no reply to {}: {}", request.header.hardware, why),
    }
    observer.observe(at, &Event::Dhcp(event::Dhcp { peer, request: &request, answer }), None);
    answer.ok()
}

async fn send<N: Net>(net: &mut N, from: N::Local, to: SocketAddrV4, memory: &[u8], len: usize) {
    let (Some(reply), Some(buffer)) = (memory.get(..len), net.buffer().get_mut(..len)) else { return };
    buffer.copy_from_slice(reply);
    net.send(from, to, len).await;
}
