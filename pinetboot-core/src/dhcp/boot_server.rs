//! Every way in which a DHCP message names the server that a client boots from.

use core::fmt;
use core::net::Ipv4Addr;

use heapless::Vec;

use super::message::Message;
use super::option::OptionCode;
use super::pxe::{SubOption, sub_options};
use super::value::Text;

/// A boot server, and how it was named. Which of them a client takes is for [`BootClient`](super::BootClient) to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BootServer<'a> {
    /// By option 66: as a name, as RFC 2132 has it, or as an address, as most of those who are without DNS need it.
    TftpName(Text<'a>),
    /// By option 150 (RFC 5859). Cisco's phones ask for it; no Pi does.
    TftpAddress(Ipv4Addr),
    /// By `siaddr`, which routers call "next server". Many put their own address here unasked.
    NextServer(Ipv4Addr),
    /// By `sname`: the name that belongs to `siaddr`.
    ServerName(Text<'a>),
    /// By the list of PXE boot servers in option 43.
    Listed {
        /// Which kind of boot server it is.
        kind: u16,
        /// Where.
        address: Ipv4Addr,
    },
    /// By option 54: the DHCP server or proxy is the boot server as well.
    ServerId(Ipv4Addr),
    /// Not named: the sender of the message.
    Sender(Ipv4Addr),
}

impl<'a> BootServer<'a> {
    /// All that a message names, but for its [`Sender`](Self::Sender); of the list in option 43 the first eight.
    ///
    /// An address that is 0.0.0.0 names none.
    pub fn all(message: &Message<'a>) -> impl Iterator<Item = Self> + use<'a> {
        let addresses = |code| message.option(code).into_iter().flat_map(|value| value.addresses());
        message
            .option(OptionCode::TFTP_SERVER_NAME)
            .map(|name| Self::TftpName(Text::value(name)))
            .into_iter()
            .chain(addresses(OptionCode::TFTP_SERVER_ADDRESS).map(Self::TftpAddress))
            .chain(core::iter::once(Self::NextServer(message.header.siaddr)))
            .chain(message.server_name().map(Self::ServerName))
            .chain(listed(message).into_iter().map(|(kind, address)| Self::Listed { kind, address }))
            .chain(addresses(OptionCode::SERVER_ID).take(1).map(Self::ServerId))
            .filter(|server| server.address().is_none_or(|address| !address.is_unspecified()))
    }

    /// The boot server's address; `None` for a name, which only DNS can resolve.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Self::TftpName(name) | Self::ServerName(name) => name.address(),
            Self::TftpAddress(address)
            | Self::NextServer(address)
            | Self::Listed { address, .. }
            | Self::ServerId(address)
            | Self::Sender(address) => Some(*address),
        }
    }
}

/// `10.77.0.1 (option 66)`, `"boot.example" (sname)`.
impl fmt::Display for BootServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address(), self) {
            (Some(address), _) => write!(f, "{address} ")?,
            (None, Self::TftpName(name) | Self::ServerName(name)) => write!(f, "\"{name}\" ")?,
            (None, _) => {}
        }
        f.write_str(match self {
            Self::TftpName(_) => "(option 66)",
            Self::TftpAddress(_) => "(option 150)",
            Self::NextServer(_) => "(siaddr, next-server)",
            Self::ServerName(_) => "(sname)",
            Self::Listed { .. } => "(boot servers in option 43)",
            Self::ServerId(_) => "(option 54, the server itself)",
            Self::Sender(_) => "(the sender itself)",
        })
    }
}

/// The list of boot servers in option 43.
pub(super) fn listed(message: &Message<'_>) -> Vec<(u16, Ipv4Addr), 8> {
    let Some(value) = message.option(OptionCode::VENDOR) else { return Vec::new() };
    let mut buffer = [0; 2 * u8::MAX as usize];
    let lists = sub_options(value.joined(&mut buffer)).filter_map(|option| match option {
        SubOption::BootServers(list) => Some(list),
        _ => None,
    });
    lists
        .flat_map(|list| list.boot_servers())
        .flat_map(|servers| servers.addresses().map(move |address| (servers.kind, address)))
        .take(8)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;
    use crate::dhcp::pxe::SubOptionEmitter;
    use crate::dhcp::{Emitter, HardwareAddress, Header, MAX_LEN};

    #[test]
    fn all_ways_are_found() {
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let mut vendor = [0; 32];
        let mut value = SubOptionEmitter::new(&mut vendor);
        value.boot_servers(&[(1, &[address(4), Ipv4Addr::UNSPECIFIED]), (7, &[address(5)])]).unwrap();
        let len = value.finish().unwrap();

        let header = Header::request(HardwareAddress::ethernet([2; 6]), 1).reply();
        let mut out = [0; MAX_LEN];
        let mut reply = Emitter::new(&Header { siaddr: address(3), ..header }, &mut out).unwrap();
        reply.server_name(b"boot").unwrap();
        reply.address(OptionCode::SERVER_ID, address(6)).unwrap();
        reply.option(OptionCode::TFTP_SERVER_NAME, b"10.0.0.1\0").unwrap();
        reply.option(OptionCode::TFTP_SERVER_ADDRESS, &[10, 0, 0, 2, 10, 0]).unwrap();
        reply.option(OptionCode::VENDOR, &vendor[..len]).unwrap();
        let len = reply.finish().unwrap();

        let message = Message::parse(&out[..len]).unwrap();
        let all: Vec<String> = BootServer::all(&message).map(|server| server.to_string()).collect();
        assert_eq!(
            all,
            [
                "10.0.0.1 (option 66)",
                "10.0.0.2 (option 150)",
                "10.0.0.3 (siaddr, next-server)",
                "\"boot\" (sname)",
                "10.0.0.4 (boot servers in option 43)",
                "10.0.0.5 (boot servers in option 43)",
                "10.0.0.6 (option 54, the server itself)",
            ]
        );
    }
}
