//! The client that uses a layer.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use pinetboot_core::pi::Prefix;

use crate::events;
use crate::roots::Registry;

/// The client that uses a layer: checked for every call, so without a lock.
#[derive(Debug)]
pub(super) struct ActiveClient {
    /// Its address; 0 before any client was permitted.
    address: AtomicU32,
    since: Instant,
    /// The time of the last report to the registry, in milliseconds.
    told: AtomicU64,
}

impl Default for ActiveClient {
    fn default() -> Self {
        Self { address: AtomicU32::new(0), since: Instant::now(), told: AtomicU64::new(0) }
    }
}

impl ActiveClient {
    /// Whether the client at this address uses the layer. Reports the use to the registry every 5 s.
    pub(super) fn is_of(&self, pi: Prefix, client: Ipv4Addr, registry: &Registry) -> bool {
        if self.address.load(Ordering::Relaxed) != u32::from(client) {
            return false;
        }
        let now = self.now();
        let told = self.told.load(Ordering::Relaxed);
        if now.saturating_sub(told) >= TELL_EVERY_MS
            && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            registry.emit(client, events::Root::Active { pi });
        }
        true
    }

    pub(super) fn take(&self, client: Ipv4Addr) {
        self.told.store(self.now(), Ordering::Relaxed);
        self.address.store(client.into(), Ordering::Relaxed);
    }

    /// Forgets the client, if it is this one.
    pub(super) fn release(&self, client: Ipv4Addr) {
        let _another = self.address.compare_exchange(client.into(), 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from(self.address.load(Ordering::Relaxed))).filter(|address| !address.is_unspecified())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Time between two reports: short beside the silence after which a Pi counts as gone.
const TELL_EVERY_MS: u64 = 5000;
