//! Evidence from frames: a thread for each interface reads what reaches no port of this server, and emits facts.
//!
//! ```text
//! Capture (packet socket, filtered by the kernel) -> Frame::parse -> Named (who is who) -> facts for the boot machines
//! ```
//!
//! Nothing here decides about a lease, a file or a root. A server without the socket serves all the same, and says what it lacks.

mod named;

use std::net::Ipv4Addr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use pinetboot_core::dhcp::{HardwareAddress, Message};

use self::named::Named;
use super::service::Service;
use crate::bus::Bus;
use crate::config::Config;
use crate::events::Network;
use crate::exit::{Exit, Failed};
use crate::net::{Capture, Control, Frame, Interface, Interrupt, LONGEST, Links};
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
    named: Named,
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
        named: &[Ipv4Addr],
        links: &Links,
        bus: &Bus,
        supervisor: &Supervisor,
    ) -> Result<Overhear, Failed> {
        let mut running = Overhear { threads: Vec::new() };
        for capture in self.0 {
            let (control, name) = (capture.control(), format!("hear {}", capture.interface()));
            supervisor.watch(name.clone(), control.clone());
            let (links, pace) = (links.clone(), Pace::new());
            let mut reader = Reader { capture, named: Named::new(named), links, bus: bus.clone(), pace };
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
                false => self.capture.wait(PollTimeout::NONE),
                true => self.capture.rest(self.pace.rest()),
            };
            match waited {
                Ok(()) | Err(Interrupt::Reload | Interrupt::Reloaded) => {}
                Err(Interrupt::Stop) => return Ok(()),
                Err(Interrupt::Failed(error)) => return Err(format!("the network failed: {error}")),
            }
            while let Some(frame) = self.capture.next(&mut buffer) {
                if !self.pace.admits() {
                    let interface = self.capture.interface().to_owned();
                    self.bus.emit(None, Network::TooMany { interface, most: MOST_A_SECOND });
                    is_late = true;
                    break;
                }
                if let Some(frame) = Frame::parse(frame) {
                    self.read(frame);
                }
            }
        }
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
            Frame::Dhcp { message, .. } => {
                if let Ok(message) = Message::parse(message) {
                    self.named.learn(&message);
                }
            }
            Frame::Arp { .. } | Frame::Bpdu { .. } | Frame::Console { .. } => {}
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
    fn rest(&self) -> PollTimeout {
        let left = SECOND.saturating_sub(self.began.elapsed()).as_millis() + 1;
        u16::try_from(left).map_or(PollTimeout::ZERO, PollTimeout::from)
    }
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
/// A host of containers has hundreds of interfaces.
const MOST_INTERFACES: usize = 8;
