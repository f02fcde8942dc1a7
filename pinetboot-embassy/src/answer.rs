//! Who answers DHCP messages: as the configuration has it.

use embassy_net::Stack;
use pinetboot_core::dhcp::{Arrival, LeaseServer, Message, NoReply, ProxyDhcp, Reply, Respond};

use crate::config::Dhcp;

/// What answers.
#[expect(clippy::large_enum_variant, reason = "there is one, and no heap")]
pub(crate) enum Answer<'a> {
    Off,
    /// With the address that the stack has by then: another server may give it a new one.
    Proxy(Stack<'a>),
    Lease(LeaseServer<'static, LEASES>),
}

impl<'a> Answer<'a> {
    pub(crate) const fn new(dhcp: Dhcp, stack: Stack<'a>) -> Self {
        match dhcp {
            Dhcp::Off => Self::Off,
            Dhcp::Proxy => Self::Proxy(stack),
            Dhcp::Lease(network) => Self::Lease(LeaseServer::new(network)),
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

/// How many machines can have an address at a time.
const LEASES: usize = 32;
