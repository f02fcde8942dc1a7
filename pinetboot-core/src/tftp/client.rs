//! The TFTP client: one transfer over a [`Net`].

use core::net::SocketAddrV4;

use super::options::Options;
use super::packet::{ErrorCode, Mode, Packet, ParseError, Request};
use super::receiver::Receiver;
use super::report::{Direction, Report};
use super::retry::RetryPolicy;
use super::sender::Sender;
use super::step::{Outcome, Step};
use super::transfer::{Progress, Route, Transfer, send};
use crate::storage::{File, NoUpload, Upload};
use crate::{Datagram, Instant, Net};

/// A client of one server, from one port.
///
/// RFC 1350 wants a new port for every transfer ("the TID's chosen for a connection should be randomly chosen"): use a
/// new client for each transfer where the network has ports enough.
#[derive(Debug)]
pub struct Client<N: Net> {
    net: N,
    local: N::Local,
    server: SocketAddrV4,
    retry: RetryPolicy,
}

/// A server's answer about a file that the client does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a server has a file or has it not")]
#[must_use]
pub enum Probe {
    /// The file exists; its length in bytes, if the server says it.
    Found(Option<u64>),
    /// The file cannot be read: the server answered with an ERROR, or not at all.
    Missing(Outcome),
}

impl<N: Net> Client<N> {
    /// A client that sends from the port `local` to `server`, whose port is usually [`PORT`](super::PORT). A borrowed
    /// network is a network: `net` may be `&mut N`.
    pub fn new(net: N, local: N::Local, server: SocketAddrV4) -> Self {
        Self { net, local, server, retry: RetryPolicy::default() }
    }

    /// Replaces the default retry policy.
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// The port that the client sends from.
    pub fn local(&self) -> N::Local {
        self.local
    }

    /// The network.
    pub fn net_mut(&mut self) -> &mut N {
        &mut self.net
    }

    /// Reads a file from the server into `upload`, unchanged in octet mode, as on the wire in netascii mode
    /// (see [`netascii::Decoded`](crate::tftp::netascii::Decoded)).
    ///
    /// Returns when the file is whole and the last ACK is sent; a lost last ACK is not sent again.
    ///
    /// # Errors
    ///
    /// The network's alone. A failed transfer is a report: see [`Report::into_result`]. [`Outcome::Aborted`] with
    /// [`ErrorCode::DISK_FULL`] means that `upload` failed.
    pub async fn get<U: Upload>(
        &mut self,
        request: &Request<'_>,
        upload: &mut U,
    ) -> Result<Report, N::Error> {
        let receiver = Receiver::fetch(&request.options, self.retry);
        self.exchange(request, Transfer::<NoFile, _>::In(receiver, upload)).await
    }

    /// Writes `file` to the server under the name in `request`.
    ///
    /// # Errors
    ///
    /// The network's alone. A failed transfer is a report: see [`Report::into_result`].
    pub async fn put<F: File>(&mut self, request: &Request<'_>, file: F) -> Result<Report, N::Error> {
        let sender = Sender::put(&request.options, self.retry, file.len());
        self.exchange(request, Transfer::<_, NoUpload>::Out(sender, file)).await
    }

    /// Asks for a file's length and reads no byte of it, as a Pi does (captured, raspberrypi/firmware issue 1700).
    ///
    /// # Errors
    ///
    /// The network's alone.
    pub async fn probe(&mut self, filename: &[u8], options: Options) -> Result<Probe, N::Error> {
        let request = Request { filename, mode: Mode::Octet, options };
        let mut receiver = Receiver::fetch(&options, self.retry);
        let mut server = self.server;
        loop {
            let until = match receiver.poll(self.net.now()) {
                Step::Request(options) => {
                    let packet = Packet::Read(Request { options, ..request });
                    send(&mut self.net, self.local, self.server, &packet).await;
                    continue;
                }
                Step::Done(outcome) => return Ok(Probe::Missing(outcome)),
                Step::Wait { until } => until,
                Step::Send(packet) => {
                    send(&mut self.net, self.local, server, &packet).await;
                    continue;
                }
                Step::SendData { .. } => continue,
            };
            let Some(Datagram { at, peer, bytes, .. }) = self.net.recv(until).await? else { continue };
            if peer.ip() != self.server.ip() {
                continue;
            }
            let Ok(packet) = Packet::parse(bytes) else { continue };
            server = peer;
            receiver.handle(at, &packet);
            if receiver.answered() {
                send(&mut self.net, self.local, server, &Packet::EARLY_TERMINATE).await;
                self.flush().await?;
                return Ok(Probe::Found(receiver.announced()));
            }
        }
    }

    async fn exchange<F: File, U: Upload>(
        &mut self,
        request: &Request<'_>,
        mut transfer: Transfer<F, U>,
    ) -> Result<Report, N::Error> {
        let began = self.net.now();
        let direction = match transfer {
            Transfer::In(..) => Direction::Read,
            Transfer::Out(..) => Direction::Write,
        };
        // The server's transfer identifier, once it has answered from it.
        let mut server = None;
        loop {
            let now = self.net.now();
            let route = Route {
                from: self.local,
                to: server.unwrap_or(self.server),
                request: Some((self.server, request)),
            };
            let progress = transfer.drive(&mut self.net, route, &mut None, now).await;
            let complete = match &transfer {
                Transfer::In(receiver, _) => receiver.complete(),
                Transfer::Out(..) => None,
            };
            let until = match (progress, complete) {
                (Progress::Over(outcome), _) => {
                    self.flush().await?;
                    return Ok(transfer.report(route.to, direction, began, outcome));
                }
                (Progress::Waits(_), Some(bytes)) => {
                    self.flush().await?;
                    return Ok(transfer.report(route.to, direction, began, Outcome::Complete { bytes }));
                }
                (Progress::Waits(until), None) => until,
                (Progress::Later, _) => Instant::MAX,
            };
            let received = match self.net.recv(until).await {
                Ok(received) => received,
                Err(error) => {
                    // A network that stops ends the transfer; the server need not wait.
                    if let Some(server) = server {
                        let goodbye = Packet::error(ErrorCode::NOT_DEFINED);
                        send(&mut self.net, self.local, server, &goodbye).await;
                    }
                    return Err(error);
                }
            };
            let Some(Datagram { at, peer, bytes, .. }) = received else {
                if until == Instant::MAX {
                    transfer.resume(self.net.now());
                }
                continue;
            };
            let from_server = match server {
                Some(server) => peer == server,
                None => peer.ip() == self.server.ip(),
            };
            if !from_server {
                // RFC 1350, section 4: tell the sender, and go on undisturbed. Never answer an ERROR.
                if matches!(Packet::parse(bytes), Ok(packet) if !matches!(packet, Packet::Error { .. })) {
                    send(&mut self.net, self.local, peer, &Packet::error(ErrorCode::UNKNOWN_TRANSFER_ID))
                        .await;
                }
                continue;
            }
            match Packet::parse(bytes) {
                Ok(packet) => {
                    server = Some(peer);
                    transfer.handle(at, &packet).await;
                }
                Err(ParseError::Options) => {
                    server = Some(peer);
                    transfer.abort(ErrorCode::OPTIONS_REFUSED);
                }
                // From another port of the server's address, perhaps; the answer may be still to come.
                Err(_) if server.is_none() => {}
                Err(_) => transfer.abort(ErrorCode::ILLEGAL_OPERATION),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), N::Error> {
        self.net.recv(Instant::ZERO).await.map(drop)
    }
}

/// The file of a transfer that sends none.
enum NoFile {}

impl File for NoFile {
    type Error = core::convert::Infallible;

    fn len(&self) -> u64 {
        match *self {}
    }

    async fn read_exact_at(&mut self, _: u64, _: &mut [u8]) -> Result<(), Self::Error> {
        match *self {}
    }
}
