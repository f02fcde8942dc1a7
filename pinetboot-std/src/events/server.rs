//! Facts about the program: start, configuration, stop.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::disk_mode::DiskMode;
use crate::finding::Finding;
use crate::net::Lack;

/// A fact about the program.
#[derive(Debug, Clone, PartialEq)]
pub enum Server {
    /// All services answer.
    Ready {
        /// The served directory.
        serving: String,
    },
    /// The configuration file has the old name of a setting.
    SettingRenamed {
        /// The old name.
        old: &'static str,
        /// The new name.
        new: &'static str,
    },
    /// A setting has no effect beside the others.
    NoEffect {
        /// The setting.
        setting: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// The Pis that have files or settings of their own.
    PisKnown {
        /// Directories of the tree that are named after Pis.
        directories: usize,
        /// Pis in the inventory.
        listed: usize,
    },
    /// A fault of the boot files or of a root, found without a Pi.
    Finding(Finding),
    /// DHCP is off.
    DhcpOff,
    /// The server cannot start yet, and waits for an interface or its address.
    Waits {
        /// What the server waits for.
        why: String,
    },
    /// No interface was named, and several qualify: DHCP answers on that of the default route.
    InterfaceChosen {
        /// The interface.
        interface: String,
    },
    /// The default route, which chose the interface of DHCP at the start, has another interface.
    DefaultRoute {
        /// The interface of DHCP.
        interface: String,
        /// That of the route now.
        now: String,
    },
    /// The interfaces cannot be listed; the server tries again each second.
    CannotFollow {
        /// The reason.
        error: String,
    },
    /// A used interface has another name: sockets bound to it go on, and what looks for the name does not.
    InterfaceRenamed {
        /// The interface's name, as configured.
        interface: String,
        /// Its name now.
        now: String,
    },
    /// An interface that the server uses was removed.
    InterfaceGone {
        /// The interface.
        interface: String,
    },
    /// An interface that the server uses was made again.
    InterfaceBack {
        /// The interface.
        interface: String,
    },
    /// No interface has an address of `--listen` any more, or one has it again.
    ListenAddress {
        /// The address.
        address: Ipv4Addr,
        /// Whether an interface has it.
        is_there: bool,
    },
    /// The tree has no config.txt.
    NoConfig {
        /// The tree.
        tree: String,
    },
    /// Another directory is at the path of the tree: it is served from here on.
    TreeReplaced {
        /// The tree.
        tree: String,
    },
    /// No directory that can be served is at the path of the tree: the server goes on with the one that it opened.
    TreeMissing {
        /// The tree.
        tree: String,
        /// The reason.
        error: String,
    },
    /// The images hold boot files only.
    NoRoots,
    /// All Pis read a root without overlayroot, and so cannot write.
    NoOverlayRoot {
        /// The tree.
        root: String,
    },
    /// One Pi may write to the root.
    WritableRoot,
    /// The boot files do not come from the served root.
    BootFilesElsewhere {
        /// The tree of the boot files.
        tree: String,
    },
    /// NFS has a portmapper.
    Portmapper {
        /// Its port; `None`: NFS is registered with the system's portmapper.
        port: Option<u16>,
    },
    /// A compressed image is unpacked.
    Unpacking {
        /// The image.
        image: String,
        /// How far.
        percent: u64,
    },
    /// Disks on an image are served.
    DisksServed {
        /// The image.
        image: String,
        /// The place of what Pis write.
        mode: DiskMode,
        /// The directory of the disks.
        place: String,
    },
    /// Roots are served.
    RootsServed {
        /// The way in which Pis share the roots.
        how: &'static str,
    },
    /// Temporary files of killed processes were removed.
    LeftoversRemoved {
        /// The directory.
        place: String,
        /// Their number.
        number: usize,
    },
    /// The neighbour table has fewer places than Pis are known.
    FewNeighbours {
        /// The known Pis.
        pis: usize,
        /// The limit of the table.
        most: usize,
    },
    /// The kernel names no single entry of the neighbour table: each look-up reads the whole table.
    NeighboursByTable {
        /// The kernel's reason.
        why: String,
    },
    /// The kernel dropped packets for lack of room; told once for each lack.
    KernelDrops {
        /// The table or queue that is full.
        lack: Lack,
        /// The dropped packets.
        packets: u64,
    },
    /// The limit of open files is too low for the settings: fewer transfers are allowed.
    FewForTransfers {
        /// The limit.
        allowed: u64,
        /// The transfers that fit.
        transfers: usize,
    },
    /// The same limit of the process of NFS: fewer layers are allowed.
    FewForLayers {
        /// The limit.
        allowed: u64,
        /// The Pis with a layer that fit.
        pis: usize,
    },
    /// A file or directory did not answer before the deadline.
    DiskHangs {
        /// Its path.
        place: String,
        /// The deadline, in seconds.
        seconds: u64,
    },
    /// A file or directory answered after the deadline.
    DiskAnswers {
        /// Its path.
        place: String,
        /// The time that it took, in seconds.
        seconds: u64,
    },
    /// The server has given up its privileges.
    Confined {
        /// The user that it became; `None`: it stays the same user.
        user: Option<String>,
    },
    /// A part of the sandbox is off.
    SandboxLacks {
        /// The part.
        part: String,
        /// The reason.
        why: String,
    },
    /// A changed setting requires a restart.
    NeedsRestart,
    /// The configuration was reloaded.
    Reloaded {
        /// The directory that is served now.
        serving: String,
    },
    /// The new configuration is invalid: the previous one stays in force.
    NotReloaded {
        /// The fault.
        error: String,
    },
    /// The service manager's socket cannot be opened.
    NoNotify {
        /// The system's reason.
        error: String,
    },
    /// The control socket cannot be had: the server serves without.
    NoControl {
        /// The place; `None`: the user has no directory for sockets.
        place: Option<String>,
        /// The system's reason.
        error: String,
    },
    /// An event was not delivered to `on-event`.
    NotDelivered {
        /// The event, and the reason.
        why: String,
        /// Events before it that were dropped, as the queue was full.
        dropped: u64,
    },
    /// The process of `on-event` ended.
    HooksEnded,
    /// The operator did something by the page.
    Acted {
        /// What was done.
        what: String,
    },
    /// A thread panicked, or ended outside of a stop: the server stops.
    ThreadEnded {
        /// The thread's name.
        thread: String,
        /// `panicked`, or `ended` with the reason.
        why: String,
    },
    /// A service did not end in time: the process ends without its threads.
    StopOverdue {
        /// The service; empty before the first one was stopped.
        service: &'static str,
        /// The threads that did not end.
        threads: Vec<String>,
        /// The time that a stop may take.
        within: Duration,
    },
    /// A loop shows no turn: the watchdog is not fed.
    LoopStalled {
        /// The loop's name.
        thread: String,
        /// The time without a turn.
        interval: Duration,
    },
    /// A stalled loop turns again.
    LoopTurns {
        /// The loop's name.
        thread: String,
    },
    /// Messages of Pis were late or lost: no Pi counts as silent for what came before.
    HeardLate {
        /// The loop that was late.
        by: String,
        /// Lost messages; none if they waited.
        lost: u64,
    },
    /// A network operation failed.
    Network {
        /// The operation and the system's reason.
        what: String,
    },
    /// The server stopped.
    Stopped(Transfers),
}

/// Totals at shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Open transfers.
    pub open: usize,
    /// Datagrams that belonged to no transfer.
    pub rejected: u64,
}
