//! Packets: parsed into borrowed views, emitted into the caller's memory.

use core::fmt;

use nom::Parser;
use nom::bytes::complete::{tag, take_till};
use nom::error::Error;
use nom::number::complete::be_u16;

use super::options::Options;
use super::writer::Writer;

/// A TFTP packet (RFC 1350, section 5; RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "RFC 1350 and 2347 have six")]
pub enum Packet<'a> {
    /// RRQ: the client wants to read a file.
    Read(Request<'a>),
    /// WRQ: the client wants to write a file.
    Write(Request<'a>),
    /// DATA: one block of the file.
    Data {
        /// The block's number, the first being 1; after 65535 comes 0.
        block: u16,
        /// Its bytes; fewer than the block size in the last one.
        payload: &'a [u8],
    },
    /// ACK: this block and all before it arrived. Block 0 acknowledges a WRQ or an OACK.
    Ack {
        /// The block's number.
        block: u16,
    },
    /// ERROR: the transfer is over.
    Error {
        /// What kind of error.
        code: ErrorCode,
        /// The text for people: netascii by the RFC, any bytes in practice.
        message: &'a [u8],
    },
    /// OACK: the server agrees to these options.
    OptionAck(Options),
}

/// The contents of an RRQ or WRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Request<'a> {
    /// The name as it stands in the packet: any bytes but NUL. [`BootPath::parse`](crate::BootPath::parse) makes it safe.
    pub filename: &'a [u8],
    /// The transfer mode.
    pub mode: Mode,
    /// The options asked for, without the unknown ones.
    pub options: Options,
}

/// The form of a file's bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "of the modes of RFC 1350 two are in use")]
pub enum Mode {
    /// The file's bytes unchanged.
    #[default]
    Octet,
    /// As text: line ends are CR LF, and a bare CR is CR NUL (RFC 764). See [`netascii`](super::netascii).
    Netascii,
}

impl Mode {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Octet => b"octet",
            Self::Netascii => b"netascii",
        }
    }
}

/// The number in an ERROR packet (RFC 1350, appendix; RFC 2347). Numbers without a name are kept as they come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// 0: see the message. A Pi ends its size probes with this and the text "Early terminate".
    pub const NOT_DEFINED: Self = Self(0);
    /// 1: file not found.
    pub const FILE_NOT_FOUND: Self = Self(1);
    /// 2: access violation.
    pub const ACCESS_VIOLATION: Self = Self(2);
    /// 3: disk full or allocation exceeded.
    pub const DISK_FULL: Self = Self(3);
    /// 4: illegal TFTP operation.
    pub const ILLEGAL_OPERATION: Self = Self(4);
    /// 5: unknown transfer ID.
    pub const UNKNOWN_TRANSFER_ID: Self = Self(5);
    /// 6: file already exists.
    pub const FILE_EXISTS: Self = Self(6);
    /// 7: no such user.
    pub const NO_SUCH_USER: Self = Self(7);
    /// 8: the options that were agreed to are refused (RFC 2347).
    pub const OPTIONS_REFUSED: Self = Self(8);

    /// The meaning of the code in a few words.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0 => "error",
            1 => "file not found",
            2 => "access violation",
            3 => "disk full or allocation exceeded",
            4 => "illegal TFTP operation",
            5 => "unknown transfer ID",
            6 => "file already exists",
            7 => "no such user",
            8 => "options refused",
            _ => "unknown error",
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.meaning())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}, {}", self.0, self.meaning())
    }
}

impl<'a> Packet<'a> {
    /// The ERROR by which a Pi ends a request for a file's size (captured, raspberrypi/firmware issue
    /// 1700).
    pub const EARLY_TERMINATE: Self =
        Self::Error { code: ErrorCode::NOT_DEFINED, message: b"Early terminate" };

    /// Parses a datagram.
    ///
    /// Tolerated: bytes after an ACK, an ERROR without its final NUL, text or code (which is 0 then), an option without
    /// a value at the end of a request (it is ignored), a request whose mode lacks its NUL, and bytes beyond a request's 512th.
    ///
    /// # Errors
    ///
    /// The reason why the datagram is not a TFTP packet.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (body, opcode) = be_u16::<_, Error<_>>(datagram).map_err(|_| ParseError::Truncated)?;
        match opcode {
            READ => Request::parse(body).map(Self::Read),
            WRITE => Request::parse(body).map(Self::Write),
            DATA => {
                let (payload, block) = be_u16::<_, Error<_>>(body).map_err(|_| ParseError::Truncated)?;
                Ok(Self::Data { block, payload })
            }
            ACK => {
                let (_, block) = be_u16::<_, Error<_>>(body).map_err(|_| ParseError::Truncated)?;
                Ok(Self::Ack { block })
            }
            ERROR => {
                // Cut short it is an ERROR still, and so never answered.
                let (text, code) = be_u16::<_, Error<_>>(body).unwrap_or((&[], ErrorCode::NOT_DEFINED.0));
                let (_, message) = take_till::<_, _, Error<_>>(|b| b == 0)(text).unwrap_or((&[], text));
                Ok(Self::Error { code: ErrorCode(code), message })
            }
            OPTION_ACK => options(body).map(Self::OptionAck).map_err(|_| ParseError::Options),
            _ => Err(ParseError::Opcode),
        }
    }

    /// Writes the packet into `buf` and returns its length in bytes; `None` if it does not fit, or is a request of more than
    /// 512 bytes.
    ///
    /// A NUL inside a filename or message would end it early; such a packet is not emitted either.
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(buf);
        match self {
            Self::Read(request) => {
                writer.u16(READ)?;
                request.emit(&mut writer)?;
            }
            Self::Write(request) => {
                writer.u16(WRITE)?;
                request.emit(&mut writer)?;
            }
            Self::Data { block, payload } => {
                writer.u16(DATA)?;
                writer.u16(*block)?;
                writer.bytes(payload)?;
            }
            Self::Ack { block } => {
                writer.u16(ACK)?;
                writer.u16(*block)?;
            }
            Self::Error { code, message } => {
                writer.u16(ERROR)?;
                writer.u16(code.0)?;
                writer.text(message)?;
            }
            Self::OptionAck(options) => {
                writer.u16(OPTION_ACK)?;
                options.emit(&mut writer)?;
            }
        }
        Some(writer.len())
    }

    /// An ERROR packet whose text is the meaning of its code.
    pub const fn error(code: ErrorCode) -> Packet<'static> {
        Packet::Error { code, message: code.meaning().as_bytes() }
    }
}

/// Writes the header of a DATA packet: its payload follows at [`DATA_HEADER`](super::DATA_HEADER). `None` if `buf` is
/// too short.
pub(super) fn emit_data_header(block: u16, buf: &mut [u8]) -> Option<()> {
    let mut writer = Writer::new(buf);
    writer.u16(DATA)?;
    writer.u16(block)
}

impl<'a> Request<'a> {
    /// A request for `filename`.
    pub const fn new(filename: &'a [u8], mode: Mode, options: Options) -> Self {
        Self { filename, mode, options }
    }

    /// A request for `filename` in octet mode.
    pub const fn octet(filename: &'a [u8], options: Options) -> Self {
        Self::new(filename, Mode::Octet, options)
    }

    fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        // > The maximum size of a request packet is 512 octets. (RFC 2347)
        // Some clients send more, all of it padding.
        let body = body.get(..MAX_REQUEST - OPCODE).unwrap_or(body);
        let has_room = body.len() < MAX_REQUEST - OPCODE;
        let (body, filename) = text(body).map_err(|_| ParseError::Truncated)?;
        // The mode alone may lack its NUL, where the NUL had room.
        let (body, mode) = match text(body) {
            Err(_) if has_room => (&[][..], body),
            mode => mode.map_err(|_| ParseError::Truncated)?,
        };
        if filename.is_empty() {
            return Err(ParseError::Filename);
        }
        // > The mode field contains the string "netascii", "octet", or "mail" (or any combination of upper and lower
        // > case, such as "NETASCII", NetAscii", etc.) (RFC 1350, section 5)
        let mode = [Mode::Octet, Mode::Netascii]
            .into_iter()
            .find(|known| mode.eq_ignore_ascii_case(known.name()))
            .ok_or(ParseError::Mode)?;
        // An option with a value that it cannot have is not answered, which refuses it.
        let (Ok(options) | Err(options)) = options(body);
        Ok(Self { filename, mode, options })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.text(self.filename)?;
        writer.text(self.mode.name())?;
        self.options.emit(writer)?;
        (writer.len() <= MAX_REQUEST).then_some(())
    }
}

/// The reason why a datagram is not a TFTP packet, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ParseError {
    /// The packet ends too early.
    Truncated,
    /// The opcode is unknown.
    Opcode,
    /// A request without a file name.
    Filename,
    /// A mode other than octet and netascii.
    Mode,
    /// An OACK with a value out of its range.
    Options,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends too early",
            Self::Opcode => "no such opcode",
            Self::Filename => "the request names no file",
            Self::Mode => "the mode is neither octet nor netascii",
            Self::Options => "an option has a value that it cannot have",
        })
    }
}

impl core::error::Error for ParseError {}

/// Bytes up to a NUL, and past it.
fn text(input: &[u8]) -> nom::IResult<&[u8], &[u8]> {
    let (input, text) = take_till(|b| b == 0)(input)?;
    let (input, _) = tag(&[0][..])(input)?;
    Ok((input, text))
}

/// Name and value pairs, up to the end or to the first that is malformed. `Err` if an option has a value out of its range.
fn options(mut input: &[u8]) -> Result<Options, Options> {
    let mut options = Options::default();
    let mut sound = true;
    while let Ok((after, (name, value))) = (text, text).parse(input) {
        sound &= options.take(name, value).is_some();
        input = after;
    }
    if sound { Ok(options) } else { Err(options) }
}

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACK: u16 = 6;

const MAX_REQUEST: usize = 512;
const OPCODE: usize = 2;
