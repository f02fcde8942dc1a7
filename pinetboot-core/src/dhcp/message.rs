//! The message of RFC 2131, parsed into a borrowed view.

use core::fmt;
use core::net::Ipv4Addr;

use nom::bytes::complete::take;
use nom::error::Error;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::hardware::HardwareAddress;
use super::option::{MessageType, OptionCode};
use super::pxe::{Architecture, Interface};
use super::value::{Options, Text, Value};
use super::writer::Writer;
use crate::pi::PiIdentity;

/// A DHCP message (RFC 2131, section 2). A BOOTP message with RFC 1048's cookie is one too, of no [`kind`](Self::kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Message<'a> {
    /// The fields of fixed length but the two below.
    pub header: Header,
    sname: &'a [u8; SNAME_LEN],
    file: &'a [u8; FILE_LEN],
    /// All that follows the cookie.
    options: &'a [u8],
    /// Option 52.
    overload: u8,
}

/// The numbers and addresses of a message, named as in RFC 2131.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Header {
    /// From a client or to one.
    pub op: Op,
    /// `htype`, `hlen` and `chaddr`: the client's hardware address.
    pub hardware: HardwareAddress,
    /// Relay agents on the way.
    pub hops: u8,
    /// Which of the client's exchanges it belongs to.
    pub xid: u32,
    /// Seconds since the client began, as it says.
    pub secs: u16,
    /// [`BROADCAST`](Self::BROADCAST), and fifteen bits that must be zero.
    pub flags: u16,
    /// The address that the client has already, and answers to.
    pub ciaddr: Ipv4Addr,
    /// The address that the client is given.
    pub yiaddr: Ipv4Addr,
    /// The next server of the boot: TFTP's.
    pub siaddr: Ipv4Addr,
    /// The first relay agent.
    pub giaddr: Ipv4Addr,
}

/// From a client or to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[expect(clippy::exhaustive_enums, reason = "RFC 2131 has two")]
pub enum Op {
    /// From a client.
    Request = 1,
    /// To a client.
    Reply = 2,
}

impl Header {
    /// The flag of a client that cannot take unicast before it has its address (RFC 2131, figure 2: the leftmost bit).
    pub const BROADCAST: u16 = 0x8000;

    /// A client's: all zeros but for these.
    pub const fn request(hardware: HardwareAddress, xid: u32) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self {
            op: Op::Request,
            hardware,
            hops: 0,
            xid,
            secs: 0,
            flags: 0,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
        }
    }

    /// A server's, to a client's: what RFC 2131, table 3, has copied.
    pub const fn reply(&self) -> Self {
        let Self { hardware, xid, flags, giaddr, .. } = *self;
        Self { op: Op::Reply, flags, giaddr, ..Self::request(hardware, xid) }
    }

    /// Whether the client asks for broadcast.
    pub const fn broadcast(&self) -> bool {
        self.flags & Self::BROADCAST != 0
    }
}

impl<'a> Message<'a> {
    /// Parses a datagram.
    ///
    /// Tolerated, because real messages have it: any padding, or less than BOOTP's 300 bytes (Kea sends 262; captured);
    /// no END; an option that is cut; bytes after the END.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (rest, (op, hardware)) = addressed(datagram)?;
        let (rest, header) =
            header(rest, op, hardware).map_err(|_: nom::Err<Error<_>>| ParseError::Truncated)?;
        let (sname, rest) = rest.split_first_chunk().ok_or(ParseError::Truncated)?;
        let (file, rest) = rest.split_first_chunk().ok_or(ParseError::Truncated)?;
        let (cookie, options) = rest.split_first_chunk().ok_or(ParseError::Truncated)?;
        if *cookie != COOKIE {
            return Err(ParseError::Cookie);
        }
        let overload = Options::new(options, &[], &[]).find(OptionCode::OVERLOAD);
        let overload = overload.and_then(|value| value.first()).unwrap_or(0);
        Ok(Self { header, sname, file, options, overload })
    }

    /// Writes the message as it came into `out` and says how long it is; `None` if it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        self.header.emit(&mut writer)?;
        writer.bytes(self.sname)?;
        writer.bytes(self.file)?;
        writer.bytes(&COOKIE)?;
        writer.bytes(self.options)?;
        Some(writer.len())
    }

    /// All options, wherever they stand.
    pub fn options(&self) -> Options<'a> {
        // 1 is `file`, 2 is `sname`, 3 is both (RFC 2132, section 9.3).
        let file: &[u8] = if self.overload & 1 != 0 { self.file } else { &[] };
        let sname: &[u8] = if self.overload & 2 != 0 { self.sname } else { &[] };
        Options::new(self.options, file, sname)
    }

    /// The value of an option.
    pub fn option(&self, code: OptionCode) -> Option<Value<'a>> {
        self.options().find(code)
    }

    /// What kind of message it is; `None` for BOOTP, and for what came after RFC 2131.
    pub fn kind(&self) -> Option<MessageType> {
        self.option(OptionCode::MESSAGE_TYPE)?.first().and_then(MessageType::from_code)
    }

    /// The server that the message is from or for (option 54).
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.option(OptionCode::SERVER_ID)?.address()
    }

    /// An address in the client's network, of a message that a relay agent sent: the link selection of option 82 (RFC 3527), else
    /// `giaddr`.
    pub fn link(&self) -> Option<Ipv4Addr> {
        if self.header.giaddr.is_unspecified() {
            return None;
        }
        let mut buffer = [0; u8::MAX as usize];
        let mut agent = match self.option(OptionCode::RELAY_AGENT) {
            Some(value) => value.joined(&mut buffer),
            None => &[],
        };
        while let [code, len, rest @ ..] = agent {
            let Some((value, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
            if let (LINK_SELECTION, Ok(address)) = (*code, <[u8; 4]>::try_from(value)) {
                return Some(address.into());
            }
            agent = rest;
        }
        Some(self.header.giaddr)
    }

    /// The address that the client wants (option 50).
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.option(OptionCode::REQUESTED_ADDRESS)?.address()
    }

    /// How long the client is given its address, in seconds (option 51).
    pub fn lease_secs(&self) -> Option<u32> {
        self.option(OptionCode::LEASE_TIME)?.u32()
    }

    /// Whether the client asks for an option (option 55).
    pub fn wants(&self, code: OptionCode) -> bool {
        self.option(OptionCode::PARAMETER_LIST).is_some_and(|list| list.bytes().any(|byte| byte == code.0))
    }

    /// The vendor class (option 60).
    pub fn vendor_class(&self) -> Option<Text<'a>> {
        self.option(OptionCode::VENDOR_CLASS).map(Text::value)
    }

    /// Whether it is a PXE client's, or a server's for one: the vendor class begins with `PXEClient`.
    pub fn is_pxe(&self) -> bool {
        self.option(OptionCode::VENDOR_CLASS).is_some_and(|class| class.starts_with(super::pxe::CLIENT))
    }

    /// What the client says its processor is (option 93). Not to be believed: every Pi says 0, an x86 PC.
    pub fn architecture(&self) -> Option<Architecture> {
        self.option(OptionCode::ARCHITECTURE)?.u16().map(Architecture)
    }

    /// The client's network interface (option 94).
    pub fn interface(&self) -> Option<Interface> {
        Interface::parse(self.option(OptionCode::INTERFACE)?)
    }

    /// Which Raspberry Pi's boot code it is from, if it is: by option 97, and by option 60 if it is sent (a
    /// REQUEST of January 2020 had none; rpi-eeprom issue 82). Never by option 93 or the hardware address.
    pub fn pi(&self) -> Option<PiIdentity> {
        if self.vendor_class().is_some() && !self.is_pxe() {
            return None;
        }
        let id = self.option(OptionCode::MACHINE_ID)?;
        PiIdentity::parse(id.joined(&mut [0; PiIdentity::LEN + 1]))
    }

    /// The name in `sname`, if there is one.
    pub fn server_name(&self) -> Option<Text<'a>> {
        if self.overload & 2 != 0 { None } else { Text::field(self.sname) }
    }

    /// The boot file's name: option 67, or else the one in `file`.
    pub fn boot_file(&self) -> Option<Text<'a>> {
        let option = self.option(OptionCode::BOOT_FILE_NAME).map(Text::value);
        let field = if self.overload & 1 != 0 { None } else { Text::field(self.file) };
        option.filter(|name| name.bytes().next().is_some()).or(field)
    }
}

impl Header {
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.u8(self.op as u8)?;
        writer.u8(self.hardware.kind())?;
        writer.u8(u8::try_from(self.hardware.as_bytes().len()).ok()?)?;
        writer.u8(self.hops)?;
        writer.bytes(&self.xid.to_be_bytes())?;
        writer.u16(self.secs)?;
        writer.u16(self.flags)?;
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            writer.bytes(&address.octets())?;
        }
        writer.bytes(self.hardware.field())
    }
}

/// Who a message is from or for: `op`, and the hardware address whose parts lie apart.
fn addressed(datagram: &[u8]) -> Result<(&[u8], (Op, HardwareAddress)), ParseError> {
    let [op, htype, hlen, rest @ ..] = datagram else { return Err(ParseError::Truncated) };
    let op = match op {
        1 => Op::Request,
        2 => Op::Reply,
        _ => return Err(ParseError::Op),
    };
    let len = usize::from(*hlen);
    if len > HardwareAddress::MAX_LEN {
        return Err(ParseError::HardwareLength);
    }
    let chaddr = datagram.get(CHADDR..CHADDR + len).ok_or(ParseError::Truncated)?;
    let hardware = HardwareAddress::new(*htype, chaddr).ok_or(ParseError::HardwareLength)?;
    Ok((rest, (op, hardware)))
}

/// From `hops` on, up to and with `chaddr`.
fn header(input: &[u8], op: Op, hardware: HardwareAddress) -> nom::IResult<&[u8], Header> {
    let (input, hops) = be_u8(input)?;
    let (input, xid) = be_u32(input)?;
    let (input, secs) = be_u16(input)?;
    let (input, flags) = be_u16(input)?;
    let (input, ciaddr) = address(input)?;
    let (input, yiaddr) = address(input)?;
    let (input, siaddr) = address(input)?;
    let (input, giaddr) = address(input)?;
    let (input, _) = take(HardwareAddress::MAX_LEN)(input)?;
    Ok((input, Header { op, hardware, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr }))
}

fn address(input: &[u8]) -> nom::IResult<&[u8], Ipv4Addr> {
    be_u32(input).map(|(rest, bits)| (rest, Ipv4Addr::from_bits(bits)))
}

/// Why a datagram is not a DHCP message. One byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ParseError {
    /// It ends before its options begin.
    Truncated,
    /// Neither from a client nor to one.
    Op,
    /// A hardware address of more than 16 bytes.
    HardwareLength,
    /// No options: BOOTP without RFC 1048's cookie, or something else.
    Cookie,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends before its options",
            Self::Op => "neither a request nor a reply",
            Self::HardwareLength => "a hardware address of more than 16 bytes",
            Self::Cookie => "no DHCP options",
        })
    }
}

impl core::error::Error for ParseError {}

pub(super) const SNAME_LEN: usize = 64;
pub(super) const FILE_LEN: usize = 128;
/// Where `chaddr` begins.
const CHADDR: usize = 28;
/// > The first four octets of the 'options' field of the DHCP message contain the (decimal) values 99, 130, 83 and 99,
/// > respectively (RFC 2131, section 3)
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A sub-option of option 82 (RFC 3527).
const LINK_SELECTION: u8 = 5;

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    /// A message of zeros, with these options.
    fn bytes(options: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![0; 240];
        bytes[0] = 1;
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn fields_are_where_rfc_2131_has_them() {
        let mut bytes = bytes(&[255]);
        for (at, byte) in bytes.iter_mut().enumerate().take(28).skip(4) {
            *byte = at as u8;
        }
        bytes[1..4].copy_from_slice(&[1, 6, 3]);
        bytes[10] = 0x80;
        bytes[28..36].copy_from_slice(&[2, 0, 0, 0, 0, 7, 8, 9]);
        let header = Message::parse(&bytes).unwrap().header;
        assert_eq!((header.op, header.hops, header.xid), (Op::Request, 3, 0x0405_0607));
        assert_eq!((header.secs, header.flags, header.broadcast()), (0x0809, 0x800b, true));
        let address = |first: u8| Ipv4Addr::new(first, first + 1, first + 2, first + 3);
        let addresses = [header.ciaddr, header.yiaddr, header.siaddr, header.giaddr];
        assert_eq!(addresses, [12, 16, 20, 24].map(address));
        assert_eq!(header.hardware.to_string(), "02:00:00:00:00:07", "no longer than hlen");
        bytes[10] = 0x00;
        bytes[11] = 0x80;
        assert!(!Message::parse(&bytes).unwrap().header.broadcast());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut whole = bytes(&[]);
        for len in 0..240 {
            assert_eq!(Message::parse(&whole[..len]).err(), Some(ParseError::Truncated), "{len}");
        }
        assert_eq!(Message::parse(&whole).unwrap().kind(), None, "BOOTP");
        for hlen in 0..=16 {
            whole[2] = hlen;
            assert_eq!(Message::parse(&whole).unwrap().header.hardware.as_bytes().len(), hlen.into());
        }
        whole[2] = 17;
        assert_eq!(Message::parse(&whole), Err(ParseError::HardwareLength));
        whole[2] = 6;
        whole[236] = 0;
        assert_eq!(Message::parse(&whole), Err(ParseError::Cookie));
        whole[0] = 3;
        assert_eq!(Message::parse(&whole), Err(ParseError::Op));
    }

    #[test]
    fn options_go_on_where_option_52_says() {
        let names = |overload: u8| {
            let mut bytes = bytes(&[52, 1, overload, 255]);
            bytes[108..115].copy_from_slice(&[12, 1, b'f', 255, b'x', 0, 0]);
            bytes[44..48].copy_from_slice(&[12, 1, b's', 0]);
            let message = Message::parse(&bytes).unwrap();
            let host = message.option(OptionCode::HOST_NAME).map(|name| Text::value(name).to_string());
            (host, message.boot_file().is_some(), message.server_name().is_some())
        };
        assert_eq!(names(0), (None, true, true));
        assert_eq!(names(1), (Some("f".into()), false, true));
        assert_eq!(names(2), (Some("s".into()), true, false));
        assert_eq!(names(3), (Some("fs".into()), false, false), "and are joined");
    }

    #[test]
    fn a_boot_file_is_named_by_option_67_before_the_field() {
        let name = |options: &[u8]| {
            let mut bytes = bytes(options);
            bytes[108..111].copy_from_slice(b"abc");
            Message::parse(&bytes).unwrap().boot_file().map(|name| name.to_string())
        };
        assert_eq!(name(&[67, 2, b'x', 0]).as_deref(), Some("x"));
        assert_eq!(name(&[67, 1, 0]).as_deref(), Some("abc"), "an empty one does not count");
    }

    #[test]
    fn a_pi_is_known_by_options_97_and_60() {
        let id = b"\x61\x11\x00RPi5\x70\x41\xd0\x00\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd";
        let is_pi = |rest: &[u8]| Message::parse(&bytes(&[&id[..], rest].concat())).unwrap().pi().is_some();
        assert!(is_pi(b"\x3c\x09PXEClient"));
        assert!(is_pi(b""), "a REQUEST of January 2020");
        assert!(!is_pi(b"\x3c\x06udhcp "));
        assert!(!is_pi(b"\x61\x01\x00"), "one byte more");
        assert!(Message::parse(&bytes(b"\x3c\x09PXEClient\x5d\x02\0\0")).unwrap().pi().is_none());
    }
}
