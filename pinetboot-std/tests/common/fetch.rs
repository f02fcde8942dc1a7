//! Whole transfers, by the core's machines on a socket of std: the other end of the program under test.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant as Clock};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pinetboot_core::Instant;
use pinetboot_core::tftp::{
    DATA_HEADER, ErrorCode, Options, Outcome, Packet, Receiver, Request, RetryPolicy, Sender, Step,
};

/// Reads a file from a server.
pub(crate) fn fetch(server: SocketAddrV4, name: &str, options: Options) -> Result<Vec<u8>, Outcome> {
    let mut bytes = Vec::new();
    let outcome = Fetch::new(server, name, options, |more| bytes.extend_from_slice(more)).run();
    match outcome {
        Outcome::Complete { .. } => Ok(bytes),
        other => Err(other),
    }
}

/// Writes a file to a server.
pub(crate) fn put(server: SocketAddrV4, name: &str, options: Options, content: &[u8]) -> Result<(), Outcome> {
    let mut end = End::new(server, &options);
    let mut sender = Sender::put(&options, RetryPolicy::default(), content.len() as u64);
    loop {
        match sender.poll(end.now()) {
            Step::Wait { until } => end.wait(until),
            Step::Done(Outcome::Complete { .. }) => return Ok(()),
            Step::Done(other) => return Err(other),
            Step::Send(packet) => end.send(&packet),
            Step::Request(options) => end.send(&Packet::Write(Request::octet(name.as_bytes(), options))),
            Step::SendData { block, offset, len } => {
                let payload = &content[offset as usize..][..len.into()];
                end.send(&Packet::Data { block, payload });
            }
        }
        while let Some(bytes) = end.receive() {
            let packet = Packet::parse(&bytes).expect("a packet");
            sender.handle(end.now(), &packet);
        }
    }
}

/// One file on its way from a server. Never blocks, but in [`run`](Self::run).
pub(crate) struct Fetch<'a> {
    end: End,
    name: String,
    receiver: Receiver,
    keep: Keep<'a>,
}

/// Takes the bytes, in order.
type Keep<'a> = Box<dyn FnMut(&[u8]) + 'a>;

impl<'a> Fetch<'a> {
    pub(crate) fn new(
        server: SocketAddrV4,
        name: &str,
        options: Options,
        keep: impl FnMut(&[u8]) + 'a,
    ) -> Self {
        let receiver = Receiver::fetch(&options, RetryPolicy::default());
        Self { end: End::new(server, &options), name: name.into(), receiver, keep: Box::new(keep) }
    }

    /// The same, of another client: at this address.
    pub(crate) fn by(mut self, client: Ipv4Addr) -> Self {
        self.end.socket = UdpSocket::bind((client, 0)).unwrap();
        self.end.socket.set_nonblocking(true).unwrap();
        self
    }

    /// Fetches all of it.
    pub(crate) fn run(mut self) -> Outcome {
        self.run_through()
    }

    /// The same, for what is to be asked afterwards.
    pub(crate) fn run_through(&mut self) -> Outcome {
        loop {
            match self.advance() {
                Ok(until) => self.end.wait(until),
                Err(outcome) => return outcome,
            }
            self.take_in();
        }
    }

    /// Sends the packets that are due: the time until the next, or the outcome.
    pub(crate) fn advance(&mut self) -> Result<Instant, Outcome> {
        loop {
            match self.receiver.poll(self.end.now()) {
                Step::Wait { until } => {
                    // The machine would only send its last ACK again.
                    return match self.receiver.complete() {
                        Some(bytes) => Err(Outcome::Complete { bytes }),
                        None => Ok(until),
                    };
                }
                Step::Done(outcome) => return Err(outcome),
                Step::Send(packet) => self.end.send(&packet),
                Step::Request(options) => {
                    self.end.send(&Packet::Read(Request::octet(self.name.as_bytes(), options)));
                }
                Step::SendData { .. } => unreachable!("a receiver sends no data"),
            }
        }
    }

    /// Receives the waiting datagrams.
    pub(crate) fn take_in(&mut self) {
        while let Some(bytes) = self.end.receive() {
            let packet = Packet::parse(&bytes).expect("a packet");
            if let Some(chunk) = self.receiver.handle(self.end.now(), &packet) {
                (self.keep)(chunk.bytes);
                // The machine acknowledges nothing before it is polled.
                return;
            }
        }
    }

    /// Whether the server has answered.
    pub(crate) fn answered(&self) -> bool {
        self.receiver.answered()
    }

    /// How many packets this end sent more than once.
    pub(crate) fn resent(&self) -> u32 {
        self.receiver.resent()
    }
}

impl AsFd for Fetch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.socket.as_fd()
    }
}

/// A socket, and where the other end of the transfer is.
struct End {
    socket: UdpSocket,
    server: SocketAddrV4,
    /// The port that the server answers from.
    transfer: Option<SocketAddrV4>,
    start: Clock,
    /// The length of the longest packet.
    longest: usize,
}

impl End {
    fn new(server: SocketAddrV4, options: &Options) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let longest = DATA_HEADER + usize::from(options.block_size.unwrap_or(512).max(512));
        Self { socket, server, transfer: None, start: Clock::now(), longest }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    fn wait(&self, until: Instant) {
        let left = until.since(self.now()).min(Duration::from_secs(60));
        let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut readable, PollTimeout::try_from(left.as_millis() as i32 + 1).unwrap()).unwrap();
    }

    fn send(&self, packet: &Packet<'_>) {
        let mut bytes = vec![0; self.longest];
        let len = packet.emit(&mut bytes).expect("a packet that fits");
        let to = match packet {
            Packet::Read(_) | Packet::Write(_) => self.server,
            _ => self.transfer.unwrap_or(self.server),
        };
        self.socket.send_to(&bytes[..len], to).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.longest + 1];
        match self.socket.recv_from(&mut bytes) {
            Ok((len, SocketAddr::V4(from))) => {
                let transfer = *self.transfer.get_or_insert(from);
                assert_eq!(from, transfer, "one transfer, one port");
                bytes.truncate(len);
                Some(bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => panic!("{other:?}"),
        }
    }
}

/// The error kind of an ERROR with this number.
pub(crate) const fn refused(code: u16) -> Outcome {
    Outcome::PeerError(ErrorCode(code))
}
