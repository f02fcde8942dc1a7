//! The part of the Dynamic Host Configuration Protocol that network boot needs: messages, machines, and the responder's loop.
//!
//! ```text
//! datagram -> Message::parse -> ProxyDhcp or LeaseServer .respond(arrival, &message, out) -> Reply: destination and length
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `message.rs`, `emit.rs` | RFC 2131's message: parsed into a borrowed view, and written |
//! | `option.rs`, `value.rs`, `describe.rs` | RFC 2132's options: codes and names, joined values (RFC 3396), their text |
//! | `hardware.rs` | hardware addresses |
//! | `pxe.rs`, `pxe/sub_option.rs` | RFC 4578 and the sub-options of option 43 (PXE 2.1), among them the block that a Pi wants |
//! | `boot_server.rs`, `choice.rs` | every way to name a boot server, and the one that each kind of client takes |
//! | `reply.rs`, `next_server.rs` | where a reply goes (RFC 2131, section 4.1), and which boot server it names |
//! | `proxy.rs` | names the boot server to Pis, beside a DHCP server that gives them their addresses |
//! | `network.rs`, `lease.rs` | a small complete DHCP server, for a network without another |
//! | `lease/requests.rs`, `policy.rs` | what each message changes, and which address a client may have |
//! | `lease/table.rs`, `slot.rs`, `tree.rs` | its leases in the caller's memory, and the trees that sort them |
//! | `responder.rs` | the loop around the proxy or the server |
//! | `profile.rs`, `client.rs`, `renewal.rs` | the client: asks as a Pi, as U-Boot, or plainly, and keeps its lease |
//!
//! ```
//! use core::net::Ipv4Addr;
//! use pinetboot_core::Instant;
//! use pinetboot_core::dhcp::{Arrival, BootClient, MAX_LEN, Message, Offer, Port, Profile, ProxyDhcp};
//! use pinetboot_core::pi::{PiIdentity, Revision};
//!
//! // A Pi 5 asks ...
//! let mac = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];
//! let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0xbd98_9ae1).unwrap();
//! let mut discover = [0; MAX_LEN];
//! let len = Profile::Pi(pi).discover(mac, 0x1234_5678, 0, &mut discover).unwrap();
//! let request = Message::parse(&discover[..len]).unwrap();
//!
//! // ... a proxy answers ...
//! let ours = Ipv4Addr::new(10, 77, 0, 1);
//! let arrival = Arrival::new(Instant::ZERO, Port::Server, "0.0.0.0:68".parse().unwrap());
//! let mut out = [0; MAX_LEN];
//! let reply = ProxyDhcp::new(ours).respond(&arrival, &request, &mut out).unwrap();
//! assert_eq!(reply.to, "255.255.255.255:68".parse().unwrap());
//!
//! // ... but without a DHCP server the Pi does not boot.
//! let offer = Message::parse(&out[..reply.len.into()]).unwrap();
//! let verdict = BootClient::PiEeprom.choose(&[Offer::new(ours, offer)]);
//! assert_eq!(verdict.unwrap_err().to_string(), "only proxies answered, and none of them gives an address");
//! ```
//!
//! # Deliberately not done
//!
//! * DHCPv6, authentication (RFC 3118), leasequery, failover, dynamic DNS.
//! * No ping before an address is offered (RFC 2131, section 3.1: SHOULD): the network trait has no ICMP. The server heeds a
//!   DHCPDECLINE, by which a client reports an address in use.
//! * No unicast to a client without an address: see [`Reply`].

mod boot_server;
mod choice;
mod client;
mod describe;
mod emit;
mod hardware;
mod lease;
mod message;
mod network;
mod next_server;
mod option;
mod profile;
mod proxy;
pub mod pxe;
mod renewal;
mod reply;
mod responder;
mod value;
mod writer;

pub use boot_server::BootServer;
pub use choice::{BootClient, Choice, NoBoot, Offer, Shortfall};
pub use client::{Client, Outcome, Step};
pub use emit::{Emitter, MAX_LEN, MIN_LEN};
pub use hardware::HardwareAddress;
pub use lease::{Lease, LeaseServer, LeaseSlot, LeaseState, NotKept, Standing};
pub use message::{Header, Message, Op, ParseError};
pub use network::{Network, NetworkError};
pub use next_server::{BootFileName, BootFileNameError, NextServer};
pub use option::{DhcpOption, MessageType, OptionCode};
pub use profile::{Profile, Selected};
pub use proxy::ProxyDhcp;
pub use renewal::{Renewal, RenewalStep};
pub use reply::{Arrival, Clients, NoReply, Port, Reply, Respond};
pub use responder::Responder;
pub use value::{Options, Text, Value};

/// The port of servers and relay agents (RFC 2131, section 4.1).
pub const SERVER_PORT: u16 = 67;
/// The port of clients (RFC 2131, section 4.1).
pub const CLIENT_PORT: u16 = 68;
/// The port on which a PXE client asks a proxy or boot server again (PXE 2.1, section 2.2.3).
pub const PXE_PORT: u16 = 4011;
