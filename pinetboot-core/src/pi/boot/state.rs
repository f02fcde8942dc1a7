//! How far a boot is.

use core::fmt;

listed! {
    /// How far a boot is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    #[non_exhaustive]
    pub enum State {
        /// No message of the Pi has come.
        Unseen,
        /// The bootloader sends DISCOVERs.
        Asking,
        /// The bootloader has sent a REQUEST.
        Requested,
        /// The bootloader has an address.
        Addressed,
        /// The bootloader requests files.
        Fetching,
        /// The kernel was sent.
        KernelSent,
        /// The kernel, or its initramfs, sends DISCOVERs.
        KernelAsks,
        /// The kernel has an address.
        HasNetwork,
        /// The kernel asks for its root.
        Mounting,
        /// The kernel, or its initramfs, connected to the port of its disk.
        Connecting,
        /// The root is mounted.
        InUse,
        /// The disk with the root is opened.
        DiskInUse,
        /// The system runs.
        Up,
    }
}

/// `kernel sent`
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unseen => "unseen",
            Self::Asking => "asking",
            Self::Requested => "requested",
            Self::Addressed => "addressed",
            Self::Fetching => "fetching",
            Self::KernelSent => "kernel sent",
            Self::KernelAsks => "kernel asks",
            Self::HasNetwork => "has network",
            Self::Mounting => "mounting",
            Self::Connecting => "connecting",
            Self::InUse => "root in use",
            Self::DiskInUse => "disk in use",
            Self::Up => "up",
        })
    }
}
