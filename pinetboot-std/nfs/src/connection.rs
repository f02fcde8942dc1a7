//! A client's TCP connection: received calls, and answers to send.
//!
//! Several workers may serve a connection at once: one reads, others carry out calls, and answers go out in the order of their
//! completion. A client that reads slowly delays no other client: unsent answers are kept up to a limit, and beyond the limit no
//! more calls of the client are read.

use std::collections::VecDeque;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::message::Programs;
use super::observe::Closing;
use super::record::{Next, Record, Records};
use super::reply::Reply;
use super::service::MOST_MESSAGE;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddrV4,
    pub(super) programs: Programs,
    stream: TcpStream,
    /// Whether a READ has succeeded.
    pub(super) has_read: AtomicBool,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Calls under way.
    calls: AtomicUsize,
    /// No worker was told of the last readable event.
    paused: AtomicBool,
    arming: Mutex<()>,
    /// Seconds from `born` to the last byte received or sent.
    active: AtomicU64,
    born: Instant,
    /// Bytes of memory held, as last counted.
    held: AtomicUsize,
}

#[derive(Debug)]
struct Incoming {
    records: Records,
    /// Number of calls.
    taken: u64,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// Unsent answers, in order.
    waiting: VecDeque<Waiting>,
    /// Unsent bytes.
    bytes: usize,
    /// Memory of sent answers, to reuse.
    spare: Vec<Vec<u8>>,
}

/// `bytes[sent..end]` is unsent.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
    end: usize,
}

/// The next step of a worker at a connection.
#[derive(Debug)]
pub(super) enum NextCall {
    /// A call, in the given memory; [`Connection::done`] has to follow.
    Call,
    /// Nothing to do.
    Nothing,
    /// The connection ended, or has to end.
    End(Closing),
}

/// The events to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    /// The connection is readable.
    pub(super) read: bool,
    /// The connection is writable, or (the same to the kernel) another worker has to check at once.
    pub(super) write: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddrV4, programs: Programs) -> Self {
        Self {
            peer,
            programs,
            stream,
            has_read: AtomicBool::new(false),
            incoming: Mutex::new(Incoming { records: Records::new(MOST_MESSAGE), taken: 0 }),
            outgoing: Mutex::default(),
            calls: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            arming: Mutex::default(),
            active: AtomicU64::new(0),
            born: Instant::now(),
            held: AtomicUsize::new(0),
        }
    }

    /// The next call, if one was received and may be carried out.
    pub(super) fn take(&self, record: &mut Record) -> NextCall {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if !self.may_read() {
                return NextCall::Nothing;
            }
            match incoming.records.next(record) {
                Next::Record => {
                    incoming.taken += 1;
                    self.calls.fetch_add(1, Ordering::AcqRel);
                    return NextCall::Call;
                }
                Next::TooLong => return NextCall::End(Closing::RecordTooLong),
                Next::NotYet => {}
            }
            match incoming.records.fill(|room| Ok(recv(&self.stream, room, RecvFlags::DONTWAIT)?.0)) {
                Ok(0) => return NextCall::End(Closing::Client),
                Ok(_) => self.touch(),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return NextCall::Nothing,
                    Some(Errno::INTR) => {}
                    _ => return NextCall::End(Closing::Broken(error)),
                },
            }
        }
    }

    /// Whether another worker could carry out another call.
    pub(super) fn has_more(&self) -> bool {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).records.has_next()
    }

    /// Sends an answer, or keeps it until the connection is writable.
    pub(super) fn answer(&self, reply: &mut Reply) -> Result<(), Closing> {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = reply.record();
        let end = record.len();
        let sent = if outgoing.waiting.is_empty() { self.send(record)? } else { 0 };
        if sent < end {
            // Swaps the memory instead of copying the bytes.
            let spare = outgoing.spare.pop().unwrap_or_default();
            outgoing.waiting.push_back(Waiting { bytes: reply.swap_memory(spare), sent, end });
            outgoing.bytes += end - sent;
        }
        Ok(())
    }

    /// Sends kept answers, while the connection is writable.
    pub(super) fn flush(&self) -> Result<(), Closing> {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let outgoing = &mut *outgoing;
        while let Some(first) = outgoing.waiting.front_mut() {
            let sent = self.send(first.bytes.get(first.sent..first.end).unwrap_or_default())?;
            outgoing.bytes -= sent;
            first.sent += sent;
            if first.sent < first.end {
                break;
            }
            if let Some(done) = outgoing.waiting.pop_front()
                && outgoing.spare.len() < MOST_SPARE
            {
                outgoing.spare.push(done.bytes);
            }
        }
        Ok(())
    }

    /// Records the end of a call. True if another call waited for its place.
    pub(super) fn done(&self) -> bool {
        self.calls.fetch_sub(1, Ordering::AcqRel);
        self.resumes()
    }

    /// Arms the events to wait for; call this again when [`done`](Self::done) returns true. One thread at a time, or an older
    /// finding might be set last.
    pub(super) fn arm(&self, arm: impl FnOnce(Interest)) {
        let _one_at_a_time = self.arming.lock().unwrap_or_else(PoisonError::into_inner);
        arm(self.interest());
    }

    fn interest(&self) -> Interest {
        let mut read = self.may_read();
        if !read {
            self.paused.store(true, Ordering::SeqCst);
            // Reading may have become possible between the two lines above.
            read = self.resumes();
        }
        Interest { read, write: self.backlog() > 0 }
    }

    /// Unsent bytes.
    pub(super) fn backlog(&self) -> usize {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Seconds since the last byte received or sent.
    pub(super) fn idle(&self) -> u64 {
        self.born.elapsed().as_secs().saturating_sub(self.active.load(Ordering::Relaxed))
    }

    /// The time since the connection was opened.
    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Received calls.
    pub(super) fn calls(&self) -> u64 {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).taken
    }

    /// The reason for the end, if the kernel reports both directions closed.
    pub(super) fn ending(&self) -> Closing {
        self.stream.take_error().ok().flatten().map_or(Closing::Client, Closing::Broken)
    }

    /// Whether no call is under way and no answer unsent.
    pub(super) fn is_quiet(&self) -> bool {
        self.calls.load(Ordering::Acquire) == 0
    }

    /// The growth of held memory since the last call, in bytes; negative if it shrank.
    pub(super) fn growth(&self) -> isize {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).records.held();
        let outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = outgoing.waiting.iter().map(|waiting| waiting.bytes.len()).sum();
        let held = incoming + waiting + outgoing.spare.iter().map(Vec::len).sum::<usize>();
        drop(outgoing);
        held.cast_signed() - self.held.swap(held, Ordering::AcqRel).cast_signed()
    }

    /// Frees unused memory.
    pub(super) fn trim(&self) {
        if let Ok(mut incoming) = self.incoming.try_lock() {
            incoming.records.trim();
        }
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).spare.clear();
    }

    /// Closes the connection, also while other workers hold it.
    pub(super) fn shut_down(&self) {
        let _ended = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn may_read(&self) -> bool {
        self.calls.load(Ordering::SeqCst) < MOST_CALLS && self.backlog() < MOST_BACKLOG
    }

    fn resumes(&self) -> bool {
        self.paused.load(Ordering::SeqCst) && self.may_read() && self.paused.swap(false, Ordering::SeqCst)
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Closing> {
        loop {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.touch();
                    return Ok(sent);
                }
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Closing::Broken(error.into())),
            }
        }
    }

    fn touch(&self) {
        self.active.store(self.born.elapsed().as_secs(), Ordering::Relaxed);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Most calls of a connection under way: fewer than the workers, so that other connections get some.
const MOST_CALLS: usize = 8;
const MOST_SPARE: usize = 4;
/// Unsent bytes beyond which no more calls are read.
const MOST_BACKLOG: usize = 2 * 1024 * 1024;
