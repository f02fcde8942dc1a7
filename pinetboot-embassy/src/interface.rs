//! The board's own address, and its cable.

use core::net::Ipv4Addr;

#[cfg(feature = "embassy-net")]
use embassy_net::{ConfigV4, Ipv4Cidr, Stack, StaticConfigV4};

use crate::config::Address;

/// The network interface of an appliance, beside its UDP.
pub trait Interface: Copy {
    /// Gives the board this address. With [`Address::Dhcp`] the board has none until a DHCP server gives one.
    fn configure(&self, address: Address);

    /// The board's address, if it has one.
    fn address(&self) -> Option<Ipv4Addr>;

    /// Whether a cable is plugged in.
    fn is_link_up(&self) -> bool;

    /// Whether the interface gets its address from a DHCP server by itself.
    const IS_DHCP_CLIENT: bool = false;
}

/// embassy-net's stack, which is a DHCP client too.
#[cfg(feature = "embassy-net")]
impl Interface for Stack<'_> {
    const IS_DHCP_CLIENT: bool = true;

    fn configure(&self, address: Address) {
        self.set_config_v4(match address {
            Address::Dhcp => ConfigV4::Dhcp(Default::default()),
            Address::Static { address, prefix_len, router } => ConfigV4::Static(StaticConfigV4 {
                address: Ipv4Cidr::new(address, prefix_len),
                gateway: router,
                dns_servers: Default::default(),
            }),
        });
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.config_v4().map(|config| config.address.address())
    }

    fn is_link_up(&self) -> bool {
        Stack::is_link_up(self)
    }
}
