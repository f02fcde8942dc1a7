//! The rules for each state: which verdict is due, and when, if nothing more comes.
//!
//! Each function returns the verdict that the facts lead to and the time at which the silence has lasted long enough
//! ([`Boot::silence`]); a verdict on a message is due with it. A rule fires on no healthy boot: what a healthy boot can look like is in
//! `tests/boot/healthy.rs`.

use core::time::Duration;

use super::Certainty::{Certain, Likely, OneOf};
use super::event::{RootLine, Survey};
use super::facts::{Moment, Offer, Stall};
use super::verdict::{Certainty, Seen, Verdict};
use super::{Boot, DISCOVERS, Event, State, bit};
use crate::Instant;
use crate::pi::{Board, Model, Stage};

/// A verdict, and the time from which it holds.
type Due = (Instant, Verdict);

impl Boot {
    /// The verdict, if one holds now. Messages may wait behind the one that came: a silence needs a tick.
    pub(super) fn judge(&self, event: &Event<'_>, now: Instant) -> Option<Verdict> {
        let (due, verdict) = self.pending()?;
        let until = if matches!(event, Event::Tick) { now } else { AT_ONCE };
        (due <= until).then_some(verdict)
    }

    /// The end of a silence that began then and lasts that long, as far as this server heard it.
    fn silence(&self, from: Instant, lasts: Duration) -> Instant {
        from.max(self.hearing.since) + lasts
    }

    /// The time at which a verdict will hold.
    pub(super) fn due(&self) -> Instant {
        self.pending().map_or(Instant::MAX, |(due, _)| due)
    }

    fn pending(&self) -> Option<Due> {
        let facts = &self.facts;
        if facts.handle_refused {
            return Some((AT_ONCE, self.say(Certain, Seen::HandleRefused, &[96, 54])));
        }
        if facts.no_boot_file && self.state < State::Mounting {
            return Some((AT_ONCE, self.say(Certain, Seen::NoBootFile, &[72])));
        }
        if facts.console != 0 && self.state < State::InUse {
            // A bootloader that goes on to its next boot mode says much on the way.
            let verdict = self.say(Certain, Seen::Console, &[facts.console]);
            return Some((self.silence(self.last, STOPPED), verdict));
        }
        match self.state {
            State::Unseen => {
                let at = facts.linux_alone?.instant();
                Some((self.silence(at, ALONE), self.say(OneOf, Seen::SystemAlone, &[1, 73])))
            }
            State::Asking => self.ended().or_else(|| self.asking()),
            State::Requested => None,
            State::Addressed => self.addressed(),
            State::Fetching => self.fetching(),
            State::KernelSent => self.kernel_sent().map(|due| self.or_blocked(due)),
            State::KernelAsks => self.kernel_asks(),
            State::HasNetwork => self.has_network(),
            State::Mounting => self.mounting(),
            State::Connecting => self.connecting(),
            State::InUse | State::DiskInUse | State::Up => self.running(),
        }
    }

    /// Whether the DHCP messages of the Pi are heard: by the server's port, or by frames, as its bootloader's were.
    const fn hears_dhcp(&self) -> bool {
        self.hearing.dhcp || self.hearing.frames && self.facts.discovers > 0
    }

    /// A silence of the kernel where a switch closes a port for twice its forward delay whenever the link comes up.
    fn or_blocked(&self, (due, verdict): Due) -> Due {
        match (verdict.seen, verdict.rules(), self.hearing.forward_delay) {
            (_, _, 0) => (due, verdict),
            (Seen::KernelSilent { .. }, [first, ..], _) => (due, self.say(OneOf, verdict.seen, &[7, *first])),
            _ => (due, verdict),
        }
    }

    fn say(&self, certainty: Certainty, seen: Seen, rules: &[u8]) -> Verdict {
        Verdict::new(certainty, seen, self.state, rules)
    }

    /// How the boots before ended, told when the next one begins: after the first, if the silence was too short to tell it
    /// then, and after the second in a row.
    fn ended(&self) -> Option<Due> {
        let at = self.ends.stage()?;
        let rule = self.ends.rule;
        let seen = Seen::Ended { boots: self.ends.count, at };
        match self.ends.count {
            1 if !self.ends.told => Some((AT_ONCE, self.say(Certain, seen, &[rule]))),
            2 => Some((AT_ONCE, self.say(Certain, seen, &[rule, 79]))),
            _ => None,
        }
    }

    fn asking(&self) -> Option<Due> {
        let facts = &self.facts;
        let seen = Seen::NoRequest { discovers: facts.discovers };
        let is_rom = facts.model == Some(Model::Pi3);
        let most = if is_rom { ROM_DISCOVERS } else { DISCOVERS };
        if facts.asked_in_vain && facts.discovers == 0 {
            return Some((self.silence(self.last, GIVES_UP), self.say(Likely, Seen::AskedInVain, &[65])));
        }
        if facts.told_elsewhere || facts.discovers < most {
            return None;
        }
        // A boot ROM gives up after its last DISCOVER, a bootloader in EEPROM goes on.
        let answered = if self.hearing.frames && facts.survey.is_none() { SURVEY } else { SOON };
        let due = match is_rom {
            true => self.silence(self.last, ROM_GIVES_UP),
            false => {
                let third = facts.third.map_or(self.since, Moment::instant);
                self.silence(self.since, ASKS).max(self.silence(third, answered))
            }
        };
        let say = |certainty, rules: &[u8]| Some((due, self.say(certainty, seen, rules)));
        match facts.survey {
            // What this server offers is no part of it.
            Some(Survey::NoAddress) if facts.offer != Offer::Address => return say(Certain, &[4]),
            Some(Survey::NoBootServer) if facts.offer == Offer::Nothing => {
                return say(Certain, if is_rom { &[3, 8] } else { &[3, 62] });
            }
            Some(Survey::PcMenu) if facts.offer == Offer::Nothing => return say(Certain, &[5]),
            Some(Survey::BootServerSilent) if facts.offer == Offer::Nothing => return say(Likely, &[15]),
            _ => {}
        }
        if facts.relayed {
            return match facts.model {
                Some(Model::Pi5) => say(OneOf, &[63, 55]),
                _ => say(Likely, &[6]),
            };
        }
        match (facts.offer, is_rom) {
            (Offer::Nothing, true) => say(Likely, &[8]),
            (_, true) if facts.powered_together => say(OneOf, &[71, 9, 8]),
            (_, true) => say(OneOf, &[9, 8]),
            (Offer::Address, _) => say(OneOf, &[55, 56]),
            (Offer::BootServer, _) => match (self.hearing.other_dhcp, facts.survey) {
                (Some(true), _) | (_, Some(_)) => say(OneOf, &[55, 56]),
                (Some(false), _) => say(Likely, &[4]),
                (None, _) => say(OneOf, &[4, 55, 56]),
            },
            (Offer::Nothing, _) => match self.hearing.other_dhcp {
                Some(false) => say(Likely, &[4]),
                _ => say(OneOf, &[3, 4, 62]),
            },
        }
    }

    fn addressed(&self) -> Option<Due> {
        let facts = &self.facts;
        if facts.lease_requests >= DISCOVERS {
            let seen = Seen::RepeatedRequest { requests: facts.lease_requests };
            return Some((self.silence(self.last, ANSWER), self.say(Likely, seen, &[55, 56])));
        }
        // A Pi that another server names a boot server for does not come here.
        if facts.offer == Offer::Nothing || !self.hearing.tftp {
            return None;
        }
        let verdict = match (facts.arp_here, facts.arp_elsewhere, facts.arp_named) {
            (0, true, _) => self.say(Likely, Seen::ArpElsewhere, &[10]),
            // A router's answer is not for this server to judge.
            (0, false, true) => self.say(Likely, Seen::NoFileAsked, &[15]),
            // The answers do not reach it: this machine's kernel sends one to each request.
            (ARP_REPEATS.., ..) => self.say(Likely, Seen::ArpRepeats, &[64, 15]),
            (1.., ..) => self.say(Likely, Seen::NoFileAsked, &[16]),
            (0, false, false) => self.say(OneOf, Seen::NoFileAsked, &[15, 10, 64]),
        };
        Some((self.silence(self.since, NO_FILE), verdict))
    }

    fn fetching(&self) -> Option<Due> {
        let facts = &self.facts;
        let now = |certainty, seen, rules: &[u8]| Some((AT_ONCE, self.say(certainty, seen, rules)));
        if facts.blocked {
            return now(Certain, Seen::Blocked, &[16]);
        }
        if facts.kernel_passed_over {
            return now(Likely, Seen::KernelPassedOver, &[25]);
        }
        let is_image = |stages: u16| stages & bit(Stage::BootImage) != 0;
        if facts.image_probes >= IMAGE_PROBES && !is_image(facts.sent) {
            return now(Likely, Seen::ImageProbed { times: facts.image_probes }, &[28]);
        }
        if facts.updates && self.ends.updates > 0 {
            return now(Likely, Seen::UpdateAgain, &[29]);
        }
        if facts.files == 0 && facts.requests >= STORM {
            return now(Likely, Seen::Storm { requests: facts.requests }, &[70]);
        }
        if facts.files == 0 && facts.repeats >= REPEATS {
            let seen = Seen::Repeated { times: facts.repeats };
            return Some((self.silence(self.last, ANSWER), self.say(Likely, seen, &[16])));
        }
        if let Some(stall) = facts.stall {
            return self.stalled(stall);
        }
        if facts.open.is_some() {
            return None;
        }
        let due = self.silence(self.last, STOPPED);
        if let Some((rule, verdict)) = self.miss() {
            // Told already, after the boot before.
            return (self.ends.rule != rule).then_some((due, verdict));
        }
        if facts.files == 0 && facts.refused > 0 {
            return Some((due, self.say(Likely, Seen::Unreadable, &[17])));
        }
        if self.is_config_cut() {
            return Some((due, self.say(Likely, Seen::LongConfig { bytes: facts.config_len }, &[21])));
        }
        let is_pi5 = facts.model == Some(Model::Pi5);
        if is_pi5 && facts.config_len > PI5_CONFIG {
            return Some((due, self.say(Likely, Seen::LongConfig { bytes: facts.config_len }, &[83])));
        }
        None
    }

    /// Whether config.txt is longer than a Pi 3 or 4 reads by TFTP.
    fn is_config_cut(&self) -> bool {
        matches!(self.facts.model, Some(Model::Pi3 | Model::Pi4)) && self.facts.config_len > PI4_CONFIG
    }

    fn stalled(&self, stall: Stall) -> Option<Due> {
        let Stall { bytes, block_size, after, at } = stall;
        let at = at.instant();
        // A transfer that stood still because this server did may go on.
        let at = if at < self.hearing.since { self.silence(at, STOPPED) } else { at };
        let say =
            |certainty, rules: &[u8]| Some((at, self.say(certainty, Seen::Stopped { bytes, after }, rules)));
        let blocks = bytes.checked_div(block_size.into()).unwrap_or(0);
        match (bytes, after) {
            (0, _) if self.facts.files == 0 => {
                let rules: &[u8] = if self.facts.address_shared { &[59, 16] } else { &[16] };
                Some((at, self.say(Likely, Seen::NothingTaken, rules)))
            }
            (0, _) => None,
            _ if blocks > 0 && (blocks.is_multiple_of(BLOCKS) || (blocks + 1).is_multiple_of(BLOCKS)) => {
                say(Certain, &[22])
            }
            (_, 28..=33) => say(Likely, &[23]),
            _ => say(Likely, &[24]),
        }
    }

    /// The missing file that ends the boot, as far as is known: its rule, and the verdict of a silence.
    pub(super) fn miss(&self) -> Option<(u8, Verdict)> {
        let facts = &self.facts;
        let lacks = |stage| facts.missed & !facts.sent & bit(stage) != 0;
        let has = |stage| facts.sent & bit(stage) != 0;
        let verdict =
            |seen, rules: &[u8]| Some((rules.first().copied().unwrap_or(0), self.say(Likely, seen, rules)));
        let nothing = Seen::NothingFound { misses: facts.misses };
        if facts.tryboot && !has(Stage::Config) {
            return verdict(Seen::Missing(Stage::Config), &[81]);
        }
        if lacks(Stage::BootImage) {
            return verdict(Seen::Missing(Stage::BootImage), &[80]);
        }
        if facts.files == 0 && facts.misses > 0 {
            return verdict(nothing, &[17]);
        }
        let own = facts.in_own_directory;
        // UEFI as the stub needs no kernel.
        if lacks(Stage::Kernel) && !has(Stage::ArmStub) {
            return verdict(Seen::Missing(Stage::Kernel), if own { &[82, 20] } else { &[20] });
        }
        if lacks(Stage::DeviceTree) && !has(Stage::ArmStub) {
            let rules: &[u8] = match (own, facts.cm5_tree) {
                (true, _) => &[82, 19],
                (false, true) => &[77, 19],
                (false, false) => &[19],
            };
            return verdict(Seen::Missing(Stage::DeviceTree), rules);
        }
        let first =
            [Stage::Loader, Stage::Config, Stage::Firmware].into_iter().find(|stage| lacks(*stage))?;
        verdict(Seen::Missing(first), &[17])
    }

    fn kernel_sent(&self) -> Option<Due> {
        let facts = &self.facts;
        if facts.u_boot {
            return Some((self.silence(self.last, U_BOOT), self.say(Likely, Seen::UBootAsks, &[78])));
        }
        if facts.chained {
            return None;
        }
        let is_pi3 = facts.model == Some(Model::Pi3);
        let silent = match (self.hears_dhcp(), self.hearing.nfs) {
            (true, _) if is_pi3 => KERNEL_PI3,
            (true, _) => KERNEL,
            (false, true) => KERNEL_UNHEARD,
            (false, false) => return None,
        };
        let due = self.silence(self.last, silent);
        let has = |stage| facts.sent & bit(stage) != 0;
        let initramfs = has(Stage::Initramfs);
        let without =
            |stage, rules: &[u8]| Some((due, self.say(Likely, Seen::KernelSilentWithout(stage), rules)));
        if is_pi3 && facts.start_x && !facts.line_asked {
            return without(Stage::CommandLine, &[30]);
        }
        match facts.line {
            RootLine::Here | RootLine::HereNotForKlibc | RootLine::Disk => {}
            RootLine::Elsewhere if self.hears_dhcp() => {}
            // A bare-metal program has no command line either, but no initramfs.
            RootLine::Missing if initramfs => return without(Stage::CommandLine, &[39]),
            _ => return None,
        }
        if facts.is_d0 && facts.lacks_d0 {
            return without(Stage::Overlays, &[75]);
        }
        if facts.prefix_doubled && !initramfs {
            return without(Stage::Initramfs, &[76]);
        }
        if let (true, Some(kernel), Some(other)) = (initramfs, facts.kernel_pages, facts.initramfs_pages)
            && kernel != other
        {
            return Some((due, self.say(Likely, Seen::OtherInitramfs, &[27])));
        }
        if self.is_config_cut() {
            let seen = Seen::LongConfig { bytes: facts.config_len };
            return Some((due, self.say(OneOf, seen, &[21, 41])));
        }
        let seen = Seen::KernelSilent { initramfs };
        let is_cm5 = matches!(facts.board, Some(Board::Cm5 | Board::Cm5Lite));
        Some((
            due,
            match (is_cm5, facts.is_d0, initramfs) {
                (true, ..) => self.say(OneOf, seen, &[41, 88, 89, 75]),
                (_, true, _) => self.say(OneOf, seen, &[41, 75]),
                (_, false, true) => self.say(Likely, seen, &[41]),
                (_, false, false) => self.say(OneOf, seen, &[41, 20]),
            },
        ))
    }

    fn kernel_asks(&self) -> Option<Due> {
        let facts = &self.facts;
        if facts.chained || facts.told_elsewhere || facts.kernel_discovers < DISCOVERS {
            return None;
        }
        let seen = Seen::KernelUnanswered { discovers: facts.kernel_discovers };
        Some((self.silence(self.since, KERNEL_ASKS), self.say(Likely, seen, &[36])))
    }

    fn has_network(&self) -> Option<Due> {
        if self.facts.chained || !self.hearing.nfs {
            return None;
        }
        let due = self.silence(self.last, NO_MOUNT);
        match self.facts.line {
            RootLine::HereNotForKlibc => Some((due, self.say(Likely, Seen::NoMountAsked, &[33]))),
            RootLine::Here => Some((due, self.say(OneOf, Seen::NoMountAsked, &[41, 33, 68]))),
            RootLine::Disk => Some((due, self.say(OneOf, Seen::NoDiskAsked, &[41, 68]))),
            _ => None,
        }
    }

    fn mounting(&self) -> Option<Due> {
        let facts = &self.facts;
        let soon = self.silence(self.last, SOON);
        match (facts.mount_refused, facts.asked_v2, facts.asked_v4) {
            (Some(true), ..) => Some((AT_ONCE, self.say(Certain, Seen::MountRefused, &[95, 37]))),
            (Some(false), ..) => Some((AT_ONCE, self.say(Certain, Seen::MountRefused, &[37]))),
            // A client that may fall back to version 3 does so at once.
            (None, true, false) => Some((soon, self.say(Certain, Seen::WrongVersion, &[35]))),
            (None, _, true) => Some((soon, self.say(Likely, Seen::WrongVersion, &[34]))),
            (None, false, false) if facts.chained => None,
            (None, false, false) => {
                Some((self.silence(self.last, NO_MOUNT), self.say(OneOf, Seen::NotMounted, &[38, 37])))
            }
        }
    }

    fn connecting(&self) -> Option<Due> {
        let facts = &self.facts;
        if facts.told_elsewhere || facts.chained {
            return None;
        }
        if facts.mount_refused.is_some() {
            return Some((AT_ONCE, self.say(Certain, Seen::DiskRefused, &[98])));
        }
        Some((self.silence(self.last, NO_MOUNT), self.say(OneOf, Seen::DiskNotTaken, &[40, 68])))
    }

    fn running(&self) -> Option<Due> {
        let facts = &self.facts;
        if let Some(at) = facts.readdressed.map(Moment::instant) {
            return Some((self.silence(at, READDRESSED), self.say(Likely, Seen::Readdressed, &[12, 43])));
        }
        if let Some(at) = facts.released.map(Moment::instant) {
            return Some((self.silence(at, RESTARTS), self.say(Likely, Seen::Released, &[14])));
        }
        if self.state == State::InUse && facts.init_missing >= INIT_PLACES && !facts.init_found {
            return Some((self.silence(self.last, STOPPED), self.say(Likely, Seen::NoInit, &[97])));
        }
        if facts.emergency.is_some() && facts.lost.is_none() {
            return Some((self.silence(self.last, STOPPED), self.say(Likely, Seen::EmergencyShell, &[45])));
        }
        let at = facts.lost?.instant();
        let reconfigured = facts.duid.is_some_and(|duid| duid.until(at) <= RECONFIGURES);
        let verdict = match (reconfigured, facts.alive) {
            (true, _) => self.say(Likely, Seen::Lost, &[43]),
            (false, Some(true)) => self.say(OneOf, Seen::LostAlive, &[44, 43]),
            // A bootloader that finds its PHY off sends nothing.
            (false, Some(false)) if facts.is_pi4_r11 => self.say(OneOf, Seen::LostDead, &[13, 40]),
            (false, Some(false)) => self.say(OneOf, Seen::LostDead, &[40, 86, 13]),
            (false, None) => self.say(OneOf, Seen::Lost, &[40, 86, 43, 44]),
        };
        Some((self.silence(at, RESTARTS), verdict))
    }
}

/// A message shows it.
const AT_ONCE: Instant = Instant::ZERO;
/// Linux tries /sbin/init, /etc/init and /bin/init, in this order (init/main.c, kernel_init), and then a shell.
const INIT_PLACES: u8 = 3;
/// The time for three DISCOVERs, and for a slow DHCP server: dnsmasq pings an address for 3 s before it offers it.
const ASKS: Duration = Duration::from_secs(10);
/// DISCOVERs of a boot ROM, 5 s apart (documented, raspberrypi/documentation boot-net).
const ROM_DISCOVERS: u8 = 5;
const ROM_GIVES_UP: Duration = Duration::from_secs(12);
/// The next message of an exchange comes within that time, a lost packet or two included.
const SOON: Duration = Duration::from_secs(5);
/// The time from an answer to what a client does with it. A client that has none repeats its message after 2 s.
const ANSWER: Duration = Duration::from_secs(1);
/// The time after which a bootloader in EEPROM asks again in any case.
const GIVES_UP: Duration = Duration::from_secs(90);
/// The time to ask the network in a Pi's place, and some more.
const SURVEY: Duration = Duration::from_secs(8);
/// From the address to the first request.
const NO_FILE: Duration = Duration::from_secs(8);
/// ARP requests for one host without an answer. A bootloader that has its answer asks once, and again after some 25 s (captured,
/// rpi-eeprom issue 720).
const ARP_REPEATS: u8 = 3;
/// A running system of a Pi that asks by DHCP while its bootloader did not.
const ALONE: Duration = Duration::from_secs(30);
/// Silence after which a boot counts as stopped. A bootloader requests the next file at once, and repeats an unanswered request
/// after 2 s (captured, raspberrypi/rpi-eeprom#74).
const STOPPED: Duration = Duration::from_secs(10);
/// Repetitions of one request before any file was sent.
const REPEATS: u8 = 3;
/// Size probes of boot.img.
const IMAGE_PROBES: u8 = 3;
/// Requests without a file in one boot: a bootloader asks for some thirty.
const STORM: u16 = 1000;
/// Blocks of a counter of 16 bits.
const BLOCKS: u64 = 65_536;
/// Bytes of config.txt that a Pi 3 or 4 reads by TFTP (reported, raspberrypi/firmware issue 1012).
const PI4_CONFIG: u64 = 4096;
/// Bytes of config.txt that a Pi 5 reads.
const PI5_CONFIG: u64 = 16_384;
/// From the kernel to its first DHCP message.
const KERNEL: Duration = Duration::from_secs(20);
const KERNEL_PI3: Duration = Duration::from_secs(30);
/// From the kernel to its first call for the root, DHCP in between unheard.
const KERNEL_UNHEARD: Duration = Duration::from_secs(60);
/// U-Boot tries a dozen names, and waits for each.
const U_BOOT: Duration = Duration::from_secs(60);
/// The kernel asks at 0, 4, 12 s.
const KERNEL_ASKS: Duration = Duration::from_secs(12);
/// From the address to the first call, and from that to the mount.
const NO_MOUNT: Duration = Duration::from_secs(15);
/// After the address of a mounted root changed.
const READDRESSED: Duration = Duration::from_secs(10);
/// From the end of a system to the next DISCOVER of its Pi.
const RESTARTS: Duration = Duration::from_secs(30);
/// From a DHCP exchange of the system to the loss of its root.
const RECONFIGURES: Duration = Duration::from_secs(300);
