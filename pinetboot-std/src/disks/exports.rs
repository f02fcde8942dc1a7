//! Disks as exports of NBD: which client may have which.
//!
//! The name of an export holds the secret of the boot, which is sealed for the address that fetched the command line; besides, the
//! registry decides by its evidence whether the client is the Pi, as for roots. A client without both is told nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Disk, DiskError, Event, Export, Exports, Observer, Refused};

use super::card::Card;
use super::opening::Opened;
use super::slot::Lease;
use super::{Disks, Place};
use crate::bus::Bus;
use crate::disk_mode::DiskMode;
use crate::events::{DiskEnd, Root};
use crate::net::neighbour;
use crate::pis::{BootProgress, Claim, NotThatPi, Token};

/// The disks of all Pis as exports.
#[derive(Debug)]
pub(crate) struct DiskExports {
    disks: Arc<Disks>,
    bus: Bus,
    sessions: Sessions,
    next: AtomicU64,
}

/// The connections that have a disk, by their number.
#[derive(Debug, Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<u64, Known>>>);

#[derive(Debug, Clone, Copy)]
struct Known {
    client: Ipv4Addr,
    pi: Prefix,
    /// The client ended it by the protocol's request.
    released: bool,
}

/// A connection that has a disk.
struct Session {
    lease: Option<Lease>,
    client: Ipv4Addr,
    bus: Bus,
    number: u64,
    sessions: Sessions,
}

/// A refusal.
struct No {
    pi: Option<Prefix>,
    why: String,
    /// The server failed; the client is not at fault.
    failed: bool,
}

impl DiskExports {
    /// These disks.
    pub(crate) fn new(disks: Arc<Disks>, bus: Bus) -> Self {
        Self { disks, bus, sessions: Sessions::default(), next: AtomicU64::new(0) }
    }

    /// The directory of the disks.
    pub(crate) fn place(&self) -> &Place {
        self.disks.place()
    }

    /// Tells the registry which Pis are there: a system may be silent for a long time. Call this every few seconds.
    pub(crate) fn tell(&self) {
        let sessions: Vec<_> = self.sessions.lock().values().copied().collect();
        for Known { client, pi, .. } in sessions {
            self.bus.emit(client, Root::Active { pi });
        }
    }

    fn grant(&self, client: Ipv4Addr, name: &str) -> Result<Export, No> {
        let pis = self.bus.pis();
        let (pi, token) = self.named(name, client).ok_or_else(|| No::denied(None, NO_DISK))?;
        match token {
            Some(Token::Good(_)) => {}
            Some(Token::Wrong) => return Err(No::denied(Some(pi), pis.in_words(NotThatPi::Token))),
            None => return Err(No::denied(Some(pi), NO_SECRET)),
        }
        let mac = neighbour(client);
        let claim = Claim { pi, address: client, mac, handle: false, token };
        let evidence = pis.check(&claim).map_err(|why| No::denied(Some(pi), pis.in_words(why)))?;
        let failed = |why: String| No { pi: Some(pi), why, failed: true };
        let settings = pis.inventory().settings(pi);
        let (image, mode) =
            self.disks.of_pi(&settings).ok_or_else(|| No::denied(Some(pi), NOT_CONFIGURED))?;
        let card = self.disks.card(&image, mode).map_err(failed)?;
        let (disk, lease): (Arc<dyn Disk>, _) = match mode {
            DiskMode::Ram => (Arc::new(card.read().map_err(failed)?), None),
            DiskMode::Private => {
                let open = || {
                    self.disks.open_private(
                        pi,
                        &card,
                        || self.may_make(pi, client),
                        || {
                            self.bus.emit(client, Root::DiskMade { pi, image: card.name.clone() });
                        },
                    )
                };
                let disks = self.disks.clone();
                self.take(pi, &card, mode, open, move |bytes| disks.space.take(bytes)).map_err(failed)?
            }
            DiskMode::Rw => {
                let space = self.disks.space_beside(&card).map_err(|error| failed(error.to_string()))?;
                let open = || self.disks.open_written(pi, &card);
                self.take(pi, &card, mode, open, move |bytes| space.take(bytes)).map_err(failed)?
            }
        };
        let mac = mac.or_else(|| pis.mac_at(client));
        self.bus.emit(client, Root::DiskOpened { pi, image: card.name.clone(), mac, evidence });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.sessions.lock().insert(number, Known { client, pi, released: false });
        let (bus, sessions) = (self.bus.clone(), self.sessions.clone());
        let session = Session { lease, client, bus, number, sessions };
        Ok(Export { disk, read_only: false, lease: Arc::new(session) })
    }

    /// Takes the disk of a Pi for a connection: one writer ever.
    fn take(
        &self,
        pi: Prefix,
        card: &Card,
        mode: DiskMode,
        open: impl FnOnce() -> Result<Opened, String>,
        allows: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Result<(Arc<dyn Disk>, Option<Lease>), String> {
        let slot = self.disks.slots.of(pi);
        let (gate, lease) = slot.lock().take(&slot, card.key(mode), open, allows)?;
        Ok((gate, Some(lease)))
    }

    /// The Pi and the token in a name, for the client's address or that which fetched the command line.
    fn named(&self, name: &str, client: Ipv4Addr) -> Option<(Prefix, Option<Token>)> {
        match self.disks.parse_name(name, &[client])? {
            (pi, Some(Token::Wrong)) => {
                let known = self.bus.pis().pi(pi);
                let before = known.and_then(|known| known.boot.as_ref().and_then(BootProgress::rendered_to));
                let addresses: Vec<_> = [client].into_iter().chain(before).collect();
                self.disks.parse_name(name, &addresses)
            }
            named => Some(named),
        }
    }

    /// Whether a Pi may get a new disk.
    fn may_make(&self, pi: Prefix, client: Ipv4Addr) -> Result<(), String> {
        let pis = self.bus.pis();
        if pis.inventory().lists(pi) {
            return Ok(());
        }
        if self.disks.place.pis().map_err(|error| error.to_string())? >= self.disks.most {
            return Err(format!(
                "{} Pis have disks, the limit: raise max-pis, or list this Pi",
                self.disks.most
            ));
        }
        if pis.lock().layers_made(client) >= MOST_OF_CLIENT {
            return Err(format!(
                "this address has made {MOST_OF_CLIENT} disks. List its Pis in the configuration"
            ));
        }
        Ok(())
    }
}

impl Exports for DiskExports {
    fn open(&self, client: IpAddr, name: &str) -> Result<Export, Refused> {
        let IpAddr::V4(client) = client else { return Err(Refused) };
        self.grant(client, name).map_err(|No { pi, why, failed }| {
            self.bus.emit(client, Root::DiskRefused { pi, why, failed });
            Refused
        })
    }

    /// A name holds a secret: none is listed.
    fn list(&self, _: IpAddr) -> Vec<String> {
        Vec::new()
    }
}

impl No {
    fn denied(pi: Option<Prefix>, why: impl Into<String>) -> Self {
        Self { pi, why: why.into(), failed: false }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client ends the use of its disk.
    fn release(&self, client: Ipv4Addr) {
        for known in self.lock().values_mut().filter(|known| known.client == client) {
            known.released = true;
        }
    }

    /// Removes a connection: the Pi whose disk it had, and how it ended.
    fn end(&self, number: u64) -> Option<(Prefix, DiskEnd)> {
        let mut sessions = self.lock();
        let Known { pi, released, .. } = sessions.remove(&number)?;
        let has_another = sessions.values().any(|known| known.pi == pi);
        let end = match (has_another, released) {
            (true, _) => DiskEnd::Replaced,
            (false, true) => DiskEnd::Released,
            (false, false) => DiskEnd::Broken,
        };
        Some((pi, end))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let ended = self.sessions.end(self.number);
        // Said once another may have the disk.
        drop(self.lease.take());
        if let Some((pi, end)) = ended {
            self.bus.emit(self.client, Root::DiskClosed { pi, end });
        }
    }
}

/// Makes facts of the events of the NBD server.
#[derive(Debug)]
pub(crate) struct DiskObserver {
    bus: Bus,
    sessions: Sessions,
    /// The time of the last failure told, by client and command.
    told: Mutex<HashMap<(IpAddr, u16), Instant>>,
}

impl DiskObserver {
    /// The observer of the server of these exports.
    pub(crate) fn new(exports: &DiskExports) -> Self {
        Self { bus: exports.bus.clone(), sessions: exports.sessions.clone(), told: Mutex::default() }
    }

    fn is_new(&self, key: (IpAddr, u16)) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST_TOLD {
            told.retain(|_, then| then.elapsed() < TELL_AGAIN);
        }
        let is_new = told.get(&key).is_none_or(|then| then.elapsed() >= TELL_AGAIN);
        if is_new && told.len() < MOST_TOLD {
            told.insert(key, Instant::now());
        }
        is_new
    }
}

impl Observer for DiskObserver {
    fn event(&self, event: &Event<'_>) {
        let v4 = |client: IpAddr| match client {
            IpAddr::V4(client) => Some(client),
            IpAddr::V6(_) => None,
        };
        match event {
            Event::Connected { client } => self.bus.emit(v4(client.ip()), Root::DiskConnected),
            // The session is dropped after this.
            Event::Closed { client, orderly: true } => {
                if let Some(client) = v4(client.ip()) {
                    self.sessions.release(client);
                }
            }
            // A connection that another took over, or a write to an image of mode ram: such requests fail, as they should.
            Event::Failed { error: DiskError::Failed | DiskError::ReadOnly, .. } => {}
            Event::Failed { client, command, error } if self.is_new((client.ip(), *command)) => {
                let operation = match command {
                    0 => "read",
                    1 | 6 => "write",
                    3 => "flush",
                    4 => "trim",
                    _ => "request",
                };
                let error = error.to_string();
                self.bus.emit(v4(client.ip()), Root::DiskFailed { operation: operation.into(), error });
            }
            Event::Busy { client } if self.is_new((client.ip(), u16::MAX)) => {
                let why = "the client, or all clients, have as many connections as they may".to_owned();
                self.bus.emit(v4(client.ip()), Root::DiskRefused { pi: None, why, failed: false });
            }
            Event::System(error) => {
                let error = error.to_string();
                self.bus.emit(None, Root::DiskFailed { operation: "connection".into(), error });
            }
            _ => {}
        }
    }
}

const NO_DISK: &str = "that name is no Pi's disk";
const NO_SECRET: &str = "the name lacks the secret of the boot, which the command line of this server has";
const NOT_CONFIGURED: &str = "the configuration gives this Pi no disk";
/// Disks that one address may make, as after a change of a board.
const MOST_OF_CLIENT: u32 = 8;
const TELL_AGAIN: Duration = Duration::from_secs(60);
const MOST_TOLD: usize = 4096;
