//! The boot machine of each Pi ([`pinetboot_core::pi::boot`]), fed by facts, and what follows from each.
//!
//! Nothing that decides about a lease, a file or a root reads a verdict.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::BootPath;
use pinetboot_core::dhcp::{MessageType, NoReply};
use pinetboot_core::pi::Lookup;
use pinetboot_core::pi::boot::{Event, Hearing, Seen, State, Step, SystemKind};
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome};

use super::Registry;
use crate::events::{self, Dhcp, DiskEnd, Fact, Finished, Network, Nfs, Root, Tftp};
use crate::pis::watch::Watch;
use crate::pis::{Pi, Subject};
use crate::text;

impl Registry {
    /// Sets what this server hears, and how fast the machines' clock runs.
    pub(crate) fn set_watch(&mut self, hearing: Hearing, rate: u32) {
        let Hearing { other_dhcp, forward_delay, since, .. } = self.watch.hearing;
        self.watch = Watch { hearing: Hearing { other_dhcp, forward_delay, since, ..hearing }, rate };
    }

    /// From now on everything is heard at once; before, it was not.
    pub(crate) fn begin_to_hear(&mut self) {
        self.watch.hearing.since = self.watch.instant(self.now);
    }

    /// Whether DHCP messages of Pis are heard.
    pub(super) fn hears_dhcp(&self) -> bool {
        self.watch.hearing.dhcp
    }

    /// Whether the machine of a Pi waits for its mount, and tells a refusal that lasts.
    pub(super) fn waits_for_mount(&self, subject: Option<Subject>, fact: &Fact) -> bool {
        let pi = subject.and_then(|subject| self.pis.get(&subject));
        matches!(fact, Fact::Nfs(Nfs::CallRefused { .. }))
            && pi.is_some_and(|pi| (State::KernelSent..=State::Mounting).contains(&pi.machine.state()))
    }

    /// Whether an event begins a boot.
    pub(super) fn begins(&self, now: Duration, subject: &Subject, event: &Event<'_>) -> bool {
        let now = self.watch.instant(now);
        self.pis.get(subject).is_none_or(|pi| pi.boot.is_none() || pi.machine.begins(event, now))
    }

    /// Takes the fact to the machine of its Pi; returns what follows.
    pub(super) fn watch(
        &mut self,
        now: Duration,
        subject: Option<Subject>,
        client: Option<Ipv4Addr>,
        fact: &Fact,
    ) -> Vec<Fact> {
        self.hear_of_others(fact);
        let Some(subject) = subject else { return Vec::new() };
        if let Some(why) = refusal(fact)
            && let Some(pi) = self.pis.get_mut(&subject)
        {
            pi.refusal = Some(why);
        }
        if let (Fact::Tftp(Tftp::Stalled { bytes: 0, .. }), Some(client)) = (fact, client)
            && self.is_shared(client)
        {
            // It has no verdict by itself.
            let _nothing_follows = self.step(now, subject, &Event::AddressShared);
        }
        let path = requested(fact).and_then(|file| BootPath::parse(file.as_bytes()).ok());
        let file = path.map(|path| Lookup::new(path).file());
        let path = file.as_ref().map(BootPath::as_requested);
        match machine_event(fact, path, client, subject) {
            Some(event) => self.step(now, subject, &event),
            None => Vec::new(),
        }
    }

    /// The Pis of which a silence has lasted long enough. A deadline that passed may be followed by a later one of the same Pi.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Subject> {
        let mut due = self.deadlines.due(now);
        due.retain(|subject| self.is_due(now, *subject));
        due
    }

    /// The facts that are due because the deadlines of these Pis passed.
    pub(crate) fn tick(
        &mut self,
        now: Duration,
        due: Vec<Subject>,
    ) -> Vec<(Subject, Option<Ipv4Addr>, Fact)> {
        let mut late = Vec::new();
        for subject in due {
            let facts = self.pass(now, subject);
            if !facts.is_empty() {
                let address = self.address_of(subject);
                late.extend(facts.into_iter().map(|fact| (subject, address, fact)));
            }
        }
        late
    }

    /// The address of a Pi: the one with evidence, else one whose last requests were the Pi's.
    fn address_of(&self, subject: Subject) -> Option<Ipv4Addr> {
        if let Subject::Host(address) = subject {
            return Some(address);
        }
        let presence = self.pis.get(&subject).and_then(|pi| pi.presence);
        let requests = || self.hosts.values().find(|(_, host)| host.subject == Some(subject));
        presence.map(|presence| presence.address).or_else(|| requests().map(|(address, _)| *address))
    }

    /// Whether a silence of a Pi has lasted long enough; otherwise its next deadline is scheduled.
    pub(super) fn is_due(&mut self, now: Duration, subject: Subject) -> bool {
        let Self { pis, watch, deadlines, .. } = self;
        let Some(pi) = pis.get_mut(&subject) else { return false };
        pi.deadline = None;
        pi.machine.set_hearing(watch.hearing);
        let deadline = watch.duration(pi.machine.deadline());
        if deadline.is_some_and(|deadline| deadline <= now) {
            return true;
        }
        deadlines.schedule(subject, &mut pi.deadline, deadline);
        false
    }

    /// Lets time pass for a Pi whose deadline has come.
    pub(super) fn pass(&mut self, now: Duration, subject: Subject) -> Vec<Fact> {
        self.step(now, subject, &Event::Tick)
    }

    pub(super) fn step(&mut self, now: Duration, subject: Subject, event: &Event<'_>) -> Vec<Fact> {
        let Self { pis, watch, deadlines, .. } = self;
        let Some(pi) = pis.get_mut(&subject) else { return Vec::new() };
        pi.machine.set_hearing(watch.hearing);
        let event = match *event {
            Event::Stalled { bytes, block_size, after } => {
                Event::Stalled { bytes, block_size, after: after.saturating_mul(watch.rate) }
            }
            event => event,
        };
        let step = pi.machine.step(&event, watch.instant(now));
        let deadline = watch.duration(pi.machine.deadline());
        deadlines.schedule(subject, &mut pi.deadline, deadline);
        let mut follows = pi.follows(now, subject, &event, &step);
        follows.extend(pi.questions(&event, &step, watch.rate));
        follows
    }

    /// Other DHCP servers in this network, as far as facts show them.
    fn hear_of_others(&mut self, fact: &Fact) {
        let others = match fact {
            Fact::Dhcp(Dhcp::NoServer { .. }) => false,
            Fact::Dhcp(Dhcp::OtherServer { .. } | Dhcp::TookOther { .. })
            | Fact::Network(Network::OtherServer { .. } | Network::AddressRequested { .. }) => true,
            Fact::Network(Network::SpanningTree { forward_delay, .. }) => {
                self.watch.hearing.forward_delay = *forward_delay;
                return;
            }
            _ => return,
        };
        self.watch.hearing.other_dhcp = Some(others);
    }
}

impl Pi {
    /// What the machine wants to know of the network.
    fn questions(&self, event: &Event<'_>, step: &Step, rate: u32) -> Option<Fact> {
        let mac = self.mac?;
        let within = QUESTION / rate.max(1);
        let model = self.identity.and_then(|identity| identity.model());
        if let Some(model) = model.filter(|_| step.survey) {
            return Some(Network::AsksNetwork { mac, model, within }.into());
        }
        let address = self.presence?.address;
        let is_lost = matches!(event, Event::Lost) && self.machine.state() >= State::InUse;
        is_lost.then(|| Network::AsksPi { mac, address, within }.into())
    }

    /// The facts that follow from a step of the machine.
    fn follows(&mut self, now: Duration, subject: Subject, event: &Event<'_>, step: &Step) -> Vec<Fact> {
        let Some(boot) = &mut self.boot else { return Vec::new() };
        let (number, since) = (boot.number, now.saturating_sub(boot.last).as_secs_f64());
        let began = now.saturating_sub(boot.began).as_secs_f64();
        let mut follows: Vec<events::Boot> = Vec::new();
        if let Some((verdict, silence)) = step.goes_on.filter(|_| self.is_told) {
            follows.push(events::Boot::GoesOn { number, verdict, seconds: silence.as_secs_f64() });
        }
        match (step.state, event) {
            (Some(State::Addressed), Event::Address { address }) => {
                follows.push(events::Boot::HasAddress { address: *address });
            }
            (Some(State::KernelAsks), _) => {
                boot.last = now;
                follows.push(events::Boot::KernelAsks { seconds: since });
            }
            (Some(State::Up), _) if boot.mounted => follows.push(events::Boot::Up { seconds: began }),
            _ => {}
        }
        if let Some(verdict) = step.verdict {
            // Another client than a Pi asks for files that a Pi's boot needs, and no more is known of it.
            self.is_told = subject.pi().is_some() || matches!(verdict.seen, Seen::Missing(_));
            let details = match verdict.seen {
                Seen::Missing(stage) => boot.lacking(stage),
                Seen::NoRequest { .. } => boot.texts().map(|texts| texts.offers.clone()).unwrap_or_default(),
                Seen::Console => {
                    let line = boot.texts().and_then(|texts| texts.line.as_deref());
                    line.iter().map(|line| format!("'{}'", text::line(line))).collect()
                }
                Seen::ArpElsewhere => boot.looked_for.iter().map(ToString::to_string).collect(),
                Seen::MountRefused | Seen::DiskRefused | Seen::WrongVersion | Seen::HandleRefused => {
                    self.refusal.take().into_iter().collect()
                }
                Seen::NothingFound { .. } => {
                    boot.wanted().iter().map(|(_, file)| file.clone()).take(4).collect()
                }
                _ => Vec::new(),
            };
            if self.is_told {
                follows.push(events::Boot::Stuck { number, verdict, seconds: since, details });
            }
        }
        follows.into_iter().map(Fact::from).collect()
    }
}

/// The reason in a refusal by NFS.
fn refusal(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Root(Root::MountRefused { path, why, .. }) => Some(format!("{path}: {why}")),
        Fact::Root(Root::DiskRefused { why, .. }) => Some(why.clone()),
        Fact::Nfs(Nfs::CallRefused { why, remedy: Some(_), .. } | Nfs::HandleRefused { why, .. }) => {
            Some(why.clone())
        }
        _ => None,
    }
}

/// The file of a fact, if [`machine_event`] needs it.
fn requested(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Tftp(
            Tftp::Refused { file, direction: Direction::Read, code: ErrorCode::FILE_NOT_FOUND, .. }
            | Tftp::Finished(Finished { file, direction: Direction::Read, .. }),
        ) => Some(file),
        _ => None,
    }
}

/// What a fact is to the machine. Requests and DISCOVERs are not here: they may begin a boot, and come to the machine then.
fn machine_event<'a>(
    fact: &Fact,
    path: Option<&'a str>,
    client: Option<Ipv4Addr>,
    subject: Subject,
) -> Option<Event<'a>> {
    Some(match fact {
        Fact::Dhcp(fact) => match fact {
            Dhcp::Asked { identity: Some(_), kind: Some(MessageType::Request), .. } => Event::Requested,
            Dhcp::Asked { identity: None, kind: Some(kind), has_duid, is_boot_code, .. } => {
                let discover = *kind == MessageType::Discover;
                if !discover && *kind != MessageType::Request {
                    return None;
                }
                let kind = if *is_boot_code { SystemKind::BootCode } else { SystemKind::Linux { discover } };
                Event::SystemAsks { kind, has_duid: *has_duid }
            }
            Dhcp::Answered { kind: MessageType::Offer, address, .. } => {
                Event::Offered { address: !address.is_unspecified() }
            }
            Dhcp::Leased { address, .. } | Dhcp::TookOther { address, .. } => {
                Event::Address { address: *address }
            }
            Dhcp::Unanswered { why: NoReply::Released(_), .. } => Event::Released,
            Dhcp::Unanswered { why: NoReply::Exhausted | NoReply::Declined(_), .. } | Dhcp::InUse { .. } => {
                Event::ToldElsewhere
            }
            Dhcp::Lacks { setting: events::Lacking::BootFile(_), .. } => Event::NoBootFile,
            Dhcp::Lacks { .. } => Event::ToldElsewhere,
            _ => return None,
        },
        Fact::Tftp(fact) => match fact {
            Tftp::Refused { code: ErrorCode::FILE_NOT_FOUND, place, .. } => {
                let own = subject.pi().zip(place.as_ref());
                let own_directory = own.is_some_and(|(pi, place)| place.contains(&pi.to_string()));
                Event::FileMissing { path: path?, own_directory }
            }
            Tftp::Refused { .. } => Event::FileRefused,
            Tftp::Repeated { .. } => Event::AskedAgain,
            Tftp::Progress { .. } => Event::Moves,
            Tftp::Started { len, .. } => Event::Started { len: *len },
            Tftp::Stalled { bytes, block_size, after, .. } => {
                Event::Stalled { bytes: *bytes, block_size: *block_size, after: *after }
            }
            Tftp::Finished(finished) if finished.direction == Direction::Read => match finished.outcome {
                Outcome::Complete { .. } => Event::FileSent { path: path? },
                _ if finished.probe => Event::Probed { path: path? },
                Outcome::TimedOut if !finished.lacks_last_ack => return None, // `Stalled` came before
                Outcome::TimedOut | Outcome::Displaced if finished.lacks_last_ack => {
                    Event::FileSent { path: path? }
                }
                _ => Event::TransferEnded,
            },
            Tftp::NotSent { firewall: true, .. } => Event::Blocked,
            _ => return None,
        },
        Fact::Boot(events::Boot::CommandLine { root }) => Event::CommandLine(*root),
        Fact::Root(fact) => match fact {
            Root::Mounted { .. } => Event::Mounted { address: client? },
            Root::DiskConnected => Event::DiskConnected,
            Root::DiskRefused { failed, .. } => Event::DiskRefused { why_told: *failed },
            Root::DiskOpened { .. } => Event::DiskOpened { address: client? },
            Root::DiskClosed { end: DiskEnd::Broken, .. } => Event::Lost,
            Root::Unmounted { .. } | Root::DiskClosed { end: DiskEnd::Released, .. } => Event::Unmounted,
            Root::Active { .. } | Root::Moved { .. } => Event::Active,
            Root::MountRefused { failed: false, not_found, .. } => {
                Event::MountRefused { not_found: *not_found }
            }
            _ => return None,
        },
        Fact::Nfs(fact) => match fact {
            Nfs::Connected { .. } => Event::Connected,
            Nfs::CallRefused { program, version, remedy: Some(_), .. } if *program != PORTMAPPER => {
                Event::WrongVersion { program: *program, version: *version }
            }
            Nfs::HandleRefused { .. } => Event::HandleRefused,
            Nfs::FirstWrite => Event::Wrote,
            Nfs::InitSought { found } => Event::InitSought { found: *found },
            Nfs::EmergencyShell => Event::EmergencyShell,
            Nfs::Disconnected { is_broken: true, .. } | Nfs::Unacknowledged { .. } => Event::Lost,
            _ => return None,
        },
        Fact::Network(fact) => match fact {
            Network::ArpAsked { target, .. } => Event::ArpAsks { target: *target },
            Network::AddressRequested { address, .. } => Event::Address { address: *address },
            Network::Surveyed { survey, .. } => Event::Surveyed(*survey),
            Network::Console { rule, .. } => Event::Console { rule: (*rule)? },
            Network::ArpAnswered { alive, .. } => Event::ArpAnswers(*alive),
            _ => return None,
        },
        _ => return None,
    })
}

/// The time for answers of a network: a DHCP server may take 3 s.
const QUESTION: Duration = Duration::from_secs(4);

/// RPC program number of the portmapper (RFC 1833, section 3).
const PORTMAPPER: u32 = 100_000;
