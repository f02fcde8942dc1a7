//! One client's TCP connection: what came in and is not taken yet, what goes out and is not gone yet.
//!
//! Several workers may be at it at once: one reads, others carry out what was read before, and answers go out in the order
//! in which they are done. Who reads slowly, or not at all, holds up nobody else: what cannot be sent is kept, up to a
//! limit, beyond which no more of its calls are read.

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
    /// Calls that are being carried out.
    calls: AtomicUsize,
    /// Nobody was told of what may be read since.
    paused: AtomicBool,
    arming: Mutex<()>,
    /// Seconds since `born` at which something last went either way.
    active: AtomicU64,
    born: Instant,
    /// Bytes of memory held, as last counted.
    held: AtomicUsize,
}

#[derive(Debug)]
struct Incoming {
    records: Records,
    /// How many were taken.
    taken: u64,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// What could not be sent, in order.
    waiting: VecDeque<Waiting>,
    /// Bytes of it.
    bytes: usize,
    /// Memory of what was sent since, for the next that has to wait.
    spare: Vec<Vec<u8>>,
}

/// `bytes[sent..end]` is yet to be sent.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
    end: usize,
}

/// What a worker finds at a connection.
#[derive(Debug)]
pub(super) enum NextCall {
    /// A call, put into the memory given. To be followed by [`Connection::done`].
    Call,
    /// Nothing to do.
    Nothing,
    /// It has ended, or must.
    End(Closing),
}

/// What the next event of a connection is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    /// There is something to read.
    pub(super) read: bool,
    /// There is room to send, or (which is the same to the kernel) another worker is to look at once.
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

    /// The next call, if it has come and may be carried out.
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

    /// Is there another call that someone else could carry out?
    pub(super) fn has_more(&self) -> bool {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).records.has_next()
    }

    /// Sends an answer, or keeps it until there is room.
    pub(super) fn answer(&self, reply: &mut Reply) -> Result<(), Closing> {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = reply.record();
        let end = record.len();
        let sent = if outgoing.waiting.is_empty() { self.send(record)? } else { 0 };
        if sent < end {
            // The memory changes hands, not the bytes.
            let spare = outgoing.spare.pop().unwrap_or_default();
            outgoing.waiting.push_back(Waiting { bytes: reply.swap_memory(spare), sent, end });
            outgoing.bytes += end - sent;
        }
        Ok(())
    }

    /// Sends what was kept, as far as there is room.
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

    /// A call was carried out. True if its place was waited for.
    pub(super) fn done(&self) -> bool {
        self.calls.fetch_sub(1, Ordering::AcqRel);
        self.resumes()
    }

    /// Arms it for what to wait for. To be called again when [`done`](Self::done) says so. One at a time, or what was found
    /// out first might be set last.
    pub(super) fn arm(&self, arm: impl FnOnce(Interest)) {
        let _one_at_a_time = self.arming.lock().unwrap_or_else(PoisonError::into_inner);
        arm(self.interest());
    }

    fn interest(&self) -> Interest {
        let mut read = self.may_read();
        if !read {
            self.paused.store(true, Ordering::SeqCst);
            // It may have become possible between the two lines above.
            read = self.resumes();
        }
        Interest { read, write: self.backlog() > 0 }
    }

    /// What waits to be sent, in bytes.
    pub(super) fn backlog(&self) -> usize {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Seconds since something last went either way.
    pub(super) fn idle(&self) -> u64 {
        self.born.elapsed().as_secs().saturating_sub(self.active.load(Ordering::Relaxed))
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Calls that came.
    pub(super) fn calls(&self) -> u64 {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).taken
    }

    /// Why it ended, where the kernel says that both directions have.
    pub(super) fn ending(&self) -> Closing {
        self.stream.take_error().ok().flatten().map_or(Closing::Client, Closing::Broken)
    }

    /// Is nothing being carried out, and nothing waiting?
    pub(super) fn is_quiet(&self) -> bool {
        self.calls.load(Ordering::Acquire) == 0
    }

    /// How many bytes of memory it holds more than when last asked; negative if less.
    pub(super) fn growth(&self) -> isize {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).records.held();
        let outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = outgoing.waiting.iter().map(|waiting| waiting.bytes.len()).sum();
        let held = incoming + waiting + outgoing.spare.iter().map(Vec::len).sum::<usize>();
        drop(outgoing);
        held.cast_signed() - self.held.swap(held, Ordering::AcqRel).cast_signed()
    }

    /// Gives memory back that is not needed at the moment.
    pub(super) fn trim(&self) {
        if let Ok(mut incoming) = self.incoming.try_lock() {
            incoming.records.trim();
        }
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).spare.clear();
    }

    /// Ends it for good, whoever else still holds it.
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

/// Calls of one connection that are carried out at once: fewer than there are workers, so that others get theirs.
const MOST_CALLS: usize = 8;
const MOST_SPARE: usize = 4;
/// Bytes that wait to be sent before no more calls are read.
const MOST_BACKLOG: usize = 2 * 1024 * 1024;
