//! The listening sockets of a server.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, getsockopt, listen,
    setsockopt, socket, sockopt,
};

use super::message::Programs;
use super::{NfsConfig, StartError};

/// TCP and UDP sockets.
#[derive(Debug, Default)]
pub(super) struct Listening {
    pub(super) listeners: Vec<(TcpListener, Programs)>,
    pub(super) sockets: Vec<(UdpSocket, Programs)>,
    pub(super) bound: Bound,
    /// Bound by another process, and not in use yet.
    handed: Vec<OwnedFd>,
}

/// Those that are bound to an interface, and its name.
#[derive(Debug, Default)]
pub(super) struct Bound(Vec<(OwnedFd, String)>);

impl Listening {
    /// No socket in use yet, and these to use first.
    pub(super) fn with(handed: Vec<OwnedFd>) -> Self {
        Self { handed, ..Self::default() }
    }

    /// Opens TCP and UDP on the same port of all addresses and interfaces of the configuration. Returns the port.
    pub(super) fn open(
        &mut self,
        config: &NfsConfig,
        port: u16,
        programs: Programs,
    ) -> Result<u16, StartError> {
        let mut opened = Self::default();
        let mut port = port;
        let interfaces = match config.interfaces.as_slice() {
            [] => vec![None],
            named => named.iter().map(|name| Some(name.as_str())).collect(),
        };
        for interface in interfaces {
            for address in &config.listen {
                port = opened.open_at(*address, interface, port, programs, &mut self.handed)?;
            }
        }
        self.listeners.append(&mut opened.listeners);
        self.sockets.append(&mut opened.sockets);
        self.bound.0.append(&mut opened.bound.0);
        Ok(port)
    }

    fn open_at(
        &mut self,
        address: Ipv4Addr,
        interface: Option<&str>,
        port: u16,
        programs: Programs,
        handed: &mut Vec<OwnedFd>,
    ) -> Result<u16, StartError> {
        let wanted = SocketAddrV4::new(address, port);
        let failed = |error: io::Error| StartError::Bind { address: wanted, error };
        let mut tries = 0;
        let (listener, datagrams, bound) = loop {
            let mut open = |kind, address| match take(handed, kind, address) {
                Some(socket) => adopt(socket, interface),
                None => open(kind, address, interface),
            };
            let listener = TcpListener::from(open(SockType::Stream, wanted).map_err(failed)?);
            let bound = listener.local_addr().map_err(failed)?.port();
            match open(SockType::Datagram, SocketAddrV4::new(address, bound)) {
                Ok(datagrams) => break (listener, UdpSocket::from(datagrams), bound),
                // Another process holds the UDP port of the system's choice for TCP.
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < 100 => {
                    tries += 1
                }
                Err(error) => return Err(failed(error)),
            }
        };
        if let Some(interface) = interface {
            let both = [listener.try_clone().map(OwnedFd::from), datagrams.try_clone().map(OwnedFd::from)];
            for socket in both {
                self.bound.0.push((socket.map_err(StartError::System)?, interface.to_owned()));
            }
        }
        self.listeners.push((listener, programs));
        self.sockets.push((datagrams, programs));
        Ok(bound)
    }
}

impl Bound {
    /// Binds the sockets to this interface, which was removed and made again. An interface that is gone once more is no error.
    pub(super) fn again(&self, interface: &str) -> io::Result<()> {
        for (socket, _) in self.0.iter().filter(|(_, name)| name == interface) {
            match setsockopt(socket, sockopt::BindToDevice, &interface.into()) {
                Err(error) if error != nix::errno::Errno::ENODEV => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The socket of this type and address among those that another process has bound.
fn take(handed: &mut Vec<OwnedFd>, kind: SockType, address: SocketAddrV4) -> Option<OwnedFd> {
    let is_it = |socket: &OwnedFd| {
        let bound = getsockname::<SockaddrIn>(socket.as_raw_fd()).map(SocketAddrV4::from);
        getsockopt(socket, sockopt::SockType) == Ok(kind) && bound == Ok(address)
    };
    let found = handed.iter().position(is_it)?;
    Some(handed.swap_remove(found))
}

/// Gives such a socket the state of one that [`open`] opens.
fn adopt(socket: OwnedFd, interface: Option<&str>) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    if let Some(interface) = interface {
        setsockopt(&socket, sockopt::BindToDevice, &interface.into())?;
    }
    Ok(socket)
}

fn open(kind: SockType, address: SocketAddrV4, interface: Option<&str>) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(interface) = interface {
        setsockopt(&socket, sockopt::BindToDevice, &interface.into())?;
    }
    if kind == SockType::Stream {
        // Connections of an earlier server do not hold the port (TIME_WAIT).
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::MAXCONN)?;
    }
    Ok(socket)
}
