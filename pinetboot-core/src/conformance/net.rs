//! The suite for networks: deadlines, whole datagrams, and a port for each transfer.

use core::net::SocketAddrV4;
use core::time::Duration;

use crate::{Instant, Net};

/// The other end: a network that the one under test can reach, a port of it, and the address of that.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "for tests")]
pub struct End<'n, P: Net> {
    /// The network.
    pub net: &'n mut P,
    /// The port that everything is sent from.
    pub local: P::Local,
    /// The port's address, as the network under test sees it.
    pub address: SocketAddrV4,
}

/// Holds a network that listens at `address` to its trait, by datagrams to and from another, which may be of the same
/// kind. Needs ports for two transfers.
///
/// No other host may send to either. This one task uses both in turn; the runner of a stack and the like has to run beside
/// it. The suite takes a fraction of a second.
///
/// # Panics
///
/// The network breaks a promise of its trait, or datagrams do not get through.
pub async fn net<N: Net, P: Net>(tested: &mut N, address: SocketAddrV4, mut peer: End<'_, P>) {
    deadlines(tested).await;
    let listener = listens(tested, address, &mut peer).await;
    answers(tested, listener, address, &mut peer).await;
    lengths(tested, listener, address, &mut peer).await;
    let single = ports(tested, listener, address, &mut peer).await;
    closes(tested, listener, address, &mut peer).await;
    if !single {
        ports_come_back(tested, listener, address, &mut peer).await;
    }
}

/// A deadline in the past does not wait; another is waited for.
async fn deadlines<N: Net>(tested: &mut N) {
    let began = tested.now();
    for _ in 0..TIMES {
        nothing(tested, Instant::ZERO).await;
        let now = tested.now();
        nothing(tested, now).await;
    }
    let took = tested.now().since(began);
    assert!(took < Duration::from_secs(1), "{TIMES} deadlines in the past took {took:?}");

    let deadline = tested.now() + WAIT;
    nothing(tested, deadline).await;
    let now = tested.now();
    assert!(now >= deadline, "it returned {:?} before the deadline", deadline.since(now));
}

async fn nothing<N: Net>(tested: &mut N, deadline: Instant) {
    let received = tested.recv(deadline).await.expect("the network");
    assert!(received.is_none(), "nothing was sent, but {received:?} came");
}

/// Takes in what is sent to the port that listens: once with time, and then without end. The port.
async fn listens<N: Net, P: Net>(tested: &mut N, address: SocketAddrV4, peer: &mut End<'_, P>) -> N::Local {
    let arrived = deliver(peer.net, peer.local, tested, address, b"hello").await;
    assert_eq!(arrived.from, peer.address, "the sender");
    assert!(arrived.listening, "it came to the port that listens");

    // The addresses of both are known now, so what is sent leaves at once.
    send(peer.net, peer.local, address, b"whenever").await;
    flush(peer.net).await;
    let forever = tested.recv(Instant::MAX).await.expect("the network");
    let forever = forever.expect("`Instant::MAX` is never over");
    assert_eq!(forever.bytes, b"whenever");
    assert_eq!(forever.local, arrived.local, "the port");
    let at = forever.at;
    let now = tested.now();
    assert!(at <= now, "a datagram came {:?} from now", at.since(now));
    arrived.local
}

/// Sent datagrams leave before the next wait, in their order.
async fn answers<N: Net, P: Net>(
    tested: &mut N,
    listener: N::Local,
    address: SocketAddrV4,
    peer: &mut End<'_, P>,
) {
    let back = deliver(tested, listener, peer.net, peer.address, b"hello too").await;
    assert_eq!(back.from, address, "what is answered from the listening port comes from there");

    for number in [b"one", b"two"] {
        send(tested, listener, peer.address, number).await;
    }
    flush(tested).await;
    for number in [b"one", b"two"] {
        let deadline = peer.net.now() + PATIENCE;
        let received = peer.net.recv(deadline).await.expect("the network");
        assert_eq!(received.expect("what was sent before the last `recv`").bytes, number);
    }
}

/// A datagram arrives whole or not at all, or cut so that a request is recognised as too long.
async fn lengths<N: Net, P: Net>(
    tested: &mut N,
    listener: N::Local,
    address: SocketAddrV4,
    peer: &mut End<'_, P>,
) {
    let most = usize::from(tested.max_payload(listener, peer.address));
    let room = tested.buffer().len();
    assert!(room >= 516, "the buffer is too short for a plain block: {room} bytes");
    assert!(most <= room, "{most} bytes shall reach the peer, and {room} can be sent");
    for len in [1, 4, 516, most] {
        fill(tested.buffer(), len);
        tested.send(listener, peer.address, len).await;
        flush(tested).await;
        let deadline = peer.net.now() + PATIENCE;
        let received = peer.net.recv(deadline).await.expect("the network");
        let Some(received) = received else { panic!("{len} bytes do not arrive") };
        assert_eq!(received.bytes.len(), len);
        assert!(is_filled(received.bytes), "{len} bytes arrive as others");
    }

    let longest = peer.net.buffer().len();
    for len in [1, LONGEST_REQUEST, LONGEST_REQUEST + 1, LONGEST_REQUEST + 2, 1000, 1472, longest] {
        if len > longest {
            continue;
        }
        fill(peer.net.buffer(), len);
        peer.net.send(peer.local, address, len).await;
        send(peer.net, peer.local, address, MARK).await;
        for _ in 0..ROUNDS {
            flush(peer.net).await;
            let deadline = tested.now() + GLANCE;
            let Some(datagram) = tested.recv(deadline).await.expect("the network") else { continue };
            if datagram.bytes == MARK {
                break;
            }
            let arrived = datagram.bytes.len();
            assert!(is_filled(datagram.bytes), "{len} bytes arrive as others");
            assert!(
                arrived == len || (LONGEST_REQUEST < arrived && arrived < len),
                "of {len} bytes {arrived} arrive and look whole"
            );
        }
    }
    deliver(peer.net, peer.local, tested, address, b"as before").await;
}

/// Each transfer has another port, or all have the listening one. Whether the latter holds.
async fn ports<N: Net, P: Net>(
    tested: &mut N,
    listener: N::Local,
    address: SocketAddrV4,
    peer: &mut End<'_, P>,
) -> bool {
    let ports =
        [(); 2].map(|()| tested.open(listener, peer.address).expect("a port for each of two transfers"));
    let single = ports[0] == listener;
    let mut addresses = [address; 2];
    for (local, own) in ports.into_iter().zip(&mut addresses) {
        let from = deliver(tested, local, peer.net, peer.address, b"a block").await.from;
        let back = deliver(peer.net, peer.local, tested, from, b"an ACK").await;
        assert_eq!(back.local, local, "what is sent to a transfer's port comes to it");
        assert_eq!(back.from, peer.address, "the sender");
        assert_eq!(back.listening, single, "only a port that listens takes requests");
        *own = from;
    }
    if single {
        assert_eq!(ports, [listener; 2], "one port for everything is the one that listens");
        assert_eq!(addresses, [address; 2], "one port for everything has one address");
    } else {
        assert_ne!(ports[0], ports[1], "two transfers of the same peer share a port");
        assert_ne!(addresses[0], addresses[1], "two ports have the same address");
        assert!(!addresses.contains(&address), "a transfer's port is the one that listens");
    }
    for local in ports {
        tested.close(local);
    }
    flush(tested).await;
    single
}

/// Datagrams sent before a port is closed still leave; later ones do no harm.
async fn closes<N: Net, P: Net>(
    tested: &mut N,
    listener: N::Local,
    address: SocketAddrV4,
    peer: &mut End<'_, P>,
) {
    let local = tested.open(listener, peer.address).expect("a port that was given back");
    send(tested, local, peer.address, b"farewell").await;
    tested.close(local);
    flush(tested).await;
    let deadline = peer.net.now() + PATIENCE;
    let received = peer.net.recv(deadline).await.expect("the network");
    assert_eq!(received.expect("what was sent before the port was closed").bytes, b"farewell");

    send(tested, local, peer.address, b"too late").await;
    flush(tested).await;
    deliver(peer.net, peer.local, tested, address, b"still there?").await;
    deliver(tested, listener, peer.net, peer.address, b"still here").await;
}

/// A port that is given back is lent again.
async fn ports_come_back<N: Net, P: Net>(
    tested: &mut N,
    listener: N::Local,
    address: SocketAddrV4,
    peer: &mut End<'_, P>,
) {
    for _ in 0..TIMES {
        let local = tested.open(listener, peer.address).expect("a port that was given back");
        let from = deliver(tested, local, peer.net, peer.address, b"once more").await.from;
        assert_ne!(from, address, "a transfer's port is the one that listens");
        tested.close(local);
        flush(tested).await;
    }
}

struct Arrived<L> {
    local: L,
    from: SocketAddrV4,
    listening: bool,
}

/// Sends these bytes and waits until they are at the other end, where others are passed over.
async fn deliver<A: Net, B: Net>(
    from: &mut A,
    local: A::Local,
    to: &mut B,
    address: SocketAddrV4,
    bytes: &[u8],
) -> Arrived<B::Local> {
    send(from, local, address, bytes).await;
    for _ in 0..ROUNDS {
        flush(from).await; // and lets a stack ask and answer for addresses
        let deadline = to.now() + GLANCE;
        if let Some(datagram) = to.recv(deadline).await.expect("the network")
            && datagram.bytes == bytes
        {
            return Arrived { local: datagram.local, from: datagram.peer, listening: datagram.listening };
        }
    }
    panic!("what is sent from {local:?} does not arrive at {address}")
}

async fn send<N: Net>(net: &mut N, local: N::Local, to: SocketAddrV4, bytes: &[u8]) {
    net.buffer().split_at_mut(bytes.len()).0.copy_from_slice(bytes);
    net.send(local, to, bytes.len()).await;
}

async fn flush<N: Net>(net: &mut N) {
    let _late = net.recv(Instant::ZERO).await.expect("the network");
}

/// Bytes that tell where they are from.
fn fill(buffer: &mut [u8], len: usize) {
    for (index, byte) in buffer.split_at_mut(len).0.iter_mut().enumerate() {
        *byte = pattern(index);
    }
}

fn is_filled(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(index, byte)| *byte == pattern(index))
}

const fn pattern(index: usize) -> u8 {
    (index * 7 + index / 251) as u8
}

/// > The maximum size of a request packet is 512 octets. (RFC 2347)
const LONGEST_REQUEST: usize = 512;

const MARK: &[u8] = b"and now for another";
const TIMES: usize = 20;
const ROUNDS: usize = 50;
const GLANCE: Duration = Duration::from_millis(20);
const WAIT: Duration = Duration::from_millis(30);
/// For what has been sent, if it is lost.
const PATIENCE: Duration = Duration::from_secs(5);
