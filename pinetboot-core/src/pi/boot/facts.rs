//! What the machine remembers of one boot.

use core::net::Ipv4Addr;
use core::num::NonZeroU32;
use core::time::Duration;

use super::DISCOVERS;
use super::event::{RootLine, Survey};
use crate::Instant;
use crate::pi::{Board, Model, PiIdentity};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) model: Option<Model>,
    pub(super) board: Option<Board>,
    /// A Pi 5 of stepping D0: revision 1.1, 2 or 16 GB, and all later boards.
    pub(super) is_d0: bool,

    pub(super) xid: Option<u32>,
    pub(super) discovers: u8,
    /// All of them, those that came at once included.
    pub(super) heard: u8,
    /// The last repetition that counted, of any message.
    pub(super) counted: Option<Moment>,
    /// DISCOVERs came while this server was late, or lost messages.
    pub(super) asked_in_vain: bool,
    /// The time of the third.
    pub(super) third: Option<Moment>,
    pub(super) lease_requests: u8,
    pub(super) relayed: bool,
    pub(super) powered_together: bool,
    pub(super) offer: Offer,
    pub(super) told_elsewhere: bool,
    pub(super) survey: Option<Survey>,
    /// ARP requests for this server.
    pub(super) arp_here: u8,
    pub(super) arp_named: bool,
    pub(super) arp_elsewhere: bool,
    /// A running system's DISCOVER, before any of a bootloader.
    pub(super) linux_alone: Option<Moment>,

    pub(super) requests: u16,
    pub(super) files: u16,
    pub(super) misses: u16,
    pub(super) refused: u16,
    /// Repetitions of the last request, after its answer.
    pub(super) repeats: u8,
    /// The last request was answered.
    pub(super) answered: bool,
    /// The last request without an end.
    pub(super) open: Option<Open>,
    /// The length of the last file.
    pub(super) len: u64,
    pub(super) stall: Option<Stall>,
    pub(super) blocked: bool,
    /// Requests of other Pis come from its address.
    pub(super) address_shared: bool,
    /// A bit for each stage of which a file was sent.
    pub(super) sent: u16,
    /// A bit for each stage of which a needed file is missing.
    pub(super) missed: u16,
    pub(super) in_own_directory: bool,
    pub(super) cm5_tree: bool,
    pub(super) lacks_d0: bool,
    pub(super) tryboot: bool,
    pub(super) prefix_doubled: bool,
    pub(super) start_x: bool,
    pub(super) updates: bool,
    pub(super) u_boot: bool,
    /// The rule that a line of NETCONSOLE names; 0 for none.
    pub(super) console: u8,
    pub(super) image_probes: u8,
    pub(super) kernel_passed_over: bool,
    pub(super) config_len: u64,
    pub(super) line: RootLine,
    pub(super) line_asked: bool,

    /// Other boot code runs as the kernel: its order is its own.
    pub(super) chained: bool,
    pub(super) no_boot_file: bool,
    pub(super) kernel_discovers: u8,
    pub(super) asked_v4: bool,
    pub(super) asked_v2: bool,
    /// Whether the path is of no export.
    pub(super) mount_refused: Option<bool>,
    /// The address of the mount.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) duid: Option<Moment>,
    /// Places of a first program that lack one.
    pub(super) init_missing: u8,
    pub(super) init_found: bool,
    pub(super) emergency: Option<Moment>,
    pub(super) readdressed: Option<Moment>,
    pub(super) released: Option<Moment>,
    pub(super) lost: Option<Moment>,
    /// The lost Pi answers ARP requests, or does not.
    pub(super) alive: Option<bool>,
    /// The flavour of the kernel's and of the initramfs's pages, by their names.
    pub(super) kernel_pages: Option<Pages>,
    pub(super) initramfs_pages: Option<Pages>,
    /// A Pi 4 of revision 1.1, whose PHY stays off after some kernels (raspberrypi/rpi-eeprom issue 417).
    pub(super) is_pi4_r11: bool,
    pub(super) handle_refused: bool,
}

/// The kernel's flavour: the size of its pages. Modules and initramfs are for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// 4 KiB: `kernel8.img`, `initramfs8`.
    Of4K,
    /// 16 KiB: `kernel_2712.img`, `initramfs_2712`.
    Of16K,
}

/// What this server offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    Nothing,
    BootServer,
    Address,
}

/// A time in four bytes: sixteenths of a second, for eight years. A machine has many, and a server a machine for each Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(NonZeroU32);

/// A request without an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Open {
    /// The hash of its file's name.
    pub(super) name: u32,
    pub(super) kernel: bool,
    pub(super) at: Moment,
}

/// A transfer that stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stall {
    pub(super) bytes: u64,
    pub(super) block_size: u16,
    /// Seconds from the request to the last packet.
    pub(super) after: u16,
    pub(super) at: Moment,
}

impl Moment {
    pub(super) const fn instant(self) -> Instant {
        Instant::from_micros((self.0.get() as u64 - 1) * TICK)
    }

    /// The time from then to `now`.
    pub(super) const fn until(self, now: Instant) -> Duration {
        now.since(self.instant())
    }
}

/// The beginning of its sixteenth of a second.
impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let ticks = u32::try_from(at.as_micros() / TICK).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(ticks))
    }
}

impl Pages {
    /// The flavour that a file's name tells, of those of Raspberry Pi OS.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "kernel8.img" | "initramfs8" => Some(Self::Of4K),
            "kernel_2712.img" | "initramfs_2712" => Some(Self::Of16K),
            _ => None,
        }
    }
}

impl Facts {
    pub(super) const NONE: Self = Self {
        model: None,
        board: None,
        is_d0: false,
        xid: None,
        discovers: 0,
        heard: 0,
        counted: None,
        asked_in_vain: false,
        third: None,
        lease_requests: 0,
        relayed: false,
        powered_together: false,
        offer: Offer::Nothing,
        told_elsewhere: false,
        survey: None,
        arp_here: 0,
        arp_named: false,
        arp_elsewhere: false,
        linux_alone: None,
        requests: 0,
        files: 0,
        misses: 0,
        refused: 0,
        repeats: 0,
        answered: false,
        open: None,
        len: 0,
        stall: None,
        blocked: false,
        address_shared: false,
        sent: 0,
        missed: 0,
        in_own_directory: false,
        cm5_tree: false,
        lacks_d0: false,
        tryboot: false,
        prefix_doubled: false,
        start_x: false,
        updates: false,
        u_boot: false,
        console: 0,
        image_probes: 0,
        kernel_passed_over: false,
        config_len: 0,
        line: RootLine::Unknown,
        line_asked: false,
        chained: false,
        no_boot_file: false,
        kernel_discovers: 0,
        asked_v4: false,
        asked_v2: false,
        mount_refused: None,
        address: None,
        duid: None,
        init_missing: 0,
        init_found: false,
        emergency: None,
        readdressed: None,
        released: None,
        lost: None,
        alive: None,
        kernel_pages: None,
        initramfs_pages: None,
        is_pi4_r11: false,
        handle_refused: false,
    };

    /// Forgets what a client repeats without an answer: this server was late, or lost messages.
    pub(super) fn forget_repetitions(&mut self) {
        self.asked_in_vain |= self.heard >= DISCOVERS;
        (self.discovers, self.lease_requests, self.kernel_discovers, self.repeats) = (0, 0, 0, 0);
        self.arp_here = self.arp_here.min(1);
    }

    /// Whether a message counts as a repetition. Two at once waited in a queue, or are copies of one.
    pub(super) fn repeats(&mut self, before: u8, now: Instant) -> u8 {
        if before > 0 && self.counted.is_some_and(|counted| counted.until(now) < REPEATS_AFTER) {
            return before;
        }
        self.counted = Some(now.into());
        before.saturating_add(1)
    }

    pub(super) fn know(&mut self, identity: PiIdentity) {
        self.model = identity.model().or(self.model);
        if identity == PiIdentity::BOOT_ROM {
            self.model = Some(Model::Pi3);
        }
        let Some(revision) = identity.revision() else { return };
        self.board = revision.board();
        let first = revision.board_revision().is_some_and(|revision| revision == 1);
        self.is_pi4_r11 = self.board == Some(Board::Pi4B) && first;
        let newer = matches!(self.board, Some(Board::Cm5 | Board::Cm5Lite | Board::Pi500));
        let pi5 =
            self.board == Some(Board::Pi5) && revision.board_revision().is_some_and(|revision| revision >= 1);
        self.is_d0 = newer || pi5;
    }
}

/// A client waits longer than that before it repeats a message: a second for ARP, two for TFTP, four for DHCP (captured).
const REPEATS_AFTER: Duration = Duration::from_millis(500);

/// Microseconds.
const TICK: u64 = 62_500;
