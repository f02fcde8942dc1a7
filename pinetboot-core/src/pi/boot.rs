//! The boot machine: one Pi's boots as states with deadlines, and the rule of the catalogue that a silence or a miss shows.
//!
//! ```text
//! unseen -> asking -> requested -> addressed -> fetching -> kernel sent -> kernel asks -> has network -> mounting -> in use -> up
//!                                                                                                  -> connecting -> disk in use -> up
//! ```
//!
//! A root by NFS is mounted, a root on a disk of this server (NBD) is connected to.
//!
//! [`Boot::step`] takes an [`Event`] and the time, [`Boot::deadline`] names the time of the next [`Event::Tick`], and
//! [`Boot::verdict`] says what keeps the boot where it is. A state has at most one verdict, and progress clears it.
//!
//! A new boot begins with
//!
//! * a DISCOVER, if its transaction id is new and the boot before requested a file: a bootloader that repeats a DISCOVER keeps
//!   the id, or has requested no file yet. A Pi 3 always has the same id ([`Profile::BOOT_ROM_XID`]), so its DISCOVER after a
//!   kernel begins a boot too;
//! * a request for a file of the first stage, if the boot before has its kernel.
//!
//! DHCP messages and requests for files come from two queues. So the DISCOVER, a copy of it, or the REQUEST may come after the
//! files of its boot, and changes nothing then.
//!
//! Silence begins no boot: a Pi that restarts at once after a failure (the default of bootloaders since 2026-04-14, release notes of
//! raspberrypi/rpi-eeprom) is back within seconds.
//!
//! | file | holds |
//! |---|---|
//! | `event.rs` | [`Event`], and the facts in it |
//! | `facts.rs` | what the machine remembers of one boot |
//! | `fetch.rs` | requests for files, and what comes of them |
//! | `judge.rs` | the rule for each state: from facts to a [`Verdict`] |
//! | `state.rs` | [`State`] |
//! | `verdict.rs` | [`Verdict`], [`Certainty`], [`Seen`] |
//!
//! A verdict on a silence is told by a [`Tick`](Event::Tick) alone: the caller ticks when the server has handled all that came before
//! ([`Hearing::since`]). What a message shows by itself (a missing file, a refused mount) is told with it.
//!
//! A verdict is for people: nothing that decides about a lease, a file or a root may read one.
//!
//! Not done: names of files (a caller that has memory keeps them), faults of the tree that no packet shows.

mod event;
mod facts;
mod fetch;
mod judge;
mod state;
mod verdict;

use core::time::Duration;

use super::Stage;
use crate::Instant;
use crate::dhcp::Profile;
pub use event::{ArpTarget, Event, Hearing, RootLine, Survey, SystemKind};
use facts::{Facts, Offer, Stall};
use fetch::{bit, file};
pub use state::State;
pub use verdict::{Certainty, Seen, Verdict};

/// The boots of one Pi: the one under way, and how those before ended.
///
/// ```
/// use core::time::Duration;
/// use pinetboot_core::Instant;
/// use pinetboot_core::pi::boot::{Boot, Event, Hearing, State};
///
/// let mut boot = Boot::new(Hearing::ALL);
/// let now = Instant::ZERO;
/// assert!(boot.step(&Event::FileAsked { path: "config.txt" }, now).began);
/// boot.step(&Event::FileSent { path: "config.txt" }, now);
/// boot.step(&Event::FileAsked { path: "kernel8.img" }, now);
/// boot.step(&Event::FileMissing { path: "kernel8.img", own_directory: false }, now);
/// assert_eq!(boot.state(), State::Fetching);
///
/// let late = boot.deadline();
/// assert_eq!(late - now, Duration::from_secs(10));
/// let verdict = boot.step(&Event::Tick, late).verdict.unwrap();
/// assert_eq!(verdict.rules(), [20]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Boot {
    hearing: Hearing,
    state: State,
    /// The beginning of the state.
    since: Instant,
    /// The last message of the Pi.
    last: Instant,
    facts: Facts,
    verdict: Option<Verdict>,
    /// A verdict of this state was told: it has no other.
    told: bool,
    ends: Ends,
}

/// How the boots before ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ends {
    /// The rule that ended the last boot; 0 for none.
    rule: u8,
    /// Boots in a row that this rule ended.
    count: u8,
    /// The stage of the files that were missing.
    stage: Stage,
    /// The last boot's silence told the rule.
    told: bool,
    /// Boots in a row that fetched pieeprom.upd.
    updates: u8,
    /// The end of the last one.
    at: Instant,
}

impl Ends {
    const NONE: Self =
        Self { rule: 0, count: 0, stage: Stage::Config, told: false, updates: 0, at: Instant::ZERO };

    /// The stage at which the last boot ended for want of a file.
    fn stage(&self) -> Option<Stage> {
        (self.rule != 0).then_some(self.stage)
    }
}

/// What one event changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The event began a boot.
    pub began: bool,
    /// The new state, if it changed.
    pub state: Option<State>,
    /// A new verdict.
    pub verdict: Option<Verdict>,
    /// The network is to be asked in the Pi's place: three DISCOVERs had no effect. [`Event::Surveyed`] is the answer.
    pub survey: bool,
    /// The boot goes on: the verdict that no longer holds, and the silence before.
    pub goes_on: Option<(Verdict, Duration)>,
}

impl Boot {
    /// A Pi of which no message has come.
    pub const fn new(hearing: Hearing) -> Self {
        Self {
            hearing,
            state: State::Unseen,
            since: Instant::ZERO,
            last: Instant::ZERO,
            facts: Facts::NONE,
            verdict: None,
            told: false,
            ends: Ends::NONE,
        }
    }

    /// Changes what can be heard. A later [`Hearing::since`] ends a time in which messages were lost or late.
    pub fn set_hearing(&mut self, hearing: Hearing) {
        if hearing.since > self.hearing.since {
            self.facts.forget_repetitions();
        }
        self.hearing = hearing;
    }

    /// How far the boot is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The beginning of this state.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// What keeps the boot where it is.
    pub const fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Whether this event would begin a new boot now.
    pub fn begins(&self, event: &Event<'_>, now: Instant) -> bool {
        let has_kernel = self.state >= State::KernelSent;
        match event {
            Event::Discover { xid, .. } => {
                let is_known = match self.facts.xid {
                    None => now.since(self.last) < RESTARTS_IN,
                    Some(known) => known == *xid,
                };
                let repeats = if has_kernel {
                    is_known && *xid != Profile::BOOT_ROM_XID
                } else {
                    is_known || self.facts.requests == 0
                };
                self.state == State::Unseen || !repeats
            }
            Event::FileAsked { path } => {
                let is_first =
                    || file(path, self.facts.model).is_some_and(|file| FIRST.contains(&file.stage));
                self.state == State::Unseen || has_kernel && is_first()
            }
            _ => false,
        }
    }

    /// Takes in an event.
    pub fn step(&mut self, event: &Event<'_>, now: Instant) -> Step {
        let mut step = Step { began: self.begins(event, now), ..Step::default() };
        let before = (self.state, self.last);
        if step.began {
            self.end(now);
        }
        let discovers = self.facts.discovers;
        self.take(event, now);
        let is_third = discovers < DISCOVERS && self.facts.discovers == DISCOVERS;
        step.survey =
            is_third && self.hearing.frames && self.state == State::Asking && !self.facts.told_elsewhere;
        if self.state != before.0 || step.began {
            self.facts.console = 0;
            (self.since, self.told) = (now, self.told && self.state == before.0 && !step.began);
            step.state = Some(self.state);
        }
        let moves_on = step.began
            || self.state != before.0
            || matches!(
                event,
                Event::FileSent { .. } | Event::Active | Event::Connected | Event::DiskOpened { .. }
            );
        // The next boot of a loop clears nothing: it will end there too.
        let stays =
            self.state < State::KernelSent && self.verdict.is_some_and(|verdict| verdict.is_of_ends());
        if moves_on
            && !stays
            && let Some(verdict) = self.verdict.take()
        {
            let forward = !step.began && self.state >= before.0;
            step.goes_on = forward.then(|| (verdict, now.since(before.1)));
        }
        if !self.told
            && let Some(verdict) = self.judge(event, now)
        {
            (self.told, self.verdict, step.verdict) = (true, Some(verdict), Some(verdict));
        }
        step
    }

    /// The time of the next [`Event::Tick`]; [`Instant::MAX`] without one.
    pub fn deadline(&self) -> Instant {
        if self.told { Instant::MAX } else { self.due() }
    }

    /// Ends the boot before: nothing of it counts for the next one, but how it ended.
    fn end(&mut self, now: Instant) {
        let miss = if self.state == State::Fetching { self.miss() } else { None };
        let before = self.ends;
        let updates = if self.facts.updates { before.updates.saturating_add(1) } else { 0 };
        self.ends = Ends { updates, at: now, ..Ends::NONE };
        if let Some((rule, verdict)) = miss {
            let same = rule == before.rule && now.since(before.at) <= LOOP;
            let count = if same { before.count.saturating_add(1) } else { 1 };
            let stage = match verdict.seen {
                Seen::Missing(stage) => stage,
                _ => Stage::Config,
            };
            self.ends = Ends { rule, count, stage, told: self.told, ..self.ends };
        }
        let Facts { model, board, is_d0, is_pi4_r11, .. } = self.facts;
        self.facts = Facts { model, board, is_d0, is_pi4_r11, ..Facts::NONE };
        (self.state, self.told) = (State::Unseen, false);
    }

    fn take(&mut self, event: &Event<'_>, now: Instant) {
        use State::*;
        if event.is_of_pi() {
            self.last = now;
        }
        let facts = &mut self.facts;
        match *event {
            Event::Tick => {}
            Event::Discover { xid, identity, relayed } => {
                facts.heard = facts.heard.saturating_add(1);
                let before = facts.discovers;
                facts.discovers = facts.repeats(before, now);
                if before < DISCOVERS && facts.discovers == DISCOVERS {
                    facts.third = Some(now.into());
                }
                (facts.xid, facts.relayed) = (Some(xid), facts.relayed || relayed);
                facts.know(identity);
                // Not a late copy.
                if self.state <= Addressed {
                    self.reach(Asking);
                }
            }
            Event::PoweredTogether => facts.powered_together = true,
            Event::Requested => {
                facts.lease_requests = facts.repeats(facts.lease_requests, now);
                if self.state < Requested {
                    self.reach(Requested);
                }
            }
            Event::Offered { address } => {
                facts.offer = facts.offer.max(if address { Offer::Address } else { Offer::BootServer });
            }
            Event::ToldElsewhere => facts.told_elsewhere = true,
            Event::Surveyed(survey) => facts.survey = Some(survey),
            Event::Console { rule } => facts.console = rule,
            Event::ArpAsks { target } => match target {
                ArpTarget::Here => facts.arp_here = facts.repeats(facts.arp_here, now),
                ArpTarget::Named => facts.arp_named = true,
                ArpTarget::Elsewhere => facts.arp_elsewhere = true,
            },
            Event::Address { address } => match self.state {
                Unseen => {}
                Asking | Requested => self.reach(Addressed),
                KernelAsks => self.reach(HasNetwork),
                InUse | DiskInUse | Up if facts.address.is_some_and(|before| before != address) => {
                    facts.readdressed.get_or_insert(now.into());
                }
                _ => {}
            },
            Event::SystemAsks { kind, has_duid } => self.system_asks(kind, has_duid, now),
            Event::Released => {
                if self.state >= Mounting {
                    facts.released.get_or_insert(now.into());
                }
            }
            Event::FileAsked { path } => self.asked(path, now),
            // Without an answer yet, the Pi waits for this server.
            Event::AskedAgain if facts.answered => facts.repeats = facts.repeats(facts.repeats, now),
            Event::AskedAgain => {}
            Event::Started { len } => (facts.len, facts.answered) = (len.unwrap_or(0), true),
            Event::FileSent { path } => {
                facts.console = 0;
                self.sent(path);
            }
            Event::FileMissing { path, own_directory } => self.missing(path, own_directory),
            Event::FileRefused => {
                (facts.open, facts.refused) = (None, facts.refused.saturating_add(1));
            }
            Event::Probed { path } => {
                facts.open = None;
                if file(path, facts.model).is_some_and(|file| file.stage == Stage::BootImage) {
                    facts.image_probes = facts.image_probes.saturating_add(1);
                }
            }
            Event::TransferEnded => facts.open = None,
            Event::Stalled { bytes, block_size, after } => {
                if self.state == Fetching && facts.open.is_some() {
                    let after = u16::try_from(after.as_secs()).unwrap_or(u16::MAX);
                    facts.stall = Some(Stall { bytes, block_size, after, at: now.into() });
                }
            }
            Event::AddressShared => facts.address_shared = true,
            Event::Moves => facts.stall = None,
            Event::Blocked => facts.blocked = true,
            Event::CommandLine(line) => facts.line = line,
            Event::NoBootFile => facts.no_boot_file = true,
            Event::Connected => {
                facts.lost = None;
                if (KernelSent..Mounting).contains(&self.state) {
                    self.reach(Mounting);
                }
            }
            Event::WrongVersion { program, version } => {
                match (program, version) {
                    (NFS, 4..) => facts.asked_v4 = true,
                    _ => facts.asked_v2 = true,
                }
                if (KernelSent..Mounting).contains(&self.state) {
                    self.reach(Mounting);
                }
            }
            Event::MountRefused { not_found } => {
                facts.mount_refused = Some(not_found);
                if (KernelSent..Mounting).contains(&self.state) {
                    self.reach(Mounting);
                }
            }
            Event::Mounted { address } => {
                (facts.address, facts.lost, facts.mount_refused) = (Some(address), None, None);
                (facts.readdressed, facts.released) = (None, None);
                (facts.asked_v4, facts.asked_v2) = (false, false);
                (facts.init_missing, facts.init_found) = (0, false);
                self.reach(InUse);
            }
            Event::DiskConnected => {
                if (KernelSent..Connecting).contains(&self.state) {
                    self.reach(Connecting);
                }
            }
            Event::DiskRefused { why_told } => {
                if (KernelSent..InUse).contains(&self.state) {
                    facts.told_elsewhere = why_told;
                    facts.mount_refused = (!why_told).then_some(false);
                    self.reach(Connecting);
                }
            }
            Event::DiskOpened { address } => {
                (facts.address, facts.lost, facts.mount_refused) = (Some(address), None, None);
                (facts.readdressed, facts.released) = (None, None);
                // A running system connects again after its network failed.
                if self.state < DiskInUse {
                    self.reach(DiskInUse);
                }
            }
            Event::Unmounted => {
                if self.state >= InUse {
                    (self.facts, self.state) = (Facts::NONE, Unseen);
                }
            }
            Event::Active => {
                (facts.lost, facts.readdressed, facts.released) = (None, None, None);
                facts.alive = None;
                // The shell waits for a password, and calls its root no more.
                facts.emergency = facts.emergency.filter(|at| at.until(now) <= EMERGENCY);
                match self.state {
                    InUse | DiskInUse if now.since(self.since) >= RUNS => self.reach(Up),
                    // This server was started after the Pi.
                    Unseen => self.reach(Up),
                    _ => {}
                }
            }
            Event::Wrote => {
                if self.state == InUse {
                    self.reach(Up);
                }
            }
            Event::Lost => {
                if self.state >= InUse {
                    facts.lost.get_or_insert(now.into());
                }
            }
            Event::ArpAnswers(alive) => facts.alive = facts.lost.map(|_| alive),
            Event::InitSought { found: true } => facts.init_found = true,
            Event::InitSought { found: false } => facts.init_missing = facts.init_missing.saturating_add(1),
            Event::EmergencyShell => {
                if self.state >= InUse {
                    facts.emergency = Some(now.into());
                }
            }
            Event::HandleRefused => facts.handle_refused = true,
        }
    }

    fn reach(&mut self, state: State) {
        self.state = state;
    }

    /// A DHCP message without a boot code's identity.
    fn system_asks(&mut self, kind: SystemKind, has_duid: bool, now: Instant) {
        let facts = &mut self.facts;
        match (kind, self.state) {
            (SystemKind::BootCode, _) => facts.chained = true,
            (SystemKind::Linux { discover: true }, State::Unseen) => {
                facts.linux_alone.get_or_insert(now.into());
            }
            _ => {}
        }
        if has_duid && self.state >= State::InUse {
            facts.duid = Some(now.into());
        }
        let discovers = !matches!(kind, SystemKind::Linux { discover: false });
        if (State::KernelSent..=State::KernelAsks).contains(&self.state) {
            if discovers {
                facts.kernel_discovers = facts.repeats(facts.kernel_discovers, now);
            }
            self.reach(State::KernelAsks);
        }
    }
}

/// The stages with which boot code begins: `bootcode.bin`, `config.txt`, `start4.elf`.
const FIRST: [Stage; 3] = [Stage::Loader, Stage::Config, Stage::Firmware];

/// RPC program number of NFS (RFC 1813, section 2.1).
const NFS: u32 = 100_003;

/// DISCOVERs after which a silence counts. A bootloader in EEPROM sends one every 4 s (captured).
const DISCOVERS: u8 = 3;

/// From the last message of a boot to the first of the next one, at least: the negotiation of a link takes two to three seconds.
const RESTARTS_IN: Duration = Duration::from_secs(2);

/// Two ends further apart are no loop: a Pi restarts within some ten seconds.
const LOOP: Duration = Duration::from_secs(180);

/// The calls of a shell that starts end within that time.
const EMERGENCY: Duration = Duration::from_secs(5);

/// A system that calls its root for that long runs.
const RUNS: Duration = Duration::from_secs(20);
