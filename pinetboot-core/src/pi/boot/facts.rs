//! What the machine remembers of one boot.

use core::net::Ipv4Addr;

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
    pub(super) lease_requests: u8,
    pub(super) relayed: bool,
    pub(super) offer: Offer,
    pub(super) told_elsewhere: bool,
    pub(super) survey: Option<Survey>,
    /// ARP requests for this server.
    pub(super) arp_here: u8,
    pub(super) arp_named: bool,
    pub(super) arp_elsewhere: bool,
    /// A running system's DISCOVER, before any of a bootloader.
    pub(super) linux_alone: Option<Instant>,

    pub(super) requests: u16,
    pub(super) files: u16,
    pub(super) misses: u16,
    pub(super) refused: u16,
    /// Repetitions of the last request.
    pub(super) repeats: u8,
    /// The last request without an end.
    pub(super) open: Option<Open>,
    /// The length of the last file.
    pub(super) len: u64,
    pub(super) stall: Option<Stall>,
    pub(super) blocked: bool,
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
    pub(super) duid: Option<Instant>,
    pub(super) readdressed: Option<Instant>,
    pub(super) released: Option<Instant>,
    pub(super) lost: Option<Instant>,
    pub(super) handle_refused: bool,
}

/// What this server offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    Nothing,
    BootServer,
    Address,
}

/// A request without an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Open {
    /// The hash of its file's name.
    pub(super) name: u32,
    pub(super) kernel: bool,
    pub(super) at: Instant,
}

/// A transfer that stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stall {
    pub(super) bytes: u64,
    pub(super) block_size: u16,
    /// Seconds from the request to the last packet.
    pub(super) after: u16,
    pub(super) at: Instant,
}

impl Facts {
    pub(super) const NONE: Self = Self {
        model: None,
        board: None,
        is_d0: false,
        xid: None,
        discovers: 0,
        lease_requests: 0,
        relayed: false,
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
        open: None,
        len: 0,
        stall: None,
        blocked: false,
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
        readdressed: None,
        released: None,
        lost: None,
        handle_refused: false,
    };

    pub(super) fn know(&mut self, identity: PiIdentity) {
        self.model = identity.model().or(self.model);
        if identity == PiIdentity::BOOT_ROM {
            self.model = Some(Model::Pi3);
        }
        let Some(revision) = identity.revision() else { return };
        self.board = revision.board();
        let newer = matches!(self.board, Some(Board::Cm5 | Board::Cm5Lite | Board::Pi500));
        let pi5 =
            self.board == Some(Board::Pi5) && revision.board_revision().is_some_and(|revision| revision >= 1);
        self.is_d0 = newer || pi5;
    }
}
