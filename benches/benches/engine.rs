//! The engine's costs without a network: packets, the sender's work for one block, and the server's.
#![expect(clippy::unwrap_used, reason = "what fails here is the bench")]

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinetboot_core::tftp::{Limits, Options, Packet, Request, Sender, Server, Step};
use pinetboot_core::{Datagram, File, Instant, Net, NoUpload, OpenError, OpenRequest, Storage, block_on};

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    let request = Packet::Read(Request::octet(b"7bf18f79//config.txt", Options::RASPBERRY_PI));
    let answer = Packet::OptionAck(Options::RASPBERRY_PI.with_transfer_size(33_554_432));
    let block = Packet::Data { block: 1, payload: &FILE };

    for (name, packet) in [("request", request), ("ack", Packet::Ack { block: 1 })] {
        let datagram = emit(&packet);
        group.bench_function(format!("parse {name}"), |b| {
            b.iter(|| Packet::parse(black_box(&datagram)).is_ok())
        });
    }
    for (name, packet) in [("option ack", answer), ("data of 1024 bytes", block)] {
        let mut buffer = [0; 1472];
        group.bench_function(format!("emit {name}"), |b| {
            b.iter(|| black_box(&packet).emit(black_box(&mut buffer)))
        });
    }
}

/// An ACK is parsed and handled, and the blocks that follow from it are emitted.
fn sender(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sender");
    for window in [1, 16] {
        let mut sender = Sender::serve(&Limits::default().within(1472), &options(window), ENDLESS);
        let mut buffer = [0; 1472];
        let mut last = 0;
        group.throughput(Throughput::Elements(window.into()));
        group.bench_function(BenchmarkId::new("window", window), |b| {
            b.iter(|| {
                let [high, low] = u16::to_be_bytes(last);
                let datagram = black_box([0, 4, high, low]);
                sender.handle(Instant::ZERO, &Packet::parse(&datagram).unwrap());
                loop {
                    let len = match sender.poll(Instant::ZERO) {
                        Step::SendData { block, len, .. } => {
                            last = block;
                            Packet::Data { block, payload: &FILE[..len.into()] }.emit(&mut buffer)
                        }
                        Step::Send(packet) => packet.emit(&mut buffer),
                        Step::Wait { .. } => break,
                        step => panic!("{step:?}"),
                    };
                    black_box(&mut buffer[..len.unwrap()]);
                }
            });
        });
    }
}

/// One turn of the loop: an ACK comes in, the next block goes out, for one of many clients after the other.
fn server(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server");
    group.throughput(Throughput::Elements(1));
    for clients in [1, 100, 1000] {
        let mut places: Vec<_> = (0..clients).map(|_| None).collect();
        let limits = Limits::default();
        let mut server =
            Server::<_, _, _, 2048>::new(Clients::new(clients), Endless, (), limits, &mut places);
        // A request and an ACK of the OACK each.
        for _ in 0..2 * clients {
            block_on(server.turn()).unwrap();
        }
        group.bench_function(BenchmarkId::new("clients", clients), |b| {
            b.iter(|| block_on(server.turn()).unwrap())
        });
        assert_eq!(server.transfers(), clients);
    }
}

/// A network of clients that take turns and acknowledge at once, a microsecond after one another.
struct Clients {
    now: Instant,
    turn: usize,
    /// For each client, its next packet.
    say: Vec<Vec<u8>>,
    buffer: [u8; 1472],
}

impl Clients {
    fn new(clients: usize) -> Self {
        let request = emit(&Packet::Read(Request::octet(b"7bf18f79/kernel_2712.img", options(1))));
        Self { now: Instant::ZERO, turn: 0, say: vec![request; clients], buffer: [0; 1472] }
    }
}

impl Net for Clients {
    type Error = Infallible;
    type Local = ();

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, _: Instant) -> Result<Option<Datagram<'_, ()>>, Infallible> {
        self.now = self.now + Duration::from_micros(1);
        self.turn = (self.turn + 1) % self.say.len();
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.turn as u16);
        let bytes = &self.say[self.turn];
        Ok(Some(Datagram::new(self.now, (), peer, bytes)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        let block = match *black_box(&self.buffer[..len]) {
            [0, 3, high, low, ..] => [high, low],
            _ => [0, 0], // an OACK
        };
        let say = &mut self.say[usize::from(to.port())];
        say.truncate(4);
        say.copy_from_slice(&[0, 4, block[0], block[1]]);
    }
}

/// A file without end, of the same bytes over and over.
struct Endless;

impl Storage for Endless {
    type File = Self;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, _: &OpenRequest<'_>) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

impl File for Endless {
    type Error = Infallible;

    fn len(&self) -> u64 {
        ENDLESS
    }

    async fn read_exact_at(&mut self, _: u64, buf: &mut [u8]) -> Result<(), Infallible> {
        buf.copy_from_slice(&FILE[..buf.len()]);
        Ok(())
    }
}

fn options(window: u16) -> Options {
    Options::RASPBERRY_PI.with_block_size(1024).with_window_size(window)
}

fn emit(packet: &Packet<'_>) -> Vec<u8> {
    let mut buffer = [0; 1472];
    let len = packet.emit(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

static FILE: [u8; 1024] = [0x55; 1024];

const ENDLESS: u64 = 1 << 62;

criterion_group!(benches, packets, sender, server);
criterion_main!(benches);
