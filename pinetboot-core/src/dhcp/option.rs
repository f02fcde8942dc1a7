//! Options: their codes, their names, and what kind of thing each holds.

use core::fmt;

/// The code of an option (RFC 2132 and later; IANA's registry of BOOTP Vendor Extensions and DHCP Options).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct OptionCode(pub u8);

/// One option as it stands in a message; of a long one, a part (RFC 3396).
///
/// Shown, it is named and read: `option 66 (TFTP server name): "10.77.0.1"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct DhcpOption<'a> {
    /// Which.
    pub code: OptionCode,
    /// What it holds.
    pub value: &'a [u8],
}

impl<'a> DhcpOption<'a> {
    /// An option with this value.
    pub const fn new(code: OptionCode, value: &'a [u8]) -> Self {
        Self { code, value }
    }
}

/// What kind of message it is: option 53 (RFC 2132, section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum MessageType {
    /// A client looks for servers.
    Discover = 1,
    /// A server offers an address, or a proxy what it has.
    Offer,
    /// A client takes an offer, or wants to keep its address.
    Request,
    /// A client found its address in use by another.
    Decline,
    /// A server grants what was requested.
    Ack,
    /// A server refuses it.
    Nak,
    /// A client gives its address back.
    Release,
    /// A client has an address and asks for the rest.
    Inform,
}

impl MessageType {
    /// The type with this number, of those in RFC 2131.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
        })
    }
}

impl OptionCode {
    /// The option's name, `None` if it has none here.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|(_, name, _)| name)
    }

    /// What to read its value as.
    pub(super) fn kind(self) -> Kind {
        self.row().map_or(Kind::Bytes, |(_, _, kind)| kind)
    }

    fn row(self) -> Option<(Self, &'static str, Kind)> {
        NAMES.iter().find(|(code, ..)| *code == self).copied()
    }
}

/// `66 (TFTP server name)`.
impl fmt::Display for OptionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What an option's value is read as when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Addresses,
    Text,
    Seconds,
    Number,
    MessageType,
    Overload,
    Codes,
    Vendor,
    Architecture,
    Interface,
    Guid,
    ClientId,
    Bytes,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal, $kind:ident;)*) => {
        impl OptionCode {
            $($(#[$doc])* pub const $constant: Self = Self($code);)*
        }

        const NAMES: &[(OptionCode, &str, Kind)] = &[$((OptionCode($code), $name, Kind::$kind)),*];
    };
}

codes! {
    /// 0: nothing, one byte long.
    PAD = 0, "pad", Bytes;
    /// 1: subnet mask.
    SUBNET_MASK = 1, "subnet mask", Addresses;
    /// 2: seconds east of UTC.
    TIME_OFFSET = 2, "time offset", Seconds;
    /// 3: routers, the preferred first.
    ROUTER = 3, "router", Addresses;
    /// 4: RFC 868 time servers.
    TIME_SERVER = 4, "time server", Addresses;
    /// 6: name servers.
    NAME_SERVER = 6, "DNS server", Addresses;
    /// 7: log servers.
    LOG_SERVER = 7, "log server", Addresses;
    /// 12: the client's host name.
    HOST_NAME = 12, "host name", Text;
    /// 13: the boot file's length in blocks of 512 bytes.
    BOOT_FILE_SIZE = 13, "boot file size", Number;
    /// 15: domain name.
    DOMAIN_NAME = 15, "domain name", Text;
    /// 17: the root file system's path.
    ROOT_PATH = 17, "root path", Text;
    /// 26: interface MTU.
    MTU = 26, "interface MTU", Number;
    /// 28: broadcast address.
    BROADCAST = 28, "broadcast address", Addresses;
    /// 33: static routes.
    STATIC_ROUTE = 33, "static route", Addresses;
    /// 42: NTP servers.
    NTP_SERVER = 42, "NTP server", Addresses;
    /// 43: vendor-specific information, for netbooting PXE's sub-options.
    VENDOR = 43, "vendor-specific information", Vendor;
    /// 44: NetBIOS name servers.
    NETBIOS_NAME_SERVER = 44, "NetBIOS name server", Addresses;
    /// 46: NetBIOS node type.
    NETBIOS_NODE_TYPE = 46, "NetBIOS node type", Number;
    /// 50: the address the client wants.
    REQUESTED_ADDRESS = 50, "requested address", Addresses;
    /// 51: lease time in seconds.
    LEASE_TIME = 51, "lease time", Seconds;
    /// 52: options go on in `file` (1), `sname` (2) or both (3).
    OVERLOAD = 52, "option overload", Overload;
    /// 53: message type.
    MESSAGE_TYPE = 53, "message type", MessageType;
    /// 54: the address of the server that a message is from or for.
    SERVER_ID = 54, "server identifier", Addresses;
    /// 55: the options that the client asks for.
    PARAMETER_LIST = 55, "parameter request list", Codes;
    /// 56: why a server refuses, or a client declines.
    MESSAGE = 56, "message", Text;
    /// 57: the longest message that the client takes.
    MAX_SIZE = 57, "maximum message size", Number;
    /// 58: seconds until the client renews its lease (T1).
    RENEWAL_TIME = 58, "renewal time", Seconds;
    /// 59: seconds until it asks any server (T2).
    REBINDING_TIME = 59, "rebinding time", Seconds;
    /// 60: what kind of client it is, `PXEClient` for netbooting.
    VENDOR_CLASS = 60, "vendor class", Text;
    /// 61: what the client wants to be known by.
    CLIENT_ID = 61, "client identifier", ClientId;
    /// 66: TFTP server name; a Pi takes it if it is an address.
    TFTP_SERVER_NAME = 66, "TFTP server name", Text;
    /// 67: boot file name.
    BOOT_FILE_NAME = 67, "boot file name", Text;
    /// 77: user class (RFC 3004).
    USER_CLASS = 77, "user class", Text;
    /// 82: what a relay agent says of the client (RFC 3046).
    RELAY_AGENT = 82, "relay agent information", Bytes;
    /// 93: client system architecture (RFC 4578); 0 from every Pi.
    ARCHITECTURE = 93, "client architecture", Architecture;
    /// 94: client network interface (RFC 4578).
    INTERFACE = 94, "client network interface", Interface;
    /// 97: client machine identifier (RFC 4578); a Pi says here who it is.
    MACHINE_ID = 97, "client machine identifier", Guid;
    /// 119: domain search list (RFC 3397).
    DOMAIN_SEARCH = 119, "domain search", Bytes;
    /// 121: classless static routes (RFC 3442).
    CLASSLESS_ROUTE = 121, "classless static route", Bytes;
    /// 150: TFTP server addresses (RFC 5859).
    TFTP_SERVER_ADDRESS = 150, "TFTP server address", Addresses;
    /// 175: iPXE's own options.
    IPXE = 175, "iPXE", Bytes;
    /// 252: proxy auto-discovery.
    PROXY_DISCOVERY = 252, "proxy auto-discovery", Text;
    /// 255: the end.
    END = 255, "end", Bytes;
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn codes_are_named_once_and_in_order() {
        assert!(NAMES.is_sorted_by(|(a, ..), (b, ..)| a < b));
        assert_eq!(OptionCode::TFTP_SERVER_NAME.to_string(), "66 (TFTP server name)");
        assert_eq!(OptionCode(199).to_string(), "199");
    }

    #[test]
    fn message_types_are_numbers() {
        for code in 0..=u8::MAX {
            let known = MessageType::from_code(code);
            assert_eq!(known.is_some(), (1..=8).contains(&code));
            assert!(known.is_none_or(|kind| kind.code() == code));
        }
    }
}
