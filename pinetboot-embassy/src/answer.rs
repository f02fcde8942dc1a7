//! The DHCP responder that the configuration selects: none, a proxy or a server.

use embassy_net::Stack;
use pinetboot_core::dhcp::{Arrival, LeaseServer, LeaseSlot, Message, NoReply, ProxyDhcp, Reply, Respond};

use crate::config::Dhcp;

/// The selected responder.
#[expect(clippy::large_enum_variant, reason = "one value exists, and no heap")]
pub(crate) enum Answer<'a> {
    Off,
    /// A proxy at the stack's current address, which another DHCP server may change.
    Proxy(Stack<'a>),
    Lease(LeaseServer<'static, [LeaseSlot; LEASES]>),
}

impl<'a> Answer<'a> {
    pub(crate) fn new(dhcp: Dhcp, stack: Stack<'a>) -> Self {
        match dhcp {
            Dhcp::Off => Self::Off,
            Dhcp::Proxy => Self::Proxy(stack),
            Dhcp::Lease(network) => Self::Lease(LeaseServer::new(network, [LeaseSlot::EMPTY; LEASES])),
        }
    }
}

impl Respond for Answer<'_> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        match self {
            Self::Off => Err(NoReply::NotServed),
            Self::Proxy(stack) => {
                let config = stack.config_v4().ok_or(NoReply::NotServed)?;
                ProxyDhcp::new(config.address.address()).respond(arrival, request, out)
            }
            Self::Lease(server) => server.respond(arrival, request, out),
        }
    }
}

/// The most leases at a time.
const LEASES: usize = 32;
