//! Whether another host answers at an address, before a client gets the address.
//!
//! > the allocating server SHOULD probe the reused address before allocating the address (RFC 2131, section 2.2)
//!
//! by an ARP probe (RFC 5227, section 2.1.1). The responder waits for no answer: it keeps the client's message, and goes on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::Instant;

use crate::bus::Bus;
use crate::events::{Dhcp, Mac};
use crate::net::Prober;

/// Asks on a network.
pub(super) trait Ask {
    /// Sends a probe for this address. `false` if nothing can be asked.
    fn ask(&mut self, address: Ipv4Addr) -> bool;

    /// The next address with the MAC address that answers there, of those that have arrived.
    fn answer(&mut self) -> Option<(Ipv4Addr, Mac)>;
}

/// The probes of the last minute, or the latest of them.
#[derive(Debug)]
pub(super) struct Probes<A> {
    asks: A,
    probes: BTreeMap<Ipv4Addr, Probe>,
    /// The same, oldest first.
    order: VecDeque<(Instant, Ipv4Addr)>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    /// The time after which no answer comes.
    due: Instant,
    answered: Option<Mac>,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// No host answers.
    Free,
    /// This host answers.
    Used(Mac),
    /// It is known at this time.
    Waits(Instant),
    /// As many addresses as allowed are searched for already.
    TooMany,
}

impl<A: Ask> Probes<A> {
    pub(super) const fn new(asks: A) -> Self {
        Self { asks, probes: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Looks for a host at this address, unless `most` searches are under way.
    pub(super) fn ask(&mut self, now: Instant, address: Ipv4Addr, most: usize) -> Finding {
        self.collect(now);
        match self.probes.get(&address) {
            Some(Probe { answered: Some(mac), .. }) => return Finding::Used(*mac),
            Some(Probe { due, .. }) if *due > now => return Finding::Waits(*due),
            Some(_) => return Finding::Free,
            None => {}
        }
        let under_way = self.order.len() - self.order.partition_point(|(due, _)| *due <= now);
        if under_way >= most.min(MOST) {
            return Finding::TooMany;
        }
        // A flood asks for many addresses; the oldest has its answer, and is asked for anew.
        if self.order.len() >= MOST
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.probes.remove(&oldest);
        }
        if !self.asks.ask(address) {
            return Finding::Free;
        }
        let due = now + WAIT;
        self.probes.insert(address, Probe { due, answered: None });
        self.order.push_back((due, address));
        Finding::Waits(due)
    }

    /// Takes the answers in, and forgets what is old.
    fn collect(&mut self, now: Instant) {
        while let Some((address, mac)) = self.asks.answer() {
            if let Some(probe) = self.probes.get_mut(&address) {
                probe.answered = Some(mac);
            }
        }
        while let Some((due, address)) = self.order.front().copied()
            && now >= due + VALID
        {
            self.order.pop_front();
            self.probes.remove(&address);
        }
    }
}

impl Probes<Option<Prober>> {
    /// Moves the probes to the interface of this name, which may have been made again; without one, its return does.
    pub(super) fn bind_again(&mut self, interface: &str, bus: &Bus) {
        if let Some(prober) = &mut self.asks
            && let Err(error) = prober.bind_again(interface)
            && error.kind() != io::ErrorKind::NotFound
        {
            let (interface, error) = (interface.to_owned(), error.to_string());
            bus.emit(None, Dhcp::CannotProbe { interface, error });
        }
    }
}

impl Ask for Option<Prober> {
    fn ask(&mut self, address: Ipv4Addr) -> bool {
        self.as_mut().is_some_and(|prober| prober.ask(address).is_ok())
    }

    fn answer(&mut self) -> Option<(Ipv4Addr, Mac)> {
        self.as_mut().and_then(Prober::answer)
    }
}

/// A host answers within milliseconds. A Pi's bootloader repeats its DISCOVER after 4 s.
const WAIT: Duration = Duration::from_millis(300);

/// Most probes that are remembered.
const MOST: usize = 4096;

/// The time for which an answer, or none, counts.
const VALID: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Hosts at fixed addresses.
    #[derive(Debug, Default)]
    pub(crate) struct Hosts {
        hosts: BTreeMap<Ipv4Addr, Mac>,
        asked: Vec<Ipv4Addr>,
        answers: VecDeque<(Ipv4Addr, Mac)>,
    }

    impl Hosts {
        pub(crate) fn at(hosts: BTreeMap<Ipv4Addr, Mac>) -> Self {
            Self { hosts, ..Self::default() }
        }
    }

    impl Ask for Hosts {
        fn ask(&mut self, address: Ipv4Addr) -> bool {
            self.asked.push(address);
            self.answers.extend(self.hosts.get(&address).map(|mac| (address, *mac)));
            true
        }

        fn answer(&mut self) -> Option<(Ipv4Addr, Mac)> {
            self.answers.pop_front()
        }
    }

    const fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    #[test]
    fn an_address_is_free_when_no_host_has_answered_in_time() {
        let mut probes = Probes::new(Hosts::at([(ip(2), [7; 6])].into()));
        let due = Instant::ZERO + WAIT;
        assert_eq!(probes.ask(Instant::ZERO, ip(1), 9), Finding::Waits(due));
        assert_eq!(probes.ask(Instant::ZERO, ip(2), 9), Finding::Waits(due));
        assert_eq!(probes.ask(Instant::from_millis(299), ip(1), 9), Finding::Waits(due));
        assert_eq!(probes.ask(Instant::from_millis(1), ip(2), 9), Finding::Used([7; 6]), "at once");
        assert_eq!(probes.ask(due, ip(1), 9), Finding::Free);
        assert_eq!(probes.asks.asked, [ip(1), ip(2)], "asked once");
        assert_eq!(probes.ask(due + VALID, ip(1), 9), Finding::Waits(due + VALID + WAIT), "asked anew");
    }

    #[test]
    fn searches_are_bounded() {
        let mut probes = Probes::new(Hosts::default());
        for number in 0..4 {
            assert!(matches!(probes.ask(Instant::ZERO, ip(number), 4), Finding::Waits(_)));
        }
        assert_eq!(probes.ask(Instant::ZERO, ip(4), 4), Finding::TooMany);
        assert!(matches!(probes.ask(Instant::ZERO, ip(4), 5), Finding::Waits(_)), "another bound");
        assert!(matches!(probes.ask(Instant::ZERO + WAIT, ip(5), 1), Finding::Waits(_)));
        for second in 1..1000 {
            probes.ask(Instant::from_millis(second * 1000), Ipv4Addr::from_bits(second as u32), 4);
        }
        assert!(probes.probes.len() <= 61, "{}", probes.probes.len());
    }

    #[test]
    fn a_flood_is_remembered_in_part() {
        let mut probes = Probes::new(Hosts::default());
        for number in 0..20_000 {
            let now = Instant::from_millis(u64::from(number));
            probes.ask(now, Ipv4Addr::from_bits(number), 1024);
        }
        assert!(probes.probes.len() <= MOST && probes.order.len() == probes.probes.len());
        let now = Instant::from_millis(20_000 + 300);
        assert_eq!(probes.ask(now, Ipv4Addr::from_bits(19_999), 1024), Finding::Free);
    }
}
