//! The page and the name on an embassy-net stack: a TCP socket, and a UDP socket in the group of multicast DNS.

use core::fmt::{self, Write};

use embassy_net::Stack;
use embassy_net::tcp::{Error, TcpSocket};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::{Instant, with_timeout};
use heapless::String;

use crate::interface::Interface;
use crate::{mdns, page};

/// The buffers of both.
pub(super) struct Memory {
    tcp_rx: [u8; 512],
    tcp_tx: [u8; LONGEST],
    text: String<LONGEST>,
    udp_rx: [u8; 1024],
    udp_tx: [u8; 64],
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            tcp_rx: [0; 512],
            tcp_tx: [0; LONGEST],
            text: String::new(),
            udp_rx: [0; 1024],
            udp_tx: [0; 64],
        }
    }

    /// The memory of the page, and that of the name.
    pub(super) fn split(&mut self) -> (TcpMemory<'_>, UdpMemory<'_>) {
        let Self { tcp_rx, tcp_tx, text, udp_rx, udp_tx } = self;
        ((tcp_rx, tcp_tx, text), (udp_rx, udp_tx))
    }
}

type TcpMemory<'a> = (&'a mut [u8; 512], &'a mut [u8; LONGEST], &'a mut String<LONGEST>);
type UdpMemory<'a> = (&'a mut [u8; 1024], &'a mut [u8; 64]);

/// Answers browsers with this report, one after the other. Does not return.
pub(super) async fn page(
    stack: Stack<'_>,
    (rx, tx, text): TcpMemory<'_>,
    report: impl Fn(&mut dyn Write) -> fmt::Result,
) -> ! {
    let mut socket = TcpSocket::new(stack, rx, tx);
    let longest = embassy_time::Duration::from_micros(page::LONGEST.as_micros() as u64);
    socket.set_timeout(Some(longest));
    loop {
        if socket.accept(page::PORT).await.is_ok() {
            let _late = with_timeout(longest, serve(&mut socket, text, &report)).await;
        }
        socket.abort();
        let _reset = socket.flush().await;
    }
}

async fn serve(
    socket: &mut TcpSocket<'_>,
    text: &mut String<LONGEST>,
    report: impl Fn(&mut dyn Write) -> fmt::Result,
) -> Result<(), Error> {
    let (mut request, mut len) = ([0; page::ENOUGH], 0);
    let (head, with_report) = loop {
        match socket.read(request.split_at_mut(len).1).await? {
            0 => return Ok(()),
            count => len += count,
        }
        if let Some(answer) = page::answer(request.get(..len).unwrap_or_default()) {
            break answer;
        }
    };
    text.clear();
    let _cut = text.write_str(head);
    if with_report {
        let _cut = report(text);
    }
    // All of it, as there is room for as much.
    socket.write(text.as_bytes()).await?;
    socket.close();
    // The rest of the request, and the client's end of the connection.
    while socket.read(&mut request).await? > 0 {}
    socket.flush().await
}

/// Answers queries for the board's name. Does not return.
pub(super) async fn name(stack: Stack<'_>, (rx, tx): UdpMemory<'_>) -> ! {
    let (mut rx_metadata, mut tx_metadata) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 1]);
    let mut socket = UdpSocket::new(stack, &mut rx_metadata, rx, &mut tx_metadata, tx);
    let joined = stack.join_multicast_group(mdns::GROUP).is_ok() && socket.bind(mdns::PORT).is_ok();
    if !joined {
        warn!("the stack has no socket for the name");
    }
    // > All Multicast DNS responses (..) SHOULD be sent with IP TTL set to 255 (RFC 6762, section 11)
    socket.set_hop_limit(Some(u8::MAX));
    let mut again = Instant::MIN;
    loop {
        let asked = socket.recv_from_with(|message, _| mdns::is_asked(message)).await;
        let (Some(address), now) = (Interface::address(&stack), Instant::now()) else { continue };
        if asked && now >= again {
            again = now + embassy_time::Duration::from_micros(mdns::INTERVAL.as_micros() as u64);
            let _unsent = socket.send_to(&mdns::answer(address), (mdns::GROUP, mdns::PORT)).await;
        }
    }
}

/// The longest answer, in bytes.
const LONGEST: usize = 2048;
