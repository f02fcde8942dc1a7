//! Events: what happens while pinetboot serves, as owned values.
//!
//! A service says what happened by emitting a [`Fact`] on the [`bus`](crate::bus), and in no other way. The bus stamps the
//! fact with a time and the Pi's name, the registry ([`pis`](crate::pis)) takes from it what is to be known about the Pi, and
//! each listener ([`log`](crate::log)) gets the whole [`Event`]. A listener decides nothing and works for no other part:
//! the same list of events gives the same log.
//!
//! Facts come in the order in which a boot meets them: [`Dhcp`], [`Tftp`], [`Boot`] (what the registry concludes), [`Root`],
//! [`Nfs`], and [`Server`] for the program itself. Sizes are bytes, times seconds or [`Duration`]s.

mod boot;
mod dhcp;
mod nfs;
mod root;
mod server;
mod tftp;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

pub use boot::{Boot, BootRecord, Cause};
pub use dhcp::Dhcp;
pub use nfs::Nfs;
pub use root::{Evidence, Root};
pub use server::{Server, Transfers};
pub use tftp::{Finished, Tftp};

/// A MAC address.
pub type Mac = [u8; 6];

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, since the server started; monotonic.
    pub at: Duration,
    /// The Pi's name, if the client is known to be one: the owner's, else its serial number, else its MAC address.
    pub pi: Option<Arc<str>>,
    /// The client's address, if there is a client.
    pub client: Option<Ipv4Addr>,
    /// The client was refused the same within the last minute, and that was told.
    pub again: bool,
    /// What happened.
    pub fact: Fact,
}

/// What happened, without when and to which Pi.
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
    /// The program.
    Server(Server),
}

/// Gets every event, in the order in which they happened, from any thread.
pub trait Listener: Send + Sync {
    /// `event` happened.
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

facts!(Dhcp, Tftp, Boot, Root, Nfs, Server);
