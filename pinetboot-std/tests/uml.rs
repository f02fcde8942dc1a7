//! A real Linux kernel without hardware virtualisation: user-mode Linux, which is a process of this machine. As a client it
//! lives from `pinetboot serve` alone; as a server it loses its power.
//!
//! `.ci/run uml` runs them: they need root, network namespaces and user-mode Linux (Debian: user-mode-linux).

#![cfg(feature = "nfs")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "guest/work.rs"]
mod debian;
mod namespace;
#[path = "../nfs/tests/nfs_client/mod.rs"]
mod nfs_client;
#[path = "guest/shell.rs"]
mod shell;

mod uml {
    #[cfg(feature = "import")]
    mod card;
    mod client;
    mod debian;
    mod disk;
    mod listing;
    mod load;
    mod machine;
    mod posix;
    mod power;
    mod quota;
    mod service;
    mod work;
}
