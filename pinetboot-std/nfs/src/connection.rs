//! A client's TCP connection: received calls, and answers to send.
//!
//! Several workers may serve a connection at once: one reads, others carry out calls, and answers go out in the order of their
//! completion. A client that reads slowly delays no other client: unsent answers are kept up to a limit, and beyond the limit no
//! more calls of the client are read.

use std::collections::VecDeque;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::clients::Client;
use super::message::Programs;
use super::observe::Closing;
use super::record::{Next, Record, Records};
use super::reply::Reply;
use super::service::MOST_MESSAGE;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddrV4,
    pub(super) client: Arc<Client>,
    pub(super) programs: Programs,
    stream: TcpStream,
    /// Whether a READ has succeeded.
    pub(super) has_read: AtomicBool,
    /// A change over the connection was permitted.
    pub(super) has_changed: AtomicBool,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Calls under way.
    calls: AtomicUsize,
    /// The client's silence was told.
    pub(super) is_told: AtomicBool,
    /// The connection waits for a place of its client.
    waits: AtomicBool,
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
    /// The connection is writable, or (mostly the same to the kernel) a worker has to look at once, as a call was received.
    pub(super) write: bool,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddrV4,
        client: Arc<Client>,
        programs: Programs,
    ) -> Self {
        client.connected();
        Self {
            peer,
            client,
            programs,
            stream,
            has_read: AtomicBool::new(false),
            has_changed: AtomicBool::new(false),
            incoming: Mutex::new(Incoming { records: Records::new(MOST_MESSAGE), taken: 0 }),
            outgoing: Mutex::default(),
            calls: AtomicUsize::new(0),
            is_told: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            arming: Mutex::default(),
            active: AtomicU64::new(0),
            born: Instant::now(),
            held: AtomicUsize::new(0),
        }
    }

    /// Takes the place of a call; without one the connection waits for its turn.
    pub(super) fn begin(&self, token: u64) -> bool {
        self.backlog() < MOST_BACKLOG && self.client.begin(token, &self.waits)
    }

    /// Whether the connection waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Records that the connection's turn has come.
    pub(super) fn stop_waiting(&self) {
        self.waits.store(false, Ordering::Release);
    }

    /// The next call, if one was received. The caller has a place for it, and lends memory to receive.
    pub(super) fn take(&self, record: &mut Record, memory: &mut Vec<u8>) -> NextCall {
        let mut incoming = self.incoming();
        incoming.records.borrow(memory);
        let next = self.receive(&mut incoming, record);
        incoming.records.give_back(memory);
        next
    }

    fn receive(&self, incoming: &mut Incoming, record: &mut Record) -> NextCall {
        loop {
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

    /// Whether another call was received.
    pub(super) fn has_more(&self) -> bool {
        self.incoming().records.has_next()
    }

    /// Sends an answer, or keeps it until the connection is writable.
    pub(super) fn answer(&self, reply: &mut Reply) -> Result<(), Closing> {
        let mut outgoing = self.outgoing();
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
        let mut outgoing = self.outgoing();
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

    /// Records the end of a call.
    pub(super) fn done(&self) {
        self.calls.fetch_sub(1, Ordering::AcqRel);
    }

    /// Arms the events to wait for. One thread at a time, or an older finding might be set last.
    pub(super) fn arm(&self, arm: impl FnOnce(Interest)) {
        let _one_at_a_time = self.arming.lock().unwrap_or_else(PoisonError::into_inner);
        let backlog = self.backlog();
        let read = backlog < MOST_BACKLOG && !self.is_waiting();
        arm(Interest { read, write: backlog > 0 || read && self.has_more() });
    }

    /// Unsent bytes.
    pub(super) fn backlog(&self) -> usize {
        self.outgoing().bytes
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
        self.incoming().taken
    }

    /// The reason for the end, if the kernel reports both directions closed.
    pub(super) fn ending(&self) -> Closing {
        self.stream.take_error().ok().flatten().map_or(Closing::Client, Closing::Broken)
    }

    /// Whether no call is under way and no answer unsent.
    pub(super) fn is_quiet(&self) -> bool {
        self.calls.load(Ordering::Acquire) == 0
    }

    /// Counts the held memory anew; returns its growth in bytes, negative if it shrank.
    pub(super) fn count_memory(&self) -> isize {
        let incoming = self.incoming().records.held();
        let outgoing = self.outgoing();
        let waiting: usize = outgoing.waiting.iter().map(|waiting| waiting.bytes.len()).sum();
        let held = incoming + waiting + outgoing.spare.iter().map(Vec::len).sum::<usize>();
        // Two workers may count at once: the later swap is the later finding, as the lock is held.
        let growth = held.cast_signed() - self.held.swap(held, Ordering::AcqRel).cast_signed();
        drop(outgoing);
        self.client.hold(growth);
        growth
    }

    /// Held bytes, as last counted.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Frees unused memory.
    pub(super) fn trim(&self) {
        self.incoming().records.trim();
        self.outgoing().spare.clear();
        self.count_memory();
    }

    /// Closes the connection, also while other workers hold it, and frees its memory.
    pub(super) fn shut_down(&self) {
        let _ended = self.stream.shutdown(std::net::Shutdown::Both);
        *self.outgoing() = Outgoing::default();
        self.incoming().records = Records::new(MOST_MESSAGE);
        self.count_memory();
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Drop for Connection {
    fn drop(&mut self) {
        // A worker may have counted after the connection was closed.
        self.client.hold(-self.held().cast_signed());
        self.client.disconnected();
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

const MOST_SPARE: usize = 4;
/// Unsent bytes beyond which no more calls are read.
const MOST_BACKLOG: usize = 2 * 1024 * 1024;
