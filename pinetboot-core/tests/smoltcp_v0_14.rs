//! The server and the client over smoltcp interfaces on one Ethernet, which loses and corrupts frames as smoltcp's own
//! fault injector has it, by a clock that is only counted on.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pinetboot_core::adapter::smoltcp_v0_14::{Clock, Pool, Port, Stack};
use pinetboot_core::conformance::{self, End};
use pinetboot_core::tftp::{
    Client, ErrorCode, Limits, Options, Outcome, PORT, Packet, Report, Request, RetryPolicy, Server, Session,
};
use pinetboot_core::{File, Instant, Net, OpenError, OpenRequest, OutOfBounds, Storage, Upload};
use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, FaultInjector, Medium};
use smoltcp::socket::{Socket, udp};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};

/// Byte for byte, in both directions and for two clients at a time, whatever gets lost.
#[test]
fn files_arrive_whole_through_drops_and_corruption() {
    let sizes = [0, 1, 1023, 1024, 1025, 40_000];
    for window_size in [1, 8] {
        let mut resent = 0;
        for seed in 1..=10 {
            let (wire, files) = (Wire::new(3), Files::new(&sizes));
            // A transfer whose last ACK is lost keeps its place and its socket for a while.
            let mut places = [const { None }; 32];
            let mut server = server(host::<33>(&wire, SERVER, seed), &files, &mut places);
            let mut pools = [1, 2].map(|number| host(&wire, number, seed));
            // ARP has no checksum, and there is no Ethernet's here: the addresses are learnt in peace.
            wire.run(&mut server, pools.iter_mut().map(|pool| get(pool, "1", window_size)));
            pools.iter_mut().for_each(disturb);
            disturb(server.net_mut());

            let clients = pools.iter_mut().enumerate().map(|(number, pool)| {
                let files = &files;
                async move {
                    let mut resent = 0;
                    for size in sizes {
                        let (bytes, report) = get(pool, &size.to_string(), window_size).await;
                        assert_eq!(report.outcome, Outcome::Complete { bytes: size as u64 });
                        assert_eq!(bytes, contents(size));
                        resent += report.resent;

                        let name = format!("{size}-from-{number}");
                        let report = put(pool, &name, &bytes, window_size).await;
                        // Whoever sends the last ACK cannot know that it arrived: the file is whole all the same.
                        let outcomes = [Outcome::Complete { bytes: size as u64 }, Outcome::TimedOut];
                        assert!(outcomes.contains(&report.outcome), "{report:?}");
                        assert_eq!(files.0.borrow()[&name], bytes);
                        resent += report.resent;
                    }
                    resent
                }
            });
            resent += wire.run(&mut server, clients).iter().sum::<u32>();
        }
        assert!(resent > 100, "not much was lost");
    }
}

/// Somebody asks and then answers no ARP request: he is gone, or another forged his address.
#[test]
fn a_peer_that_does_not_answer_arp_stops_nobody_else() {
    let (wire, files) = (Wire::new(2), Files::new(&[40_000]));
    let mut places = [const { None }; 2];
    let mut server = server(host::<3>(&wire, SERVER, 1), &files, &mut places);
    let mut pool = host(&wire, 1, 1);
    let ghost = SocketAddrV4::new(address(66), 1000);
    wire.ask(ghost, b"40000"); // DATA is stuck in a transfer's socket
    wire.ask(ghost, b"none"); // and an ERROR in the one that listens

    let client = async {
        let (bytes, report) = get(&mut pool, "40000", 1).await;
        assert_eq!((bytes, report.resent), (contents(40_000), 0));
        let (_, report) = get(&mut pool, "none", 1).await;
        assert_eq!(report.outcome, Outcome::PeerError(ErrorCode::FILE_NOT_FOUND));
        assert_eq!((report.resent, pool.now()), (0, Instant::ZERO), "it took a retry");
        // Until the server has given up on the other.
        assert!(pool.recv(Instant::from_millis(60_000)).await.unwrap().is_none());
    };
    wire.run(&mut server, [client]);

    assert_eq!(server.transfers(), 0);
    let opened = [(); 3].map(|()| server.net_mut().open(Port::FIRST, ghost).is_some());
    assert_eq!(opened, [true, true, false], "not every socket is free again");
}

/// The server sends the ERROR and closes the port in one breath, when the device has not even taken the DATA before.
#[test]
fn close_does_not_lose_a_last_error() {
    let (wire, files) = (Wire::new(2), Files::new(&[]));
    files.0.borrow_mut().insert("broken".into(), contents(40_000));
    let mut places = [const { None }; 2];
    let mut server = server(host::<3>(&wire, SERVER, 1), &files, &mut places);
    let mut pool = host(&wire, 1, 1);
    wire.0.borrow_mut().frames_at_most = 1;

    let client = async {
        let (bytes, report) = get(&mut pool, "broken", 8).await;
        assert_eq!((bytes, report.resent), (contents(40_000)[..2048].to_vec(), 0));
        assert_eq!(report.outcome, Outcome::PeerError(ErrorCode::NOT_DEFINED));
    };
    wire.run(&mut server, [client]);
}

/// One transfer after the other needs but one socket for transfers, and a device that queues little loses nothing.
#[test]
fn a_small_pool_on_a_small_device_does() {
    let (wire, files) = (Wire::new(2), Files::new(&[40_000]));
    let mut places = [const { None }; 1];
    let mut server = server(host::<2>(&wire, SERVER, 1), &files, &mut places);
    let mut pool = host(&wire, 1, 1);
    wire.0.borrow_mut().frames_at_most = 2;

    let client = async {
        for window_size in [1, 8, 64] {
            let (bytes, report) = get(&mut pool, "40000", window_size).await;
            assert_eq!((bytes, report.resent), (contents(40_000), 0));
        }
    };
    wire.run(&mut server, [client]);
}

/// With a single socket the server answers everything from its one port.
#[test]
fn a_single_socket_does() {
    let (wire, files) = (Wire::new(3), Files::new(&[40_000]));
    let mut places = [const { None }; 2];
    let mut server = server(host::<1>(&wire, SERVER, 1), &files, &mut places);
    let mut pools = [1, 2].map(|number| host(&wire, number, 1));
    for (bytes, report) in wire.run(&mut server, pools.iter_mut().map(|pool| get(pool, "40000", 4))) {
        assert_eq!((bytes, report.resent), (contents(40_000), 0));
    }
}

/// The suite for networks, with ports for transfers and without.
#[test]
fn conforms() {
    fn run<const SOCKETS: usize>() {
        let wire = Wire::new(2);
        let mut tested = host::<SOCKETS>(&wire, SERVER, 1);
        let mut other = host::<1>(&wire, 1, 1);
        let Some((_, Socket::Udp(socket))) = other.stack_mut().sockets.iter().next() else { panic!() };
        let port = socket.endpoint().port;
        let peer = End { net: &mut other, local: Port::FIRST, address: SocketAddrV4::new(address(1), port) };
        wire.finish(conformance::net(&mut tested, SocketAddrV4::new(address(SERVER), PORT), peer));
    }
    run::<3>();
    run::<1>();
}

#[test]
fn a_port_is_named_by_a_byte() {
    assert_eq!(size_of::<<Host<4> as Net>::Local>(), 1);
}

type Host<const SOCKETS: usize> = Pool<'static, FaultInjector<Nic>, Nic, SOCKETS>;
type TestServer<'s, const SOCKETS: usize> = Server<'s, Host<SOCKETS>, Files, (), 32>;

fn server<'s, const SOCKETS: usize>(
    pool: Host<SOCKETS>,
    files: &Files,
    places: &'s mut [Option<Session<Port, Files>>],
) -> TestServer<'s, SOCKETS> {
    let limits = Limits::default().with_retry(PATIENCE);
    Server::new(pool, files.clone(), (), limits, places)
}

/// A host on the wire; the server listens, a client takes any port.
fn host<const SOCKETS: usize>(wire: &Wire, number: u8, seed: u32) -> Host<SOCKETS> {
    let nic = Nic { wire: wire.clone(), number };
    let mut device = FaultInjector::new(nic.clone(), seed * 1000 + u32::from(number));
    let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, number]).into());
    let mut iface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
    iface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address(number).into(), 24)).unwrap());
    let mut sockets = SocketSet::new(Vec::from([const { SocketStorage::EMPTY }; SOCKETS]).leak());
    let handles = [(); SOCKETS].map(|()| sockets.add(udp::Socket::new(buffer(1), buffer(4))));
    let stack = Stack { iface, device, sockets, clock: nic };
    Pool::new(stack, handles, if number == SERVER { PORT } else { 0 })
}

/// Memory that a socket borrows, for so many datagrams.
fn buffer(datagrams: usize) -> udp::PacketBuffer<'static> {
    let metadata = vec![udp::PacketMetadata::EMPTY; datagrams].leak();
    udp::PacketBuffer::new(metadata, vec![0; datagrams * 1472].leak())
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + number)
}

/// Loses one frame in thirty and corrupts one in fifty, each way.
fn disturb<const SOCKETS: usize>(pool: &mut Host<SOCKETS>) {
    let device = &mut pool.stack_mut().device;
    device.set_drop_chance(3);
    device.set_corrupt_chance(2);
}

async fn get(pool: &mut Host<2>, name: &str, window_size: u16) -> (Vec<u8>, Report) {
    let mut received = Received::default();
    let local = port(pool);
    let report = client(pool, local).get(&request(name, window_size), &mut received).await.unwrap();
    pool.close(local);
    (received.bytes, report)
}

async fn put(pool: &mut Host<2>, name: &str, bytes: &[u8], window_size: u16) -> Report {
    let local = port(pool);
    let report = client(pool, local).put(&request(name, window_size), bytes).await.unwrap();
    pool.close(local);
    report
}

/// A new port for each transfer, or the packets that are left of one would get into the next.
fn port(pool: &mut Host<2>) -> Port {
    pool.open(Port::FIRST, SocketAddrV4::new(address(SERVER), PORT)).unwrap()
}

fn client(pool: &mut Host<2>, local: Port) -> Client<&mut Host<2>> {
    Client::new(pool, local, SocketAddrV4::new(address(SERVER), PORT)).with_retry(PATIENCE)
}

fn request(name: &str, window_size: u16) -> Request<'_> {
    let options = Options::RASPBERRY_PI.with_block_size(1024).with_window_size(window_size);
    Request::octet(name.as_bytes(), options)
}

/// What a file of this size holds.
fn contents(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

/// A hub: what one host sends, all others get. It has the clock, too.
#[derive(Clone)]
struct Wire(Rc<RefCell<Ether>>);

struct Ether {
    now: Instant,
    /// For each host, what has come and not been taken.
    frames: Vec<VecDeque<Vec<u8>>>,
    /// For each host, until when it idles.
    idle: Vec<Option<Instant>>,
    /// Nobody can send while there are so many.
    frames_at_most: usize,
}

impl Wire {
    fn new(hosts: usize) -> Self {
        Self(Rc::new(RefCell::new(Ether {
            now: Instant::ZERO,
            frames: vec![VecDeque::new(); hosts],
            idle: vec![None; hosts],
            frames_at_most: usize::MAX,
        })))
    }

    /// Runs the server until all clients are done. Time passes only while all are idle.
    fn run<const SOCKETS: usize, F: Future>(
        &self,
        server: &mut TestServer<'_, SOCKETS>,
        clients: impl IntoIterator<Item = F>,
    ) -> Vec<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        let mut server = pin!(server.run());
        let mut clients: Vec<_> = clients.into_iter().map(|client| (Box::pin(client), None)).collect();
        loop {
            assert!(server.as_mut().poll(&mut context).is_pending());
            for (client, done) in clients.iter_mut().filter(|(_, done)| done.is_none()) {
                if let Poll::Ready(output) = client.as_mut().poll(&mut context) {
                    *done = Some(output);
                }
            }
            if clients.iter().all(|(_, done)| done.is_some()) {
                return clients.into_iter().filter_map(|(_, done)| done).collect();
            }
            self.0.borrow_mut().pass();
        }
    }

    /// Runs this to its end, whose hosts take turns.
    fn finish<T>(&self, future: impl Future<Output = T>) -> T {
        let mut context = Context::from_waker(Waker::noop());
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.0.borrow_mut().pass();
        }
    }

    /// A request comes to the server, from somebody who is not on the wire.
    fn ask(&self, from: SocketAddrV4, name: &[u8]) {
        let mut request = [0; 64];
        let len = Packet::Read(Request::octet(name, Options::default())).emit(&mut request).unwrap();
        let (payload, checksums) = (&request[..len], ChecksumCapabilities::default());
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress([2, 0, 0, 0, 0, 66]),
            dst_addr: EthernetAddress([2, 0, 0, 0, 0, SERVER]),
            ethertype: EthernetProtocol::Ipv4,
        };
        let ip = Ipv4Repr {
            src_addr: *from.ip(),
            dst_addr: address(SERVER),
            next_header: IpProtocol::Udp,
            payload_len: 8 + len,
            hop_limit: 64,
        };
        let udp = UdpRepr { src_port: from.port(), dst_port: PORT };
        let mut frame = vec![0; 14 + 20 + 8 + len];
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut frame[34..]),
            &ip.src_addr.into(),
            &ip.dst_addr.into(),
            len,
            |buffer| buffer.copy_from_slice(payload),
            &checksums,
        );
        self.0.borrow_mut().frames[usize::from(SERVER)].push_back(frame);
    }
}

impl Ether {
    /// Moves the clock on to where the first host wants to be woken, unless one has something to do now.
    fn pass(&mut self) {
        let idle =
            || self.idle.iter().zip(&self.frames).filter_map(|(until, frames)| Some(((*until)?, frames)));
        if idle().all(|(_, frames)| frames.is_empty()) {
            let until = idle().map(|(until, _)| until).min().unwrap_or(Instant::MAX);
            self.now = self.now.max(until);
            assert!(self.now < Instant::from_millis(3_600_000), "it takes too long");
        }
    }
}

/// A host's place on the wire.
#[derive(Clone)]
struct Nic {
    wire: Wire,
    number: u8,
}

impl Clock for Nic {
    fn now(&self) -> Instant {
        self.wire.0.borrow().now
    }

    async fn idle(&mut self, until: Instant) {
        let mut polls = 0;
        poll_fn(|_| {
            let mut ether = self.wire.0.borrow_mut();
            let number = usize::from(self.number);
            let woken = ether.now >= until || !ether.frames[number].is_empty();
            polls += 1;
            ether.idle[number] = (polls == 1 || !woken).then_some(until);
            if ether.idle[number].is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl Device for Nic {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Self;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, Self)> {
        let frame = self.wire.0.borrow_mut().frames[usize::from(self.number)].pop_front()?;
        Some((Frame(frame), self.clone()))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Self> {
        let ether = self.wire.0.borrow();
        let others = ether.frames.iter().enumerate().filter(|(host, _)| *host != usize::from(self.number));
        others.map(|(_, frames)| frames.len()).all(|len| len < ether.frames_at_most).then(|| self.clone())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl phy::TxToken for Nic {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        for (host, frames) in self.wire.0.borrow_mut().frames.iter_mut().enumerate() {
            if host != usize::from(self.number) {
                frames.push_back(frame.clone());
            }
        }
        result
    }
}

struct Frame(Vec<u8>);

impl phy::RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

/// Files in memory, by name; the one called "broken" cannot be read beyond 2048 bytes.
#[derive(Clone)]
struct Files(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl Files {
    /// Each is called by its size.
    fn new(sizes: &[usize]) -> Self {
        let files = sizes.iter().map(|size| (size.to_string(), contents(*size)));
        Self(Rc::new(RefCell::new(files.collect())))
    }
}

impl Storage for Files {
    type File = Opened;
    type Upload = Received;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
        let name = request.path.file_name();
        let bytes = self.0.borrow().get(name).cloned().ok_or(OpenError::NotFound)?;
        Ok(Opened { bytes, readable: if name == "broken" { 2048 } else { u64::MAX } })
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Received, OpenError> {
        Ok(Received { keep: Some((request.path.to_string(), self.clone())), ..Received::default() })
    }
}

struct Opened {
    bytes: Vec<u8>,
    readable: u64,
}

impl File for Opened {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        if offset >= self.readable {
            return Err(OutOfBounds);
        }
        self.bytes.as_slice().read_exact_at(offset, buf).await
    }
}

/// What comes in, and where it is kept once it is whole.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    keep: Option<(String, Files)>,
}

impl Upload for Received {
    type Error = OutOfBounds;

    fn expect(&mut self, _: u64) -> Result<(), OutOfBounds> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), OutOfBounds> {
        if let Some((name, files)) = &self.keep {
            files.0.borrow_mut().insert(name.clone(), self.bytes.clone());
        }
        Ok(())
    }
}

const SERVER: u8 = 0;

/// Enough for what is lost in these tests.
const PATIENCE: RetryPolicy = RetryPolicy::new(Duration::from_secs(1), 10);
