//! Observers of the protocol engines, one for each engine: turn observations into facts on the [`bus`](crate::bus).

mod dhcp;
mod net;
#[cfg(feature = "nfs")]
mod nfs;
mod tftp;

pub use dhcp::DhcpObserver;
pub(crate) use dhcp::asked;
pub use net::watch;
#[cfg(feature = "nfs")]
pub use nfs::NfsObserver;
pub use tftp::TftpObserver;
