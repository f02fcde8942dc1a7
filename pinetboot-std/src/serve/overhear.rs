//! Evidence from frames: a thread for each interface reads what reaches no port of this server, and emits facts.
//!
//! ```text
//! Capture (packet socket, filtered by the kernel) -> Frame::parse -> Named (who is who) -> facts for the boot machines
//! ```
//!
//! Nothing here decides about a lease, a file or a root. A server without the socket serves all the same, and says what it lacks.

mod asks;
mod named;
mod question;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use pinetboot_core::dhcp::{HardwareAddress, Message, MessageType};

use self::asks::Ask;
pub(super) use self::asks::Asks;
use self::named::Named;
use self::question::Questions;
use super::dhcp;
use super::lines;
use super::service::Service;
use crate::bus::Bus;
use crate::config::Config;
use crate::events::{Mac, Network};
use crate::exit::{Exit, Failed};
use crate::net::{Capture, Control, Frame, Interface, Interrupt, LONGEST, Links};
use crate::observe::asked;
use crate::probe::holds_port_67;
use crate::supervisor::Supervisor;

/// The open sockets, before their first frame.
#[derive(Debug, Default)]
pub(super) struct Captures(Vec<Capture>);

/// The running threads; dropping it stops them.
#[derive(Debug)]
pub(super) struct Overhear {
    threads: Vec<(Control, JoinHandle<()>)>,
}

/// The reader of one interface.
struct Reader {
    capture: Capture,
    /// DHCP is off: messages of clients are heard here alone.
    is_dhcp_off: bool,
    named: Named,
    asks: Asks,
    /// The number of this reader there.
    number: usize,
    questions: Questions,
    /// The clients of this network, the latest last.
    clients: VecDeque<Mac>,
    /// The spanning tree's forward delay, as told last.
    forward_delay: u8,
    links: Links,
    bus: Bus,
    pace: Pace,
}

impl Captures {
    /// Opens the sockets, while the process may; a fact says which it may not.
    pub(super) fn open(config: &Config, interfaces: &[Interface], links: &Links, bus: &Bus) -> Self {
        let mut captures = Vec::new();
        for name in served(config, interfaces, links) {
            match Capture::open(&name) {
                Ok(capture) => captures.push(capture),
                Err(error) => {
                    bus.emit(None, Network::Unheard { interface: name, error: error.to_string() });
                }
            }
        }
        Self(captures)
    }

    /// Whether any interface is heard.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The controls, for an interface that is made again.
    pub(super) fn controls(&self) -> Vec<Control> {
        self.0.iter().map(Capture::control).collect()
    }

    /// Starts to read.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn start(
        self,
        config: &Config,
        asks: &Asks,
        links: &Links,
        bus: &Bus,
        supervisor: &Supervisor,
    ) -> Result<Overhear, Failed> {
        let mut running = Overhear { threads: Vec::new() };
        for capture in self.0 {
            let (control, name) = (capture.control(), format!("hear {}", capture.interface()));
            supervisor.watch(name.clone(), control.clone());
            bus.hear_by(name.clone(), control.clone());
            let mut reader = Reader {
                number: asks.add(control.clone()),
                capture,
                is_dhcp_off: config.dhcp.is_none(),
                named: Named::new(&dhcp::named(config)),
                asks: asks.clone(),
                questions: Questions::default(),
                clients: VecDeque::new(),
                forward_delay: 0,
                links: links.clone(),
                bus: bus.clone(),
                pace: Pace::new(),
            };
            let thread = supervisor.spawn(bus, name, move || reader.run());
            let thread = thread
                .map_err(|error| Failed::new(Exit::Failure, format!("cannot start a thread: {error}")))?;
            running.threads.push((control, thread));
        }
        Ok(running)
    }
}

impl Reader {
    fn run(&mut self) -> Result<(), String> {
        let mut buffer = [0; LONGEST];
        let mut is_late = false;
        loop {
            let waited = match std::mem::take(&mut is_late) {
                false => self.capture.wait(self.questions.left().map_or(PollTimeout::NONE, timeout)),
                true => self.capture.rest(timeout(self.pace.left())),
            };
            match waited {
                Ok(()) | Err(Interrupt::Reload | Interrupt::Reloaded) => {}
                Err(Interrupt::Stop) => return Ok(()),
                // The server goes on without: an interface that is made again, or memory, may come.
                Err(Interrupt::Failed(error)) => {
                    let interface = self.capture.interface().to_owned();
                    self.bus.emit(None, Network::Unheard { interface, error: error.to_string() });
                    std::thread::sleep(SECOND);
                }
            }
            while let Some(frame) = self.capture.next(&mut buffer) {
                if !self.pace.admits() {
                    self.capture.leave_out();
                    let interface = self.capture.interface().to_owned();
                    self.bus.emit(None, Network::TooMany { interface, most: MOST_A_SECOND });
                    is_late = true;
                    break;
                }
                if let Some(frame) = Frame::parse(frame) {
                    self.read(frame);
                }
            }
            self.ask();
        }
    }

    /// Ends the question whose time is over, and begins the next ones.
    fn ask(&mut self) {
        if let Some(answer) = self.questions.end() {
            self.bus.emit(None, answer);
        }
        while self.questions.left().is_none()
            && let Some(ask) = self.asks.take(self.number)
        {
            if self.may_ask(ask)
                && let Some(answer) = self.questions.begin(&self.capture, self.own_address(ask), ask)
            {
                self.bus.emit(None, answer);
            }
        }
    }

    /// Whether the Pi is in this network, and an answer would mean something: a DHCP server of another program on this machine does
    /// not hear what this socket sends.
    fn may_ask(&self, ask: Ask) -> bool {
        match ask {
            Ask::Survey { mac, .. } => self.clients.contains(&mac) && !(self.is_dhcp_off && holds_port_67()),
            Ask::Arp { mac, .. } => self.clients.contains(&mac),
        }
    }

    fn own_address(&self, ask: Ask) -> Option<Ipv4Addr> {
        let client = match ask {
            Ask::Arp { address, .. } => Some(address),
            Ask::Survey { .. } => None,
        };
        Some(self.links.find(self.capture.interface())?.address_for(client)?.0)
    }

    fn read(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Arp { is_request: true, from, sender, target } => {
                // A probe or an announcement of its own address (RFC 5227).
                if sender == target || sender.is_unspecified() {
                    return;
                }
                let hardware = HardwareAddress::ethernet(from);
                let named = self.named.target(target, &self.links.addresses());
                self.bus.emit(None, Network::ArpAsked { hardware, address: target, target: named });
            }
            Frame::Arp { is_request: false, from, sender, .. } => {
                if let Some(answer) = self.questions.answered(from, sender) {
                    self.bus.emit(None, answer);
                }
            }
            Frame::Dhcp { source, to_server, message: bytes, .. } => {
                if let Ok(message) = Message::parse(bytes) {
                    self.named.learn(&message);
                    match to_server {
                        true => self.client(&message),
                        false => self.server(*source.ip(), bytes, &message),
                    }
                }
            }
            // RSTP and MSTP open a port at once to a host that they recognise.
            Frame::Bpdu { version: 0, forward_delay } => {
                // Told once: a hostile host may send another one each time.
                if self.forward_delay == 0 && forward_delay > 0 {
                    let forward_delay = u8::try_from(forward_delay).unwrap_or(u8::MAX);
                    self.forward_delay = forward_delay;
                    let interface = self.capture.interface().to_owned();
                    self.bus.emit(None, Network::SpanningTree { interface, forward_delay });
                }
            }
            Frame::Bpdu { .. } => {}
            Frame::Console { from, text } => lines::told(from, None, text, &self.bus),
        }
    }

    /// A client's message.
    fn client(&mut self, message: &Message<'_>) {
        let hardware = message.header.hardware;
        if let Some(mac) = hardware.mac() {
            self.clients.retain(|known| *known != mac);
            self.clients.push_back(mac);
            if self.clients.len() > MOST_CLIENTS {
                self.clients.pop_front();
            }
        }
        // A relay agent's copy is for the server that it names.
        if !self.is_dhcp_off || !message.header.giaddr.is_unspecified() {
            return;
        }
        self.bus.emit(None, asked(message));
        let is_request = message.kind() == Some(MessageType::Request) && message.server_id().is_some();
        if let Some(address) = message.requested_address().filter(|_| is_request) {
            self.bus.emit(None, Network::AddressRequested { hardware, address });
        }
    }

    /// The answer of another server.
    fn server(&mut self, from: Ipv4Addr, bytes: &[u8], message: &Message<'_>) {
        let own = self.capture.mac();
        self.questions.hear(from, bytes, message, own);
        let gives = message.kind() == Some(MessageType::Offer) && !message.header.yiaddr.is_unspecified();
        if let (true, Some(server)) = (gives, message.server_id()) {
            let hardware = message.header.hardware;
            self.bus.emit(None, Network::OtherServer { hardware, server });
        }
    }
}

/// Frames of a second: a network of a thousand Pis that boot at once sends some hundred.
#[derive(Debug)]
struct Pace {
    began: Instant,
    count: u32,
}

impl Pace {
    fn new() -> Self {
        Self { began: Instant::now(), count: 0 }
    }

    fn admits(&mut self) -> bool {
        if self.began.elapsed() >= SECOND {
            *self = Self::new();
        }
        self.count += 1;
        self.count <= MOST_A_SECOND
    }

    /// The rest of the second.
    fn left(&self) -> Duration {
        SECOND.saturating_sub(self.began.elapsed())
    }
}

fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
}

/// The interfaces that clients come by, without the loopback.
fn served(config: &Config, interfaces: &[Interface], links: &Links) -> Vec<String> {
    let mut names: Vec<String> = interfaces.iter().map(|interface| interface.name.clone()).collect();
    names.extend(config.net.interfaces.iter().cloned());
    if names.is_empty() {
        let listens = |interface: &&Interface| {
            config.listen.iter().any(|at| at.ip().is_unspecified() || *at.ip() == interface.address)
        };
        names.extend(Interface::all(&links.now()).iter().filter(listens).map(|of| of.name.clone()));
    }
    let is_cable = |name: &String| links.find(name).is_some_and(|link| !link.loopback);
    names.retain(is_cable);
    names.sort_unstable();
    names.dedup();
    names.truncate(MOST_INTERFACES);
    names
}

impl Service for Overhear {
    fn name(&self) -> &'static str {
        "hear"
    }
}

impl Drop for Overhear {
    fn drop(&mut self) {
        for (control, _) in &self.threads {
            control.stop();
        }
        for (_, thread) in self.threads.drain(..) {
            let _reported = thread.join();
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Frames that are looked at in a second, on one interface.
const MOST_A_SECOND: u32 = 1000;
/// Clients of a network that a question may be about.
const MOST_CLIENTS: usize = 1024;
/// A host of containers has hundreds of interfaces.
const MOST_INTERFACES: usize = 8;
