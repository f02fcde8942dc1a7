//! What the fuzz targets share: an input read as a schedule, of what comes in and when.
//!
//! An input begins with a target's own [`Setup`] and goes on with events, each a letter and what belongs to it, so that
//! a captured datagram can be put into a corpus file as it is (`fuzz/README.md` has the layout).

use core::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use pinetboot_core::tftp::{Limits, Patience};

/// One thing that happens to a machine.
#[derive(Debug)]
pub enum Event<'a> {
    /// `p`: a datagram comes in. Two bytes of length, and the datagram.
    Datagram(&'a [u8]),
    /// `t`: time passes. Two bytes, in milliseconds.
    Pass(Duration),
    /// `a`: the caller gives up. Two bytes, the error code.
    Abort(u16),
    /// `f`: the datagrams after this come from another peer, and to another port of ours. One byte each.
    From {
        /// Which peer.
        peer: u8,
        /// Which port of ours.
        port: u8,
    },
}

/// Numbers are little-endian. Any other letter ends the schedule.
impl<'a> Arbitrary<'a> for Event<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        match u.bytes(1)? {
            b"p" => {
                let len = u16::arbitrary(u)?;
                u.bytes(len.into()).map(Event::Datagram)
            }
            b"t" => Ok(Event::Pass(Duration::from_millis(u16::arbitrary(u)?.into()))),
            b"a" => u16::arbitrary(u).map(Event::Abort),
            b"f" => Ok(Event::From { peer: u8::arbitrary(u)?, port: u8::arbitrary(u)? }),
            _ => Err(arbitrary::Error::IncorrectFormat),
        }
    }
}

/// How the side under test is set up: 10 bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    block_size: u16,
    window_size: u16,
    timeout_ms: u32,
    retries: u8,
    /// Whatever a target wants to choose by it.
    pub choice: u8,
}

impl Setup {
    /// A server's limits. Windows are kept below 256 blocks, so that one input does not take long.
    pub fn limits(&self) -> Limits {
        Limits {
            block_size: self.block_size,
            window_size: self.window_size % 256,
            patience: self.patience(),
            ..Limits::default()
        }
    }

    /// How long to wait and how often to try again.
    pub fn patience(&self) -> Patience {
        Patience::new(Duration::from_millis(self.timeout_ms.into()), self.retries)
    }
}

/// The next event of the schedule; `None` for good once there is none.
pub fn next<'a>(input: &mut Unstructured<'a>) -> Option<Event<'a>> {
    let event = if input.is_empty() { None } else { Event::arbitrary(input).ok() };
    if event.is_none() {
        *input = Unstructured::new(&[]);
    }
    event
}
