//! The networks with leases, which all interfaces share: a relay agent's messages may come by any of them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{Arrival, Lease, Message, NoReply, Reply, Respond, Standing};

use super::leasing::Leasing;
use super::offers::Offers;
use super::run::Attend;
use crate::bus::Bus;
use crate::events::{Dhcp, Lacking};
use crate::net::Prober;
use crate::serve::leases::{LeaseFile, Leases};

/// The leases of all networks, their file, and the settings of replies.
pub(super) struct Networks {
    list: Vec<Leasing<Option<Prober>>>,
    file: Option<LeaseFile>,
    offers: Offers,
    bus: Bus,
    /// The origin of the leases' times.
    start: Clock,
    /// Interfaces that answer.
    attached: usize,
}

/// The networks as an interface answers for them.
pub(super) struct Attached {
    networks: Arc<Mutex<Networks>>,
    /// The place of the interface's own network; `None` if that has another DHCP server.
    own: Option<usize>,
    /// From the time of the interface's clock to that of the leases.
    skew: Duration,
    comes_again: Option<Instant>,
}

impl Networks {
    pub(super) fn new(list: Vec<Leasing<Option<Prober>>>, offers: Offers, start: Clock, bus: Bus) -> Self {
        Self { list, file: None, offers, bus, start, attached: 0 }
    }

    /// The time of the leases.
    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Restores the leases of a file, and keeps the file.
    pub(super) fn keep_in(&mut self, mut file: LeaseFile) {
        file.restore(self.now(), &mut self.list);
        self.file = Some(file);
    }

    /// The place of the network of a message: by what its relay agent says, by the address that a client renews through a router,
    /// else the interface's own.
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    fn choose(&self, own: Option<usize>, request: &Message<'_>) -> Result<usize, NoReply> {
        let of = |address: Ipv4Addr| {
            self.list.iter().position(|leasing| leasing.server().network().contains(address))
        };
        match request.link() {
            Some(link) => of(link).ok_or(NoReply::OtherNetwork),
            None => of(request.header.ciaddr).or(own).ok_or(NoReply::ForAnother),
        }
    }
}

impl Leases for Vec<Leasing<Option<Prober>>> {
    fn all(&self) -> impl Iterator<Item = &Lease> {
        self.iter().flat_map(|leasing| leasing.server().leases())
    }

    fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.iter().find_map(|leasing| leasing.server().lease_at(address))
    }

    fn restore(&mut self, lease: Lease) -> Option<bool> {
        let mut of = self.iter_mut();
        let leasing = of.find(|leasing| leasing.server().network().contains(lease.address))?;
        Some(leasing.restore(lease))
    }
}

impl Attached {
    /// The networks for an interface whose clock shows `now`.
    pub(super) fn new(networks: &Arc<Mutex<Networks>>, own: Option<usize>, now: Instant) -> Self {
        let skew = {
            let mut networks = lock(networks);
            networks.attached += 1;
            networks.now().since(now)
        };
        Self { networks: Arc::clone(networks), own, skew, comes_again: None }
    }
}

impl Respond for Attached {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let mut networks = lock(&self.networks);
        let networks = &mut *networks;
        let chosen = networks.choose(self.own, request);
        if chosen == Err(NoReply::OtherNetwork) {
            let (hardware, relay) = (request.header.hardware, request.header.giaddr);
            let setting = Lacking::Network { relay, link: request.link().unwrap_or(relay) };
            networks.bus.emit(None, Dhcp::Lacks { hardware, setting });
        }
        let leasing = networks.list.get_mut(chosen?).ok_or(NoReply::OtherNetwork)?;
        let arrival = Arrival::new(arrival.at + self.skew, arrival.port, arrival.peer);
        let answer = leasing.respond(&mut networks.offers, &arrival, request, out);
        self.comes_again =
            leasing.comes_again().map(|time| Instant::ZERO + time.since(Instant::ZERO + self.skew));
        answer
    }
}

impl Attend for Attached {
    fn standing(&self, message: &[u8]) -> Standing {
        let networks = lock(&self.networks);
        let standing = |message: Message<'_>| {
            let leasing = networks.list.get(networks.choose(self.own, &message).ok()?)?;
            Some(leasing.server().standing(&message))
        };
        Message::parse(message).ok().and_then(standing).unwrap_or(Standing::New)
    }

    fn comes_again(&mut self) -> Option<Instant> {
        self.comes_again.take()
    }

    fn store(&mut self, now: Instant, more: bool) {
        let mut networks = lock(&self.networks);
        let Networks { list, file, .. } = &mut *networks;
        let changed: Vec<_> = list.iter_mut().flat_map(Leasing::changed).collect();
        if let Some(file) = file {
            file.save(now + self.skew, list, changed.into_iter(), more);
        }
    }

    fn close(&mut self, now: Instant) {
        let mut networks = lock(&self.networks);
        networks.attached = networks.attached.saturating_sub(1);
        if networks.attached == 0
            && let Some(file) = networks.file.take()
        {
            file.close(now + self.skew, &networks.list);
        }
    }
}

fn lock(networks: &Mutex<Networks>) -> MutexGuard<'_, Networks> {
    networks.lock().unwrap_or_else(PoisonError::into_inner)
}
