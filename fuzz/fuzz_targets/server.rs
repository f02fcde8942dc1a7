//! The whole server loop under arbitrary datagrams from a few peers, to any of its ports, with files that cannot be
//! read and uploads that cannot be kept: bounded transfers, files, ports and answers, and none left in the end.
#![no_main]

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use pinetboot_core::tftp::{Limits, Packet, RetryPolicy, Server};
use pinetboot_core::{
    Datagram, File, Instant, Net, OpenError, OpenRequest, OutOfBounds, Storage, Upload, block_on,
};
use pinetboot_fuzz::{Event, Setup, next};

fuzz_target!(|input: &[u8]| {
    let _ = trial(Unstructured::new(input));
});

/// The schedule is a [`Setup`], whose choice selects one port for everything, and the events after it.
fn trial(mut input: Unstructured<'_>) -> arbitrary::Result<()> {
    let setup = Setup::arbitrary(&mut input)?;
    let limits = setup.limits();
    let retry = RetryPolicy::new(limits.retry.timeout(), limits.retry.retries() % 8);
    let limits = limits.with_window_size(limits.window_size % 16).with_retry(retry);

    let tree = Tree::default();
    let open_files = tree.open_files.clone();
    let mut places = [const { None }; PLACES];
    let net = Schedule::new(input, setup.choice % 2 == 1);
    let mut server = Server::<_, _, _, 4>::new(net, tree, (), limits, &mut places);

    let mut turns_after_the_end = 0;
    while block_on(server.turn()).is_ok() {
        let transfers = server.transfers();
        let net = server.net_mut();
        assert!(transfers <= PLACES);
        assert!(net.one_port || net.open.iter().filter(|open| **open).count() == transfers, "a port is lost");
        assert_eq!(open_files.get(), transfers, "a file is lost");
        net.check_answers(&limits);
        if net.ended {
            turns_after_the_end += 1;
            assert!(turns_after_the_end < 100, "a transfer does not end");
        }
    }
    assert_eq!(server.transfers(), 0);
    Ok(())
}

/// The network: incoming datagrams are read from the schedule, outgoing ones counted.
struct Schedule<'a> {
    input: Unstructured<'a>,
    now: Instant,
    /// The rest of the last step in time.
    ahead: Duration,
    from: u8,
    to: u8,
    one_port: bool,
    open: [bool; PORTS],
    tallies: [Tally; PEERS],
    ended: bool,
    buffer: [u8; 1472],
}

/// The datagrams to and from one peer.
#[derive(Clone, Copy, Default)]
struct Tally {
    heard: usize,
    told: usize,
    /// The peer has sent a packet that only a receiver of our answers can send.
    proven: bool,
}

impl<'a> Schedule<'a> {
    fn new(input: Unstructured<'a>, one_port: bool) -> Self {
        Self {
            input,
            now: Instant::ZERO,
            ahead: Duration::ZERO,
            from: 0,
            to: LISTENING,
            one_port,
            open: [false; PORTS],
            tallies: [Tally::default(); PEERS],
            ended: false,
            buffer: [0; 1472],
        }
    }

    /// The most packets that one datagram may cause.
    fn check_answers(&self, limits: &Limits) {
        let times = usize::from(limits.retry.retries()) + 1;
        for Tally { heard, told, proven } in self.tallies {
            let most = if proven { times * usize::from(limits.window_size.max(1)) } else { times };
            assert!(told <= heard * (most + 1), "{told} packets for {heard}");
        }
    }
}

impl Net for Schedule<'_> {
    type Error = ();
    type Local = u8;

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u8>>, ()> {
        loop {
            let then = self.now + self.ahead;
            if then > deadline {
                self.now = self.now.max(deadline);
                self.ahead = then - self.now;
                return Ok(None);
            }
            self.now = then;
            self.ahead = Duration::ZERO;
            match next(&mut self.input) {
                Some(Event::Datagram(bytes)) => {
                    let tally = &mut self.tallies[usize::from(self.from)];
                    tally.heard += 1;
                    tally.proven |=
                        !matches!(Packet::parse(bytes), Err(_) | Ok(Packet::Read(_) | Packet::Write(_)));
                    let listening = self.one_port || self.to == LISTENING;
                    let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1000 + u16::from(self.from));
                    return Ok(Some(Datagram::new(self.now, self.to, peer, bytes).with_listening(listening)));
                }
                Some(Event::Pass(time)) => self.ahead = time,
                Some(Event::From { peer, port }) => {
                    self.from = peer % PEERS as u8;
                    self.to = if self.one_port { LISTENING } else { port % (PORTS as u8 + 1) };
                }
                Some(Event::Abort(_)) => {}
                None if deadline == Instant::MAX => return Err(()),
                None => {
                    self.ended = true;
                    self.now = self.now.max(deadline);
                    return Ok(None);
                }
            }
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, from: u8, to: SocketAddrV4, len: usize) {
        assert!(len <= self.buffer.len());
        assert!(from == self.to || self.open[usize::from(from) - 1], "sent from a port that is closed");
        assert!(Packet::parse(&self.buffer[..len]).is_ok());
        self.tallies[usize::from(to.port() - 1000)].told += 1;
    }

    fn open(&mut self, at: u8, _: SocketAddrV4) -> Option<u8> {
        if self.one_port {
            return Some(at);
        }
        let free = self.open.iter().position(|open| !open)?;
        self.open[free] = true;
        Some(free as u8 + 1)
    }

    fn close(&mut self, local: u8) {
        if !self.one_port {
            assert!(std::mem::take(&mut self.open[usize::from(local) - 1]), "closed twice");
        }
    }
}

/// A tree of a few files, which knows how many are open.
#[derive(Default)]
struct Tree {
    open_files: Rc<Cell<usize>>,
}

/// A file that is read, or one that is written: its bytes, or their number.
struct Open {
    len: usize,
    good_until: usize,
    open_files: Rc<Cell<usize>>,
}

impl Tree {
    fn opened(&self, len: usize, good_until: usize) -> Open {
        self.open_files.set(self.open_files.get() + 1);
        Open { len, good_until, open_files: self.open_files.clone() }
    }
}

impl Storage for Tree {
    type File = Open;
    type Upload = Open;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Open, OpenError> {
        match request.path.file_name() {
            "empty" => Ok(self.opened(0, 0)),
            "config.txt" => Ok(self.opened(700, 700)),
            "kernel" => Ok(self.opened(5000, 5000)),
            "broken" => Ok(self.opened(5000, 1200)),
            _ => Err(OpenError::NotFound),
        }
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Open, OpenError> {
        match request.path.file_name() {
            "log" => Ok(self.opened(0, usize::MAX)),
            "full" => Ok(self.opened(0, 1200)),
            _ => Err(OpenError::Denied),
        }
    }
}

impl File for Open {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        self.len as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        let end = offset as usize + buf.len();
        assert!(end <= self.len, "read beyond the end");
        if end > self.good_until {
            return Err(OutOfBounds);
        }
        for (index, byte) in buf.iter_mut().enumerate() {
            // Lines, some of them ended as netascii has it.
            *byte = b"dtparam=i2c_arm=on\r\n#\r"[(offset as usize + index) % 22];
        }
        Ok(())
    }
}

impl Upload for Open {
    type Error = OutOfBounds;

    fn expect(&mut self, len: u64) -> Result<(), OutOfBounds> {
        if len > self.good_until as u64 { Err(OutOfBounds) } else { Ok(()) }
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.len += bytes.len();
        if self.len > self.good_until { Err(OutOfBounds) } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), OutOfBounds> {
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open_files.set(self.open_files.get() - 1);
    }
}

/// The port that takes requests; the others are 1 to [`PORTS`].
const LISTENING: u8 = 0;
/// One fewer than the places, so that both can run out.
const PORTS: usize = 2;
const PLACES: usize = 3;
const PEERS: usize = 5;
