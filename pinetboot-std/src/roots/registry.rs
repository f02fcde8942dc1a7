//! The registry, as roots see it: in this process, or in that of TFTP and DHCP.
//!
//! The questions are few: at mounts, and once in seconds for each client. They go one by one over one socket.

use std::fmt;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use pinetboot_core::pi::Prefix;

use super::lines::{read_line, write_line};
use super::messages::{Answer, LONGEST, Message, Question, Report};
use crate::bus::Bus;
use crate::events::{Evidence, Mac, Root};
use crate::pis::{Claim, Known, Refusal};
use crate::supervisor;

/// The registry; clones are the same one.
#[derive(Clone)]
pub struct Registry(Place);

#[derive(Clone)]
enum Place {
    Here(Bus),
    Process(Arc<Mutex<BufReader<UnixStream>>>),
}

impl Registry {
    /// The registry of another process, at the other end of a socket.
    pub(crate) fn of_process(socket: BufReader<UnixStream>) -> Self {
        Self(Place::Process(Arc::new(Mutex::new(socket))))
    }

    /// Emits a fact; `client` names the client if the fact does not.
    pub fn emit(&self, client: impl Into<Option<Ipv4Addr>>, report: impl Into<Report>) {
        let (client, report) = (client.into(), report.into());
        match (&self.0, report) {
            (Place::Here(bus), report) => bus.emit(client, report),
            // A message has a bound.
            (Place::Process(_), Report::Root(Root::UnusedRemoved { layers }))
                if layers.len() > MOST_NAMED =>
            {
                for layers in layers.chunks(MOST_NAMED) {
                    self.emit(client, Root::UnusedRemoved { layers: layers.to_vec() });
                }
            }
            (Place::Process(_), report) => self.send(&Message::Tell { client, report }),
        }
    }

    /// Sends a message to the process of the registry. Its end, which this process notices elsewhere, loses the message.
    pub(crate) fn send(&self, message: &Message) {
        if let Place::Process(socket) = &self.0 {
            let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            let _lost = write_line(socket.get_mut(), message);
        }
    }

    /// Whether the client at an address is this Pi.
    ///
    /// # Errors
    ///
    /// The reason why not; in doubt without the process of the registry.
    pub fn check(&self, claim: Claim) -> Result<Evidence, Refusal> {
        match self.ask(Question::Check(claim)) {
            Some(Answer::Check(checked)) => checked,
            _ => Err(Refusal { why: "this server ends".into(), in_doubt: true }),
        }
    }

    /// The knowledge about a Pi.
    ///
    /// # Errors
    ///
    /// If the process of the registry has ended.
    pub fn known(&self, pi: Prefix) -> io::Result<Known> {
        match self.ask(Question::Known(pi)) {
            Some(Answer::Known(known)) => Ok(known.checked()),
            _ => Err(io::Error::other("this server ends")),
        }
    }

    /// The Pi's name in messages.
    pub fn name_of(&self, pi: Prefix) -> String {
        self.known(pi).map_or_else(|_| pi.to_string(), |known| known.name)
    }

    /// The Pi at an address, by the strongest evidence.
    pub fn name_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        match self.ask(Question::NameAt(address)) {
            Some(Answer::NameAt(pi)) => pi,
            _ => None,
        }
    }

    /// The MAC address of an address.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        match self.ask(Question::MacAt(address)) {
            Some(Answer::MacAt(mac)) => mac,
            _ => None,
        }
    }

    /// Layers made for the client at an address.
    pub fn layers_made(&self, address: Ipv4Addr) -> u32 {
        match self.ask(Question::LayersMade(address)) {
            Some(Answer::LayersMade(number)) => number,
            _ => u32::MAX,
        }
    }

    /// Starts a thread with a short task, which may end and may not panic.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn task(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let registry = self.clone();
        let panicked = move || {
            registry.emit(None, Report::ThreadEnded { thread: name.into(), why: "panicked".into() });
        };
        supervisor::task(name, work, panicked)
    }

    fn ask(&self, question: Question) -> Option<Answer> {
        match &self.0 {
            Place::Here(bus) => Some(answer(bus, question)),
            Place::Process(socket) => {
                let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
                let asked = write_line(socket.get_mut(), &Message::Ask(question));
                let answered = asked.and_then(|()| read_line(&mut *socket, LONGEST));
                answered.unwrap_or_else(|_| {
                    // No later answer is taken for that of another question: the other process notices, and the server ends.
                    let _closed = socket.get_ref().shutdown(Shutdown::Both);
                    None
                })
            }
        }
    }
}

/// The registry's answer to a question.
pub(crate) fn answer(bus: &Bus, question: Question) -> Answer {
    let pis = bus.pis();
    match question {
        Question::Check(claim) => Answer::Check(pis.check_in_words(&claim)),
        Question::Known(pi) => Answer::Known(Box::new(pis.known(pi))),
        Question::NameAt(address) => Answer::NameAt(pis.name_at(address)),
        Question::MacAt(address) => Answer::MacAt(pis.mac_at(address)),
        Question::LayersMade(address) => Answer::LayersMade(pis.lock().layers_made(address)),
    }
}

impl From<Bus> for Registry {
    /// The registry of this process.
    fn from(bus: Bus) -> Self {
        Self(Place::Here(bus))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// Layers that one message names at most.
const MOST_NAMED: usize = 256;
