//! From what the protocol engines observe to facts on the [`bus`](crate::bus): one observer for each engine.

mod dhcp;
mod net;
#[cfg(feature = "nfs")]
mod nfs;
mod tftp;

pub use dhcp::DhcpObserver;
pub use net::watch;
#[cfg(feature = "nfs")]
pub use nfs::NfsObserver;
pub use tftp::TftpObserver;
