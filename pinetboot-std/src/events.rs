//! Events of a running server, as owned values.
//!
//! A service reports only by emitting a [`Fact`] on the [`bus`](crate::bus). The bus stamps the fact with a time and the Pi's
//! name, the registry ([`pis`](crate::pis)) updates its knowledge of the Pi, and each listener ([`log`](crate::log)) receives
//! the whole [`Event`]. A listener has no effect on any other part: the same list of events gives the same log.
//!
//! Facts follow the order of a boot: [`Dhcp`], [`Tftp`], [`Boot`] (what the registry concludes), [`Root`],
//! [`Nfs`], [`Network`] (what is overheard), [`Server`] for the program itself, and [`Usage`] for metrics. Sizes are bytes, times seconds or [`Duration`]s.

mod boot;
mod dhcp;
mod network;
mod nfs;
pub(crate) mod prefix;
mod root;
mod server;
mod tftp;
mod usage;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

pub use boot::{Boot, BootKey, BootRecord, Cause};
pub use dhcp::{Dhcp, Lacking};
pub use network::Network;
pub use nfs::Nfs;
pub use root::{DiskEnd, Evidence, LayerSize, Root, Shortage};
pub use server::{Server, Transfers};
pub use tftp::{Finished, Tftp};
pub use usage::{Served, Usage};

/// A MAC address.
pub type Mac = [u8; 6];

/// A fact with its time, Pi and client.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Time since the server started; monotonic.
    pub at: Duration,
    /// The Pi's name, if the client is a known Pi: the owner's name, else the serial number, else the MAC address.
    pub pi: Option<Arc<str>>,
    /// The Pi's boot, if it has one.
    pub boot: Option<BootKey>,
    /// The client's address; `None` without a client.
    pub client: Option<Ipv4Addr>,
    /// The same refusal of the same client was emitted within the last minute.
    pub again: bool,
    /// The fact.
    pub fact: Fact,
}

/// A fact, without time and Pi.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// DHCP.
    Dhcp(Dhcp),
    /// TFTP.
    Tftp(Tftp),
    /// A Pi's boot.
    Boot(Boot),
    /// A Pi's root file system.
    Root(Root),
    /// The NFS server.
    Nfs(Nfs),
    /// Frames that are for no port of this server.
    Network(Network),
    /// The program.
    Server(Server),
    /// Sums and sizes, for metrics.
    Usage(Usage),
}

/// Receives every event, in order, from any thread.
pub trait Listener: Send + Sync {
    /// Handles an event.
    fn listen(&self, event: &Event);
}

macro_rules! facts {
    ($($room:ident),*) => {$(
        impl From<$room> for Fact {
            fn from(fact: $room) -> Self {
                Self::$room(fact)
            }
        }
    )*};
}

facts!(Dhcp, Tftp, Boot, Root, Nfs, Network, Server, Usage);
