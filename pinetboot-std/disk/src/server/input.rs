//! The bytes of a client: received into a buffer, which a client that says nothing does not keep.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::channel::Channel;
use crate::wire::{Request, command};

/// The bytes of a client.
#[derive(Debug)]
pub(super) struct Input {
    channel: Channel,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are received and not taken yet.
    at: usize,
    end: usize,
    /// Waits for the rest of a request without a limit.
    is_patient: bool,
}

impl Input {
    /// The bytes of a channel, whose time limit for reading is this type's from [`begin`](Self::begin) on.
    pub(super) const fn new(channel: Channel) -> Self {
        Self { channel, buffer: Vec::new(), at: 0, end: 0, is_patient: false }
    }

    /// Whether all that was received is taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Whether a whole request is there, so that receiving it waits for nothing.
    pub(super) fn has_request(&self) -> bool {
        let there = self.there();
        let Some(request) = there.first_chunk::<{ Request::LEN }>() else { return false };
        match Request::parse(request) {
            Some(Request { command: command::WRITE, len, .. }) => there.len() - Request::LEN >= len as usize,
            _ => true,
        }
    }

    /// Waits until bytes are there, or the client has ended; `false` if that takes long: the client is idle, and the buffer given back.
    pub(super) fn wait(&mut self) -> io::Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        match self.fill() {
            Err(error) if is_timeout(&error) => {
                self.buffer = Vec::new();
                (self.at, self.end) = (0, 0);
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Limits the time of a receiving call, and so that until a client counts as idle.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.is_patient = true;
        self.channel.set_read_timeout(Some(IDLE))
    }

    fn there(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        (self.at, self.end) = (0, 0);
        self.end = retry(|| self.channel.read(&mut self.buffer))?;
        Ok(())
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            // In the middle of a request: a slow client is no idle one.
            loop {
                let received = if buf.len() >= DIRECT {
                    retry(|| self.channel.read(buf)).map(Some)
                } else {
                    self.fill().map(|()| None)
                };
                match received {
                    Ok(Some(len)) => return Ok(len),
                    Ok(None) => break,
                    Err(error) if is_timeout(&error) && self.is_patient => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let there = self.there();
        let len = there.len().min(buf.len());
        let (taken, _) = there.split_at(len);
        buf.get_mut(..len).unwrap_or_default().copy_from_slice(taken);
        self.at += len;
        Ok(len)
    }
}

fn retry(mut receive: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match receive() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The time without a request after which a client is idle.
pub(super) const IDLE: Duration = Duration::from_secs(5);
/// Bytes that are received to their place at once, not by the buffer.
const DIRECT: usize = 16 << 10;
/// Bytes of the buffer: many requests, or some with payload.
const BUFFER: usize = 32 << 10;
