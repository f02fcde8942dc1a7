//! The DHCP responder that the configuration selects: none, a proxy or a server.

use core::cell::Cell;

use pinetboot_core::dhcp::{Arrival, LeaseServer, LeaseSlot, Message, NoReply, ProxyDhcp, Reply, Respond};

use crate::config::Dhcp;
use crate::interface::Interface;
use crate::search::Others;

/// The selected responder.
#[expect(clippy::large_enum_variant, reason = "one value exists, and no heap")]
pub(crate) enum Answer<'a, I> {
    Off,
    /// A proxy at the board's current address, which another DHCP server may change.
    Proxy(I),
    /// A server, while there is no other one.
    Lease(LeaseServer<'static, [LeaseSlot; LEASES]>, &'a Cell<Others>),
}

impl<'a, I: Interface> Answer<'a, I> {
    pub(crate) fn new(dhcp: Dhcp, interface: I, others: &'a Cell<Others>) -> Self {
        match dhcp {
            Dhcp::Off => Self::Off,
            Dhcp::Proxy => Self::Proxy(interface),
            Dhcp::Lease(network) => {
                Self::Lease(LeaseServer::new(network, [LeaseSlot::EMPTY; LEASES]), others)
            }
        }
    }
}

impl<I: Interface> Respond for Answer<'_, I> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        match self {
            Self::Off => Err(NoReply::NotServed),
            Self::Proxy(interface) => {
                let address = interface.address().ok_or(NoReply::NotServed)?;
                ProxyDhcp::new(address).respond(arrival, request, out)
            }
            Self::Lease(server, others) if others.get() == Others::None => {
                server.respond(arrival, request, out)
            }
            Self::Lease(..) => Err(NoReply::NotServed),
        }
    }
}

/// The most leases at a time.
const LEASES: usize = 32;
