//! The simulated Pi at its leased address: a host beside this machine, on the same interface.

use std::io;
use std::net::SocketAddrV4;

use pinetboot_core::Net;
use pinetboot_core::adapter::smoltcp_v0_14::Port;
use pinetboot_core::dhcp::{CLIENT_PORT, MAX_LEN, Profile, SERVER_PORT, Selected};

use super::tftp::Ports;
use crate::exit::Failed;
use crate::net::{HostAddress, UdpPool, VirtualHost};
use crate::nfs_client::{Dial, Stream, TIMEOUT};
use crate::probe;

/// A lease of the simulated Pi.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) interface: String,
    pub(super) mac: [u8; 6],
    pub(super) profile: Profile,
    pub(super) selected: Selected,
    pub(super) at: HostAddress,
}

impl Lease {
    /// Gives the lease back: sends a DHCPRELEASE.
    ///
    /// # Errors
    ///
    /// The system's; [`TimedOut`](io::ErrorKind::TimedOut) if the server does not answer ARP.
    pub(super) fn release(&self) -> io::Result<()> {
        // A boot ROM sends no REQUEST, so the server keeps no lease.
        if let Profile::PiBootRom = self.profile {
            return Ok(());
        }
        let mut message = [0; MAX_LEN];
        let len = self.profile.release(self.mac, probe::random(), &self.selected, &mut message);
        let message = len.and_then(|len| message.get(..len)).ok_or(io::ErrorKind::InvalidInput)?;
        let server = SocketAddrV4::new(self.selected.server, SERVER_PORT);
        VirtualHost::new(&self.interface, self.at)?.send(CLIENT_PORT, server, message)
    }
}

impl Ports for VirtualHost {
    type Net = UdpPool;

    fn open(&mut self, server: SocketAddrV4) -> io::Result<(&mut Self::Net, Port)> {
        let pool = self.udp();
        let port = pool.open(Port::FIRST, server).unwrap_or(Port::FIRST);
        Ok((pool, port))
    }

    fn close(&mut self, port: Port) {
        self.udp().close(port);
    }

    fn failed(never: core::convert::Infallible) -> Failed {
        match never {}
    }
}

impl Dial for VirtualHost {
    fn dial(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream + '_>> {
        Ok(Box::new(self.connect(to, TIMEOUT)?))
    }

    fn is_reserved(&self) -> bool {
        true
    }
}
