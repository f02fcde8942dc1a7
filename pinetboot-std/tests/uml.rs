//! A real Linux kernel without hardware virtualisation: user-mode Linux, which is a process of this machine. As a client it
//! lives from `pinetboot serve` alone; as a server it loses its power.
//!
//! `.ci/run uml` runs them: they need root, network namespaces and user-mode Linux (Debian: user-mode-linux).

#![cfg(feature = "nfs")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[cfg(feature = "disk")]
#[path = "disks/card.rs"]
#[allow(dead_code, reason = "for the image alone")]
mod card;
#[cfg(feature = "import")]
#[path = "guest/cards.rs"]
mod cards;
#[cfg(feature = "import")]
#[path = "import/compare.rs"]
#[allow(dead_code, reason = "for the images")]
mod compare;
#[path = "guest/work.rs"]
mod debian;
#[cfg(feature = "import")]
#[path = "import/images.rs"]
#[allow(dead_code, reason = "every test uses its own part")]
mod images;
mod namespace;
#[cfg(feature = "disk")]
#[path = "disks/client.rs"]
#[allow(dead_code, reason = "every test uses its own part")]
mod nbd_client;
#[path = "../nfs/tests/nfs_client/mod.rs"]
mod nfs_client;
#[path = "guest/shell.rs"]
mod shell;
#[cfg(feature = "import")]
#[path = "up/image.rs"]
mod up_image;

mod uml {
    #[cfg(feature = "import")]
    mod card;
    mod client;
    mod debian;
    mod disk;
    #[cfg(feature = "disk")]
    mod disks_unit;
    #[cfg(feature = "import")]
    mod first_use;
    mod listing;
    mod load;
    mod machine;
    mod posix;
    mod power;
    mod quota;
    mod service;
    mod work;
}
