//! The transmission phase: receives a request, carries it out on the disk, and sends the reply.
//!
//! Reads and writes go through pieces of 256 KiB: memory does not grow with what a client asks for.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use crate::disk::{Disk, DiskError, check};
use crate::negotiation::{MOST_PAYLOAD, Session};
use crate::wire::{ALLOCATION_ID, EINVAL, Request, chunk, chunk_head, command, error_number, flag, simple};

/// A received request.
pub(crate) struct Received {
    request: Request,
    /// Bytes of the payload that are in the buffer.
    payload: usize,
    /// The result of earlier pieces of the payload, and their bytes.
    written: Result<u64, DiskError>,
}

impl Received {
    /// The command's number and the length, for counts; more than the largest request is refused.
    pub(crate) fn counted(&self) -> (u16, u64) {
        (self.request.command, u64::from(self.request.len.min(MOST_PAYLOAD)))
    }
}

/// What was received.
pub(crate) enum Next {
    /// A request.
    Request(Received),
    /// The client's orderly end.
    Disconnect,
    /// Bytes that are no request: the stream is out of step.
    Garbage,
}

/// A failure on a disk, to report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) command: u16,
    pub(crate) error: DiskError,
}

impl Session {
    /// Receives a request. A write's payload goes into `buffer` if it fits; the pieces before the last are written here.
    pub(crate) fn receive(&self, input: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Next> {
        let mut head = [0; Request::LEN];
        input.read_exact(&mut head)?;
        let Some(request) = Request::parse(&head) else { return Ok(Next::Garbage) };
        let mut received = Received { request, payload: 0, written: Ok(0) };
        match request.command {
            command::DISCONNECT => return Ok(Next::Disconnect),
            command::WRITE => {}
            _ => return Ok(Next::Request(received)),
        }
        if request.len > MOST_PAYLOAD {
            return Ok(Next::Garbage);
        }
        received.written = self.may_write(&request).map(|()| 0);
        let mut left = request.len as usize;
        loop {
            let piece = left.min(PIECE);
            let place = room(buffer, piece);
            input.read_exact(place)?;
            left -= piece;
            if left == 0 {
                received.payload = piece;
                return Ok(Next::Request(received));
            }
            if let Ok(before) = received.written {
                let written = self.export.disk.write_at(place, request.offset + before);
                received.written = written.map(|()| before + piece as u64);
            }
        }
    }

    /// Carries out a request, and sends the reply. `buffer` is the one that [`receive`](Self::receive) filled.
    pub(crate) fn perform(
        &self,
        received: &Received,
        buffer: &mut Vec<u8>,
        output: &Mutex<impl Write>,
    ) -> io::Result<Option<Failure>> {
        let request = &received.request;
        let result = match request.command {
            _ if request.flags & !flags_of(request.command) != 0 => return self.refuse(request, output),
            command::READ => {
                if request.len > MOST_PAYLOAD {
                    return self.refuse(request, output);
                }
                return self.read(request, buffer, output);
            }
            command::BLOCK_STATUS if self.allocation && request.len > 0 => match self.status(request) {
                Ok(descriptors) => {
                    let id = ALLOCATION_ID.to_be_bytes();
                    self.chunk(
                        request,
                        chunk::BLOCK_STATUS,
                        true,
                        &[&id[..], &descriptors].concat(),
                        output,
                    )?;
                    return Ok(None);
                }
                Err(error) => Err(error),
            },
            command::WRITE => self.write(received, buffer),
            command::FLUSH => self.export.disk.flush(),
            command::TRIM => self.change(request, |disk, offset, len| disk.trim(offset, len)),
            command::WRITE_ZEROES => {
                let allocate = request.flags & flag::NO_HOLE != 0;
                self.change(request, |disk, offset, len| disk.write_zeroes(offset, len, allocate))
            }
            command::CACHE => check(self.export.disk.len(), request.offset, request.len.into())
                .map(|()| self.export.disk.prefetch(request.offset, request.len.into())),
            _ => return self.refuse(request, output),
        };
        match result {
            Ok(()) if self.structured => self.chunk(request, chunk::NONE, true, &[], output)?,
            Ok(()) => send(output, &simple(request.cookie, 0))?,
            Err(error) => return self.fail(request, error, output),
        }
        Ok(None)
    }

    fn may_write(&self, request: &Request) -> Result<(), DiskError> {
        check(self.export.disk.len(), request.offset, request.len.into())
            // > The server SHOULD return NBD_ENOSPC if it receives a write request including one or more sectors beyond
            // > the size of the device.
            .map_err(|_| DiskError::NoSpace)?;
        if self.export.is_read_only() { Err(DiskError::ReadOnly) } else { Ok(()) }
    }

    fn write(&self, received: &Received, buffer: &[u8]) -> Result<(), DiskError> {
        let before = received.written?;
        let payload = buffer.get(..received.payload).unwrap_or_default();
        self.export.disk.write_at(payload, received.request.offset + before)?;
        self.sync(&received.request)
    }

    fn change(
        &self,
        request: &Request,
        change: impl FnOnce(&dyn Disk, u64, u64) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.may_write(request)?;
        change(&*self.export.disk, request.offset, request.len.into())?;
        self.sync(request)
    }

    fn sync(&self, request: &Request) -> Result<(), DiskError> {
        if request.flags & flag::FUA != 0 { self.export.disk.flush() } else { Ok(()) }
    }

    fn read(
        &self,
        request: &Request,
        buffer: &mut Vec<u8>,
        output: &Mutex<impl Write>,
    ) -> io::Result<Option<Failure>> {
        let disk = &*self.export.disk;
        if let Err(error) = check(disk.len(), request.offset, request.len.into()) {
            return self.fail(request, error, output);
        }
        let whole = request.flags & flag::DONT_FRAGMENT != 0;
        if whole && request.len as usize > PIECE {
            const EOVERFLOW: u32 = 75;
            self.error(request, EOVERFLOW, output)?;
            return Ok(None);
        }
        // A simple reply is in one piece on the wire, and so is held by one thread until its last byte.
        let mut held = None;
        let (mut at, mut left) = (request.offset, request.len as usize);
        loop {
            let piece = left.min(PIECE);
            let frame = room(buffer, HEAD + piece);
            let Some((head, data)) = frame.split_at_mut_checked(HEAD) else { return Ok(None) };
            if let Err(error) = disk.read_at(data, at) {
                return match held {
                    // The reply's head said success: only the end of the connection can take that back.
                    Some(_) => Err(io::Error::other(error)),
                    None => self.fail(request, error, output),
                };
            }
            left -= piece;
            if self.structured {
                let is_hole = !whole && piece >= 4096 && is_zero(data);
                if piece == 0 {
                    self.chunk(request, chunk::NONE, true, &[], output)?;
                } else if is_hole {
                    let len = u32::try_from(piece).unwrap_or(0).to_be_bytes();
                    self.chunk(
                        request,
                        chunk::HOLE,
                        left == 0,
                        &[&at.to_be_bytes()[..], &len].concat(),
                        output,
                    )?;
                } else {
                    let len = u32::try_from(8 + piece).unwrap_or(0);
                    head[..20].copy_from_slice(&chunk_head(request.cookie, chunk::DATA, left == 0, len));
                    head[20..].copy_from_slice(&at.to_be_bytes());
                    send(output, frame)?;
                }
            } else {
                let mut frame = &frame[HEAD..];
                if held.is_none() {
                    buffer[HEAD - 16..HEAD].copy_from_slice(&simple(request.cookie, 0));
                    frame = &buffer[HEAD - 16..HEAD + piece];
                    held = Some(output.lock().unwrap_or_else(PoisonError::into_inner));
                }
                if let Some(output) = &mut held {
                    output.write_all(frame)?;
                }
            }
            if left == 0 {
                return Ok(None);
            }
            at += piece as u64;
        }
    }

    /// Descriptors of the kinds of bytes in a range: at least one, perhaps not up to the range's end.
    fn status(&self, request: &Request) -> Result<Vec<u8>, DiskError> {
        const HOLE: u32 = 1;
        const ZERO: u32 = 2;
        check(self.export.disk.len(), request.offset, request.len.into())?;
        let most = if request.flags & flag::ONE != 0 { 1 } else { MOST_DESCRIPTORS };
        let mut found: Vec<(u32, u32)> = Vec::new();
        let (mut at, mut left) = (request.offset, u64::from(request.len));
        for _ in 0..MOST_LOOKUPS {
            if left == 0 {
                break;
            }
            let extent = self.export.disk.extent(at, left)?;
            let len = extent.len.clamp(1, left);
            let kind = if extent.allocated { 0 } else { HOLE } | if extent.zero { ZERO } else { 0 };
            let len32 = u32::try_from(len).unwrap_or(0);
            let is_full = found.len() == most;
            match found.last_mut() {
                Some((last_len, last)) if *last == kind => *last_len += len32,
                _ if is_full => break,
                _ => found.push((len32, kind)),
            }
            (at, left) = (at + len, left - len);
        }
        Ok(found.iter().flat_map(|(len, kind)| [len.to_be_bytes(), kind.to_be_bytes()].concat()).collect())
    }

    fn refuse(&self, request: &Request, output: &Mutex<impl Write>) -> io::Result<Option<Failure>> {
        self.error(request, EINVAL, output)?;
        Ok(None)
    }

    fn fail(
        &self,
        request: &Request,
        error: DiskError,
        output: &Mutex<impl Write>,
    ) -> io::Result<Option<Failure>> {
        self.error(request, error_number(error), output)?;
        Ok(Some(Failure { command: request.command, error }))
    }

    fn error(&self, request: &Request, number: u32, output: &Mutex<impl Write>) -> io::Result<()> {
        if !self.structured {
            return send(output, &simple(request.cookie, number));
        }
        let (number, no_text) = (number.to_be_bytes(), [0; 2]);
        if request.command == command::READ {
            let at = request.offset.to_be_bytes();
            self.chunk(request, chunk::ERROR_AT, true, &[&number[..], &no_text, &at].concat(), output)
        } else {
            self.chunk(request, chunk::ERROR, true, &[&number[..], &no_text].concat(), output)
        }
    }

    fn chunk(
        &self,
        request: &Request,
        kind: u16,
        done: bool,
        payload: &[u8],
        output: &Mutex<impl Write>,
    ) -> io::Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(0);
        send(output, &[&chunk_head(request.cookie, kind, done, len), payload].concat())
    }
}

/// The flags that a command takes.
const fn flags_of(of: u16) -> u16 {
    match of {
        command::READ => flag::DONT_FRAGMENT | flag::FUA,
        command::WRITE_ZEROES => flag::FUA | flag::NO_HOLE,
        command::BLOCK_STATUS => flag::ONE | flag::FUA,
        // > Clients SHOULD NOT set this flag for any other command, servers MUST ignore it there.
        _ => flag::FUA,
    }
}

fn send(output: &Mutex<impl Write>, bytes: &[u8]) -> io::Result<()> {
    output.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
}

/// The first `len` bytes of a buffer, which grows but once.
fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len.next_power_of_two().min(HEAD + PIECE).max(len), 0);
    }
    buffer.get_mut(..len).unwrap_or_default()
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Bytes of data in memory for a request.
pub(crate) const PIECE: usize = 256 << 10;
/// Bytes before the data in a frame: the head of a chunk, and its offset.
const HEAD: usize = 28;
const MOST_DESCRIPTORS: usize = 1024;
/// Questions to the disk for one status: neighbours of one kind are joined.
const MOST_LOOKUPS: usize = 8192;
