//! Scripts for a whole server or client, on a network that is a script itself.
//!
//! Peers are capital letters: `A` is 10.0.0.1, port 40000; `A:7` the same from port 7. Numbers are ports of ours: 69
//! listens, 1001 and up are the server's pool, 5000 is the client's.
//!
//! | line | means |
//! |---|---|
//! | `A > 69 RRQ ..` | A sends this |
//! | `1001 > A DATA ..` | we send this |
//! | `* ..` | the observer is told this |
//! | `= ..` | an upload is begun or finished |
//! | `x stop` | the server is told to stop |
//! | `x kernel.img` | a file that comes later is there |
//! | `.` | nothing comes until now |

use core::cell::RefCell;
use core::mem;
use core::net::{Ipv4Addr, SocketAddrV4};
use std::collections::VecDeque;
use std::rc::Rc;

use pinetboot_core::event::{PeerError, Refused, Rejected, Repeated, Requested, Started};
use pinetboot_core::tftp::{Client, Limits, Report, RetryPolicy, Server};
use pinetboot_core::{Datagram, Event, Instant, Net, Observer, block_on};

use super::memory::{Late, Memory};
use super::script::{Line, compare, lines, show_outcome};
use super::wire::{bytes, options, show};

/// A server in the laboratory.
pub(crate) struct Lab {
    pub(crate) storage: Memory,
    pub(crate) limits: Limits,
    /// How many transfers there may be.
    pub(crate) places: usize,
    /// How many ports there are for them; without any, all goes over port 69.
    pub(crate) ports: u16,
    /// Whether what the observer is told belongs to the script.
    pub(crate) observed: bool,
}

impl Lab {
    pub(crate) fn new(storage: Memory) -> Self {
        Self { storage, limits: Limits::default(), places: 4, ports: 4, observed: false }
    }

    pub(crate) fn observed(self) -> Self {
        Self { observed: true, ..self }
    }

    pub(crate) fn single_port(self) -> Self {
        Self { ports: 0, ..self }
    }

    /// Plays the script's datagrams to the server and compares all that happens with the rest of the script. Returns
    /// how many transfers are left.
    #[track_caller]
    pub(crate) fn play(self, script: &str) -> usize {
        self.play_to((), script)
    }

    /// The same, with another observer beside the one that writes the script's lines.
    #[track_caller]
    pub(crate) fn play_to(self, beside: impl Observer, script: &str) -> usize {
        let expected = lines(script);
        let notes = Rc::new(RefCell::new(Vec::new()));
        let mut storage = self.storage;
        storage.notes = Rc::clone(&notes);
        let mut net = Scripted::new(&expected, (1001..1001 + self.ports).collect(), notes);
        net.late = Rc::clone(&storage.late);
        let observer = (Notes { log: self.observed.then(|| Rc::clone(&net.log)) }, beside);
        let mut places: Vec<_> = (0..self.places).map(|_| None).collect();
        let mut server = Server::<_, _, _, 16>::new(net, storage, observer, self.limits, &mut places);
        while let Err(End::Stop) = block_on(server.run()) {
            block_on(server.stop()).expect("the end of the transfers");
        }
        compare(&expected, &server.net_mut().take_log());
        server.transfers()
    }
}

/// Plays a script to a client at port 5000, whose server is `S:69`.
#[track_caller]
pub(crate) fn play_client<T>(script: &str, run: impl AsyncFnOnce(&mut Client<&mut Scripted>) -> T) -> T {
    let expected = lines(script);
    let mut net = Scripted::new(&expected, Vec::new(), Rc::default());
    let server = address("S:69");
    let mut client = Client::new(&mut net, 5000, server);
    let result = block_on(run(&mut client));
    compare(&expected, &net.take_log());
    result
}

/// A network whose datagrams come as the script says.
pub(crate) struct Scripted {
    now: Instant,
    end: Instant,
    /// How often nothing came at one and the same time.
    idle: usize,
    inputs: VecDeque<Line>,
    pool: Vec<u16>,
    single_port: bool,
    log: Rc<RefCell<Vec<Line>>>,
    /// What the storage has to say, to be put in its place in the log.
    notes: Rc<RefCell<Vec<String>>>,
    /// What the storage has later.
    late: Rc<RefCell<Late>>,
    /// The last datagram; those held back; those to be handed out again.
    last: Option<(SocketAddrV4, u16)>,
    held: Vec<(SocketAddrV4, u16, Vec<u8>)>,
    released: VecDeque<(SocketAddrV4, u16, Vec<u8>)>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Why a scripted network ends the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing stands in the script any more.
    Script,
    /// The script says `x stop`.
    Stop,
}

impl Scripted {
    fn new(script: &[Line], pool: Vec<u16>, notes: Rc<RefCell<Vec<String>>>) -> Self {
        let is_input = |line: &&Line| match line.split() {
            ("x" | ".", _) => true,
            (from, _) => from.starts_with(|first: char| first.is_ascii_uppercase()),
        };
        Self {
            now: Instant::ZERO,
            end: script.last().map_or(Instant::ZERO, |line| line.at),
            idle: 0,
            inputs: script.iter().filter(is_input).cloned().collect(),
            single_port: pool.is_empty(),
            pool,
            log: Rc::default(),
            notes,
            late: Rc::default(),
            last: None,
            held: Vec::new(),
            released: VecDeque::new(),
            incoming: Vec::new(),
            outgoing: vec![0; 2048],
        }
    }

    fn note(&mut self, text: String) {
        let mut log = self.log.borrow_mut();
        log.extend(self.notes.borrow_mut().drain(..).map(|note| Line::new(self.now, format!("= {note}"))));
        log.push(Line::new(self.now, text));
    }

    fn take_log(&mut self) -> Vec<Line> {
        mem::take(&mut self.log.borrow_mut())
    }
}

impl Net for Scripted {
    type Error = End;
    type Local = u16;

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, End> {
        let deadline = deadline.max(self.now);
        if let Some((peer, local, bytes)) = self.released.pop_front() {
            (self.incoming, self.last) = (bytes, Some((peer, local)));
            return Ok(Some(Datagram::new(self.now, local, peer, &self.incoming)));
        }
        while self.inputs.front().is_some_and(|input| input.at <= deadline)
            && let Some(input) = self.inputs.pop_front()
        {
            self.now = self.now.max(input.at);
            self.note(input.text.clone());
            let (from, rest) = input.split();
            match from {
                "." => continue,
                "x" if rest == "stop" => return Err(End::Stop),
                "x" => {
                    self.late.borrow_mut().comes(rest);
                    return Ok(None);
                }
                _ => {}
            }
            let (to, packet) =
                rest.strip_prefix("> ").and_then(|rest| rest.split_once(' ')).expect("A > 69 ..");
            let local: u16 = to.parse().expect("a port");
            (self.incoming, self.last) = (bytes(packet), Some((address(from), local)));
            return Ok(Some(
                Datagram::new(self.now, local, address(from), &self.incoming).with_listening(local == 69),
            ));
        }
        if deadline > self.end {
            return Err(End::Script);
        }
        self.idle = if deadline > self.now { 0 } else { self.idle + 1 };
        assert!(self.idle < 100, "waits again and again for the past");
        self.now = deadline;
        Ok(None)
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        let packet = show(&self.outgoing[..len]);
        self.note(format!("{from} > {} {packet}", name(to)));
    }

    fn hold(&mut self) {
        let (peer, local) = self.last.expect("a datagram");
        self.held.retain(|(held, ..)| *held != peer);
        self.held.push((peer, local, self.incoming.clone()));
    }

    fn release(&mut self, peer: SocketAddrV4) {
        self.released.extend(self.held.extract_if(.., |(held, ..)| *held == peer));
    }

    fn open(&mut self, at: u16, _: SocketAddrV4) -> Option<u16> {
        if self.single_port {
            return Some(at);
        }
        (!self.pool.is_empty()).then(|| self.pool.remove(0))
    }

    fn close(&mut self, local: u16) {
        if !self.single_port {
            assert!(!self.pool.contains(&local), "port {local} is closed twice");
            self.pool.insert(0, local);
            self.pool.sort_unstable();
        }
    }
}

/// Writes down what the observer is told, and holds each event to the context that comes with it.
struct Notes {
    log: Option<Rc<RefCell<Vec<Line>>>>,
}

impl Observer for Notes {
    /// The client.
    type Transfer = Option<SocketAddrV4>;

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut Option<SocketAddrV4>>) {
        match (event, transfer) {
            (Event::Requested(requested), Some(new)) => {
                assert_eq!(new.replace(requested.peer), None, "a context that is not new");
            }
            (Event::Started(Started { peer, .. }), Some(known))
            | (Event::Refused(Refused { peer, .. }), Some(known))
            | (Event::Repeated(Repeated { peer, .. }), Some(known))
            | (Event::PeerError(PeerError { peer, .. }), Some(known))
            | (Event::Finished(Report { peer, .. }), Some(known))
            | (Event::Rejected(Rejected { peer, .. }), Some(known)) => {
                assert_eq!(*known, Some(*peer), "the context of another transfer");
            }
            (Event::Rejected(_) | Event::Tick, None) => {}
            (event, context) => panic!("{event:?} with {context:?}"),
        }
        let Some(log) = &self.log else { return };
        let text = match event {
            Event::Requested(Requested { peer, direction, filename, options, .. }) => {
                let (name, file) = (name(*peer), String::from_utf8_lossy(filename));
                let plain = if options.is_empty() { ", no options" } else { "" };
                format!("{name}: {direction:?} {file}{plain}")
            }
            Event::Refused(Refused { peer, direction, filename, code, reason, .. }) => {
                let (name, file) = (name(*peer), String::from_utf8_lossy(filename));
                format!("{name}: {direction:?} {file} refused, {} {reason}", code.0)
            }
            Event::Repeated(repeated) => format!("{}: repeated", name(repeated.peer)),
            Event::Started(Started { peer, direction, len, terms, .. }) => {
                let len = len.map_or("unknown".into(), |len| len.to_string());
                let (block, window) = (terms.block_size, terms.window_size);
                format!("{}: {direction:?} begins, {len} bytes by {block} x {window}", name(*peer))
            }
            Event::PeerError(PeerError { peer, code, message, .. }) => {
                format!("{}: ends it, {} {}", name(*peer), code.0, message.escape_ascii())
            }
            Event::Finished(report) => {
                let (outcome, bytes) = (show_outcome(report.outcome), report.bytes);
                let probe = if report.is_probe() { ", a probe" } else { "" };
                let (direction, resent) = (report.direction, report.resent);
                format!(
                    "{}: {direction:?} {outcome}{probe}; {bytes} bytes passed, {resent} resent",
                    name(report.peer)
                )
            }
            Event::Rejected(Rejected { peer, why, .. }) => format!("{}: rejected, {why:?}", name(*peer)),
            Event::Tick => "tick".into(),
            other => format!("{other:?}"),
        };
        log.borrow_mut().push(Line::new(now, format!("* {}", text.trim_end())));
    }
}

/// `A` to `Z`, with or without a port.
fn address(name: &str) -> SocketAddrV4 {
    let (letter, port) = name.split_once(':').unwrap_or((name, "40000"));
    let host = letter.bytes().next().expect("a letter") - b'A' + 1;
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port.parse().expect("a port"))
}

fn name(address: SocketAddrV4) -> String {
    let letter = char::from(address.ip().octets()[3] - 1 + b'A');
    match address.port() {
        40000 => letter.into(),
        port => format!("{letter}:{port}"),
    }
}
