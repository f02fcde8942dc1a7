//! A network on one UDP socket.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Instant as Clock;
use std::vec::Vec;

use core::time::Duration;

use crate::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

/// A network of one blocking UDP socket: every transfer goes over its port.
///
/// Its futures never pend, so [`block_on`](crate::block_on) drives it. The clock begins when the socket is bound.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    start: Clock,
    incoming: Vec<u8>,
    outgoing: [u8; ETHERNET_MAX_PAYLOAD as usize],
}

impl UdpPort {
    /// Binds a socket to this address. Port 0 is any free port, as a client wants it.
    ///
    /// # Errors
    ///
    /// The operating system's, as when the port is in use or below 1024 and the user may not bind it.
    pub fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let incoming = std::vec![0; LARGEST];
        Ok(Self { socket, start: Clock::now(), incoming, outgoing: [0; ETHERNET_MAX_PAYLOAD as usize] })
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, to set its options.
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

impl Net for UdpPort {
    type Error = io::Error;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    async fn recv(&mut self, deadline: Instant) -> io::Result<Option<Datagram<'_, ()>>> {
        loop {
            let wait = deadline.wait_from(self.now(), LONGEST_WAIT);
            self.socket.set_read_timeout(Some(wait.max(SHORTEST_WAIT)))?;
            match self.socket.recv_from(&mut self.incoming) {
                Ok((len, SocketAddr::V4(peer))) => {
                    let at = self.now();
                    let bytes = self.incoming.get(..len).unwrap_or_default();
                    return Ok(Some(Datagram::new(at, (), peer, bytes)));
                }
                Err(error) if !is_passing(error.kind()) => return Err(error),
                Ok(_) | Err(_) if self.now() >= deadline => return Ok(None),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        let _lost = self.socket.send_to(self.outgoing.get(..len).unwrap_or_default(), to);
    }
}

/// Whether the next call may succeed: the timeout passed, a signal came, or a peer's host said that the peer is gone.
const fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
    )
}

/// More than any UDP datagram has, in bytes.
const LARGEST: usize = 1 << 16;

/// A socket takes a timeout of zero for none.
const SHORTEST_WAIT: Duration = Duration::from_micros(1);

const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
