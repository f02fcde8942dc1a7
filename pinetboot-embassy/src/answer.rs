//! The DHCP responder that the configuration selects: none, a proxy or a server.

use pinetboot_core::dhcp::{Arrival, LeaseServer, LeaseSlot, Message, NoReply, ProxyDhcp, Reply, Respond};

use crate::config::Dhcp;
use crate::interface::Interface;

/// The selected responder.
#[expect(clippy::large_enum_variant, reason = "one value exists, and no heap")]
pub(crate) enum Answer<I> {
    Off,
    /// A proxy at the board's current address, which another DHCP server may change.
    Proxy(I),
    Lease(LeaseServer<'static, [LeaseSlot; LEASES]>),
}

impl<I: Interface> Answer<I> {
    pub(crate) fn new(dhcp: Dhcp, interface: I) -> Self {
        match dhcp {
            Dhcp::Off => Self::Off,
            Dhcp::Proxy => Self::Proxy(interface),
            Dhcp::Lease(network) => Self::Lease(LeaseServer::new(network, [LeaseSlot::EMPTY; LEASES])),
        }
    }
}

impl<I: Interface> Respond for Answer<I> {
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
            Self::Lease(server) => server.respond(arrival, request, out),
        }
    }
}

/// The most leases at a time.
const LEASES: usize = 32;
