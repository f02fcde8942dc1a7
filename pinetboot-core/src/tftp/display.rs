//! The text of packets and terms in a log: `RRQ config.txt octet tsize 0 blksize 1468`.

use core::fmt::{Display, Formatter, Result};

use super::{Mode, Options, Outcome, Packet, Request, Terms};

impl Display for Packet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Read(request) => write!(f, "RRQ {request}"),
            Self::Write(request) => write!(f, "WRQ {request}"),
            Self::Data { block, payload } => write!(f, "DATA {block} ({} bytes)", payload.len()),
            Self::Ack { block } => write!(f, "ACK {block}"),
            Self::Error { code, message } => write!(f, "ERROR {} {}", code.0, message.escape_ascii()),
            Self::OptionAck(options) => write!(f, "OACK {options}"),
        }
    }
}

impl Display for Request<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { filename, mode, options } = self;
        write!(f, "{} {mode} {options}", filename.escape_ascii())
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Octet => "octet",
            Self::Netascii => "netascii",
        })
    }
}

/// In the form of a packet: `tsize 0 blksize 1468`; `without options` if there are none.
impl Display for Options {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let options = [
            ("tsize", self.transfer_size),
            ("blksize", self.block_size.map(u64::from)),
            ("timeout", self.timeout_secs.map(u64::from)),
            ("windowsize", self.window_size.map(u64::from)),
        ];
        let mut asked = options.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        match asked.next() {
            Some((name, value)) => write!(f, "{name} {value}")?,
            None => f.write_str("without options")?,
        }
        asked.try_for_each(|(name, value)| write!(f, " {name} {value}"))
    }
}

impl Display for Terms {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { block_size, window_size, retry } = self;
        write!(f, "blocks of {block_size} bytes, {window_size} at a time, timeout {:?}", retry.timeout())
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Complete { bytes } => write!(f, "complete, {bytes} bytes"),
            Self::PeerError(code) => write!(f, "the other side says {code}"),
            Self::Aborted(code) => write!(f, "ended with {code}"),
            Self::TimedOut => f.write_str("the other side does not answer"),
            Self::Superseded => f.write_str("the client began anew"),
            Self::Displaced => f.write_str("another client got the place"),
            Self::Stopped => f.write_str("the server was stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn reads_like_a_capture() {
        let request = Request::octet(b"7bf18f79//config.txt", Options::RASPBERRY_PI);
        assert_eq!(Packet::Read(request).to_string(), "RRQ 7bf18f79//config.txt octet tsize 0 blksize 1468");
        let plain = Request { mode: Mode::Netascii, ..Request::octet(b"a\x1b", Options::default()) };
        assert_eq!(Packet::Write(plain).to_string(), "WRQ a\\x1b netascii without options");
        assert_eq!(Packet::Data { block: 7, payload: &[0; 12] }.to_string(), "DATA 7 (12 bytes)");
    }
}
