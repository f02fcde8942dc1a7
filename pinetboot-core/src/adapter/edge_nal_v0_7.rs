//! The network trait on the UDP traits of edge-nal 0.7, timed by embassy-time 0.5.
//!
//! ```
//! use edge_nal::{UdpReceive, UdpSend};
//! use pinetboot_core::Storage;
//! use pinetboot_core::adapter::edge_nal_v0_7::UdpPort;
//! use pinetboot_core::tftp::{Limits, Server};
//!
//! /// Serves at most three transfers at a time over a socket that is bound to port 69.
//! async fn serve<S: UdpReceive + UdpSend, F: Storage>(socket: S, files: F) -> Result<(), S::Error> {
//!     let mut places = [const { None }; 3];
//!     let net = UdpPort::new(socket);
//!     match Server::<_, _, _, 4>::new(net, files, (), Limits::default(), &mut places).run().await? {}
//! }
//! ```
//!
//! Not done: a port for each transfer. edge-nal binds sockets to a port, but its borrowed sockets cannot be kept in a pool.

use core::net::{SocketAddr, SocketAddrV4};

use edge_nal::{UdpReceive, UdpSend};
use embassy_time::{Duration as TimerDuration, Instant as TimerInstant, with_timeout};

use crate::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

/// A network of one bound socket: every transfer goes over its port.
///
/// A datagram that comes while a deadline passes must not be lost: `receive` of the socket is dropped then, and called again.
#[derive(Debug)]
pub struct UdpPort<S> {
    socket: S,
    incoming: [u8; ETHERNET_MAX_PAYLOAD as usize],
    outgoing: [u8; ETHERNET_MAX_PAYLOAD as usize],
}

impl<S: UdpReceive + UdpSend> UdpPort<S> {
    /// A network on this socket.
    pub const fn new(socket: S) -> Self {
        let empty = [0; ETHERNET_MAX_PAYLOAD as usize];
        Self { socket, incoming: empty, outgoing: empty }
    }
}

impl<S: UdpReceive + UdpSend> Net for UdpPort<S> {
    type Error = S::Error;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::from_micros(TimerInstant::now().as_micros())
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, S::Error> {
        loop {
            let wait = deadline.wait_from(self.now(), LONGEST_WAIT);
            let timer = TimerDuration::from_micros(wait.as_micros() as u64);
            match with_timeout(timer, self.socket.receive(&mut self.incoming)).await {
                Ok(received) => {
                    // A longer datagram was cut, and is dropped.
                    if let (len, SocketAddr::V4(peer)) = received?
                        && len <= self.incoming.len()
                    {
                        let at = self.now();
                        let bytes = self.incoming.get(..len).unwrap_or_default();
                        return Ok(Some(Datagram::new(at, (), peer, bytes)));
                    }
                }
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
        let _lost = self.socket.send(SocketAddr::V4(to), bytes).await;
    }
}

/// Within what a timer of any tick rate can hold.
const LONGEST_WAIT: core::time::Duration = core::time::Duration::from_secs(60 * 60);
