//! The program's own facts: how it starts, what it serves, how it ends.

/// What happened to the program.
#[derive(Debug, Clone, PartialEq)]
pub enum Server {
    /// All services answer.
    Ready {
        /// What is served.
        serving: String,
    },
    /// The configuration file has the old name of a setting.
    SettingRenamed {
        /// The old name.
        old: &'static str,
        /// The new name.
        new: &'static str,
    },
    /// DHCP is off.
    DhcpOff,
    /// The tree has no config.txt.
    NoConfig {
        /// The tree.
        tree: String,
    },
    /// The images hold boot files only.
    NoRoots,
    /// All Pis read a tree that cannot be written over in memory.
    NoOverlayRoot {
        /// The tree.
        root: String,
    },
    /// One Pi may write to the tree.
    WritableRoot,
    /// Boot files do not come from the root that is served.
    BootFilesElsewhere {
        /// Where they come from.
        tree: String,
    },
    /// Where the portmapper is.
    Portmapper {
        /// Its port; `None`: the system's portmapper tells where NFS is.
        port: Option<u16>,
    },
    /// Roots are served.
    RootsServed {
        /// How Pis share them.
        how: &'static str,
    },
    /// Fewer files may be open than transfers may take.
    FewDescriptors {
        /// How many may be open.
        allowed: u64,
        /// How many transfers there may be.
        transfers: usize,
    },
    /// A changed setting takes a restart.
    NeedsRestart,
    /// The configuration was read again.
    Reloaded {
        /// What is served from here on.
        serving: String,
    },
    /// The configuration was read again and is wrong: nothing changes.
    NotReloaded {
        /// What is wrong.
        error: String,
    },
    /// A thread panicked.
    Panicked {
        /// Which.
        thread: &'static str,
    },
    /// The network refused something.
    Network {
        /// What, and the system's reason.
        what: String,
    },
    /// The server stopped.
    Stopped(Transfers),
}

/// What was under way at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Transfers that were under way.
    pub open: usize,
    /// Datagrams that belonged to no transfer.
    pub rejected: u64,
}
