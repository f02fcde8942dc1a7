//! The transmission phase: receives a request, carries it out on the disk, and sends the reply.
//!
//! Reads and writes go through pieces of 256 KiB: memory does not grow with what a client asks for. Short reads of what the kernel has in
//! memory, and short writes, are carried out at once; before all others another thread is called to the input. The kernel itself sends
//! what is in the file of the image.

use std::io::{self, Read};

use crate::disk::{Disk, DiskError, FileRange, check};
use crate::negotiation::{MOST_PAYLOAD, Session};
use crate::output::{Replies, Stream};
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
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<Option<Failure>> {
        let request = &received.request;
        if request.may_wait() || received.payload > SMALL {
            (replies.waits)()?;
        }
        let result = match request.command {
            _ if request.flags & !flags_of(request.command) != 0 => return self.refuse(request, replies),
            command::READ => {
                if request.len > MOST_PAYLOAD {
                    return self.refuse(request, replies);
                }
                return self.read(request, buffer, replies);
            }
            command::BLOCK_STATUS if self.allocation && request.len > 0 => match self.status(request) {
                Ok(descriptors) => {
                    let id = ALLOCATION_ID.to_be_bytes();
                    self.chunk(
                        request,
                        chunk::BLOCK_STATUS,
                        true,
                        &[&id[..], &descriptors].concat(),
                        replies,
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
            _ => return self.refuse(request, replies),
        };
        match result {
            Ok(()) => self.done(request, replies)?,
            Err(error) => return self.fail(request, error, replies),
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
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<Option<Failure>> {
        let disk = &*self.export.disk;
        if let Err(error) = check(disk.len(), request.offset, request.len.into()) {
            return self.fail(request, error, replies);
        }
        let len = request.len as usize;
        if len == 0 {
            self.done(request, replies)?;
            return Ok(None);
        }
        if len <= SMALL {
            let there = replies.lock().add_filled(self.head_len() + len, |frame| {
                let is_there = disk.read_now(&mut frame[self.head_len()..], request.offset)?;
                Ok(is_there.then(|| self.put_head(request, request.offset, true, frame)))
            })?;
            match there {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                Err(error) => return self.fail(request, error, replies),
            }
        }
        (replies.waits)()?;
        if self.structured {
            self.read_chunks(request, buffer, replies)
        } else {
            self.read_whole(request, buffer, replies)
        }
    }

    /// Reads for a simple reply, which is in one piece on the wire, and so held by one thread until its last byte.
    fn read_whole(
        &self,
        request: &Request,
        buffer: &mut Vec<u8>,
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<Option<Failure>> {
        let disk = &*self.export.disk;
        let head = simple(request.cookie, 0);
        let mut held = None;
        let (mut at, mut left) = (request.offset, u64::from(request.len));
        while left > 0 {
            let range = in_file(disk, at, left);
            let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            if range.is_none()
                && let Err(error) = disk.read_at(room(buffer, piece), at)
            {
                return match held {
                    // The reply's head said success: only the end of the connection can take that back.
                    Some(_) => Err(io::Error::other(error)),
                    None => self.fail(request, error, replies),
                };
            }
            let output = match &mut held {
                Some(output) => output,
                None => {
                    let output = held.insert(replies.lock());
                    output.add(&head)?;
                    output
                }
            };
            let done = match range {
                Some(range) => {
                    output.send_file(&range.file, range.offset, range.len)?;
                    range.len
                }
                None => {
                    output.send(room(buffer, piece))?;
                    piece as u64
                }
            };
            (at, left) = (at + done, left - done);
        }
        Ok(None)
    }

    /// Reads for a reply in chunks.
    fn read_chunks(
        &self,
        request: &Request,
        buffer: &mut Vec<u8>,
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<Option<Failure>> {
        let disk = &*self.export.disk;
        let whole = request.flags & flag::DONT_FRAGMENT != 0;
        if whole && request.len as usize > PIECE {
            const EOVERFLOW: u32 = 75;
            self.error(request, EOVERFLOW, replies)?;
            return Ok(None);
        }
        let (mut at, mut left) = (request.offset, u64::from(request.len));
        while left > 0 {
            let extent = if whole { None } else { disk.extent(at, left).ok() };
            let range = in_file(disk, at, left).filter(|range| !whole || range.len == left);
            let done = match (extent, range) {
                (Some(extent), _) if extent.zero => {
                    let done = extent.len.clamp(1, left);
                    let mut hole = [0; CHUNK + 4];
                    put_hole(request, at, done, done == left, &mut hole);
                    replies.lock().add(&hole)?;
                    done
                }
                (extent, Some(range)) => {
                    let done = extent.map_or(range.len, |extent| extent.len.clamp(1, range.len));
                    let mut head = [0; CHUNK];
                    put_data(request, at, done, done == left, &mut head);
                    let mut output = replies.lock();
                    output.add(&head)?;
                    output.send_file(&range.file, range.offset, done)?;
                    done
                }
                _ => {
                    let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                    let frame = room(buffer, CHUNK + piece);
                    if let Err(error) = disk.read_at(&mut frame[CHUNK..], at) {
                        return self.fail(request, error, replies);
                    }
                    let len = self.put_head(request, at, piece as u64 == left, frame);
                    replies.lock().send(&frame[..len])?;
                    piece as u64
                }
            };
            (at, left) = (at + done, left - done);
        }
        Ok(None)
    }

    /// Bytes before the data of a reply, or of a chunk.
    const fn head_len(&self) -> usize {
        if self.structured { CHUNK } else { SIMPLE_HEAD }
    }

    /// Writes the head of a reply, or of a chunk, before its data; returns the bytes of both, which are few for zeros.
    fn put_head(&self, request: &Request, at: u64, is_last: bool, frame: &mut [u8]) -> usize {
        if !self.structured {
            frame[..SIMPLE_HEAD].copy_from_slice(&simple(request.cookie, 0));
            return frame.len();
        }
        let data = &frame[CHUNK..];
        let len = data.len() as u64;
        if request.flags & flag::DONT_FRAGMENT == 0 && len >= 4096 && is_zero(data) {
            put_hole(request, at, len, is_last, &mut frame[..CHUNK + 4]);
            CHUNK + 4
        } else {
            put_data(request, at, len, is_last, &mut frame[..CHUNK]);
            frame.len()
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

    fn refuse(&self, request: &Request, replies: &Replies<'_, impl Stream>) -> io::Result<Option<Failure>> {
        self.error(request, EINVAL, replies)?;
        Ok(None)
    }

    fn fail(
        &self,
        request: &Request,
        error: DiskError,
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<Option<Failure>> {
        self.error(request, error_number(error), replies)?;
        Ok(Some(Failure { command: request.command, error }))
    }

    fn error(&self, request: &Request, number: u32, replies: &Replies<'_, impl Stream>) -> io::Result<()> {
        if !self.structured {
            return replies.lock().add(&simple(request.cookie, number));
        }
        let (number, no_text) = (number.to_be_bytes(), [0; 2]);
        if request.command == command::READ {
            let at = request.offset.to_be_bytes();
            self.chunk(request, chunk::ERROR_AT, true, &[&number[..], &no_text, &at].concat(), replies)
        } else {
            self.chunk(request, chunk::ERROR, true, &[&number[..], &no_text].concat(), replies)
        }
    }

    fn chunk(
        &self,
        request: &Request,
        kind: u16,
        done: bool,
        payload: &[u8],
        replies: &Replies<'_, impl Stream>,
    ) -> io::Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(0);
        replies.lock().add(&[&chunk_head(request.cookie, kind, done, len), payload].concat())
    }

    /// Replies to a request without data.
    fn done(&self, request: &Request, replies: &Replies<'_, impl Stream>) -> io::Result<()> {
        if self.structured {
            self.chunk(request, chunk::NONE, true, &[], replies)
        } else {
            replies.lock().add(&simple(request.cookie, 0))
        }
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

/// The bytes from `at` on, if so many of them are in one file that a system call for them is worth it.
fn in_file(disk: &dyn Disk, at: u64, left: u64) -> Option<FileRange> {
    disk.in_file(at, left).filter(|range| range.len >= left.min(SMALL as u64))
}

/// Writes the head of a chunk with data.
fn put_data(request: &Request, at: u64, len: u64, is_last: bool, head: &mut [u8]) {
    let len = u32::try_from(8 + len).unwrap_or(0);
    head[..20].copy_from_slice(&chunk_head(request.cookie, chunk::DATA, is_last, len));
    head[20..].copy_from_slice(&at.to_be_bytes());
}

/// Writes a chunk for zeros.
fn put_hole(request: &Request, at: u64, len: u64, is_last: bool, hole: &mut [u8]) {
    hole[..20].copy_from_slice(&chunk_head(request.cookie, chunk::HOLE, is_last, 12));
    hole[20..CHUNK].copy_from_slice(&at.to_be_bytes());
    hole[CHUNK..].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_be_bytes());
}

/// The first `len` bytes of a buffer, which grows but once.
fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len.next_power_of_two().min(CHUNK + PIECE).max(len), 0);
    }
    buffer.get_mut(..len).unwrap_or_default()
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Bytes of data in memory for a request.
pub(crate) const PIECE: usize = 256 << 10;
/// Bytes of the longest read or write that is tried without waiting, and without another thread.
const SMALL: usize = 64 << 10;
/// Bytes of the head of a chunk with an offset.
const CHUNK: usize = 28;
/// Bytes of a simple reply without its data.
const SIMPLE_HEAD: usize = 16;
const MOST_DESCRIPTORS: usize = 1024;
/// Questions to the disk for one status: neighbours of one kind are joined.
const MOST_LOOKUPS: usize = 8192;
