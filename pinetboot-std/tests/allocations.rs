//! Serving allocates nothing: no packet does, and no transfer does either, except the state that a storage or an observer
//! keeps.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pinetboot::bus::Bus;
use pinetboot::events::Dhcp;
use pinetboot::live::Live;
use pinetboot::net::{Control, Interrupt, LinuxNet, Options, Ports};
use pinetboot::storage::{BootStorage, BootTree, Budget, Sources, Trees};
use pinetboot_core::dhcp::{HardwareAddress, MessageType};
use pinetboot_core::pi::{PiIdentity, Revision};
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{File, NoUpload, OpenError, OpenRequest, Storage, block_on};

const LEN: usize = 600 * 1000 + 7;

#[test]
fn whole_transfers_allocate_nothing() {
    for ports in [Ports::PerTransfer, Ports::Single] {
        let memory = || Memory;
        let count = allocations(ports, memory, |server, start| {
            fetch(server, &["blksize", "1000"]);
            fetch(server, &["blksize", "1000", "windowsize", "16"]);
            start();
            for _ in 0..3 {
                fetch(server, &["blksize", "1000"]);
                fetch(server, &["blksize", "1000", "windowsize", "16"]);
            }
        });
        assert_eq!(count, 0, "{ports:?}");
    }
}

#[test]
fn blocks_of_a_file_allocate_nothing_once_it_is_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), vec![7; LEN]).unwrap();
    let path = directory.path().to_owned();
    let count = allocations(
        Ports::PerTransfer,
        move || {
            let trees = Trees::new(Sources::directory(BootTree::open_at(&path).unwrap()), Bus::silent());
            BootStorage::new(Arc::new(trees), None, Budget::default())
        },
        |server, start| {
            let mut first = Client::ask(server, &["blksize", "1000"]);
            first.take(u16::MAX);
            let mut second = Client::ask(server, &["blksize", "1000"]);
            // The first transfer has ended, the second has the file: what is in memory stays there.
            let mut third = Client::ask(server, &["blksize", "1000"]);
            second.take(500);
            third.take(1);
            start();
            third.take(500);
        },
    );
    assert_eq!(count, 0);
}

/// 100,000 DISCOVERs with forged identities: the registry holds 4096 of them, and `status` the boots of 1024.
#[test]
fn a_made_up_pi_costs_few_bytes() {
    let measured = allocation_counter::measure(|| {
        let bus = Bus::new(vec![Box::new(Live::default())]);
        for number in 0..100_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let mac = [2, 0, a, b, c, d];
            let identity =
                PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0xaa00_0000 + number)
                    .unwrap();
            bus.emit(
                None,
                Dhcp::Asked {
                    hardware: HardwareAddress::ethernet(mac),
                    kind: Some(MessageType::Discover),
                    xid: number,
                    identity: Some(identity),
                    relayed: false,
                    has_duid: false,
                    is_boot_code: true,
                },
            );
        }
    });
    let each = measured.bytes_max / 4096;
    println!("{each} bytes for each of 4096 made-up Pis; {} bytes in all", measured.bytes_max);
    assert!(each < 1400, "{each}");
}

/// The check itself can fail.
#[test]
fn what_allocates_is_counted() {
    let count = allocations(
        Ports::Single,
        || Wasteful,
        |server, start| {
            start();
            fetch(server, &["blksize", "1000"]);
        },
    );
    assert!(count > 600, "{count}");
}

/// Serves while `client` asks: how often the server's thread allocated since the client called its second argument.
fn allocations<S: Storage>(
    ports: Ports,
    storage: impl FnOnce() -> S + Send,
    client: impl FnOnce(SocketAddrV4, &dyn Fn()),
) -> u64 {
    let options = Options { ports, ..Options::default() };
    let net = LinuxNet::listen(&[SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)], options).unwrap();
    let (address, control) = (net.addresses().unwrap()[0], net.control());
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut places: [_; 8] = std::array::from_fn(|_| None);
            let mut server = Server::<_, _, _, 16>::new(net, storage(), (), Limits::default(), &mut places);
            let first = block_on(server.run());
            assert!(matches!(first, Err(Interrupt::Reload)), "{first:?}");
            // The client goes on when it is told so, and that is counted too: nothing.
            allocation_counter::measure(|| {
                assert!(matches!(block_on(server.run()), Err(Interrupt::Stop)));
            })
            .count_total
        });
        {
            let _stops = Stops(&control);
            client(address, &|| control.reload());
        }
        server.join().unwrap()
    })
}

/// Stops the server also when the test fails, so that it ends.
struct Stops<'a>(&'a Control);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn fetch(server: SocketAddrV4, options: &[&str]) {
    let mut client = Client::ask(server, options);
    client.take(u16::MAX);
    assert_eq!(client.bytes, LEN);
}

/// A transfer as its client sees it.
struct Client {
    socket: UdpSocket,
    peer: SocketAddr,
    window: u16,
    block: u16,
    bytes: usize,
}

impl Client {
    fn ask(server: SocketAddrV4, options: &[&str]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = [&["\0\u{1}file", "octet"], options].concat().join("\0") + "\0";
        socket.send_to(request.as_bytes(), server).unwrap();
        let mut answer = [0; 100];
        let (_, peer) = socket.recv_from(&mut answer).unwrap();
        assert_eq!(answer[..2], [0, 6]);
        let window = if options.contains(&"windowsize") { 16 } else { 1 };
        Self { socket, peer, window, block: 0, bytes: 0 }
    }

    /// Takes the file up to this block, or to its end.
    fn take(&mut self, last: u16) {
        let mut datagram = [0; 1100];
        while self.block < last {
            let [high, low] = self.block.to_be_bytes();
            self.socket.send_to(&[0, 4, high, low], self.peer).unwrap();
            for _ in 0..self.window {
                let len = self.socket.recv(&mut datagram).unwrap() - 4;
                self.block += 1;
                assert_eq!(datagram[..4], [0, 3, (self.block >> 8) as u8, self.block as u8]);
                self.bytes += len;
                if len < 1000 {
                    let [high, low] = self.block.to_be_bytes();
                    self.socket.send_to(&[0, 4, high, low], self.peer).unwrap();
                    return;
                }
            }
        }
    }
}

struct Memory;

static CONTENT: [u8; LEN] = [7; LEN];

impl Storage for Memory {
    type File = &'static [u8];
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, _: &OpenRequest<'_>) -> Result<Self::File, OpenError> {
        Ok(&CONTENT)
    }
}

struct Wasteful;

impl Storage for Wasteful {
    type File = Copied;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, _: &OpenRequest<'_>) -> Result<Copied, OpenError> {
        Ok(Copied)
    }
}

struct Copied;

impl File for Copied {
    type Error = OpenError;

    fn len(&self) -> u64 {
        LEN as u64
    }

    async fn read_exact_at(&mut self, _: u64, buf: &mut [u8]) -> Result<(), OpenError> {
        buf.copy_from_slice(&std::hint::black_box(vec![7; buf.len()]));
        Ok(())
    }
}
