//! The responder loop, on a network that is a script.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod dhcp;

use core::convert::Infallible;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcp::{captured, ip};
use pinetboot_core::dhcp::{
    BootFileName, Clients, MAX_LEN, Message, NextServer, NoReply, Port, ProxyDhcp, Responder,
};
use pinetboot_core::event::{Dhcp, Rejected, Rejection};
use pinetboot_core::{Datagram, Event, Instant, Net, Observer, block_on};

/// What comes, and what went.
struct Tape {
    now: Instant,
    incoming: VecDeque<(u64, u16, Vec<u8>)>,
    current: Vec<u8>,
    buffer: [u8; MAX_LEN],
    sent: Vec<(u64, u16, SocketAddrV4, Vec<u8>)>,
}

impl Tape {
    /// Datagrams: when they come (ms), to which port, and what they are.
    fn new(incoming: &[(u64, u16, &str)]) -> Self {
        let bytes = |name: &str| if name == "noise" { vec![1, 2, 3] } else { captured(name) };
        Self {
            now: Instant::ZERO,
            incoming: incoming.iter().map(|&(at, port, name)| (at, port, bytes(name))).collect(),
            current: Vec::new(),
            buffer: [0; MAX_LEN],
            sent: Vec::new(),
        }
    }
}

impl Net for Tape {
    type Error = Infallible;
    type Local = u16;

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, u16>>, Infallible> {
        match self.incoming.front() {
            Some((at, ..)) if Instant::from_millis(*at) <= deadline => {}
            _ => {
                self.now = self.now.max(deadline);
                return Ok(None);
            }
        }
        let (at, local, bytes) = self.incoming.pop_front().unwrap();
        self.now = self.now.max(Instant::from_millis(at));
        self.current = bytes;
        let peer = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        Ok(Some(Datagram::new(self.now, local, peer, &self.current)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, from: u16, to: SocketAddrV4, len: usize) {
        self.sent.push((self.now.as_micros() / 1000, from, to, self.buffer[..len].to_vec()));
    }
}

/// Events, as text.
struct Log {
    lines: Vec<String>,
    wake_at: Instant,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: Vec::new(), wake_at: Instant::MAX }
    }
}

impl Observer for Log {
    type Transfer = ();

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut ()>) {
        assert_eq!(transfer, None, "no transfer here");
        self.lines.push(match event {
            Event::Dhcp(Dhcp { request, answer: Ok(reply), .. }) => format!("{request}: {}", reply.kind),
            Event::Dhcp(Dhcp { request, answer: Err(silence), .. }) => format!("{request}: {silence}"),
            Event::Rejected(Rejected { why: Rejection::NotDhcp(error), .. }) => error.to_string(),
            Event::Tick => {
                self.wake_at = now + Duration::from_secs(1);
                format!("tick at {now}")
            }
            other => format!("{other:?}"),
        });
    }

    fn wake_at(&self) -> Instant {
        self.wake_at
    }
}

fn proxy() -> ProxyDhcp<'static> {
    ProxyDhcp::new(ip("10.77.0.1"))
}

/// When each reply went, from which port, to whom.
fn sent(tape: &Tape) -> Vec<(u64, u16, String)> {
    let mut all = Vec::new();
    for (at, from, to, bytes) in &tape.sent {
        assert!(Message::parse(bytes).is_ok());
        all.push((*at, *from, to.to_string()));
    }
    all
}

const EVERYONE: &str = "255.255.255.255:68";

#[test]
fn pis_are_answered_and_everything_is_told() {
    let tape = Tape::new(&[
        (1, 67, "pi4-discover"),
        (2, 67, "dhclient-discover"),
        (3, 67, "noise"),
        (4, 67, "dnsmasq-plain"),
        (5, 67, "relay-discover"),
    ]);
    let mut responder = Responder::<_, _, _>::new(tape, proxy(), Log::default());
    for _ in 0..5 {
        block_on(responder.turn()).unwrap();
    }
    let expected = [(1, 67, EVERYONE.to_owned()), (5, 67, "10.88.0.1:67".to_owned())];
    assert_eq!(sent(responder.net_mut()), expected);
    assert_eq!(
        responder.observer_mut().lines,
        [
            "DISCOVER from e4:5f:01:09:02:f7: OFFER",
            "DISCOVER from e4:5f:01:09:02:f7: clients of this kind are not served",
            "the message ends before its options",
            "DISCOVER from e4:5f:01:09:02:f7: OFFER",
        ]
    );
}

#[test]
fn replies_are_held_back_as_long_as_there_is_room() {
    let asked = [(0, 67, "pi4-discover"), (500, 67, "pi3-rom-discover"), (600, 67, "pi4-discover")];
    let mut responder =
        Responder::<_, _, _, 3>::new(Tape::new(&asked), proxy(), ()).with_delay(Duration::from_secs(2));
    while responder.net_mut().sent.len() < 3 {
        block_on(responder.turn()).unwrap();
    }
    let times: Vec<_> = sent(responder.net_mut()).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [600, 2500, 2600], "the first goes early");
    let xids: Vec<_> = responder.net_mut().sent.iter().map(|(.., bytes)| bytes[4]).collect();
    assert_eq!(xids, [0x9a, 0x26, 0x9a]);
}

#[test]
fn a_second_port_is_known() {
    let asked = [(0, 4011, "edk2-request"), (1, 67, "edk2-request"), (2, 67, "edk2-discover")];
    let next_server = NextServer::new(ip("10.77.0.1")).with_file(BootFileName::parse(b"boot.efi").unwrap());
    let proxy = proxy().with_clients(Clients::Pxe).with_next_server(next_server);
    let mut responder = Responder::<_, _, _, 1>::new(Tape::new(&asked), proxy, Log::default())
        .with_ports(|port| if port == 4011 { Port::Pxe } else { Port::Server });
    for _ in 0..3 {
        block_on(responder.turn()).unwrap();
    }
    let expected = [(0, 4011, EVERYONE.to_owned()), (2, 67, EVERYONE.to_owned())];
    assert_eq!(sent(responder.net_mut()), expected);
    assert!(responder.observer_mut().lines[1].ends_with(&NoReply::ForAnother.to_string()));
}

#[test]
fn an_observer_is_told_the_time_whether_something_comes_or_not() {
    let asked: Vec<_> = (1..=20).map(|number| (number * 100, 67, "pi4-discover")).collect();
    let log = Log { wake_at: Instant::from_millis(950), ..Log::default() };
    let mut responder =
        Responder::<_, _, _, 4>::new(Tape::new(&asked), proxy(), log).with_delay(Duration::from_millis(250));
    while responder.net_mut().now < Instant::from_millis(2950) {
        block_on(responder.turn()).unwrap();
    }
    let times: Vec<_> = sent(responder.net_mut()).into_iter().map(|(at, ..)| at).collect();
    let expected: Vec<_> = (1..=20).map(|number| number * 100 + 250).collect();
    assert_eq!(times, expected, "replies wait for their own moment");
    let ticks: Vec<_> =
        responder.observer_mut().lines.iter().filter_map(|line| line.strip_prefix("tick at ")).collect();
    assert_eq!(ticks, ["0.950000 s", "1.950000 s", "2.950000 s"]);
}

/// It costs turns, but the replies come when they should.
#[test]
fn an_observer_that_always_wants_to_be_told_delays_nothing() {
    struct Eager(u32);
    impl Observer for Eager {
        type Transfer = ();

        fn observe(&mut self, _: Instant, event: &Event<'_>, _: Option<&mut ()>) {
            self.0 += u32::from(matches!(event, Event::Tick));
        }

        fn wake_at(&self) -> Instant {
            Instant::ZERO
        }
    }
    let asked = [(0, 67, "pi4-discover"), (500, 67, "pi4-discover")];
    let mut responder =
        Responder::<_, _, _>::new(Tape::new(&asked), proxy(), Eager(0)).with_delay(Duration::from_secs(2));
    let mut turns = 0;
    while responder.net_mut().sent.len() < 2 {
        block_on(responder.turn()).unwrap();
        turns += 1;
    }
    let times: Vec<_> = sent(responder.net_mut()).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [2000, 2500]);
    assert!(turns < 300, "{turns} turns in 2.5 s");
    assert_eq!(responder.observer_mut().0, 251, "a hundred times a second");
}

#[test]
fn it_costs_little() {
    let mut responder = Responder::<_, _, _, 1>::new(Tape::new(&[]), proxy(), ());
    let future = size_of_val(&responder.turn());
    assert!(future <= 512, "{future}");
    let own = size_of_val(&responder) - size_of::<Tape>();
    assert!(own <= MAX_LEN + 128, "{own}");
}
