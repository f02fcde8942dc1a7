//! Opening of a network's sockets: the listening ones, and the ports of transfers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::pool::{Home, Pool};
use super::socket::Socket;
use super::tx_batch::TxBatch;
use super::{LinuxNet, Local, Options, Ports, UNSPECIFIED};
use crate::handed::Handed;

impl LinuxNet {
    /// Listens on these addresses.
    ///
    /// # Errors
    ///
    /// The address that cannot be bound, and the system's reason.
    pub fn listen(addresses: &[SocketAddrV4], options: Options) -> Result<Self, BindError> {
        Self::listen_with(addresses, options, &mut Handed::default())
    }

    /// The same, with the sockets of the service manager where they have these addresses.
    ///
    /// # Errors
    ///
    /// The address that cannot be bound, and the system's reason.
    pub fn listen_with(
        addresses: &[SocketAddrV4],
        options: Options,
        handed: &mut Handed,
    ) -> Result<Self, BindError> {
        let mut net = Self::new(options).map_err(|error| BindError { address: UNSPECIFIED, error })?;
        let interfaces = match net.options.interfaces.as_slice() {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        for interface in &interfaces {
            for &address in addresses {
                let socket = match handed.take_udp(address) {
                    Some(socket) => Socket::adopt(socket, address, interface.as_deref()),
                    None => Socket::bind(address, interface.as_deref()),
                };
                socket
                    .and_then(|socket| net.listen_on(socket))
                    .map_err(|error| BindError { address, error })?;
            }
        }
        // DHCP's clients and relay agents read frames (packet(7)), which are not cut on the way to a namespace or a bridge's port:
        // several replies in one message would be lost.
        let cuts = !net.options.broadcast && net.sockets.first().is_some_and(Socket::can_segment);
        net.tx = TxBatch::new(cuts);
        Ok(net)
    }

    /// Opens `count` networks on these addresses, one for each worker: the kernel assigns each client to one of them. A socket of the
    /// service manager is for one worker, since the kernel divides clients between sockets of one user only.
    ///
    /// # Errors
    ///
    /// The address that cannot be bound, and the system's reason.
    pub fn listen_together(
        addresses: &[SocketAddrV4],
        options: &Options,
        count: u16,
        handed: &mut Handed,
    ) -> Result<Vec<Self>, BindError> {
        let first = Self::listen_with(addresses, options.clone(), handed)?;
        let mut others = Vec::new();
        for _ in 1..count {
            let other = first.beside().map_err(|error| BindError { address: UNSPECIFIED, error })?;
            others.push(other);
        }
        let listeners = first.sockets.iter().take(first.listening).filter(|_| count > 1);
        for listener in listeners {
            let failed = |error| BindError { address: listener.address().unwrap_or(UNSPECIFIED), error };
            listener.divide_by_client(count.into()).map_err(failed)?;
        }
        Ok([first].into_iter().chain(others).collect())
    }

    fn beside(&self) -> io::Result<Self> {
        let mut net = Self::new(self.options.clone())?;
        for listener in self.sockets.iter().take(self.listening) {
            net.listen_on(listener.beside()?)?;
        }
        net.tx = TxBatch::new(self.cuts_windows());
        Ok(net)
    }

    /// A client's end: one free port, for one transfer.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn client(interface: Option<String>) -> io::Result<Self> {
        let mut net = Self::new(Options { ports: Ports::Single, ..Options::default() })?;
        net.add_listener(UNSPECIFIED, interface.as_deref())?;
        Ok(net)
    }

    /// The port of a [`client`](Self::client).
    pub const fn client_port() -> Local {
        Local { socket: 0, source: Ipv4Addr::UNSPECIFIED }
    }

    fn add_listener(&mut self, address: SocketAddrV4, interface: Option<&str>) -> io::Result<()> {
        self.listen_on(Socket::bind(address, interface)?)
    }

    fn listen_on(&mut self, socket: Socket) -> io::Result<()> {
        if self.options.broadcast {
            socket.allow_broadcast()?;
        }
        self.add(socket)?;
        self.listening = self.sockets.len();
        Ok(())
    }

    /// Binds the ports of transfers for requests to these addresses of this machine, while the process may enlarge their
    /// buffers. Ports for other addresses are bound when requests come.
    pub fn open_ports(&mut self, local: &[Ipv4Addr]) {
        if self.options.ports == Ports::Single {
            return;
        }
        for socket in 0..self.listening {
            let Some(bound) = self.sockets.get(socket).map(Socket::bound) else { continue };
            let all = [bound];
            let addresses = if bound.is_unspecified() { local } else { &all };
            for source in addresses.iter().copied().take(FEW) {
                let at = Local { socket, source };
                if self.pool.home(at).is_none() && self.add_pool(at).is_err() {
                    return; // the first request tries again, and reports
                }
            }
        }
    }

    /// Binds ports for the transfers of requests that come `at` this port.
    pub(super) fn add_pool(&mut self, at: Local) -> io::Result<Home> {
        let like = self.sockets.get(at.socket);
        let interface = like.and_then(Socket::interface).map(str::to_owned);
        let home = self.pool.new_home(at, self.sockets.len());
        for _ in 0..Pool::PORTS {
            let socket = self.bind_port(home.address, interface.as_deref())?;
            self.add(socket)?;
        }
        self.pool.add(home);
        Ok(home)
    }

    /// Binds a free port for transfers.
    fn bind_port(&self, address: Ipv4Addr, interface: Option<&str>) -> io::Result<Socket> {
        let Ports::Range { first, last } = self.options.ports else {
            return Socket::bind(SocketAddrV4::new(address, 0), interface);
        };
        let all_in_use = || {
            let why = format!("all ports from {first} to {last} are in use: enlarge --port-range");
            Err(io::Error::new(io::ErrorKind::AddrInUse, why))
        };
        let mut ports = (first..=last).map(|port| Socket::bind(SocketAddrV4::new(address, port), interface));
        let is_in_use = |bound: &io::Result<Socket>| {
            bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        };
        ports.find(|bound| !is_in_use(bound)).unwrap_or_else(all_in_use)
    }

    fn add(&mut self, mut socket: Socket) -> io::Result<()> {
        socket.ask_for_destination()?;
        socket.enlarge_buffers(BUFFER);
        socket.never_fragment()?;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, self.sockets.len() as u64))?;
        self.sockets.push(socket);
        Ok(())
    }
}

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddrV4,
    /// The system's reason.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for BindError {}

/// Addresses whose ports are bound at the start.
const FEW: usize = 8;

/// Socket buffers in bytes: a thousand datagrams at once overflow the default of 208 KiB.
const BUFFER: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies to several DHCP clients have one destination and often one length.
    #[test]
    fn replies_by_broadcast_are_never_cut_out_of_one_message() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let listen = |broadcast| {
            LinuxNet::listen(&[address], Options { broadcast, ..Options::default() })
                .unwrap_or_else(|_| panic!())
        };
        let (transfers, replies) = (listen(false), listen(true));
        assert_eq!(transfers.cuts_windows(), transfers.sockets[0].can_segment());
        assert!(!replies.cuts_windows());
        assert!(!replies.beside().unwrap().cuts_windows(), "nor by another worker");
    }
}
