//! Options as they lie in a message, and their values joined.

use core::fmt;
use core::net::Ipv4Addr;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::map;
use nom::error::Error;
use nom::multi::length_data;
use nom::number::complete::be_u8;

use super::option::{DhcpOption, OptionCode};

/// The options of a message in the order in which they are read: the options field, then `file`, then `sname` where
/// options were put there (RFC 2131, section 4.1; RFC 3396, section 5).
///
/// A padding byte is passed over. Each of the three ends with END, or where it cannot be read on: real messages lack
/// the END, or are cut.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What is left of the three.
    fields: [&'a [u8]; 3],
}

impl<'a> Options<'a> {
    pub(super) const fn new(options: &'a [u8], file: &'a [u8], sname: &'a [u8]) -> Self {
        Self { fields: [options, file, sname] }
    }

    /// The value of an option, its parts joined; `None` if it is not there.
    pub fn find(self, code: OptionCode) -> Option<Value<'a>> {
        let mut parts = self;
        loop {
            let before = parts;
            if parts.next()?.code == code {
                return Some(Value { parts: before, code });
            }
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = DhcpOption<'a>;

    fn next(&mut self) -> Option<DhcpOption<'a>> {
        for field in &mut self.fields {
            while let Ok((rest, item)) = item(field) {
                *field = rest;
                match item {
                    Item::Pad => {}
                    Item::End => break,
                    Item::Option(option) => return Some(option),
                }
            }
            *field = &[];
        }
        None
    }
}

enum Item<'a> {
    Pad,
    End,
    Option(DhcpOption<'a>),
}

fn item(input: &[u8]) -> nom::IResult<&[u8], Item<'_>, Error<&[u8]>> {
    let option = (be_u8, length_data(be_u8));
    alt((
        map(tag(&[OptionCode::PAD.0][..]), |_| Item::Pad),
        map(tag(&[OptionCode::END.0][..]), |_| Item::End),
        map(option, |(code, value)| Item::Option(DhcpOption { code: OptionCode(code), value })),
    ))
    .parse(input)
}

/// The value of an option.
///
/// One that stands several times is one long value in parts (RFC 3396):
///
/// > When a decoding agent is scanning an incoming DHCP packet's option buffer and finds two or more options with the same
/// > option code, it MUST consider them to be split portions of an option (section 7)
///
/// so it does not lie in one piece always, and is read byte by byte, or [joined](Self::joined). What is of fixed length is
/// read from its first bytes, and so from the first of two options that a server sends by mistake.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// From its first part on.
    parts: Options<'a>,
    code: OptionCode,
}

impl<'a> Value<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        self.slices().flatten().copied()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes in one piece: as they lie there if they do, or copied into `buffer`, as many as fit.
    pub fn joined<'b>(&self, buffer: &'b mut [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        let mut slices = self.slices();
        if let (Some(only), None) = (slices.next(), slices.next()) {
            return only;
        }
        let mut len = 0;
        for (place, byte) in buffer.iter_mut().zip(self.bytes()) {
            *place = byte;
            len += 1;
        }
        buffer.get(..len).unwrap_or_default()
    }

    /// The first byte.
    pub fn first(&self) -> Option<u8> {
        self.bytes().next()
    }

    /// The first bytes, as a big-endian number of 16 bits.
    pub fn u16(&self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The first bytes, as a big-endian number of 32 bits.
    pub fn u32(&self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The first bytes, as an address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    /// As a list of addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + Clone + use<'a> {
        let mut bytes = self.bytes();
        core::iter::from_fn(move || {
            Some(Ipv4Addr::new(bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?))
        })
    }

    /// As text: without the NUL bytes that some servers end it with (dnsmasq ends options 66 and 67 so; captured).
    pub fn text(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        let end = self.bytes().enumerate().filter(|(_, byte)| *byte != 0).last().map_or(0, |(at, _)| at + 1);
        self.bytes().take(end)
    }

    /// Whether its text begins so.
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        let mut bytes = self.bytes();
        prefix.iter().all(|byte| bytes.next() == Some(*byte))
    }

    fn array<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = self.bytes();
        let mut array = [0; N];
        for place in &mut array {
            *place = bytes.next()?;
        }
        Some(array)
    }

    fn slices(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let code = self.code;
        self.parts.filter(move |option| option.code == code).map(|option| option.value)
    }
}

/// A text in a message: the value of an option, or a field of the header.
///
/// It should be ASCII; any bytes come. Shown, what is not printable is escaped.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Text<'a> {
    value: Option<Value<'a>>,
    field: &'a [u8],
}

impl<'a> Text<'a> {
    pub(super) const fn value(value: Value<'a>) -> Self {
        Self { value: Some(value), field: &[] }
    }

    /// What stands before the first NUL of a field; `None` if nothing does.
    pub(super) fn field(field: &'a [u8]) -> Option<Self> {
        let text = field.split(|byte| *byte == 0).next().filter(|text| !text.is_empty())?;
        Some(Self { value: None, field: text })
    }

    /// Its bytes, without the NUL bytes at its end.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        self.value.into_iter().flat_map(|value| value.text()).chain(self.field.iter().copied())
    }

    /// As an address in dotted quad notation, with nothing around it.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let mut text = [0; "255.255.255.255".len() + 1];
        let mut len = 0;
        for byte in self.bytes() {
            *text.get_mut(len)? = byte;
            len += 1;
        }
        core::str::from_utf8(text.get(..len)?).ok()?.parse().ok()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Text<'_> {}

/// Two values are equal if their bytes are, however they are split.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Value<'_> {}

impl PartialEq<[u8]> for Value<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        self.bytes().eq(other.iter().copied())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Value<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        for slice in self.slices() {
            defmt::write!(f, "{=[u8]:a}", slice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn codes(options: Options<'_>) -> Vec<u8> {
        options.map(|option| option.code.0).collect()
    }

    #[test]
    fn padding_is_no_option_and_the_end_may_be_missing() {
        let plain = |bytes| Options::new(bytes, &[], &[]);
        assert_eq!(codes(plain(&[0, 53, 1, 2, 0, 0, 54, 0])), [53, 54]);
        assert_eq!(codes(plain(&[53, 1, 2, 255, 54, 0])), [53], "after the end");
        assert_eq!(codes(plain(&[53, 1, 2, 54, 4, 10, 0])), [53], "cut");
        assert_eq!(codes(plain(&[53])), [0; 0]);
        assert_eq!(codes(plain(&[53, 1, 0, 0])), [53], "padding after a value that is zero");
    }

    #[test]
    fn parts_are_joined_in_the_order_of_the_fields() {
        let options =
            Options::new(&[66, 3, b'1', b'0', b'.', 67, 1, b'x', 255], &[66, 2, b'7', b'7'], &[66, 1, 0]);
        let value = options.find(OptionCode::TFTP_SERVER_NAME).unwrap();
        assert!(value == b"10.77\0"[..]);
        assert!(value.text().eq(*b"10.77"));
        assert_eq!(
            (value.len(), value.joined(&mut [0; 9]), value.joined(&mut [0; 2])),
            (6, &b"10.77\0"[..], &b"10"[..])
        );
        let only = options.find(OptionCode::BOOT_FILE_NAME).unwrap();
        assert_eq!(only.joined(&mut []), b"x", "lies in one piece");
        assert_eq!(options.find(OptionCode::ROUTER), None);
    }

    #[test]
    fn texts_are_addresses_if_they_are() {
        let text = |bytes: &[u8]| Text::field(bytes).and_then(|text| text.address());
        assert_eq!(text(b"10.77.0.1\0rest"), Some(Ipv4Addr::new(10, 77, 0, 1)));
        for other in
            [&b"10.77.0.1 "[..], b"boot", b"http://10.77.0.1/", b"10.77.0", b"255.255.255.2555", b"", b"\0x"]
        {
            assert_eq!(text(other), None, "{other:?}");
        }
        assert_eq!(std::format!("{}", Text::field(b"a\xff\n").unwrap()), "a\\xff\\n");
    }

    #[test]
    fn numbers_and_addresses() {
        let options = Options::new(&[3, 9, 10, 0, 0, 1, 10, 0, 0, 2, 9, 51, 3, 0, 0, 1], &[], &[]);
        let routers = options.find(OptionCode::ROUTER).unwrap();
        assert!(routers.addresses().eq([Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]));
        assert_eq!(routers.u16(), Some(0x0a00));
        assert_eq!(options.find(OptionCode::LEASE_TIME).unwrap().u32(), None, "too short");
    }
}
