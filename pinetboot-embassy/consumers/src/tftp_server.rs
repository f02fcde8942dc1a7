//! A TFTP server on one socket of an embassy-net stack.
//!
//! One socket suits one client at a time, such as a tool that reads a device's log. A peer that answers no ARP request holds up a socket's
//! queue, so a server of many clients needs a socket for each transfer, as `pinetboot-embassy` has them.

use core::convert::Infallible;
use core::net::SocketAddrV4;

use embassy_net::IpAddress;
use embassy_net::udp::UdpSocket;
use embassy_time::{Duration, Timer, with_timeout};
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net, Storage};

/// Serves files over a socket that is bound to port 69. Two clients at a time; does not return.
pub async fn serve<S: Storage>(socket: UdpSocket<'_>, files: S) -> ! {
    let mut places = [const { None }; 2];
    let net = SocketNet::new(socket);
    let mut server = Server::<_, _, _, 2>::new(net, files, (), Limits::default(), &mut places);
    let Ok(never) = server.run().await;
    match never {}
}

/// The core's network trait on one socket.
pub struct SocketNet<'a> {
    socket: UdpSocket<'a>,
    incoming: [u8; ETHERNET_MAX_PAYLOAD as usize],
    outgoing: [u8; ETHERNET_MAX_PAYLOAD as usize],
}

impl<'a> SocketNet<'a> {
    /// A network on this bound socket.
    pub fn new(socket: UdpSocket<'a>) -> Self {
        let empty = [0; ETHERNET_MAX_PAYLOAD as usize];
        Self { socket, incoming: empty, outgoing: empty }
    }
}

impl Net for SocketNet<'_> {
    type Error = Infallible;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, Infallible> {
        loop {
            // The deadline may be `Instant::MAX`, which is more than a timer holds.
            let wait = deadline.wait_from(self.now(), LONGEST_WAIT);
            let wait = Duration::from_micros(wait.as_micros() as u64);
            match with_timeout(wait, self.socket.recv_from(&mut self.incoming)).await {
                Ok(Ok((len, from))) => {
                    let IpAddress::Ipv4(address) = from.endpoint.addr;
                    let peer = SocketAddrV4::new(address, from.endpoint.port);
                    let bytes = self.incoming.get(..len).unwrap_or_default();
                    return Ok(Some(Datagram::new(self.now(), (), peer, bytes)));
                }
                Ok(Err(_too_long)) => {}
                Err(_) if self.now() >= deadline => return Ok(None),
                Err(_) => {}
            }
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        let bytes = self.outgoing.get(..len).unwrap_or_default();
        // A queue that does not empty must not stop the server: the client asks again.
        let sent = with_timeout(LONGEST_SEND, self.socket.send_to(bytes, (*to.ip(), to.port()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            Timer::after_micros(0).await;
        }
    }
}

/// Within what a timer of any tick rate can hold.
const LONGEST_WAIT: core::time::Duration = core::time::Duration::from_secs(3600);

const LONGEST_SEND: Duration = Duration::from_millis(100);
