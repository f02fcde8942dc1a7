//! The network trait on one blocking std socket: all that the examples need besides the core.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::{Datagram, ETHERNET_MAX_PAYLOAD, Instant, Net};

pub(crate) struct Socket {
    socket: UdpSocket,
    start: Clock,
    incoming: Vec<u8>,
    outgoing: [u8; ETHERNET_MAX_PAYLOAD as usize],
}

impl Socket {
    pub(crate) fn bind(address: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        Ok(Self { socket, start: Clock::now(), incoming: vec![0; 65536], outgoing: [0; _] })
    }
}

impl Net for Socket {
    type Error = io::Error;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    async fn recv(&mut self, deadline: Instant) -> io::Result<Option<Datagram<'_, ()>>> {
        let wait = deadline.since(self.now()).clamp(Duration::from_micros(1), Duration::from_secs(3600));
        self.socket.set_read_timeout(Some(wait))?;
        match self.socket.recv_from(&mut self.incoming) {
            Ok((len, SocketAddr::V4(peer))) => {
                let bytes = self.incoming.get(..len).unwrap_or_default();
                let at = Instant::ZERO + self.start.elapsed();
                Ok(Some(Datagram::new(at, (), peer, bytes)))
            }
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        let _lost = self.socket.send_to(self.outgoing.get(..len).unwrap_or_default(), to);
    }
}
