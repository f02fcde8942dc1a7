//! A host of its own address on an interface, beside this machine: smoltcp on a packet socket.
//!
//! The interface needs no address, and this machine's kernel does not learn of the host: a frame for an address that is not the
//! kernel's is none of its business. The host has the interface's MAC address, so no switch and no promiscuous mode matters.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket};
use pinetboot_core::adapter::smoltcp_v0_14::{self as adapter, Pool, Stack};
use pinetboot_core::{ETHERNET_MAX_PAYLOAD, Instant};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::frames::link_of;

/// The UDP of a [`VirtualHost`].
pub type UdpPool = Pool<'static, Frames, Timer, SOCKETS>;

/// UDP and TCP of a host with one address.
#[derive(Debug)]
pub struct VirtualHost {
    pool: UdpPool,
}

/// The addresses of a [`VirtualHost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The mask of the network.
    pub mask: Ipv4Addr,
    /// The router to other networks.
    pub router: Option<Ipv4Addr>,
}

/// A TCP connection of a [`VirtualHost`].
#[derive(Debug)]
pub struct VirtualStream<'a> {
    host: &'a mut VirtualHost,
    socket: SocketHandle,
    timeout: Duration,
}

impl VirtualHost {
    /// A host on this interface, with the interface's MAC address.
    ///
    /// # Errors
    ///
    /// If this Ethernet interface does not exist, or the process lacks CAP_NET_RAW.
    pub fn new(interface: &str, at: HostAddress) -> io::Result<Self> {
        let link = link_of(interface)?;
        let mac = link.addr().ok_or_else(|| io::Error::other("the interface has no Ethernet address"))?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        bind(socket.as_raw_fd(), &link)?;
        let socket = Arc::new(socket);
        let mut device = Frames { socket: socket.clone(), incoming: vec![0; FRAME].into() };
        let clock = Timer { socket, start: Clock::now() };

        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = std::process::id().into();
        let mut iface = Interface::new(config, &mut device, stack_instant(clock.elapsed()));
        let prefix = at.mask.to_bits().leading_ones() as u8;
        iface.update_ip_addrs(|addresses| {
            let _has_room_for_one = addresses.push(IpCidr::new(at.address.into(), prefix));
        });
        if let Some(router) = at.router {
            let _has_room_for_one = iface.routes_mut().add_default_ipv4_route(router);
        }
        let mut sockets = SocketSet::new(Vec::new());
        let udp = [(); SOCKETS].map(|()| sockets.add(udp_socket()));
        Ok(Self { pool: Pool::new(Stack { iface, device, sockets, clock }, udp, 0) })
    }

    /// Its UDP.
    pub const fn udp(&mut self) -> &mut UdpPool {
        &mut self.pool
    }

    /// Connects from a port below 1024. Reads and writes end with an error after `timeout`, too.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) without an answer, [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    pub fn connect(&mut self, to: SocketAddrV4, timeout: Duration) -> io::Result<VirtualStream<'_>> {
        let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
        let Stack { iface, sockets, clock, .. } = self.pool.stack_mut();
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let from = FIRST_PORT + (clock.elapsed().as_micros() % PORTS) as u16;
        sockets
            .get_mut::<tcp::Socket<'_>>(socket)
            .connect(iface.context(), (IpAddress::from(*to.ip()), to.port()), from)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut stream = VirtualStream { host: self, socket, timeout };
        stream.drive(|socket| match socket.state() {
            tcp::State::Established => Some(Ok(())),
            tcp::State::Closed => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => None,
        })?;
        Ok(stream)
    }

    /// Sends one datagram, and waits until it has left.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) if nothing answers the ARP request for its way.
    pub fn send(&mut self, port: u16, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        let stack = self.pool.stack_mut();
        let handle = stack.sockets.add(udp_socket());
        let socket = stack.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.bind(port).map_err(|error| failed(&error))?;
        socket.send_slice(payload, (*to.ip(), to.port())).map_err(|error| failed(&error))?;
        let deadline = stack.clock.elapsed() + ARP;
        loop {
            let until = stack.poll();
            if stack.sockets.get::<udp::Socket<'_>>(handle).send_queue() == 0 {
                return Ok(());
            }
            if stack.clock.elapsed() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stack.clock.wait(until.min(deadline));
        }
    }
}

/// smoltcp's poll of the stack.
trait Poll {
    /// Sends and receives all that can be sent and received; the time of the next poll.
    fn poll(&mut self) -> Duration;
}

impl Poll for Stack<'static, Frames, Timer> {
    fn poll(&mut self) -> Duration {
        let Self { iface, device, sockets, clock } = self;
        let now = stack_instant(clock.elapsed());
        iface.poll(now, device, sockets);
        let delay = iface.poll_delay(now, sockets).map_or(LONGEST_WAIT, Into::into);
        clock.elapsed() + Duration::min(delay, LONGEST_WAIT)
    }
}

impl VirtualStream<'_> {
    /// Polls until `done` has a result.
    fn drive<T>(
        &mut self,
        mut done: impl FnMut(&mut tcp::Socket<'static>) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        let stack = self.host.pool.stack_mut();
        let deadline = stack.clock.elapsed() + self.timeout;
        loop {
            let until = stack.poll();
            if let Some(result) = done(stack.sockets.get_mut(self.socket)) {
                stack.poll();
                return result;
            }
            if stack.clock.elapsed() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stack.clock.wait(until.min(deadline));
        }
    }
}

impl Read for VirtualStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.drive(|socket| match socket.recv_slice(buffer) {
            Ok(0) if socket.may_recv() => None,
            Ok(len) => Some(Ok(len)),
            Err(tcp::RecvError::Finished) => Some(Ok(0)),
            Err(tcp::RecvError::InvalidState) => Some(Err(io::ErrorKind::ConnectionReset.into())),
        })
    }
}

impl Write for VirtualStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.drive(|socket| match socket.send_slice(bytes) {
            Ok(0) => None,
            Ok(len) => Some(Ok(len)),
            Err(_) => Some(Err(io::ErrorKind::ConnectionReset.into())),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Closes the connection; waits for the server's acknowledgement no longer than that takes on a local network.
impl Drop for VirtualStream<'_> {
    fn drop(&mut self) {
        self.host.pool.stack_mut().sockets.get_mut::<tcp::Socket<'_>>(self.socket).close();
        self.timeout = CLOSING;
        let _abandoned = self.drive(|socket| {
            let closed =
                matches!(socket.state(), tcp::State::FinWait2 | tcp::State::TimeWait | tcp::State::Closed);
            closed.then_some(Ok(()))
        });
        self.host.pool.stack_mut().sockets.remove(self.socket);
    }
}

/// The frames of an interface.
#[derive(Debug)]
pub struct Frames {
    socket: Arc<OwnedFd>,
    incoming: Box<[u8]>,
}

/// A received frame.
#[derive(Debug)]
pub struct Received<'a>(&'a [u8]);

/// Room for a frame to send.
#[derive(Debug)]
pub struct Outgoing<'a>(&'a OwnedFd);

impl Device for Frames {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Received<'_>, Outgoing<'_>)> {
        // By smoltcp's trait a device has no errors: one that is gone receives nothing.
        let len = recv(self.socket.as_raw_fd(), &mut self.incoming, MsgFlags::empty()).ok()?;
        Some((Received(self.incoming.get(..len)?), Outgoing(&self.socket)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&self.socket))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_MTU;
        // A card that computes checksums on the way out leaves them undone on a virtual link.
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        use_frame(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        let _lost = send(self.0.as_raw_fd(), &frame, MsgFlags::empty());
        result
    }
}

/// The time since the start, and the wait for the next frame.
#[derive(Debug)]
pub struct Timer {
    socket: Arc<OwnedFd>,
    start: Clock,
}

impl Timer {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits for a frame, until this time at the latest.
    fn wait(&self, until: Duration) {
        let millis = until.saturating_sub(self.elapsed()).as_micros().div_ceil(1000);
        let timeout = u16::try_from(millis).map_or(PollTimeout::from(u16::MAX), PollTimeout::from);
        // A signal ends the wait: the caller polls again.
        let _readable: Result<_, Errno> =
            poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

impl adapter::Clock for Timer {
    fn now(&self) -> Instant {
        Instant::ZERO + self.elapsed()
    }

    async fn idle(&mut self, until: Instant) {
        self.wait(until.since(Instant::ZERO));
    }
}

fn udp_socket() -> udp::Socket<'static> {
    let buffer = |datagrams| {
        let payload = vec![0; datagrams * usize::from(ETHERNET_MAX_PAYLOAD)];
        udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; datagrams], payload)
    };
    udp::Socket::new(buffer(DATAGRAMS), buffer(DATAGRAMS))
}

fn stack_instant(elapsed: Duration) -> StackInstant {
    StackInstant::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// One port that is bound always, and those of transfers: the one under way, and those of ended ones with an ACK to send.
const SOCKETS: usize = 4;
/// Datagrams in a socket's queue: a window.
const DATAGRAMS: usize = 16;
const CLOSING: Duration = Duration::from_millis(100);
const TCP_BUFFER: usize = 32 << 10;
/// A packet socket gets merged segments whole.
const FRAME: usize = 128 << 10;
const ETHERNET_MTU: usize = 1514;
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Time for an answer to ARP, which smoltcp asks for once a second.
const ARP: Duration = Duration::from_secs(3);
/// The ports that Linux's NFS client uses (sunrpc.min_resvport, sunrpc.max_resvport).
const FIRST_PORT: u16 = 665;
const PORTS: u128 = 1023 - 665 + 1;
