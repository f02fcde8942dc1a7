//! What must hold for the packets of every transfer, whatever the network does to them.

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::BTreeMap;

use pinetboot_core::Instant;

use super::wire::show;
use super::world::Watch;

/// Looks at every packet between clients and the server at 10.0.0.1, and panics when one should not have been sent.
#[derive(Default)]
pub(crate) struct Referee {
    /// By the client's address and the server's port.
    transfers: BTreeMap<(SocketAddrV4, u16), Transfer>,
    clients: BTreeMap<SocketAddrV4, Client>,
    /// DATA packets sent by anyone.
    pub(crate) blocks: usize,
    /// Every packet that was sent: the time, its addresses, and its bytes.
    pub(crate) sent: Vec<(Instant, SocketAddrV4, SocketAddrV4, Vec<u8>)>,
}

struct Transfer {
    window: usize,
    timeout: Duration,
    /// The DATA packet sent last.
    last: Option<(u16, Instant)>,
    /// DATA packets since something arrived from the other side, or the timeout passed.
    in_a_row: usize,
    /// When that was, and how much arrived at that moment.
    arrived: (Instant, usize),
    /// A window went out again since, before the timeout.
    went_back: bool,
}

#[derive(Default)]
struct Client {
    requests: usize,
    /// It has answered something: its address is real.
    proven: bool,
    packets: usize,
    bytes: usize,
}

impl Referee {
    fn transfer(&mut self, one: SocketAddrV4, other: SocketAddrV4) -> &mut Transfer {
        let key = if is_server(one) { (other, one.port()) } else { (one, other.port()) };
        self.transfers.entry(key).or_insert(Transfer {
            window: 1,
            timeout: Duration::from_secs(1),
            last: None,
            in_a_row: 0,
            arrived: (Instant::ZERO, 1),
            went_back: false,
        })
    }
}

impl Watch for Referee {
    fn sent(&mut self, now: Instant, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) {
        self.sent.push((now, from, to, bytes.to_vec()));
        if is_server(from) {
            let client = self.clients.entry(to).or_default();
            if !client.proven {
                client.packets += 1;
                client.bytes += bytes.len();
                // One and three retries for each time that it asked.
                assert!(client.packets <= 4 * client.requests, "{} packets to {to}", client.packets);
                assert!(client.bytes <= 4 * 516 * client.requests, "{} bytes to {to}", client.bytes);
            }
        }
        match bytes {
            [0, 6, ..] => {
                let transfer = self.transfer(from, to);
                for word in show(bytes).split(' ') {
                    match word.split_once('=') {
                        Some(("windowsize", value)) => transfer.window = value.parse().expect("a window"),
                        Some(("timeout", value)) => {
                            transfer.timeout = Duration::from_secs(value.parse().expect("seconds"));
                        }
                        _ => {}
                    }
                }
            }
            [0, 3, high, low, ..] => {
                self.blocks += 1;
                let block = u16::from_be_bytes([*high, *low]);
                let transfer = self.transfer(from, to);
                let last = transfer.last.replace((block, now));
                let silence = last.map_or(transfer.timeout, |(_, at)| now.since(at));
                // Once for each packet that arrived, a window goes out again after some round trips.
                let since_arrival = now.since(transfer.arrived.0);
                let is_late =
                    transfer.window > 1 && silence.min(since_arrival) >= SOONEST && !transfer.went_back;
                let waited = silence >= transfer.timeout || is_late;
                transfer.went_back |= is_late;
                if let (false, Some((last, _)), 1) = (waited, last, transfer.window) {
                    assert!(block == last.wrapping_add(1), "{from} sends block {block} after {last}");
                }
                transfer.in_a_row = if waited { 1 } else { transfer.in_a_row + 1 };
                let most = transfer.window * transfer.arrived.1;
                assert!(transfer.in_a_row <= most, "{from} sends more than a window at once");
            }
            _ => {}
        }
    }

    fn arrived(&mut self, now: Instant, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) {
        if is_server(to) {
            let client = self.clients.entry(from).or_default();
            if to.port() == 69 && !matches!(bytes, [0, 3..=6, ..]) {
                client.requests += 1; // or nonsense, which is answered too
                for transfer in self.transfers.iter_mut().filter(|((client, _), _)| *client == from) {
                    transfer.1.last = None; // it may begin anew
                }
            } else {
                client.proven = true;
            }
        }
        let transfer = self.transfer(from, to);
        (transfer.in_a_row, transfer.went_back) = (0, false);
        let others = if transfer.arrived.0 == now { transfer.arrived.1 } else { 0 };
        transfer.arrived = (now, others + 1);
    }
}

fn is_server(address: SocketAddrV4) -> bool {
    address.ip().octets() == [10, 0, 0, 1]
}

/// The least time after which a sender takes a block for lost, without an ACK that says so.
const SOONEST: Duration = Duration::from_millis(10);
