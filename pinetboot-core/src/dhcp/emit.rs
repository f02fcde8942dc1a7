//! The message of RFC 2131, written field by field into the caller's memory.

use core::net::Ipv4Addr;

use super::message::{COOKIE, FILE_LEN, Header, SNAME_LEN};
use super::option::{MessageType, OptionCode};
use super::writer::Writer;

/// The longest message that every client takes, in bytes: an IP datagram of 576 bytes (RFC 2131, section 2) less the
/// headers of IP and UDP. A Pi asks for no more (no option 57).
pub const MAX_LEN: usize = 548;

/// The shortest: BOOTP's 300 bytes (RFC 1542, section 2.1), below which some clients and relays pass a message over.
pub const MIN_LEN: usize = 300;

/// Writes a message: its header, then what is added to it, then the END and padding.
///
/// Every call says `None` if the message would be longer than [`MAX_LEN`] or the memory; the message is not to be sent
/// then.
///
/// ```
/// use pinetboot_core::dhcp::{Emitter, HardwareAddress, Header, Message, MessageType, OptionCode};
///
/// fn discover(out: &mut [u8]) -> Option<usize> {
///     let mac = HardwareAddress::ethernet([0xe4, 0x5f, 0x01, 0x09, 0x02, 0xf7]);
///     let mut message = Emitter::new(&Header::request(mac, 7), out)?;
///     message.kind(MessageType::Discover)?;
///     message.option(OptionCode::HOST_NAME, b"pi")?;
///     message.finish()
/// }
///
/// let mut out = [0; 576];
/// let len = discover(&mut out).unwrap();
/// assert_eq!(Message::parse(&out[..len]).unwrap().kind(), Some(MessageType::Discover));
/// ```
#[derive(Debug)]
pub struct Emitter<'b> {
    writer: Writer<'b>,
}

impl<'b> Emitter<'b> {
    /// Begins a message in `out`.
    pub fn new(header: &Header, out: &'b mut [u8]) -> Option<Self> {
        let room = out.len().min(MAX_LEN);
        let mut writer = Writer::new(out.get_mut(..room)?);
        header.emit(&mut writer)?;
        writer.zeros(SNAME_LEN + FILE_LEN)?;
        writer.bytes(&COOKIE)?;
        Some(Self { writer })
    }

    /// Names the boot file in `file`, where every client finds it. At most 127 bytes, and no NUL.
    pub fn boot_file(&mut self, name: &[u8]) -> Option<()> {
        if name.len() >= FILE_LEN || name.contains(&0) {
            return None;
        }
        self.writer.overwrite(FILE, &[0; FILE_LEN])?;
        self.writer.overwrite(FILE, name)
    }

    /// Names the server in `sname`. At most 63 bytes, and no NUL.
    pub fn server_name(&mut self, name: &[u8]) -> Option<()> {
        if name.len() >= SNAME_LEN || name.contains(&0) {
            return None;
        }
        self.writer.overwrite(SNAME, &[0; SNAME_LEN])?;
        self.writer.overwrite(SNAME, name)
    }

    /// Adds option 53.
    pub fn kind(&mut self, kind: MessageType) -> Option<()> {
        self.option(OptionCode::MESSAGE_TYPE, &[kind.code()])
    }

    /// Adds an option that holds an address.
    pub fn address(&mut self, code: OptionCode, address: Ipv4Addr) -> Option<()> {
        self.option(code, &address.octets())
    }

    /// Adds an option that holds seconds.
    pub fn seconds(&mut self, code: OptionCode, seconds: u32) -> Option<()> {
        self.option(code, &seconds.to_be_bytes())
    }

    /// Adds an option; one of more than 255 bytes in parts (RFC 3396). PAD and END are none.
    pub fn option(&mut self, code: OptionCode, value: &[u8]) -> Option<()> {
        if code == OptionCode::PAD || code == OptionCode::END {
            return None;
        }
        if value.is_empty() {
            return self.writer.bytes(&[code.0, 0]);
        }
        for part in value.chunks(u8::MAX.into()) {
            self.writer.u8(code.0)?;
            self.writer.u8(u8::try_from(part.len()).ok()?)?;
            self.writer.bytes(part)?;
        }
        Some(())
    }

    /// Adds an option whose bytes come one by one, at most 255 of them.
    pub fn option_from(&mut self, code: OptionCode, value: impl Iterator<Item = u8>) -> Option<()> {
        self.writer.u8(code.0)?;
        let at = self.writer.len();
        self.writer.u8(0)?;
        let mut len = 0_u8;
        for byte in value {
            self.writer.u8(byte)?;
            len = len.checked_add(1)?;
        }
        self.writer.overwrite(at, &[len])
    }

    /// Ends the message and returns its length in bytes.
    pub fn finish(mut self) -> Option<usize> {
        self.writer.u8(OptionCode::END.0)?;
        self.writer.zeros(MIN_LEN.saturating_sub(self.writer.len()))?;
        Some(self.writer.len())
    }
}

/// Where `sname` begins.
const SNAME: usize = 44;
/// Where `file` begins.
const FILE: usize = SNAME + SNAME_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::{HardwareAddress, Message};

    const HEADER: Header = Header::request(HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]), 1);

    #[test]
    fn is_as_long_as_bootp_and_no_longer_than_a_pi_takes() {
        let mut out = [0xaa; 2 * MAX_LEN];
        let len = Emitter::new(&HEADER, &mut out).and_then(Emitter::finish);
        assert_eq!(len, Some(MIN_LEN));
        assert_eq!(Message::parse(&out[..MIN_LEN]).unwrap().options().count(), 0);

        let mut message = Emitter::new(&HEADER, &mut out).unwrap();
        assert_eq!(message.option(OptionCode(224), &[7; 303]), Some(()), "548 - 240 - 2 * 2 - 1");
        assert_eq!(message.finish(), Some(MAX_LEN));
        let parsed = Message::parse(&out[..MAX_LEN]).unwrap();
        assert!(parsed.option(OptionCode(224)).unwrap() == [7; 303][..], "joined again");
        assert_eq!(out[MAX_LEN], 0xaa);

        let mut message = Emitter::new(&HEADER, &mut out).unwrap();
        assert_eq!(message.option(OptionCode(224), &[7; 304]).and_then(|()| message.finish()), None);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        assert!(Emitter::new(&HEADER, &mut [0; 239]).is_none());
        assert!(Emitter::new(&HEADER, &mut [0; 240]).is_some_and(|message| message.finish().is_none()));
        let mut out = [0; MAX_LEN];
        let mut message = Emitter::new(&HEADER, &mut out).unwrap();
        assert_eq!(message.boot_file(&[b'x'; 128]), None);
        assert_eq!(message.boot_file(b"a\0b"), None);
        assert_eq!(message.boot_file(&[b'x'; 127]), Some(()));
        assert_eq!(message.server_name(&[b'x'; 64]), None);
        assert_eq!(message.server_name(b"boot.example"), Some(()));
        assert_eq!(message.option(OptionCode::END, b"x"), None);
        assert_eq!(message.option_from(OptionCode(224), core::iter::repeat_n(1, 256)), None);
        let len = Emitter::new(&HEADER, &mut out).and_then(Emitter::finish).unwrap();
        assert_eq!(Message::parse(&out[..len]).unwrap().boot_file(), None, "begun anew");
    }
}
