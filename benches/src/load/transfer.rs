//! One transfer, seen by the client: RFC 1350, 2347, 2348, 2349 and 7440. Written anew, without the engine's code, because
//! this one judges the engine.
//!
//! A packet that is not answered within a second is sent again, four times. A real Pi asks every two seconds; the time
//! only sets the cost of a loss.

use std::time::{Duration, Instant};

use crate::content::Content;

/// A request to make.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) name: Box<str>,
    pub(crate) block_size: u16,
    pub(crate) window: u16,
    pub(crate) want: Want,
    pub(crate) habit: Habit,
}

/// What a client acknowledges besides the end of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    /// The first block after a gap, once (RFC 7440, section 4).
    #[default]
    Gaps,
    /// Each block that is not the expected one, as EDK2 (MdePkg's MTFTP4, `Mtftp4RrqHandleData`).
    Unexpected,
}

/// The expected answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Want {
    /// The whole file.
    File { len: u64, content: Content },
    /// The file's existence: after the first answer the client ends the transfer, as a Pi does.
    Probe,
    /// The file's absence.
    Missing,
}

/// The state of a transfer.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) ask: Ask,
    /// The server's port; 0 before its first answer.
    tid: u16,
    window: u16,
    /// The block that comes next, counted without end.
    next: u64,
    /// Blocks not yet acknowledged.
    unacknowledged: u16,
    /// Whether a gap in this window was already answered.
    complained: bool,
    pub(crate) asked_at: Instant,
    /// The time at which the last packet is sent again.
    pub(crate) deadline: Instant,
    tries: u8,
}

/// The effect of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The datagram is not part of this transfer.
    Stray,
    /// The block was received before.
    Duplicate(Say),
    /// The first answer, an OACK without bytes of the file.
    Options(Say),
    /// A block of the file.
    Block(Say),
    /// The transfer is over, with the expected result.
    Complete(Say),
    /// The transfer is over: these bytes are not the file's.
    Wrong,
    /// The transfer is over: this error was not expected.
    Refused,
}

/// The packet to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    Ack(u16),
    /// ERROR 0: the file exists, the transfer can end.
    Enough,
}

impl Transfer {
    pub(crate) fn new(ask: Ask, now: Instant) -> Self {
        Self {
            ask,
            tid: 0,
            window: 1,
            next: 1,
            unacknowledged: 0,
            complained: false,
            asked_at: now,
            deadline: now + RETRY,
            tries: 1,
        }
    }

    pub(crate) const fn answered(&self) -> bool {
        self.tid != 0
    }

    /// The server's port, once it has answered.
    pub(crate) const fn tid(&self) -> u16 {
        self.tid
    }

    /// How many blocks the server sends in one go.
    pub(crate) const fn window(&self) -> u16 {
        self.window
    }

    /// The blocks before this one were acknowledged without [`handle`](Self::handle). The file has fewer than 65,536 blocks.
    pub(crate) fn skip_to(&mut self, number: u16) {
        self.next = self.next.max(number.into());
    }

    /// The blocks received so far.
    pub(crate) const fn blocks(&self) -> u64 {
        self.next - 1
    }

    /// A datagram from this port of the server.
    pub(crate) fn handle(&mut self, now: Instant, port: u16, bytes: &[u8]) -> Heard {
        if self.tid != 0 && self.tid != port {
            return Heard::Stray;
        }
        let (Some(&[_, opcode]), Some(&[high, low]), Some(rest)) =
            (bytes.first_chunk(), bytes.get(2..4).and_then(<[u8]>::first_chunk), bytes.get(4..))
        else {
            return Heard::Stray;
        };
        let heard = match opcode {
            DATA => self.block(u16::from_be_bytes([high, low]), rest),
            OACK if self.tid == 0 => self.options(&bytes[2..]),
            OACK => return Heard::Stray,
            ERROR => match self.ask.want {
                // 1: file not found.
                Want::Missing if [high, low] == [0, 1] => Heard::Complete(Say::Nothing),
                _ => Heard::Refused,
            },
            _ => return Heard::Stray,
        };
        self.tid = port;
        self.deadline = now + RETRY;
        self.tries = 1;
        heard
    }

    /// The deadline has passed: the packet to send again. `None`: give up.
    pub(crate) fn again(&mut self, now: Instant) -> Option<Again> {
        self.deadline = now + RETRY;
        self.tries += 1;
        match self.tries > TRIES {
            true => None,
            false if self.tid == 0 => Some(Again::Ask),
            false => Some(Again::Ack((self.next - 1) as u16)),
        }
    }

    fn options(&mut self, options: &[u8]) -> Heard {
        let mut words = options.split(|byte| *byte == 0);
        let (mut block_size, mut window, mut size) = (512, 1, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let value = str::from_utf8(value).ok().and_then(|value| value.parse::<u64>().ok());
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => block_size = value.unwrap_or(0),
                b"windowsize" => window = value.unwrap_or(0),
                b"tsize" => size = value,
                _ => {}
            }
        }
        self.window = window.try_into().unwrap_or(1);
        match self.ask.want {
            Want::Missing => Heard::Wrong,
            Want::Probe => Heard::Complete(Say::Enough),
            // An unrequested block size makes every figure wrong; a wrong size, the file.
            Want::File { len, .. } => {
                match block_size == u64::from(self.ask.block_size) && size.is_none_or(|size| size == len) {
                    true => Heard::Options(Say::Ack(0)),
                    false => Heard::Wrong,
                }
            }
        }
    }

    fn block(&mut self, number: u16, bytes: &[u8]) -> Heard {
        let (len, content) = match self.ask.want {
            Want::File { len, content } => (len, content),
            Want::Probe => return Heard::Complete(Say::Enough),
            Want::Missing => return Heard::Wrong,
        };
        let last = (self.next - 1) as u16;
        if number != self.next as u16 {
            // Out of order: acknowledge once the last block in order. (RFC 7440, section 4)
            let say = match self.window > 1 && self.complained && self.ask.habit == Habit::Gaps {
                true => Say::Nothing,
                false => Say::Ack(last),
            };
            self.complained = true;
            self.unacknowledged = 0;
            return Heard::Duplicate(say);
        }
        let block_size = u64::from(self.ask.block_size);
        let offset = (self.next - 1) * block_size;
        let expected = len.saturating_sub(offset).min(block_size) as usize;
        if bytes.len() != expected || bytes != content.at(offset, expected) {
            return Heard::Wrong;
        }
        self.next += 1;
        self.complained = false;
        self.unacknowledged += 1;
        if expected < usize::from(self.ask.block_size) {
            return Heard::Complete(Say::Ack(number));
        }
        if self.unacknowledged < self.window {
            return Heard::Block(Say::Nothing);
        }
        self.unacknowledged = 0;
        Heard::Block(Say::Ack(number))
    }
}

/// The packet that is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Ask,
    Ack(u16),
}

impl Ask {
    /// Writes the request.
    pub(crate) fn emit(&self, memory: &mut [u8]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            memory[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&[0, READ]);
        put(self.name.as_bytes());
        put(b"\0octet\0tsize\x000\0blksize\0");
        put(self.block_size.to_string().as_bytes());
        if self.window > 1 {
            put(b"\0windowsize\0");
            put(self.window.to_string().as_bytes());
        }
        put(&[0]);
        at
    }
}

/// Writes an ACK.
pub(crate) fn ack(block: u16) -> impl FnOnce(&mut [u8]) -> usize {
    move |memory| {
        let [high, low] = block.to_be_bytes();
        memory[..4].copy_from_slice(&[0, ACK, high, low]);
        4
    }
}

/// Writes the ERROR with which a Pi ends a transfer that it needs no more.
pub(crate) fn enough(memory: &mut [u8]) -> usize {
    memory[..ENOUGH.len()].copy_from_slice(ENOUGH);
    ENOUGH.len()
}

const ENOUGH: &[u8] = b"\0\x05\0\0Early terminate\0";

pub(crate) const READ: u8 = 1;
pub(crate) const DATA: u8 = 3;
pub(crate) const ACK: u8 = 4;
const ERROR: u8 = 5;
pub(crate) const OACK: u8 = 6;

const RETRY: Duration = Duration::from_secs(1);
const TRIES: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(window: u16) -> (Transfer, Instant) {
        let now = Instant::now();
        let content = Content::of("file");
        let want = Want::File { len: 2500, content };
        let ask = Ask { name: "file".into(), block_size: 1024, window, want, habit: Habit::Gaps };
        (Transfer::new(ask, now), now)
    }

    fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
        let [high, low] = block.to_be_bytes();
        [&[0, DATA, high, low], bytes].concat()
    }

    #[test]
    fn a_whole_file() {
        let (mut it, now) = transfer(1);
        let content = Content::of("file");
        let options = b"\0\x06tsize\x002500\0blksize\x001024\0";
        assert_eq!(it.handle(now, 5000, options), Heard::Options(Say::Ack(0)));
        assert_eq!(it.handle(now, 5001, &data(1, content.at(0, 1024))), Heard::Stray);
        assert_eq!(it.handle(now, 5000, &data(1, content.at(0, 1024))), Heard::Block(Say::Ack(1)));
        assert_eq!(it.handle(now, 5000, &data(1, content.at(0, 1024))), Heard::Duplicate(Say::Ack(1)));
        assert_eq!(it.handle(now, 5000, &data(2, content.at(1024, 1024))), Heard::Block(Say::Ack(2)));
        assert_eq!(it.handle(now, 5000, &data(3, content.at(2048, 452))), Heard::Complete(Say::Ack(3)));
    }

    #[test]
    fn what_is_wrong_is_noticed() {
        let content = Content::of("file");
        for (block, bytes) in [
            (1, content.at(1, 1024)),    // shifted
            (1, content.at(0, 1023)),    // short
            (1, content.at(1024, 1024)), // the next one under this number
        ] {
            let (mut it, now) = transfer(1);
            assert_eq!(it.handle(now, 5000, &data(block, bytes)), Heard::Wrong);
        }
        let (mut it, now) = transfer(1);
        assert_eq!(it.handle(now, 5000, b"\0\x06blksize\x00512\0"), Heard::Wrong);
        let (mut it, now) = transfer(1);
        assert_eq!(it.handle(now, 5000, b"\0\x06tsize\x002501\0blksize\x001024\0"), Heard::Wrong);
        let (mut it, now) = transfer(1);
        assert_eq!(it.handle(now, 5000, b"\0\x05\0\x01not found\0"), Heard::Refused);
    }

    #[test]
    fn a_window_is_acknowledged_once() {
        let (mut it, now) = transfer(2);
        let content = Content::of("file");
        it.handle(now, 5000, b"\0\x06windowsize\x002\0blksize\x001024\0");
        assert_eq!(it.handle(now, 5000, &data(1, content.at(0, 1024))), Heard::Block(Say::Nothing));
        assert_eq!(it.handle(now, 5000, &data(3, content.at(2048, 452))), Heard::Duplicate(Say::Ack(1)));
        assert_eq!(it.handle(now, 5000, &data(2, content.at(1024, 1024))), Heard::Block(Say::Nothing));
        assert_eq!(it.handle(now, 5000, &data(3, content.at(2048, 452))), Heard::Complete(Say::Ack(3)));
    }

    #[test]
    fn a_client_like_edk2_answers_each_block_out_of_order() {
        let (mut it, now) = transfer(2);
        it.ask.habit = Habit::Unexpected;
        let content = Content::of("file");
        it.handle(now, 5000, b"\0\x06windowsize\x002\0blksize\x001024\0");
        for _ in 0..2 {
            assert_eq!(it.handle(now, 5000, &data(2, content.at(1024, 1024))), Heard::Duplicate(Say::Ack(0)));
        }
        assert_eq!(it.handle(now, 5000, &data(1, content.at(0, 1024))), Heard::Block(Say::Nothing));
    }

    #[test]
    fn silence_is_answered_four_times() {
        let (mut it, now) = transfer(1);
        for _ in 0..4 {
            assert_eq!(it.again(now), Some(Again::Ask));
        }
        assert_eq!(it.again(now), None);
    }
}
