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
use crate::supervisor::Reports;

/// The registry; clones are the same one.
#[derive(Clone)]
pub struct Registry(Place);

#[derive(Clone)]
enum Place {
    Here(Bus),
    #[cfg_attr(not(feature = "nfs"), expect(dead_code, reason = "nfsd is the other process"))]
    Process(Arc<Mutex<BufReader<UnixStream>>>),
}

impl Registry {
    /// The registry of another process, at the other end of a socket.
    #[cfg(feature = "nfs")]
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

impl Reports for Registry {
    fn thread_ended(&self, thread: String, why: String) {
        self.emit(None, Report::ThreadEnded { thread, why });
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::config::Settings;

    const PI: Prefix = Prefix::Serial(0xbd98_9ae1);
    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    /// A registry in another process's stead, and the answers of this one to its first questions.
    fn asked(answers: Vec<String>) -> Registry {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut socket = BufReader::new(theirs);
            for answer in answers {
                let Ok(Some(Message::Ask(_))) = read_line(&mut socket, LONGEST) else { return };
                io::Write::write_all(socket.get_mut(), answer.as_bytes()).unwrap();
            }
        });
        Registry::of_process(BufReader::new(ours))
    }

    #[test]
    fn questions_and_facts_cross_the_border() {
        let bus = Bus::silent();
        let settings: Settings = toml::from_str(&format!(
            "tree = '/x'\n[pi.{PI}]\naddress = '{HERE}'\nname = 'kitchen'\nimage = 'trixie'"
        ))
        .unwrap();
        bus.set_inventory(Arc::new(settings.resolve().unwrap().inventory));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = {
            let bus = bus.clone();
            thread::spawn(move || {
                let mut socket = BufReader::new(theirs);
                while let Some(message) = read_line(&mut socket, LONGEST).unwrap() {
                    match message {
                        Message::Ask(question) => {
                            write_line(socket.get_mut(), &answer(&bus, question)).unwrap();
                        }
                        Message::Tell { client, report } => bus.emit(client, report),
                        other => panic!("{other:?}"),
                    }
                }
            })
        };
        let there = Registry::of_process(BufReader::new(ours));
        let here = Registry::from(bus);
        let claim = Claim { pi: PI, address: HERE, mac: None, handle: false, token: None };
        let made =
            Root::LayerMade { pi: PI, image: "trixie".into(), host_name: "kitchen".into(), kept: None };
        there.emit(HERE, made);
        for registry in [&there, &here] {
            assert_eq!(registry.check(claim), Ok(Evidence::Inventory));
            let other = Claim { address: Ipv4Addr::LOCALHOST, ..claim };
            let refusal = registry.check(other).unwrap_err();
            assert_eq!(
                (refusal.why.as_str(), refusal.in_doubt),
                ("the inventory has that Pi at 192.0.2.7", false)
            );
            let known = registry.known(PI).unwrap();
            assert_eq!((known.host_name(PI).as_str(), known.image()), ("kitchen", Some("trixie")));
            assert_eq!(registry.name_at(HERE), Some(PI));
            assert_eq!(registry.mac_at(HERE), None);
            assert_eq!(registry.layers_made(HERE), 1);
        }
        let layers = (0..10_000).map(|serial| (Prefix::Serial(serial), Some(HERE))).collect();
        there.emit(None, Root::UnusedRemoved { layers });
        assert_eq!(there.layers_made(HERE), 0);
        drop((there, here));
        serving.join().unwrap();
    }

    #[test]
    fn facts_of_other_protocols_are_no_messages() {
        let tell = |fact: &str| format!("{{\"Tell\":{{\"client\":\"192.0.2.7\",\"report\":{fact}}}}}\n");
        let read = |line: String| read_line::<Message>(&mut line.as_bytes(), LONGEST);
        assert!(read(tell("{\"Root\":{\"Active\":{\"pi\":\"bd989ae1\"}}}")).unwrap().is_some());
        for fact in [
            "{\"Dhcp\":{\"Leased\":{\"hardware\":\"x\",\"address\":\"192.0.2.7\"}}}",
            "{\"Server\":{\"Reloaded\":{\"serving\":\"/\"}}}",
            "{\"Root\":{\"Active\":{\"pi\":\"../x\"}}}",
        ] {
            assert!(read(tell(fact)).is_err(), "{fact}");
        }
    }

    #[test]
    fn a_registry_that_ends_or_lies_permits_nothing() {
        let claim = Claim { pi: PI, address: HERE, mac: None, handle: true, token: None };
        let line = |answer: &str| vec![format!("{answer}\n")];
        let long = format!("\"{}\"", "x".repeat(LONGEST as usize));
        for answers in [vec![], line("{\"NameAt\":null}"), line("yes"), line(&long)] {
            assert!(asked(answers.clone()).check(claim).is_err_and(|refusal| refusal.in_doubt));
            assert!(asked(answers.clone()).known(PI).is_err());
            assert_eq!(asked(answers).layers_made(HERE), u32::MAX);
        }
        // No later answer is taken for that of an earlier question.
        let registry = asked(vec!["yes\n".into(), "{\"Check\":{\"Ok\":\"Mount\"}}\n".into()]);
        assert!(registry.check(claim).is_err() && registry.check(claim).is_err());
        // Settings that no inventory has would be written into the root.
        let known = Known { name: "a".into(), ..Known::default() };
        let mut known = serde_json::to_value(Answer::Known(Box::new(known))).unwrap();
        for (setting, value) in [("name", "a\nb"), ("image", "../x")] {
            known["Known"]["settings"][setting] = value.into();
        }
        let known = known.to_string();
        let known = asked(line(&known)).known(PI).unwrap();
        assert_eq!(
            (known.name.as_str(), known.image(), known.host_name(PI)),
            ("a", None, format!("pi-{PI}"))
        );
    }
}
