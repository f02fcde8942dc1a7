//! The registry's tables, written from events.

mod boots;
mod dhcp;
mod network;
mod root;
mod tftp;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pinetboot_core::BootPath;
use pinetboot_core::dhcp::{HardwareAddress, NoReply};
use pinetboot_core::pi::{Lookup, PiIdentity, Prefix};
use pinetboot_core::tftp::ErrorCode;

use super::boot::BootProgress;
use super::crowd::Crowd;
use super::host::{Adapter, Fetched, Host};
use super::table::{Founded, Table, Worth};
use super::watch::{Deadlines, Watch};
use super::{BootId, Count, Inventory, Pi, Presence, Subject};
use crate::events::{self, BootKey, Dhcp, Evidence, Fact, Lacking, Mac, Nfs, Root, Tftp};

/// The knowledge about all Pis, addresses and adapters.
#[derive(Debug)]
pub(crate) struct Registry {
    inventory: Arc<Inventory>,
    /// Boxed: a table has twice the room of its rows, and a flood of made-up Pis fills the table.
    pub(super) pis: Table<Subject, Box<Pi>>,
    hosts: Table<Ipv4Addr, Host>,
    adapters: Table<HardwareAddress, Adapter>,
    /// The time of the last report of each refusal.
    refused: Table<Refused, Duration>,
    /// The deadlines of boots.
    pub(super) deadlines: Deadlines,
    pub(super) watch: Watch,
    crowd: Crowd,
    /// The time, since the server started.
    now: Duration,
    /// Seconds since 1970 when the server's clock began.
    epoch: u64,
}

/// The effect of an event: its subject, and the facts that follow.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) subject: Option<Subject>,
    pub(crate) follows: Vec<Fact>,
    /// The same refusal was reported within the last minute.
    pub(crate) again: bool,
}

/// A refusal, as far as one log line reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Refused {
    /// The client's claim to be this Pi.
    Pi(Ipv4Addr, Prefix),
    /// A mount without a Pi's name.
    Mount(Ipv4Addr),
    /// A call to this RPC program and version.
    Call(Ipv4Addr, u32, u32),
    /// A file handle.
    Handle(Ipv4Addr),
    /// Datagrams dropped by this machine's firewall.
    Firewall(Ipv4Addr),
    /// A serial number of another board.
    Serial(Mac),
    /// A DHCP address: all are leased.
    Exhausted,
    /// To tell a silence: messages were late or lost.
    Silence,
    /// A setting for this client, or for all of a network.
    Lacking(Option<HardwareAddress>, Lacking),
}

impl Default for Registry {
    fn default() -> Self {
        let epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
        Self {
            inventory: Arc::default(),
            pis: Table::new(MOST),
            hosts: Table::new(MOST),
            adapters: Table::new(MOST),
            refused: Table::new(MOST),
            deadlines: Deadlines::default(),
            watch: Watch::default(),
            crowd: Crowd::default(),
            now: Duration::ZERO,
            epoch,
        }
    }
}

/// Writing: by the bus alone.
impl Registry {
    /// Sets the time for all look-ups.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    pub(crate) fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory;
        self.pis.values_mut().for_each(|pi| pi.name = None);
    }

    /// Updates the knowledge from a fact.
    pub(crate) fn apply(&mut self, now: Duration, client: Option<Ipv4Addr>, fact: &Fact) -> Applied {
        self.now = now;
        let about_client = |registry: &Self| {
            let subject = client.map(|client| registry.subject_at(client));
            Applied { subject, ..Applied::default() }
        };
        let again = self.is_again(client, fact);
        let applied = match fact {
            Fact::Dhcp(fact) => self.dhcp(now, fact),
            Fact::Tftp(fact) => self.tftp(now, fact),
            Fact::Root(
                Root::MountRefused { .. }
                | Root::CallRefused { .. }
                | Root::DiskRefused { .. }
                | Root::DiskConnected
                | Root::DiskFailed { .. },
            ) => about_client(self),
            Fact::Root(fact) => self.root(now, client, fact),
            Fact::Boot(events::Boot::Rendered { pi: Some(pi), token, .. }) => {
                let sent_to = client.filter(|client| *token && self.may_take_command_line(*pi, *client));
                if sent_to.is_some()
                    && let Some(boot) = self.pis.get_mut(&Subject::Pi(*pi)).and_then(|pi| pi.boot.as_mut())
                {
                    boot.rendered_to = sent_to;
                }
                Applied { subject: Some(Subject::Pi(*pi)), ..Applied::default() }
            }
            Fact::Boot(_) | Fact::Nfs(_) => about_client(self),
            Fact::Network(fact) => self.network(client, fact),
            Fact::Server(_) | Fact::Usage(_) => Applied::default(),
        };
        let Applied { subject, mut follows, .. } = applied;
        let before = follows.len();
        follows.extend(self.watch(now, subject, client, fact));
        // A verdict says it, with the remedy.
        let is_stuck = |fact: &Fact| matches!(fact, Fact::Boot(events::Boot::Stuck { .. }));
        let is_said = follows.iter().skip(before).any(is_stuck);
        let is_said = is_said || self.waits_for_mount(subject, fact);
        Applied { subject, follows, again: again || is_said }
    }

    /// Whether a refusal repeats one that was reported within the last minute.
    fn is_again(&mut self, client: Option<Ipv4Addr>, fact: &Fact) -> bool {
        let refused = match (fact, client) {
            (Fact::Dhcp(Dhcp::Unanswered { why: NoReply::Exhausted, .. }), _) => Refused::Exhausted,
            (Fact::Dhcp(Dhcp::Lacks { hardware, setting }), _) => {
                let of_all = matches!(setting, Lacking::Network { .. });
                Refused::Lacking((!of_all).then_some(*hardware), *setting)
            }
            (Fact::Tftp(Tftp::Refused { file, code: ErrorCode::ACCESS_VIOLATION, .. }), Some(client)) => {
                match self.subject(client, file) {
                    Subject::Pi(pi) if self.is_up_elsewhere(pi, client) => Refused::Pi(client, pi),
                    _ => return false,
                }
            }
            (Fact::Tftp(Tftp::NotSent { firewall: true, .. }), Some(client)) => Refused::Firewall(client),
            (Fact::Root(Root::MountRefused { pi: Some(pi), .. }), Some(client)) => Refused::Pi(client, *pi),
            (Fact::Root(Root::CallRefused { pi, .. }), Some(client)) => Refused::Pi(client, *pi),
            (Fact::Root(Root::DiskRefused { pi: Some(pi), .. }), Some(client)) => Refused::Pi(client, *pi),
            (Fact::Root(Root::DiskRefused { pi: None, .. }), Some(client)) => Refused::Mount(client),
            (Fact::Root(Root::MountRefused { pi: None, .. }), Some(client)) => Refused::Mount(client),
            (Fact::Nfs(Nfs::CallRefused { program, version, .. }), Some(client)) => {
                Refused::Call(client, *program, *version)
            }
            (Fact::Nfs(Nfs::HandleRefused { .. }), Some(client)) => Refused::Handle(client),
            (Fact::Server(events::Server::HeardLate { .. }), _) => Refused::Silence,
            _ => return false,
        };
        self.was_told(refused)
    }

    /// Whether this refusal was reported within the last minute; if not, records the report.
    fn was_told(&mut self, refused: Refused) -> bool {
        let now = self.now;
        let is_new = self.refused.get(&refused).is_none();
        match self.refused.touch(refused, now) {
            Some(told) if is_new || now.saturating_sub(*told) >= TELL_AGAIN => {
                *told = now;
                false
            }
            _ => true,
        }
    }

    /// The time of the next [`tick`](Self::tick).
    pub(crate) fn deadline(&self) -> Duration {
        self.deadlines.earliest()
    }

    /// Records a Pi's presence. Weaker evidence does not displace a recent presence; a refused claim never gets here.
    fn locate(&mut self, pi: Prefix, new: Presence) {
        let now = new.last;
        let Some(known) = self.pis.touch(Subject::Pi(pi), now) else { return };
        let presence = match known.presence {
            Some(presence) if presence.is_fresh(now) && presence.address == new.address => Presence {
                mac: new.mac.or(presence.mac),
                evidence: presence.evidence.max(new.evidence),
                mounted: presence.mounted || new.mounted,
                last: if presence.mounted && !new.mounted { presence.last } else { now },
                ..new
            },
            Some(presence) if presence.is_fresh(now) && presence.evidence >= new.evidence && !new.mounted => {
                presence
            }
            _ => new,
        };
        known.presence = Some(presence);
        if presence.mounted
            && let Some(host) = self.hosts.touch(presence.address, now)
        {
            host.mounted_by = Some(pi);
        }
    }
}

/// Reading.
impl Registry {
    pub(super) fn inventory(&self) -> Arc<Inventory> {
        self.inventory.clone()
    }

    pub(super) fn pi(&self, pi: Prefix) -> Option<&Pi> {
        self.pis.get(&Subject::Pi(pi)).map(Box::as_ref)
    }

    /// The Pis that are there now.
    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        for (_, pi) in self.pis.values().filter(|(subject, _)| subject.pi().is_some()) {
            let fresh = pi.presence.filter(|presence| presence.is_fresh(self.now));
            match fresh {
                Some(presence) if presence.mounted => count.up += 1,
                Some(_) if pi.boot.as_ref().is_some_and(|boot| !boot.mounted) => count.booting += 1,
                _ => {}
            }
        }
        count
    }

    pub(super) fn name_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        let mounted = || self.mounted_at(address);
        let fetched = || self.hosts.get(&address)?.last_fetched().map(|fetched| fetched.pi);
        let booting = || self.hosts.get(&address)?.subject.and_then(Subject::pi);
        let inventory = self.inventory.at(address);
        inventory.or_else(mounted).or_else(|| self.name_by_dhcp(address)).or_else(fetched).or_else(booting)
    }

    /// The Pi that uses its root from an address.
    pub(super) fn mounted_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        let pi = self.hosts.get(&address)?.mounted_by?;
        let presence = self.pi(pi)?.presence?;
        (presence.address == address && presence.mounted && presence.is_fresh(self.now)).then_some(pi)
    }

    /// Whether this Pi is up at another address.
    fn is_up_elsewhere(&self, pi: Prefix, address: Ipv4Addr) -> bool {
        let presence = self.pi(pi).and_then(|known| known.presence);
        presence.is_some_and(|presence| presence.address != address && presence.is_fresh(self.now))
    }

    /// Whether the command line that a client fetched is that of the Pi's boot: a client that only may be the Pi does not take it
    /// from the address that the Pi has.
    fn may_take_command_line(&self, pi: Prefix, client: Ipv4Addr) -> bool {
        let fetched_by = self.fetched(client, pi).and_then(|fetched| fetched.mac);
        let same_board = fetched_by.is_some()
            && fetched_by == self.pi(pi).and_then(|known| known.presence).and_then(|presence| presence.mac);
        same_board || self.inventory.at(client) == Some(pi) || !self.is_up_elsewhere(pi, client)
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn identity_at(&self, address: Ipv4Addr) -> Option<PiIdentity> {
        self.adapter_at(address)?.identity
    }

    pub(super) fn mac_by_dhcp(&self, address: Ipv4Addr) -> Option<Mac> {
        self.hosts.get(&address)?.mac
    }

    /// Notes that a bridge is between this machine and a Pi, or that none is: the MAC address of its DHCP messages, which name its serial
    /// number, is not that of the kernel's neighbour. What a mount has proven stays.
    fn note_bridge(&mut self, pi: Prefix, address: Ipv4Addr, neighbour: Mac) {
        let own = self.mac_of_serial(address, pi).filter(|own| *own != neighbour);
        if let Some(known) = self.pis.get_mut(&Subject::Pi(pi)).filter(|known| !known.mac_proven) {
            known.bridged = own.map(Box::new);
        }
    }

    /// Whether several Pis request files from an address.
    fn is_shared(&self, address: Ipv4Addr) -> bool {
        self.hosts.get(&address).is_some_and(|host| host.is_shared)
    }

    pub(super) fn wants_mac(&self, address: Ipv4Addr) -> bool {
        let looked = self.hosts.get(&address).and_then(|host| host.looked);
        looked.is_none_or(|looked| self.now.saturating_sub(looked) >= LOOK_AGAIN)
    }

    pub(super) fn mac_by_lease(&self, address: Ipv4Addr) -> Option<Mac> {
        self.hosts.get(&address).filter(|host| host.leased)?.mac
    }

    /// The Pi at an address, by its DHCP messages. A client without option 97 (U-Boot, an emulator) is known if the inventory
    /// has its MAC address.
    pub(super) fn name_by_dhcp(&self, address: Ipv4Addr) -> Option<Prefix> {
        let mac = self.mac_by_dhcp(address)?;
        let identity =
            self.adapters.get(&HardwareAddress::ethernet(mac)).and_then(|adapter| adapter.identity);
        let listed = || Some(Prefix::Mac(mac)).filter(|mac| self.inventory.entry(*mac).is_some());
        match identity.and_then(|identity| identity.prefix()) {
            Some(serial) => self.name_of(Some(serial), Some(mac)),
            None => listed(),
        }
    }

    pub(super) fn boot_of(&self, address: Ipv4Addr, asked: Option<Prefix>) -> BootId {
        let subject = self.subject_asked(address, asked);
        let boot = self.pis.get(&subject).and_then(|pi| pi.boot.as_ref());
        let (number, visit) = boot.map_or((0, 0), |boot| (boot.number, boot.visit));
        BootId { pi: subject.pi(), number, visit }
    }

    /// The boot of a Pi that is under way, or the last one.
    pub(crate) fn boot_key(&self, subject: Subject) -> Option<BootKey> {
        let number = self.pis.get(&subject)?.boot.as_ref()?.number;
        Some(BootKey { pi: subject.pi()?, number })
    }

    pub(super) fn is_in_bootloader(&self, address: Ipv4Addr, asked: Option<Prefix>) -> bool {
        let subject = self.subject_asked(address, asked);
        let boot = self.pis.get(&subject).and_then(|pi| pi.boot.as_ref());
        subject.pi().is_some() && boot.is_some_and(|boot| !boot.is_done())
    }

    pub(super) fn boot_at(&self, address: Ipv4Addr, pi: Prefix) -> Option<&BootProgress> {
        let here = self.hosts.get(&address)?.subject == Some(Subject::Pi(pi));
        self.pi(pi)?.boot.as_ref().filter(|_| here)
    }

    pub(super) fn fetched(&self, address: Ipv4Addr, pi: Prefix) -> Option<Fetched> {
        self.hosts.get(&address)?.fetched(pi)
    }

    /// Whether this adapter fetched the Pi's system from another address.
    pub(super) fn fetched_elsewhere(&self, pi: Prefix, mac: Option<Mac>) -> bool {
        let same = |fetched: Fetched| fetched.system && fetched.mac.is_some() && fetched.mac == mac;
        mac.is_some() && self.hosts.values().any(|(_, host)| host.fetched(pi).is_some_and(same))
    }

    /// Layers made for the client at an address.
    pub(crate) fn layers_made(&self, address: Ipv4Addr) -> u32 {
        self.hosts.get(&address).map_or(0, |host| host.layers)
    }

    /// The owner's name of a Pi, else its serial number or MAC address.
    pub(crate) fn display_name(&mut self, subject: Subject) -> Option<Arc<str>> {
        let pi = subject.pi()?;
        let known = self.pis.get_mut(&subject);
        if let Some(name) = known.as_ref().and_then(|known| known.name.clone()) {
            return Some(name);
        }
        let by_mac = || self.inventory.entry(Prefix::Mac(known.as_ref()?.mac?))?.name.as_deref();
        let own = self.inventory.entry(pi).and_then(|entry| entry.name.as_deref()).or_else(by_mac);
        let name: Arc<str> = own.map_or_else(|| pi.to_string().into(), Into::into);
        if let Some(known) = known {
            known.name = Some(name.clone());
        }
        Some(name)
    }

    /// The Pi of a request with the directory `asked`: that of the serial number, unless another board has the number.
    fn subject_asked(&self, address: Ipv4Addr, asked: Option<Prefix>) -> Subject {
        match asked {
            Some(asked) => {
                Subject::Pi(self.name_of(Some(asked), self.mac_of_serial(address, asked)).unwrap_or(asked))
            }
            // A request without a prefix in the middle of a boot: the Pi dropped the prefix, as a Pi 4 without start4.elf in its
            // directory does.
            None => self.subject_at(address),
        }
    }

    pub(crate) fn subject_at(&self, address: Ipv4Addr) -> Subject {
        let booting = || self.hosts.get(&address)?.subject?.pi();
        let pi = self.mounted_at(address).or_else(booting).or_else(|| self.name_at(address));
        pi.map_or(Subject::Host(address), Subject::Pi)
    }

    fn subject(&self, address: Ipv4Addr, file: &str) -> Subject {
        self.subject_asked(address, lookup(file).and_then(|lookup| lookup.prefix()))
    }

    fn subject_of(&self, hardware: &HardwareAddress) -> Option<Subject> {
        let identity = self.adapters.get(hardware).and_then(|adapter| adapter.identity);
        let pi = self.name_of(identity.and_then(|identity| identity.prefix()), hardware.mac())?;
        // A client without option 97 is a Pi if the inventory or its root makes it known.
        let is_known = identity.is_some() || self.inventory.entry(pi).is_some() || self.pi(pi).is_some();
        is_known.then_some(Subject::Pi(pi))
    }

    /// The name of a board with this serial number and MAC address. Two boards with one serial number differ by their MAC
    /// addresses: the board that mounted its root as that serial number, or uses it, keeps the number.
    fn name_of(&self, serial: Option<Prefix>, mac: Option<Mac>) -> Option<Prefix> {
        let Some(mac) = mac else { return serial };
        let by_mac = Prefix::Mac(mac);
        let Some(serial) = serial else { return Some(by_mac) };
        let apart = self.pi(by_mac).is_some_and(|pi| pi.mac_proven);
        let owner = self.pi(serial).and_then(|known| {
            let presence = known.presence.filter(|presence| presence.is_fresh(self.now));
            let uses = presence
                .filter(|presence| presence.evidence >= Evidence::Dhcp)
                .and_then(|presence| presence.mac);
            if known.mac_proven { known.mac } else { uses }
        });
        let is_bridged = || self.pi(serial).is_some_and(|known| known.bridged.as_deref() == Some(&mac));
        let other = owner.is_some_and(|owner| owner != mac) && !is_bridged();
        Some(if apart || other { by_mac } else { serial })
    }

    /// The MAC address of a client with this serial number in its DHCP messages.
    fn mac_of_serial(&self, address: Ipv4Addr, serial: Prefix) -> Option<Mac> {
        let mac = self.mac_by_dhcp(address)?;
        let adapter = self.adapters.get(&HardwareAddress::ethernet(mac))?;
        (adapter.identity?.prefix() == Some(serial)).then_some(mac)
    }

    fn adapter_at(&self, address: Ipv4Addr) -> Option<&Adapter> {
        self.adapters.get(&HardwareAddress::ethernet(self.mac_by_dhcp(address)?))
    }

    fn began_by_dhcp(&self, address: Ipv4Addr) -> Option<Duration> {
        self.adapter_at(address).filter(|adapter| adapter.identity.is_some()).map(|adapter| adapter.began)
    }

    fn nonce(&self, now: Duration) -> u32 {
        u32::try_from(self.epoch + now.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Founded for Box<Pi> {
    fn worth(&self) -> Worth {
        match self.presence {
            Some(presence) if presence.mounted => Worth::InUse,
            Some(_) => Worth::Shown,
            None => Worth::Hearsay,
        }
    }
}

impl Pi {
    /// Begins a boot; returns its number.
    fn begin(&mut self, now: Duration, nonce: u32) -> u32 {
        if let Some(last) = self.boot.take() {
            self.boots.push_back(last.record());
            while self.boots.len() > MOST_BOOTS {
                self.boots.pop_front();
            }
        }
        let last = self.boots.back();
        let number = last.map_or(0, |last| last.number).saturating_add(1);
        // Two boots within a second get different nonces.
        let nonce = last
            .map_or(nonce, |last| nonce.max(u32::try_from(last.began.saturating_add(1)).unwrap_or(nonce)));
        self.boot = Some(BootProgress::new(number, now, nonce));
        number
    }
}

/// A file's name, split into the Pi's directory and the rest.
fn lookup(file: &str) -> Option<Lookup<'_>> {
    BootPath::parse(file.as_bytes()).ok().map(Lookup::new)
}

/// Limit of known Pis, of addresses and of adapters: four times a rack of a thousand Pis.
const MOST: usize = 4096;

/// Time between two look-ups of the MAC address of a client that fetches files.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Time between two reports of the same refusal: a refused client repeats its call every second.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Recorded boots of a Pi.
const MOST_BOOTS: usize = 8;
