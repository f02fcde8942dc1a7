//! The suite for networks on one in memory, and on the same with what can be wrong with it: that must fail.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use pinetboot_core::conformance::{self, End};
use pinetboot_core::{Datagram, Instant, Net, block_on};

#[test]
fn the_suite_finds_what_is_wrong() {
    assert!(passes(Fault::None, PORTS));
    assert!(passes(Fault::None, 0), "everything over one port");
    for fault in FAULTS {
        assert!(!passes(fault, PORTS), "{fault:?} is not found");
    }
}

fn passes(fault: Fault, ports: u16) -> bool {
    let cable = Rc::new(RefCell::new(Cable::default()));
    let host = |number, fault, ports| Host {
        cable: Rc::clone(&cable),
        number,
        fault,
        lent: vec![false; ports],
        outbox: Vec::new(),
        incoming: Message::default(),
        outgoing: vec![0; ROOM],
    };
    let (mut tested, mut other) = (host(0, fault, ports.into()), host(1, Fault::None, 0));
    let peer = End { net: &mut other, local: LISTENS, address: address(1, LISTENS) };
    let suite = conformance::net(&mut tested, address(0, LISTENS), peer);
    catch_unwind(AssertUnwindSafe(|| block_on(suite))).is_ok()
}

/// How a network can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It waits although the deadline is over.
    WaitsForThePast,
    /// It returns before the deadline.
    ReturnsEarly,
    /// It takes "never" for a moment that is over.
    NeverIsOver,
    /// What is sent stays where it is while nothing is waited for.
    HoldsBack,
    /// What is sent together arrives the other way round.
    Reorders,
    /// What is longer than 512 bytes is cut to that.
    Cuts,
    /// All transfers have one port, which is not the one that listens.
    SharesPorts,
    /// A transfer's port takes requests.
    ListensEverywhere,
    /// What a transfer sends comes from the port that listens.
    AnswersFromTheListener,
    /// With a port goes what was sent from it.
    LosesFarewells,
    /// A port that is closed must not be sent from.
    ForbidsLateWords,
    /// No port comes back.
    KeepsPorts,
}

const FAULTS: [Fault; 12] = [
    Fault::WaitsForThePast,
    Fault::ReturnsEarly,
    Fault::NeverIsOver,
    Fault::HoldsBack,
    Fault::Reorders,
    Fault::Cuts,
    Fault::SharesPorts,
    Fault::ListensEverywhere,
    Fault::AnswersFromTheListener,
    Fault::LosesFarewells,
    Fault::ForbidsLateWords,
    Fault::KeepsPorts,
];

/// What two hosts have sent each other, and a clock that only they move on.
#[derive(Default)]
struct Cable {
    now: Instant,
    arrived: [VecDeque<Message>; 2],
}

#[derive(Default)]
struct Message {
    from: u16,
    to: u16,
    bytes: Vec<u8>,
}

struct Host {
    cable: Rc<RefCell<Cable>>,
    number: u8,
    fault: Fault,
    /// The ports for transfers that are in use; without any, all goes over the port that listens.
    lent: Vec<bool>,
    outbox: Vec<Message>,
    incoming: Message,
    outgoing: Vec<u8>,
}

impl Host {
    fn flush(&mut self) {
        if self.fault == Fault::Reorders {
            self.outbox.reverse();
        }
        self.cable.borrow_mut().arrived[1 - usize::from(self.number)].extend(self.outbox.drain(..));
    }

    fn is_open(&self, local: u16) -> bool {
        local == LISTENS || self.lent.get(usize::from(local - LISTENS - 1)).is_some_and(|lent| *lent)
    }
}

impl Net for Host {
    type Error = Infallible;
    type Local = u16;

    fn now(&self) -> Instant {
        self.cable.borrow().now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, Infallible> {
        let past = deadline <= self.now();
        if !past || self.fault != Fault::HoldsBack {
            self.flush();
        }
        if deadline == Instant::MAX && self.fault == Fault::NeverIsOver {
            return Ok(None);
        }
        let cable = Rc::clone(&self.cable);
        let mut cable = cable.borrow_mut();
        while let Some(message) = cable.arrived[usize::from(self.number)].pop_front() {
            if !self.is_open(message.to) {
                continue;
            }
            self.incoming = message;
            if self.fault == Fault::Cuts {
                self.incoming.bytes.truncate(512);
            }
            let Message { from, to, bytes } = &self.incoming;
            let listening = *to == LISTENS || self.fault == Fault::ListensEverywhere;
            let peer = address(1 - self.number, *from);
            return Ok(Some(Datagram::new(cable.now, *to, peer, bytes).with_listening(listening)));
        }
        assert!(deadline < Instant::MAX, "it waits for ever");
        let wait = match self.fault {
            Fault::WaitsForThePast => Duration::from_millis(100),
            Fault::ReturnsEarly => deadline.since(cable.now) / 2,
            _ => deadline.since(cable.now),
        };
        cable.now = cable.now + wait;
        Ok(None)
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        assert!(self.fault != Fault::ForbidsLateWords || self.is_open(from), "it is closed");
        let from = if self.fault == Fault::AnswersFromTheListener { LISTENS } else { from };
        self.outbox.push(Message { from, to: to.port(), bytes: self.outgoing[..len].to_vec() });
    }

    fn open(&mut self, at: u16, _: SocketAddrV4) -> Option<u16> {
        if self.lent.is_empty() {
            return Some(at);
        }
        let free = match self.fault {
            Fault::SharesPorts => 0,
            _ => self.lent.iter().position(|lent| !lent)?,
        };
        self.lent[free] = true;
        Some(LISTENS + 1 + free as u16)
    }

    fn close(&mut self, local: u16) {
        if self.fault == Fault::LosesFarewells {
            self.outbox.retain(|message| message.from != local);
        }
        if local != LISTENS && self.fault != Fault::KeepsPorts {
            self.lent[usize::from(local - LISTENS - 1)] = false;
        }
    }
}

const fn address(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1 + host), port)
}

const LISTENS: u16 = 69;
const PORTS: u16 = 2;
const ROOM: usize = 2048;
