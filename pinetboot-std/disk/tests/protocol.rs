//! The server on a socket: orderly and hostile clients, and several at once.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod client;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use client::{Client, FLUSH, READ, WRITE};
use pinetboot_disk::{Access, Disk, DiskError, Export, Exports, Extent, Image, Limits, Refused, Server};

const LEN: u64 = 1 << 20;

/// A disk whose flush, or whose write of [`SLOW`], waits until the test lets it end.
#[derive(Debug)]
struct Slow {
    image: Image,
    began: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

/// What a slow write writes.
const SLOW: &[u8] = b"slow!";

impl Slow {
    fn wait(&self) {
        self.began.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

impl Disk for Slow {
    fn len(&self) -> u64 {
        self.image.len()
    }
    fn is_read_only(&self) -> bool {
        self.image.is_read_only()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.image.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        if bytes == SLOW {
            self.wait();
        }
        self.image.write_at(bytes, offset)
    }
    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError> {
        self.image.write_zeroes(offset, len, allocate)
    }
    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.image.trim(offset, len)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.wait();
        self.image.flush()
    }
    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        self.image.extent(offset, len)
    }
}

/// The export `mine` for each client, and a `secret` one for none.
struct Mine(Arc<dyn Disk>);

impl Exports for Mine {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        if name == "mine" { Ok(Export::new(self.0.clone())) } else { Err(Refused) }
    }
    fn list(&self, _client: IpAddr) -> Vec<String> {
        vec!["mine".into()]
    }
}

fn image() -> (tempfile::NamedTempFile, Image) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(LEN).unwrap();
    let image = Image::open(file.path(), Access::ReadWrite).unwrap();
    (file, image)
}

fn serve(disk: Arc<dyn Disk>, limits: Limits) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Server::start(vec![listener], Arc::new(Mine(disk)), limits, Arc::new(())).unwrap(), address)
}

#[test]
fn a_client_learns_of_its_own_disk_alone() {
    let (_file, image) = image();
    let (_server, address) = serve(Arc::new(image), Limits::default());
    let mut client = Client::greet(address);
    client.option(3, b"");
    assert_eq!(client.reply(), (2, [&4u32.to_be_bytes()[..], b"mine"].concat()));
    assert_eq!(client.reply().0, 1);
    for name in [&b"secret"[..], b"", b"other", b"mine\0", b"\xff"] {
        let data = [&u32::try_from(name.len()).unwrap().to_be_bytes()[..], name, &[0; 2]].concat();
        for option in [6, 7] {
            client.option(option, &data);
            let refused = client.reply().0;
            assert!(refused == 0x8000_0006 || refused == 0x8000_0003, "{refused:x}");
        }
    }
    client.option(1, b"secret");
    assert!(client.is_closed());
}

#[test]
fn a_disk_describes_itself_the_same_way_after_a_restart_of_the_server() {
    let (file, image) = image();
    let mut disk = Some(image);
    let mut described = Vec::new();
    for _ in 0..2 {
        let image = disk.take().unwrap_or_else(|| Image::open(file.path(), Access::ReadWrite).unwrap());
        let (server, address) = serve(Arc::new(image), Limits::default());
        let mut client = Client::greet(address);
        for asked in [&[0, 0][..], &[0, 1, 0, 2]] {
            client.option(6, &[&4u32.to_be_bytes()[..], b"mine", asked].concat());
            let replies: Vec<_> =
                core::iter::repeat_with(|| client.reply()).take_while(|(kind, _)| *kind != 1).collect();
            let text = replies.iter().find_map(|(_, data)| data.strip_prefix(&[0, 2]));
            assert_eq!(text.is_some(), asked.len() > 2, "only who asks is told: {replies:?}");
            described.extend(text.map(<[u8]>::to_vec));
        }
        drop(client);
        drop(server);
    }
    assert_eq!(described[0], described[1]);
    assert!(described[0].starts_with(b"machine's run "), "{:?}", String::from_utf8_lossy(&described[0]));
}

#[test]
fn a_request_that_waits_for_the_disk_holds_up_no_other() {
    // A flush is expected to wait, a write is not: the next request then waits for a moment.
    for (command, payload) in [(FLUSH, &b""[..]), (WRITE, SLOW)] {
        let (_file, image) = image();
        let (began, has_begun) = channel();
        let (let_go, go_on) = channel();
        let (_server, address) =
            serve(Arc::new(Slow { image, began, go_on: Mutex::new(go_on) }), Limits::default());
        let mut first = Client::connect(address, LEN);
        // Its reply is not held back by the request behind it.
        first.request(READ, 9, 0, 1, &[]);
        first.request(command, 1, 0, u32::try_from(payload.len()).unwrap(), payload);
        assert_eq!(first.result(), (0, 9));
        assert_eq!(&first.take::<1>(), b"\0");
        has_begun.recv().unwrap();
        // Of another client, and of the same.
        for client in [&mut Client::connect(address, LEN), &mut first] {
            client.request(WRITE, 2, 4096, 5, b"hello");
            assert_eq!(client.result(), (0, 2));
            client.request(READ, 3, 4096, 5, &[]);
            assert_eq!(client.result(), (0, 3));
            assert_eq!(&client.take::<5>(), b"hello");
        }
        let_go.send(()).unwrap();
        assert_eq!(first.result(), (0, 1));
    }
}

/// A disk that counts the requests of clients, and the longest of their pieces.
#[derive(Debug)]
struct Counted {
    image: Image,
    under_way: AtomicUsize,
    most: AtomicUsize,
    longest: AtomicUsize,
    /// Reads wait here until the test lets them end.
    gate: RwLock<()>,
}

impl Counted {
    fn count<T>(&self, len: usize, work: impl FnOnce() -> T) -> T {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.longest.fetch_max(len, Ordering::SeqCst);
        let done = work();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        done
    }
}

impl Disk for Counted {
    fn len(&self) -> u64 {
        self.image.len()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.count(buf.len(), || {
            drop(self.gate.read().unwrap());
            self.image.read_at(buf, offset)
        })
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.count(bytes.len(), || self.image.write_at(bytes, offset))
    }
    fn write_zeroes(&self, offset: u64, len: u64, allocate: bool) -> Result<(), DiskError> {
        self.image.write_zeroes(offset, len, allocate)
    }
    fn trim(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.image.trim(offset, len)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.image.flush()
    }
    fn extent(&self, offset: u64, len: u64) -> Result<Extent, DiskError> {
        self.image.extent(offset, len)
    }
}

#[test]
fn a_client_has_eight_requests_under_way_in_pieces_of_256_kib_whatever_it_asks_for() {
    const LONG: u64 = 32 << 20;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(LONG).unwrap();
    let image = Image::open(file.path(), Access::ReadWrite).unwrap();
    let counted = || AtomicUsize::new(0);
    let (under_way, most, longest) = (counted(), counted(), counted());
    let disk = Arc::new(Counted { image, under_way, most, longest, gate: RwLock::new(()) });
    let (_server, address) = serve(disk.clone(), Limits::default());
    let mut client = Client::connect(address, LONG);
    client.request(WRITE, 1, 0, LONG as u32, &vec![7; LONG as usize]);
    assert_eq!(client.result(), (0, 1));
    let closed = disk.gate.write().unwrap();
    for cookie in 0..40 {
        client.request(READ, cookie, 0, LONG as u32, &[]);
    }
    // All that the server allows wait for the disk.
    while disk.under_way.load(Ordering::SeqCst) < 8 {
        std::thread::yield_now();
    }
    drop(closed);
    let mut seen = Vec::new();
    for _ in 0..40 {
        let (error, cookie) = client.result();
        assert_eq!(error, 0);
        seen.push(cookie);
        let read = std::io::copy(&mut (&mut client.0).take(LONG), &mut std::io::sink()).unwrap();
        assert_eq!(read, LONG);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..40));
    assert_eq!(disk.most.load(Ordering::SeqCst), 8);
    assert_eq!(disk.longest.load(Ordering::SeqCst), 256 << 10);
}

#[test]
fn a_client_that_reads_no_reply_holds_up_no_other() {
    let (_file, image) = image();
    let (server, address) = serve(Arc::new(image), Limits::default());
    let mut deaf = Client::connect(address, LEN);
    for cookie in 0..64 {
        deaf.request(READ, cookie, 0, LEN as u32, &[]);
    }
    let mut other = Client::connect(address, LEN);
    for cookie in 0..100 {
        other.request(READ, cookie, 0, 1, &[]);
        assert_eq!(other.result(), (0, cookie));
        other.take::<1>();
    }
    assert!(server.stop(Duration::from_secs(4)), "no thread is left behind");
    drop((deaf, other));
}

#[test]
fn ranges_beyond_the_disk_and_unknown_commands_are_refused() {
    const EINVAL: u32 = 22;
    const ENOSPC: u32 = 28;
    let (_file, image) = image();
    let (_server, address) = serve(Arc::new(image), Limits::default());
    let mut client = Client::connect(address, LEN);
    for (command, offset, len, error) in [
        (READ, LEN, 1, EINVAL),
        (READ, u64::MAX, 2, EINVAL),
        (READ, 0, 1 << 26, EINVAL),
        (4, LEN - 1, 2, ENOSPC),
        (6, LEN, u32::MAX, ENOSPC),
        (5, LEN, 1, EINVAL),
        (7, 0, 1, EINVAL),
        (99, 0, 1, EINVAL),
    ] {
        client.request(command, 9, offset, len, &[]);
        assert_eq!(client.result(), (error, 9), "command {command}");
    }
    client.request(WRITE, 10, LEN - 2, 3, b"abc");
    assert_eq!(client.result(), (ENOSPC, 10));
    client.request(READ, 11, LEN - 2, 2, &[]);
    assert_eq!(client.result(), (0, 11));
    assert_eq!(client.take::<2>(), [0; 2], "nothing of the range is written");
}

#[test]
fn bytes_that_are_not_nbd_end_their_connection_alone() {
    let (_file, image) = image();
    let (server, address) = serve(Arc::new(image), Limits::default());
    let mut good = Client::connect(address, LEN);
    let too_long = [&b"IHAVEOPT"[..], &[0, 0, 0, 7], &u32::MAX.to_be_bytes()].concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n0123"[..], &[0xff; 64], &too_long] {
        let mut bad = Client::greet(address);
        bad.0.write_all(bytes).unwrap();
        assert!(bad.is_closed());
        let mut bad = Client::connect(address, LEN);
        bad.0.write_all(&bytes.repeat(3)).unwrap();
        assert!(bad.is_closed());
    }
    let mut huge = Client::connect(address, LEN);
    huge.request(WRITE, 1, 0, u32::MAX, b"x");
    assert!(huge.is_closed());
    good.request(READ, 1, 0, 1, &[]);
    assert_eq!(good.result(), (0, 1));
    drop(good);
    assert!(server.stop(Duration::from_secs(20)));
}

#[test]
fn connections_are_limited_and_their_places_given_back() {
    let (_file, image) = image();
    let (_server, address) = serve(Arc::new(image), Limits { per_client: 2, ..Limits::default() });
    let (first, second) = (Client::connect(address, LEN), Client::connect(address, LEN));
    let mut third = Client(TcpStream::connect(address).unwrap());
    assert!(third.is_closed());
    drop(first);
    // The server sees the end in its own time: it refuses until then.
    loop {
        let mut again = TcpStream::connect(address).unwrap();
        if matches!(again.read(&mut [0; 18]), Ok(18)) {
            break;
        }
    }
    drop(second);
}

#[test]
fn a_silent_client_loses_its_place() {
    let (_file, image) = image();
    let limits = Limits { negotiation: Duration::from_millis(50), ..Limits::default() };
    let (_server, address) = serve(Arc::new(image), limits);
    let mut silent = Client::greet(address);
    assert!(silent.is_closed());
    // Not once it has its disk, which may be idle for hours.
    let (_file, image) = self::image();
    let (_server, address) = serve(Arc::new(image), Limits { negotiation: Duration::from_secs(5), ..limits });
    let mut client = Client::connect(address, LEN);
    client.request(READ, 1, 0, 1, &[]);
    assert_eq!(client.result(), (0, 1));
}
