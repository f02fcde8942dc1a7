//! What keeps a boot where it is.

use core::fmt;

use super::State;
use crate::pi::Stage;
use crate::pi::rules::Rule;

/// A verdict: the rules that fit, how sure they are, and what was seen.
///
/// Shown as what was seen and the numbers, without the catalogue's texts: `no answer to 3 DISCOVERs [36]`. A program with room
/// for them finds the texts by [`Rule::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    rules: [u8; MOST],
    /// How sure it is.
    pub certainty: Certainty,
    /// What was seen.
    pub seen: Seen,
    /// How far the boot is.
    pub state: State,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to say each")]
pub enum Certainty {
    /// The first rule, and no other.
    Certain,
    /// The first rule, most likely; the others explain more of the case.
    Likely,
    /// One of the rules: what was seen fits them all.
    OneOf,
}

/// What was seen, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Seen {
    /// So many DISCOVERs of the bootloader, and no REQUEST.
    NoRequest {
        /// DISCOVERs.
        discovers: u8,
    },
    /// So many REQUESTs for the offered address, and nothing else.
    RepeatedRequest {
        /// REQUESTs.
        requests: u8,
    },
    /// DISCOVERs while this server was late or lost messages, and none since.
    AskedInVain,
    /// An address, and no request for a file.
    NoFileAsked,
    /// A line of the Pi's own log.
    Console,
    /// ARP requests for another address than the boot server's.
    ArpElsewhere,
    /// ARP requests for this server, again and again, and no request for a file.
    ArpRepeats,
    /// A DISCOVER of a running system, and none of a bootloader.
    SystemAlone,
    /// This machine's firewall drops the answers.
    Blocked,
    /// The same file request, again and again.
    Repeated {
        /// Repetitions.
        times: u8,
    },
    /// No byte of a file was acknowledged.
    NothingTaken,
    /// A transfer stopped.
    Stopped {
        /// After so many bytes.
        bytes: u64,
        /// So many seconds after its request.
        after: u16,
    },
    /// Files of a stage are missing, and no further request came.
    Missing(Stage),
    /// No requested file is there.
    NothingFound {
        /// Requests for missing files.
        misses: u16,
    },
    /// Files are there and cannot be read.
    Unreadable,
    /// The boots before ended like this, too.
    Ended {
        /// Boots in a row.
        boots: u8,
        /// Where.
        at: Stage,
    },
    /// A kernel was offered, not answered, and passed over for another.
    KernelPassedOver,
    /// The size of boot.img was asked for again and again.
    ImageProbed {
        /// Times.
        times: u8,
    },
    /// pieeprom.upd was fetched in boots one after the other.
    UpdateAgain,
    /// Requests without end.
    Storm {
        /// Requests.
        requests: u16,
    },
    /// Requests of U-Boot's PXE.
    UBootAsks,
    /// A config.txt of so many bytes.
    LongConfig {
        /// Bytes.
        bytes: u64,
    },
    /// No message since the kernel was sent.
    KernelSilent {
        /// An initramfs was sent.
        initramfs: bool,
    },
    /// The same, and a file is missing.
    KernelSilentWithout(Stage),
    /// DISCOVERs of the kernel, and no REQUEST.
    KernelUnanswered {
        /// DISCOVERs.
        discovers: u8,
    },
    /// An address for the kernel, and no call for its root.
    NoMountAsked,
    /// An address for the kernel, and no connection to its disk.
    NoDiskAsked,
    /// A connection to the port of disks, and no disk.
    DiskNotTaken,
    /// The Pi does not get its disk.
    DiskRefused,
    /// A call for a version that is not served.
    WrongVersion,
    /// A refused mount.
    MountRefused,
    /// Calls for a mount, and no mount.
    NotMounted,
    /// A root without a first program.
    NoInit,
    /// The system started the shell of systemd's emergency mode, and calls its root no more.
    EmergencyShell,
    /// The address was given back while the root was in use.
    Released,
    /// The address changed while the root was in use.
    Readdressed,
    /// The Pi answers no more.
    Lost,
    /// The Pi's connection broke, and the Pi answers ARP requests.
    LostAlive,
    /// The Pi's connection broke, and the Pi answers no ARP request.
    LostDead,
    /// The initramfs is for another kernel, by the names of both.
    OtherInitramfs,
    /// A file handle that this server does not know.
    HandleRefused,
    /// A PXE client on the Pi asks for a boot file, and none is set.
    NoBootFile,
}

impl Verdict {
    pub(super) fn new(certainty: Certainty, seen: Seen, state: State, fits: &[u8]) -> Self {
        let mut rules = [0; MOST];
        for (place, rule) in rules.iter_mut().zip(fits) {
            *place = *rule;
        }
        Self { rules, certainty, seen, state }
    }

    /// The numbers of the rules, the likeliest first; at least one, at most four.
    pub fn rules(&self) -> &[u8] {
        let len = self.rules.iter().position(|rule| *rule == 0).unwrap_or(MOST);
        self.rules.get(..len).unwrap_or_default()
    }

    /// The first rule.
    pub const fn rule(&self) -> Option<&'static Rule> {
        Rule::find(self.rules[0])
    }

    /// Whether it is about the boots before, so that a request does not clear it.
    pub(super) const fn is_of_ends(&self) -> bool {
        matches!(self.seen, Seen::Ended { .. })
    }
}

/// `no answer to 3 DISCOVERs [36]`
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seen, Numbers(self.rules()))
    }
}

/// `Missing(Kernel) [20]`: of several rules the first.
#[cfg(feature = "defmt")]
impl defmt::Format for Verdict {
    fn format(&self, f: defmt::Formatter<'_>) {
        let [first, ..] = self.rules;
        defmt::write!(f, "{} [{=u8}]", self.seen, first);
    }
}

/// Rule numbers: `[41 75]`.
struct Numbers<'a>(&'a [u8]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().enumerate() {
            write!(f, "{}{rule}", if index == 0 { "[" } else { " " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::OneOf => "one-of",
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRequest { discovers } => write!(f, "asked {discovers} times, takes no offer"),
            Self::RepeatedRequest { requests } => write!(f, "requested its address {requests} times"),
            Self::AskedInVain => f.write_str("asked while this server was late, and asks no more"),
            Self::NoFileAsked => f.write_str("has an address, requests no file"),
            Self::Console => f.write_str("says so itself"),
            Self::ArpRepeats => f.write_str("asks by ARP for this server again and again"),
            Self::ArpElsewhere => f.write_str("asks by ARP for a boot server that no DHCP server names"),
            Self::SystemAlone => f.write_str("asks by DHCP as a running system, not as a bootloader"),
            Self::Blocked => f.write_str("the firewall of this machine drops the answers"),
            Self::Repeated { times } => write!(f, "repeated one request {times} times"),
            Self::NothingTaken => f.write_str("acknowledges no byte"),
            Self::Stopped { bytes, after } => {
                write!(f, "stopped after {bytes} bytes, {after} s after the request")
            }
            Self::Missing(stage) => write!(f, "no {stage}"),
            Self::NothingFound { misses } => write!(f, "none of {misses} requested files exists"),
            Self::Unreadable => f.write_str("the files cannot be read"),
            Self::Ended { boots, at } => write!(f, "boots in a row without {at}: {boots}"),
            Self::KernelPassedOver => f.write_str("passed over a kernel without an answer"),
            Self::ImageProbed { times } => write!(f, "asked {times} times for the size of boot.img alone"),
            Self::UpdateAgain => f.write_str("fetches pieeprom.upd at each boot"),
            Self::Storm { requests } => write!(f, "requests without a file: {requests}"),
            Self::UBootAsks => f.write_str("U-Boot requests PXE files"),
            Self::LongConfig { bytes } => write!(f, "config.txt has {bytes} bytes"),
            Self::KernelSilent { initramfs: true } => {
                f.write_str("silent since kernel and initramfs were sent")
            }
            Self::KernelSilent { initramfs: false } => f.write_str("silent since the kernel was sent"),
            Self::KernelSilentWithout(stage) => {
                write!(f, "silent since the kernel was sent, without {stage}")
            }
            Self::KernelUnanswered { discovers } => {
                write!(f, "the kernel asked {discovers} times for an address")
            }
            Self::NoMountAsked => f.write_str("the kernel has an address, asks for no root"),
            Self::NoDiskAsked => f.write_str("the kernel has an address, connects to no disk"),
            Self::DiskNotTaken => f.write_str("connects to the port of its disk, takes no disk"),
            Self::DiskRefused => f.write_str("may not have its disk"),
            Self::WrongVersion => f.write_str("asks for another version of NFS"),
            Self::MountRefused => f.write_str("the mount was refused"),
            Self::NotMounted => f.write_str("asks for its root, mounts nothing"),
            Self::NoInit => f.write_str("finds no first program (init) in its root"),
            Self::EmergencyShell => f.write_str("started the shell of systemd's emergency mode"),
            Self::Released => f.write_str("gave its address back while its root was in use"),
            Self::Readdressed => f.write_str("changed its address while its root was in use"),
            Self::LostAlive => f.write_str("uses its root no more, but answers ARP requests"),
            Self::LostDead => f.write_str("answers neither TCP nor ARP requests"),
            Self::OtherInitramfs => {
                f.write_str("silent since a kernel and the initramfs of another one were sent")
            }
            Self::Lost => f.write_str("does not answer any more"),
            Self::HandleRefused => f.write_str("uses a root that is gone"),
            Self::NoBootFile => f.write_str("UEFI asks for a boot file"),
        }
    }
}

/// Rules of a verdict.
const MOST: usize = 4;
