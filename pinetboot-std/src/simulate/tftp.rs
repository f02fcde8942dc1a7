//! The simulated Pi's requests on the network: a new UDP port for each, as captured (raspberrypi/rpi-eeprom issue 74).

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use pinetboot_core::pi::rules;
use pinetboot_core::tftp::{Client, Options, Outcome, Probe, Request, RetryPolicy};
use pinetboot_core::{Net, Upload, block_on};

use super::fetch::{Answer, Fetch, Reply, Taken};
use super::verdict::WIDTH;
use crate::exit::{Exit, Failed};
use crate::finding::Finding;
use crate::net::{Interrupt, LinuxNet};
use crate::nfs_client::{Dial, Host, Stream};
use crate::text::wrap;

/// A network with a new UDP port for each request.
pub(super) trait Ports {
    /// The network.
    type Net: Net;

    /// The network, and a new port of it.
    fn open(&mut self, server: SocketAddrV4) -> io::Result<(&mut Self::Net, Port<Self>)>;

    /// Closes the port.
    fn close(&mut self, port: Port<Self>);

    /// The failure of the network as an error of the command.
    fn failed(error: <Self::Net as Net>::Error) -> Failed;
}

type Port<P> = <<P as Ports>::Net as Net>::Local;

/// The ports of this machine.
#[derive(Debug, Default)]
pub(super) struct ThisMachine {
    udp: Option<LinuxNet>,
    tcp: Host,
}

impl Dial for ThisMachine {
    fn dial(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream + '_>> {
        self.tcp.dial(to)
    }

    fn is_reserved(&self) -> bool {
        self.tcp.is_reserved()
    }
}

impl Ports for ThisMachine {
    type Net = LinuxNet;

    fn open(&mut self, _: SocketAddrV4) -> io::Result<(&mut LinuxNet, Port<Self>)> {
        Ok((self.udp.insert(LinuxNet::client(None)?), LinuxNet::client_port()))
    }

    fn close(&mut self, _: Port<Self>) {
        self.udp = None;
    }

    fn failed(interrupt: Interrupt) -> Failed {
        match interrupt {
            Interrupt::Failed(_) => Failed::new(Exit::Failure, interrupt),
            _ => Failed::new(Exit::Interrupted, interrupt),
        }
    }
}

/// A TFTP server that gets a Pi's requests.
#[derive(Debug)]
pub(super) struct Tftp<'a, P> {
    ports: &'a mut P,
    server: SocketAddrV4,
    /// Retries of the first request.
    first: RetryPolicy,
    start: Instant,
    /// Whether the server has answered before.
    heard: bool,
    /// Consecutive requests without an answer.
    silent: u32,
}

impl<'a, P: Ports> Tftp<'a, P> {
    /// A server; `start` is the beginning of the boot.
    pub(super) const fn new(
        ports: &'a mut P,
        server: SocketAddrV4,
        first: RetryPolicy,
        start: Instant,
    ) -> Self {
        Self { ports, server, first, start, heard: false, silent: 0 }
    }

    /// Makes one request, with a new client and port.
    fn ask(
        &mut self,
        name: &str,
        request: impl AsyncFnOnce(&mut Client<&mut P::Net>) -> Result<Answer, <P::Net as Net>::Error>,
    ) -> Result<Reply, Failed> {
        let (net, port) = self
            .ports
            .open(self.server)
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot open a UDP port: {error}")))?;
        let retry = if self.heard { RETRY_POLICY } else { self.first };
        let mut client = Client::new(net, port, self.server).with_retry(retry);
        let at = self.start.elapsed();
        let answer = block_on(request(&mut client)).map_err(P::failed)?;
        self.ports.close(port);
        let took = self.start.elapsed().saturating_sub(at);
        match answer {
            Answer::Silent => {
                self.silent += 1;
                if !self.heard || self.silent >= MOST_SILENT {
                    return Err(self.no_answer(name, took));
                }
            }
            _ => (self.heard, self.silent) = (true, 0),
        }
        Ok(Reply { at, took, answer })
    }

    fn no_answer(&self, name: &str, took: Duration) -> Failed {
        let Self { server, heard, .. } = self;
        let seconds = took.as_secs_f64();
        let finding = match heard {
            true => Finding::problem(format!(
                "{server} stopped answering: no answer to {name} for {seconds:.0} s, nor to the request before."
            ))
            .evidence("A Pi gives up here.")
            .remedy("Check that the server still runs, and read its log."),
            false => Finding::problem(format!(
                "{server} does not answer: no answer to {name} for {seconds:.0} s."
            ))
            .rule(&rules::TFTP_SERVER_SILENT)
            .remedy(format!(
                "Check three things.\n- A TFTP server has to run there, on that address and port.\n- A firewall on the path \
                 has to let UDP port {} in, and the answers out. Answers come from another port for each file (RFC 1350), \
                 unless the server uses one port: 'pinetboot serve --single-port' does.\n- In a container, or behind NAT, \
                 --single-port is needed as well.",
                server.port(),
            )),
        };
        Failed::new(Exit::NoAnswer, wrap(&finding.to_string(), WIDTH, "  "))
    }
}

impl<P: Ports> Fetch for Tftp<'_, P> {
    fn probe(&mut self, name: &str, options: Options) -> Result<Reply, Failed> {
        self.ask(name, async |client| {
            Ok(match client.probe(name.as_bytes(), options).await? {
                Probe::Found(len) => Answer::There(len),
                Probe::Missing(outcome) => ended(outcome, 0),
            })
        })
    }

    fn get(&mut self, name: &str, options: Options, keep: usize) -> Result<Reply, Failed> {
        self.ask(name, async |client| {
            let mut sink =
                Sink { began: Instant::now(), keep, kept: Vec::new(), announced: false, late: false };
            let report = client.get(&Request::octet(name.as_bytes(), options), &mut sink).await?;
            Ok(match report.outcome {
                Outcome::Complete { bytes } => Answer::Taken(Taken {
                    bytes,
                    kept: sink.kept,
                    block_size: report.block_size,
                    // Shown by `tsize`, which is always requested too, or by the requested block size.
                    options_agreed: sink.announced || options.block_size == Some(report.block_size),
                }),
                Outcome::Aborted(_) if sink.late => Answer::Broken {
                    bytes: report.bytes,
                    why: format!(
                        "the transfer took longer than a Pi's {} s (TFTP_FILE_TIMEOUT)",
                        FILE.as_secs()
                    ),
                    late: true,
                },
                outcome => ended(outcome, report.bytes),
            })
        })
    }
}

/// The answer of an unfinished transfer.
fn ended(outcome: Outcome, bytes: u64) -> Answer {
    let broken = |why| Answer::Broken { bytes, why, late: false };
    match outcome {
        Outcome::PeerError(code) if bytes == 0 => Answer::Refused(code),
        Outcome::PeerError(code) => broken(format!("the server ended it with {code}")),
        Outcome::Aborted(code) => broken(format!("the server's answer was invalid ({code})")),
        _ if bytes == 0 => Answer::Silent,
        _ => broken("the server stopped answering".into()),
    }
}

/// Counts a file's bytes and keeps the first ones.
struct Sink {
    began: Instant,
    keep: usize,
    kept: Vec<u8>,
    announced: bool,
    late: bool,
}

impl Upload for Sink {
    type Error = Late;

    fn expect(&mut self, _: u64) -> Result<(), Late> {
        self.announced = true;
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Late> {
        self.late = self.began.elapsed() > FILE;
        let room = self.keep.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend(bytes.iter().take(room));
        if self.late { Err(Late) } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Late> {
        Ok(())
    }
}

/// The Pi gave up on the file.
#[derive(Debug)]
struct Late;

/// The limit for a whole file, unless TFTP_FILE_TIMEOUT sets another
/// (raspberrypi/documentation, eeprom-bootloader.adoc).
const FILE: Duration = Duration::from_secs(30);

/// A Pi repeats a request after 2 s (captured, raspberrypi/rpi-eeprom issue 74); 2 + 4 + 8 + 8 + 8 s make the 30 s of
/// a file.
const RETRY_POLICY: RetryPolicy = RetryPolicy::new(Duration::from_secs(2), 4);

/// Unanswered requests in a row that end the boot: a server may leave the request for one missing file unanswered, hardly two.
const MOST_SILENT: u32 = 2;
