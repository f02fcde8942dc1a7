//! Log lines about DHCP, and who is who: what a Pi says of itself there is known when it asks for files.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::dhcp::{HardwareAddress, Message, MessageType, Reply, Silence};
use pinetboot_core::pi::PiIdentity;
use pinetboot_core::{Event, Instant, Observer};
use tracing::{debug, info, warn};

/// The Pis that have said who they are. Shared by the loops, and locked for a look-up at a time.
#[derive(Debug, Clone, Default)]
pub struct Pis(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pis: HashMap<HardwareAddress, Pi>,
    addresses: HashMap<Ipv4Addr, HardwareAddress>,
}

#[derive(Debug, Clone, Copy)]
struct Pi {
    identity: PiIdentity,
    /// When it began to boot, as far as one can tell.
    began: Clock,
    seen: Clock,
}

impl Pis {
    /// Who has this address.
    pub fn at(&self, address: Ipv4Addr) -> Option<PiIdentity> {
        let known = self.lock();
        Some(known.pis.get(known.addresses.get(&address)?)?.identity)
    }

    /// For how long whoever has this address has been booting, since it first asked by DHCP.
    pub fn booting_for(&self, address: Ipv4Addr) -> Option<Duration> {
        let known = self.lock();
        Some(known.pis.get(known.addresses.get(&address)?)?.began.elapsed())
    }

    /// Someone says who it is. Whether that begins a new boot, as far as one can tell.
    fn said(&self, hardware: HardwareAddress, identity: PiIdentity) -> bool {
        let mut known = self.lock();
        let now = Clock::now();
        if known.pis.len() >= MOST {
            // Who floods us with names that he made up does not get more of our memory.
            known.pis.retain(|_, pi| now.duration_since(pi.seen) < FORGET);
            let Known { pis, addresses } = &mut *known;
            addresses.retain(|_, hardware| pis.contains_key(hardware));
            if known.pis.len() >= MOST {
                return false;
            }
        }
        let same_boot = known
            .pis
            .get(&hardware)
            .filter(|pi| pi.identity == identity && now.duration_since(pi.seen) <= NEW_BOOT);
        let began = same_boot.map_or(now, |pi| pi.began);
        let begins = same_boot.is_none();
        known.pis.insert(hardware, Pi { identity, began, seen: now });
        begins
    }

    fn has(&self, hardware: HardwareAddress, address: Ipv4Addr) {
        let mut known = self.lock();
        if known.pis.contains_key(&hardware) {
            known.addresses.insert(address, hardware);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line when a Pi begins to boot and when it has its address, and what went wrong.
#[derive(Debug, Clone)]
pub struct DhcpLog {
    pis: Pis,
    /// All addresses are taken, and that has been said.
    exhausted: bool,
}

impl DhcpLog {
    /// A log that makes these Pis known.
    pub const fn new(pis: Pis) -> Self {
        Self { pis, exhausted: false }
    }

    fn message(&mut self, request: &Message<'_>, answer: Result<Reply, Silence>) {
        let hardware = request.header.hardware;
        let kind = request.kind();
        if let Some(identity) = request.pi() {
            let begins = self.pis.said(hardware, identity);
            if kind == Some(MessageType::Discover) && begins {
                let serial = identity.prefix().map(|prefix| prefix.to_string());
                info!(mac = %hardware, serial, "{identity} ({hardware}) asks by DHCP whom to boot from");
            }
        }
        match answer {
            Ok(Reply { kind: MessageType::Ack, address, .. }) if !address.is_unspecified() => {
                self.exhausted = false;
                self.pis.has(hardware, address);
                info!(mac = %hardware, %address, "{hardware} has the address {address}");
            }
            Ok(Reply { kind, to, address, .. }) => debug!("{hardware}: {kind} {address} to {to}"),
            // Beside another server this is how one learns which address it gave.
            Err(Silence::ForAnother) => {
                if let Some(address) = request.requested_address() {
                    self.pis.has(hardware, address);
                    debug!("{hardware} takes {address} from another server");
                }
            }
            Err(Silence::Exhausted) if !self.exhausted => {
                self.exhausted = true;
                warn!(
                    "all addresses are taken, so {hardware} gets none: give a larger --lease-range, or wait until leases \
                     are over"
                );
            }
            Err(Silence::Declined(address)) => {
                warn!("{hardware} found {address} in use by another: is it set by hand somewhere?");
            }
            Err(silence) => debug!("no answer to {hardware}: {silence}"),
        }
    }
}

impl Observer for DhcpLog {
    fn observe(&mut self, _: Instant, event: &Event<'_>) {
        match event {
            Event::Dhcp { request, answer, .. } => self.message(request, *answer),
            Event::Rejected { peer, why } => debug!("{peer}: {why:?}"),
            _ => {}
        }
    }
}

/// How many Pis are known at a time.
const MOST: usize = 4096;

/// Not heard of for so long, a Pi makes room for another.
const FORGET: Duration = Duration::from_secs(600);

/// A Pi repeats its question every four seconds; after so long a silence it has started anew.
const NEW_BOOT: Duration = Duration::from_secs(20);
