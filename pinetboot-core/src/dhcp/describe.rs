//! Messages and options as people read them: `option 66 (TFTP server name): "10.77.0.1"`.

use core::fmt::{Display, Formatter, Result, Write};
use core::net::Ipv4Addr;

use super::message::{Message, Op};
use super::option::{DhcpOption, Kind, MessageType};
use super::pxe::{self, Architecture, SubOption};
use crate::pi::PiIdentity;

/// `DISCOVER from e4:5f:01:09:02:f7`, `OFFER to e4:5f:01:09:02:f7: 10.77.0.103`.
impl Display for Message<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.kind() {
            Some(kind) => write!(f, "{kind}")?,
            None => f.write_str("BOOTP message")?,
        }
        let (direction, address) = match self.header.op {
            Op::Request => ("from", self.header.ciaddr),
            Op::Reply => ("to", self.header.yiaddr),
        };
        write!(f, " {direction} {}", self.header.hardware)?;
        if address.is_unspecified() { Ok(()) } else { write!(f, ": {address}") }
    }
}

impl Display for DhcpOption<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { code, value } = *self;
        write!(f, "option {code}: ")?;
        let read = match (code.kind(), value) {
            (Kind::Addresses, [_, ..]) => match value.as_chunks() {
                (list, []) => Some(addresses(f, list)),
                _ => None,
            },
            (Kind::Text, _) => Some(text(f, value)),
            (Kind::Seconds, &[a, b, c, d]) => Some(seconds(f, u32::from_be_bytes([a, b, c, d]))),
            (Kind::Number, [number]) => Some(write!(f, "{number}")),
            (Kind::Number, &[a, b]) => Some(write!(f, "{}", u16::from_be_bytes([a, b]))),
            (Kind::MessageType, [kind]) => MessageType::from_code(*kind).map(|kind| write!(f, "{kind}")),
            (Kind::Overload, [1]) => Some(f.write_str("goes on in file")),
            (Kind::Overload, [2]) => Some(f.write_str("goes on in sname")),
            (Kind::Overload, [3]) => Some(f.write_str("goes on in file and sname")),
            (Kind::Codes, _) => Some(list(f, value)),
            (Kind::Architecture, &[a, b]) => Some(write!(f, "{}", Architecture(u16::from_be_bytes([a, b])))),
            (Kind::Interface, [kind, major, minor]) => {
                Some(write!(f, "type {kind}, version {major}.{minor}"))
            }
            (Kind::Guid, _) => PiIdentity::parse(value).map(|pi| write!(f, "{pi}")),
            (Kind::ClientId, [1, a, b, c, d, e, g]) => {
                Some(write!(f, "Ethernet {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
            }
            (Kind::Vendor, _) => vendor(f, value),
            _ => None,
        };
        read.unwrap_or_else(|| hex(f, value))
    }
}

impl Display for SubOption<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::DiscoveryControl(control) => write!(f, "discovery control {}", control.0),
            Self::DiscoveryAddress(address) => write!(f, "discovery address {address}"),
            Self::BootServers(servers) => {
                f.write_str("boot servers")?;
                servers.boot_servers().try_for_each(|server| {
                    write!(f, " {}:", server.kind)?;
                    server.addresses().try_for_each(|address| write!(f, " {address}"))
                })
            }
            Self::Menu(entries) => {
                f.write_str("menu")?;
                entries.menu().try_for_each(|entry| {
                    write!(f, " {}: ", entry.kind)?;
                    text(f, entry.text)
                })
            }
            Self::Prompt { timeout_secs, text: prompt } => {
                f.write_str("prompt ")?;
                text(f, prompt)?;
                write!(f, " for {timeout_secs} s")
            }
            Self::Item { kind, layer } => write!(f, "item {kind}, layer {layer}"),
            Self::Other(code, value) => {
                write!(f, "{code} ")?;
                hex(f, value)
            }
        }
    }
}

fn addresses(f: &mut Formatter<'_>, addresses: &[[u8; 4]]) -> Result {
    addresses.iter().enumerate().try_for_each(|(index, address)| {
        let comma = if index > 0 { ", " } else { "" };
        write!(f, "{comma}{}", Ipv4Addr::from(*address))
    })
}

fn text(f: &mut Formatter<'_>, text: &[u8]) -> Result {
    write!(f, "\"{}\"", text.escape_ascii())
}

fn seconds(f: &mut Formatter<'_>, seconds: u32) -> Result {
    if seconds == u32::MAX { f.write_str("infinite") } else { write!(f, "{seconds} s") }
}

fn list(f: &mut Formatter<'_>, codes: &[u8]) -> Result {
    codes.iter().enumerate().try_for_each(|(index, code)| {
        let comma = if index > 0 { ", " } else { "" };
        write!(f, "{comma}{code}")
    })
}

/// `None` if there is nothing in it that can be read.
fn vendor(f: &mut Formatter<'_>, value: &[u8]) -> Option<Result> {
    let readable = |option: &SubOption<'_>| !matches!(option, SubOption::Other(..));
    pxe::sub_options(value).next().filter(readable)?;
    Some(pxe::sub_options(value).enumerate().try_for_each(|(index, option)| {
        let comma = if index > 0 { "; " } else { "" };
        write!(f, "{comma}{option}")
    }))
}

fn hex(f: &mut Formatter<'_>, bytes: &[u8]) -> Result {
    if bytes.is_empty() {
        return f.write_str("empty");
    }
    bytes.iter().enumerate().try_for_each(|(index, byte)| {
        if index > 0 {
            f.write_char(' ')?;
        }
        write!(f, "{byte:02x}")
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::dhcp::OptionCode;

    #[test]
    fn options_are_named_and_read() {
        for (code, value, shown) in [
            (66, &b"10.77.0.1"[..], "option 66 (TFTP server name): \"10.77.0.1\""),
            (66, b"10.77.0.1\0", "option 66 (TFTP server name): \"10.77.0.1\\x00\""),
            (3, &[10, 0, 0, 1, 10, 0, 0, 2], "option 3 (router): 10.0.0.1, 10.0.0.2"),
            (3, &[10, 0, 0], "option 3 (router): 0a 00 00"),
            (51, &[0, 0, 14, 16], "option 51 (lease time): 3600 s"),
            (51, &[255; 4], "option 51 (lease time): infinite"),
            (53, &[2], "option 53 (message type): OFFER"),
            (53, &[99], "option 53 (message type): 63"),
            (55, &[1, 3], "option 55 (parameter request list): 1, 3"),
            (93, &[0, 0], "option 93 (client architecture): 0 (x86 BIOS, and every Raspberry Pi)"),
            (
                43,
                &pxe::DNSMASQ,
                "option 43 (vendor-specific information): discovery control 3; prompt \"PXE\" for 0 s; \
                 menu 0: \"Raspberry Pi Boot\"",
            ),
            (43, b"ab", "option 43 (vendor-specific information): 61 62"),
            (199, &[], "option 199: empty"),
        ] {
            assert_eq!(DhcpOption { code: OptionCode(code), value }.to_string(), shown);
        }
        let pi = b"\x004iPR\x14\x31\xd0\x00\x01\x09\x02\xf7\x3d\xf0\xcd\x91";
        assert_eq!(
            DhcpOption { code: OptionCode::MACHINE_ID, value: pi }.to_string(),
            "option 97 (client machine identifier): Raspberry Pi 4 Model B Rev 1.4 (8 GB), serial 91cdf03d"
        );
    }
}
