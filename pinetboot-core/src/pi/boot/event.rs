//! What a boot machine is told, as plain facts.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::Instant;
use crate::pi::PiIdentity;

/// A fact about one Pi. `path` is a requested name without the Pi's directory ([`Lookup::file`](crate::pi::Lookup::file)).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The time of [`Boot::deadline`](super::Boot::deadline) has come.
    Tick,

    /// The bootloader sent a DISCOVER.
    Discover {
        /// Its transaction id.
        xid: u32,
        /// Its option 97.
        identity: PiIdentity,
        /// It passed a relay agent (`giaddr`).
        relayed: bool,
    },
    /// Many Pis began their boots within the same seconds as this one: a switch powers them, or power came back.
    PoweredTogether,
    /// The bootloader sent a REQUEST, for this server's address or another's.
    Requested,
    /// This server sent an OFFER that names the boot server.
    Offered {
        /// The OFFER has an address too; a proxy's has none.
        address: bool,
    },
    /// This server sends no answer, for a reason that its log tells: no address is left, the Pi is not listed.
    ToldElsewhere,
    /// The network was asked in the Pi's place.
    Surveyed(Survey),
    /// A line of the bootloader's or the kernel's log (NETCONSOLE) names this rule.
    Console {
        /// The rule's number ([`console::rule`](crate::pi::console::rule)).
        rule: u8,
    },
    /// The Pi sent an ARP request.
    ArpAsks {
        /// The host that it asks for.
        target: ArpTarget,
    },
    /// The Pi has an address: this server leased it, or the REQUEST to another server shows it.
    Address {
        /// The address.
        address: Ipv4Addr,
    },
    /// A system on the Pi sent a DISCOVER or a REQUEST: no option 97 of a bootloader, the same MAC address.
    SystemAsks {
        /// What asks.
        kind: SystemKind,
        /// The client identifier is a DUID (RFC 4361), which no kernel sends.
        has_duid: bool,
    },
    /// The Pi gave its address back (RELEASE).
    Released,
    /// A PXE client on the Pi (UEFI) asks for a boot file, and none is set.
    NoBootFile,

    /// A request for a file.
    FileAsked {
        /// The file.
        path: &'a str,
    },
    /// The last request came again, from the same port.
    AskedAgain,
    /// The transfer of the last request began.
    Started {
        /// The file's length in bytes, if known.
        len: Option<u64>,
    },
    /// A whole file was sent.
    FileSent {
        /// The file.
        path: &'a str,
    },
    /// A file is not there.
    FileMissing {
        /// The file.
        path: &'a str,
        /// It was looked for in a directory of the Pi's own.
        own_directory: bool,
    },
    /// A file is there and cannot be read.
    FileRefused,
    /// The Pi asked for a file's size only.
    Probed {
        /// The file.
        path: &'a str,
    },
    /// A transfer ended without the whole file, and not by silence: the Pi began it anew, or the server stopped.
    TransferEnded,
    /// The Pi takes no more of the file under way: some seconds have passed, and packets were sent again.
    Stalled {
        /// Bytes that it has.
        bytes: u64,
        /// Bytes in a block.
        block_size: u16,
        /// The time from its request to its last packet.
        after: Duration,
    },
    /// Requests of other Pis come from its address too: a router or a cluster translates addresses.
    AddressShared,
    /// The Pi takes more of that file.
    Moves,
    /// The server's own machine refuses to send to the Pi: a firewall (`EPERM`).
    Blocked,
    /// What the command line that the Pi got says of the root.
    CommandLine(RootLine),

    /// The Pi opened a connection to NFS, MOUNT or the portmapper.
    Connected,
    /// A call for a version that is not served.
    WrongVersion {
        /// The RPC program: 100003 is NFS, 100005 MOUNT.
        program: u32,
        /// The version.
        version: u32,
    },
    /// A mount was refused.
    MountRefused {
        /// No export has that path; otherwise the Pi may not have it.
        not_found: bool,
    },
    /// The root was mounted.
    Mounted {
        /// The Pi's address.
        address: Ipv4Addr,
    },
    /// The Pi opened a connection to the port of disks (NBD).
    DiskConnected,
    /// The Pi does not get its disk.
    DiskRefused {
        /// The server failed, and its log says how: the Pi has no fault to name.
        why_told: bool,
    },
    /// The Pi has its disk.
    DiskOpened {
        /// The Pi's address.
        address: Ipv4Addr,
    },
    /// The Pi took its mount back, or ended the use of its disk, as a simulation does.
    Unmounted,
    /// The Pi calls its root, or is connected to its disk.
    Active,
    /// The Pi wrote to its root.
    Wrote,
    /// The kernel, or its initramfs, looked for a first program in the root: for `init`, or in a directory that may hold one.
    InitSought {
        /// `init` is there; otherwise `init` or the directory is missing.
        found: bool,
    },
    /// The system looked up the program of systemd's emergency mode.
    EmergencyShell,
    /// The Pi's connection to its root or its disk broke: no answer from the Pi.
    Lost,
    /// Whether the Pi answers an ARP request, after its connection broke.
    ArpAnswers(bool),
    /// A call with a file handle that this server does not know.
    HandleRefused,
}

/// The host that an ARP request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to tell them apart")]
pub enum ArpTarget {
    /// This server.
    Here,
    /// A router or another server that a DHCP server names.
    Named,
    /// A host that no DHCP server names.
    Elsewhere,
}

/// What a server can hear. A silence means nothing where nothing could be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a caller says what each service hears")]
pub struct Hearing {
    /// DHCP messages of Pis.
    pub dhcp: bool,
    /// This server is the boot server that its OFFERs name.
    pub tftp: bool,
    /// Roots are served here.
    pub nfs: bool,
    /// Another DHCP server answers in this network; `None` if unknown.
    pub other_dhcp: Option<bool>,
    /// Frames that are for no port of this server: DHCP messages of a network whose server is another one, and answers to a
    /// DISCOVER in a Pi's place.
    pub frames: bool,
    /// The forward delay of the switch's spanning tree (STP), in seconds; 0 without one.
    pub forward_delay: u8,
    /// The time from which every message reached this server at once. Before, some were lost, or waited for a busy or stopped
    /// server: no silence, and no repetition, of before counts.
    pub since: Instant,
}

/// What asks by DHCP after the bootloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to tell them apart")]
pub enum SystemKind {
    /// A kernel, an initramfs or a running system.
    Linux {
        /// A DISCOVER, else a REQUEST.
        discover: bool,
    },
    /// Boot code that the kernel's place was given to: U-Boot, iPXE, UEFI.
    BootCode,
}

/// What a command line says of the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to tell them apart")]
pub enum RootLine {
    /// Not known.
    #[default]
    Unknown,
    /// There is no command line.
    Missing,
    /// On this server, by NFS version 3.
    Here,
    /// On this server, with an option that the initramfs's nfsmount (klibc) refuses.
    HereNotForKlibc,
    /// On a disk of this server, by NBD.
    Disk,
    /// On a card or disk of the Pi.
    Card,
    /// On another server, or by another protocol.
    Elsewhere,
}

/// What other servers of the network answer to a DISCOVER like the Pi's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to tell them apart")]
pub enum Survey {
    /// No server gives an address.
    NoAddress,
    /// An address, and no boot server.
    NoBootServer,
    /// A menu of PCs.
    PcMenu,
    /// The boot server is in another network, or silent.
    BootServerSilent,
    /// A complete answer.
    Complete,
}

impl Event<'_> {
    /// Whether the Pi sent something; otherwise the server did, or time passed.
    pub(super) const fn is_of_pi(&self) -> bool {
        !matches!(
            self,
            Self::Tick
                | Self::PoweredTogether
                | Self::Offered { .. }
                | Self::ToldElsewhere
                | Self::Surveyed(_)
                | Self::Started { .. }
                | Self::Stalled { .. }
                | Self::TransferEnded
                | Self::AddressShared
                | Self::Moves
                | Self::Blocked
                | Self::CommandLine(_)
                | Self::Lost
                | Self::ArpAnswers(_)
        )
    }
}

impl Hearing {
    /// Everything is served here.
    pub const ALL: Self = Self {
        dhcp: true,
        tftp: true,
        nfs: true,
        other_dhcp: None,
        frames: false,
        forward_delay: 0,
        since: Instant::ZERO,
    };
    /// TFTP alone.
    pub const TFTP: Self = Self { dhcp: false, nfs: false, ..Self::ALL };
}
