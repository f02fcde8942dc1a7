//! What a page, a command and a monitoring system show of a running server: a listener on the bus, and its copies.
//!
//! | file | holds |
//! |---|---|
//! | `timeline` | one boot: when each phase began, and each file |
//! | `boots` | the boots of each Pi, bounded |
//! | `counts` | sums since the start, and durations of phases |
//! | `status` | the document of `/api/v1/status`: what is known of each Pi, as plain values |
//!
//! All is a function of the stream of events and of the registry. Nothing that serves reads any of it. A lock is held for one event,
//! or for the copy of one Pi.

mod boots;
mod counts;
mod status;
mod timeline;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pinetboot_core::pi::Prefix;

use crate::events::{Event, Listener};
use crate::pis::Pis;
use boots::Boots;
pub use counts::{Counts, Histogram, SECONDS};
pub use status::{
    BootStatus, FileStatus, PhaseStatus, PiStatus, ServerStatus, Status, TransferStatus, VerdictStatus,
};
pub use timeline::Phase;

/// The listener; clones are the same one.
#[derive(Debug, Clone)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The number of events.
    events: AtomicU64,
    boots: Mutex<Boots>,
    counts: Mutex<Counts>,
    started: Instant,
    /// The start, since 1970.
    began: Duration,
}

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(Shared {
            events: AtomicU64::new(0),
            boots: Mutex::default(),
            counts: Mutex::default(),
            started: Instant::now(),
            began: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
        }))
    }
}

impl Live {
    /// The number of events so far: the same number, the same state.
    pub fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    /// The time since the start.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// The sums since the start.
    pub fn counts(&self) -> Counts {
        self.lock_counts().clone()
    }

    /// All that is known.
    pub fn status(&self, pis: &Pis, serving: &str) -> Status {
        let rows = pis.all().into_iter().filter_map(|pi| self.pi(pis, pi, false)).collect();
        let server = ServerStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            serving: serving.into(),
            began: self.0.began.as_secs(),
            uptime_ms: status::millis(self.uptime()),
        };
        Status { schema: status::SCHEMA, server, pis: rows }
    }

    /// What is known of one Pi; the files of its boots only if `whole`.
    pub fn pi(&self, pis: &Pis, pi: Prefix, whole: bool) -> Option<PiStatus> {
        let glance = pis.glance(pi)?;
        let boots = self.lock_boots().of(pi).cloned().unwrap_or_default();
        let space = self.lock_counts().space_of(pi);
        Some(status::pi(pi, &glance, &boots, space, (self.0.began, pis.now()), whole))
    }

    fn lock_boots(&self) -> MutexGuard<'_, Boots> {
        self.0.boots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Live {
    fn listen(&self, event: &Event) {
        let ended = self.lock_boots().hear(event);
        self.lock_counts().hear(event, &ended);
        self.0.events.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use pinetboot_core::tftp::{Direction, Options, Outcome};

    use super::*;
    use crate::bus::Bus;
    use crate::events::{Finished, Tftp};

    /// Has so many Pis fetch 12 files each.
    fn crowd(bus: &Bus, pis: u32) {
        for number in 0..pis {
            let peer = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + number), 4000);
            for file in 0..12 {
                let file = match file {
                    11 => format!("{:08x}/kernel8.img", 0xbd00_0000 + number),
                    file => format!("{:08x}/overlays/{file}.dtbo", 0xbd00_0000 + number),
                };
                let options = Options::default();
                bus.emit(
                    *peer.ip(),
                    Tftp::Requested { peer, direction: Direction::Read, file: file.clone(), options },
                );
                bus.emit(
                    *peer.ip(),
                    Tftp::Finished(Finished {
                        peer,
                        mac: None,
                        looked: false,
                        direction: Direction::Read,
                        file,
                        outcome: Outcome::Complete { bytes: 1000 },
                        message: None,
                        seconds: 0.1,
                        bytes: 1000,
                        resent: 0,
                        probe: false,
                        lacks_last_ack: false,
                    }),
                );
            }
        }
    }

    #[test]
    fn a_thousand_pis_are_copied_one_at_a_time() {
        let live = Live::default();
        let bus = Bus::new(vec![Box::new(live.clone())]);
        crowd(&bus, 1000);
        let begins = Instant::now();
        let status = live.status(bus.pis(), "/srv/tftp");
        let copied = begins.elapsed();
        let document = serde_json::to_vec(&status).unwrap();
        println!(
            "1000 Pis: copied in {copied:?}, {} bytes of JSON in {:?}",
            document.len(),
            begins.elapsed() - copied
        );
        assert_eq!(status.pis.len(), 1000);
        assert!(status.pis.iter().all(|pi| pi.state == "kernel-sent" && pi.boots.len() == 1));
        assert_eq!(live.counts().boots, 1000);
        assert_eq!(serde_json::from_slice::<Status>(&document).unwrap(), status);
        assert!(copied < Duration::from_secs(5), "{copied:?}");
    }

    #[test]
    fn a_flood_of_made_up_pis_is_bounded_and_spares_those_with_files() {
        let live = Live::default();
        let bus = Bus::new(vec![Box::new(live.clone())]);
        crowd(&bus, 1);
        let real = Prefix::Serial(0xbd00_0000);
        for number in 0..9000_u32 {
            let peer = SocketAddrV4::new(Ipv4Addr::from(0x0b00_0000 + number), 4000);
            let (file, options) = (format!("{:08x}/config.txt", 0xaa00_0000 + number), Options::default());
            bus.emit(*peer.ip(), Tftp::Requested { peer, direction: Direction::Read, file, options });
        }
        let boots = live.lock_boots();
        assert!(boots.len() <= 4096, "{}", boots.len());
        assert_eq!(
            boots.of(real).and_then(|boots| boots.now.as_ref()).map(|boot| boot.files.len()),
            Some(12)
        );
    }
}
