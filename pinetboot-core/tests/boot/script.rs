//! Boots as scripts: words for events, seconds between them.
//!
//! `discover`, `request`, `offer` (a proxy's), `lease-offer`, `address` are DHCP of the bootloader; `linux`, `linux-request`, `duid`,
//! `boot-code` that of a system. A file's name is a request that is answered with the file, `-name` one that is not there, `?name` a
//! request for its size, `..name` a request without an answer. `+8` lets 8 s pass. `freeze8` does so with the server stopped: what follows
//! waited, up to `heard`. With `late` the server knows.

use core::net::Ipv4Addr;
use core::time::Duration;

use pinetboot_core::Instant;
use pinetboot_core::pi::boot::{
    ArpTarget, Boot, Event, Hearing, RootLine, State, Survey, SystemKind, Verdict,
};
use pinetboot_core::pi::{PiIdentity, Revision};

pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 113);
pub(crate) const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 114);

/// What a board says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Pi3,
    Pi4,
    /// A Pi 4 of revision 1.1.
    Pi4R11,
    Pi5,
    Pi5D0,
    Cm5,
}

impl Who {
    pub(crate) fn identity(self) -> PiIdentity {
        let of = |fourcc, revision| {
            PiIdentity::new(fourcc, Revision::from_code(revision), [0xd8, 0x3a, 0xdd, 1, 2, 3], 0xbd98_9ae1)
        };
        let identity = match self {
            Self::Pi3 => Some(PiIdentity::BOOT_ROM),
            Self::Pi4 => of(*b"RPi4", 0x00d0_3114),
            Self::Pi4R11 => of(*b"RPi4", 0x00a0_3111),
            Self::Pi5 => of(*b"RPi5", 0x00d0_4170),
            Self::Pi5D0 => of(*b"RPi5", 0x00d0_4171),
            Self::Cm5 => of(*b"RPi5", 0x00d0_4180),
        };
        identity.unwrap()
    }
}

/// A Pi, its machine, and all that the machine said.
pub(crate) struct Run {
    who: Who,
    hearing: Hearing,
    /// What waited is not handled yet: the clock does not tick.
    is_behind: bool,
    pub(crate) boot: Boot,
    pub(crate) now: Instant,
    pub(crate) said: Vec<Verdict>,
    pub(crate) gone_on: Vec<Vec<u8>>,
    pub(crate) boots: u32,
    xid: u32,
    block_size: u16,
}

impl Run {
    pub(crate) fn new(who: Who, hearing: Hearing) -> Self {
        Self {
            who,
            hearing,
            is_behind: false,
            boot: Boot::new(hearing),
            now: Instant::from_millis(1_000_000),
            said: Vec::new(),
            gone_on: Vec::new(),
            boots: 0,
            xid: 7,
            block_size: 1468,
        }
    }

    /// The numbers of all verdicts.
    pub(crate) fn numbers(&self) -> Vec<Vec<u8>> {
        self.said.iter().map(|verdict| verdict.rules().to_vec()).collect()
    }

    pub(crate) fn step(&mut self, event: &Event<'_>) {
        let step = self.boot.step(event, self.now);
        self.boots += u32::from(step.began);
        self.said.extend(step.verdict);
        self.gone_on.extend(step.goes_on.map(|(verdict, _)| verdict.rules().to_vec()));
    }

    /// Lets time pass; the machine's deadlines come in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while !self.is_behind && self.boot.deadline() <= end {
            self.now = self.now.max(self.boot.deadline());
            let said = self.said.len();
            self.step(&Event::Tick);
            assert!(
                self.said.len() > said || self.boot.deadline() > self.now,
                "a deadline without an effect"
            );
        }
        self.now = end;
    }

    /// The server hears everything from now on; before, it did not.
    pub(crate) fn late(&mut self) {
        self.hearing.since = self.now;
        self.boot.set_hearing(self.hearing);
    }

    /// Plays a script; `pause` comes before each word that is no time.
    pub(crate) fn play(&mut self, script: &str, mut pause: impl FnMut() -> Duration) -> &mut Self {
        for word in script.split_whitespace() {
            match word.strip_prefix('+') {
                Some(seconds) => self.pass(Duration::from_secs_f64(seconds.parse().unwrap())),
                None => {
                    self.pass(pause());
                    self.word(word);
                }
            }
        }
        self
    }

    pub(crate) fn at_once(&mut self, script: &str) -> &mut Self {
        self.play(script, || Duration::from_millis(20))
    }

    fn word(&mut self, word: &str) {
        let linux = |discover| SystemKind::Linux { discover };
        let system = |kind, has_duid| Event::SystemAsks { kind, has_duid };
        let event = match word {
            "new-xid" => {
                self.xid += 1;
                return;
            }
            "late" => return self.late(),
            "heard" => {
                self.is_behind = false;
                return;
            }
            word if word.starts_with("freeze") => {
                let seconds = word.trim_start_matches("freeze").parse().unwrap();
                (self.now, self.is_behind) = (self.now + Duration::from_secs(seconds), true);
                return;
            }
            "started" => Event::Started { len: None },
            "shared" => Event::AddressShared,
            "moves" => Event::Moves,
            "stalled" => Event::Stalled { bytes: 86_612, block_size: 1468, after: Duration::from_secs(2) },
            "discover" | "relayed" => {
                let relayed = word == "relayed";
                Event::Discover { xid: self.xid, identity: self.who.identity(), relayed }
            }
            "together" => Event::PoweredTogether,
            "request" => Event::Requested,
            "offer" => Event::Offered { address: false },
            "lease-offer" => Event::Offered { address: true },
            "address" => Event::Address { address: HERE },
            "other-address" => Event::Address { address: THERE },
            "linux" => system(linux(true), false),
            "linux-request" => system(linux(false), false),
            "duid" => system(linux(true), true),
            "boot-code" => system(SystemKind::BootCode, false),
            "release" => Event::Released,
            "no-boot-file" => Event::NoBootFile,
            "told" => Event::ToldElsewhere,
            "arp-here" => Event::ArpAsks { target: ArpTarget::Here },
            "arp-named" => Event::ArpAsks { target: ArpTarget::Named },
            "arp-elsewhere" => Event::ArpAsks { target: ArpTarget::Elsewhere },
            "no-address" => Event::Surveyed(Survey::NoAddress),
            "no-boot-server" => Event::Surveyed(Survey::NoBootServer),
            "pc-menu" => Event::Surveyed(Survey::PcMenu),
            "complete" => Event::Surveyed(Survey::Complete),
            "silent-server" => Event::Surveyed(Survey::BootServerSilent),
            "blocked" => Event::Blocked,
            "refused" => Event::FileRefused,
            "again" => Event::AskedAgain,
            "here" => Event::CommandLine(RootLine::Here),
            "not-for-klibc" => Event::CommandLine(RootLine::HereNotForKlibc),
            "disk" => Event::CommandLine(RootLine::Disk),
            "card" => Event::CommandLine(RootLine::Card),
            "elsewhere" => Event::CommandLine(RootLine::Elsewhere),
            "connect" => Event::Connected,
            "nfs4" => Event::WrongVersion { program: 100_003, version: 4 },
            "nfs2" => Event::WrongVersion { program: 100_003, version: 2 },
            "mount1" => Event::WrongVersion { program: 100_005, version: 1 },
            "mount-denied" => Event::MountRefused { not_found: false },
            "mount-unknown" => Event::MountRefused { not_found: true },
            "mount" => Event::Mounted { address: HERE },
            "disk-connect" => Event::DiskConnected,
            "disk-denied" => Event::DiskRefused { why_told: false },
            "disk-failed" => Event::DiskRefused { why_told: true },
            "disk-open" => Event::DiskOpened { address: HERE },
            "unmount" => Event::Unmounted,
            "active" => Event::Active,
            "write" => Event::Wrote,
            "init" => Event::InitSought { found: true },
            "no-init" => Event::InitSought { found: false },
            "emergency" => Event::EmergencyShell,
            "lost" => Event::Lost,
            "arp-alive" => Event::ArpAnswers(true),
            "arp-dead" => Event::ArpAnswers(false),
            "bad-handle" => Event::HandleRefused,
            word if word.starts_with("says") => {
                Event::Console { rule: word.trim_start_matches("says").parse().unwrap() }
            }
            word => return self.file(word),
        };
        self.step(&event);
    }

    fn file(&mut self, word: &str) {
        // `name@BYTES@SECONDS` stops there; `name=BYTES` has that length.
        if let Some((path, stop)) = word.split_once('@') {
            let (bytes, after) = stop.split_once('@').unwrap();
            let (bytes, after) = (bytes.parse().unwrap(), Duration::from_secs(after.parse().unwrap()));
            self.step(&Event::FileAsked { path });
            self.step(&Event::Started { len: None });
            self.pass(after + Duration::from_secs(7));
            let block_size = self.block_size;
            return self.step(&Event::Stalled { bytes, block_size, after });
        }
        if let Some(path) = word.strip_prefix("..") {
            return self.step(&Event::FileAsked { path });
        }
        if let Some(path) = word.strip_prefix("!-") {
            self.step(&Event::FileAsked { path });
            return self.step(&Event::FileMissing { path, own_directory: true });
        }
        if let Some(path) = word.strip_prefix('-') {
            self.step(&Event::FileAsked { path });
            return self.step(&Event::FileMissing { path, own_directory: false });
        }
        if let Some(path) = word.strip_prefix('?') {
            self.step(&Event::FileAsked { path });
            self.step(&Event::Started { len: Some(100) });
            return self.step(&Event::Probed { path });
        }
        let (path, len) = word.split_once('=').unwrap_or((word, "100"));
        self.step(&Event::FileAsked { path });
        self.step(&Event::Started { len: len.parse().ok() });
        self.step(&Event::FileSent { path });
    }

    pub(crate) fn is_at(&self, state: State) -> bool {
        self.boot.state() == state
    }
}
