//! A connection: its negotiation, then its threads, which take turns at the input.
//!
//! One thread receives requests and carries them out, one after the other, as long as none waits for the storage device: so a request takes two
//! system calls for the network, or less if the client sends several at once. Before a request that may wait, the thread calls another one to
//! go on with the input; and one that was not called takes the input from a thread that is late.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::input::{IDLE, Input};
use super::{MOST_WORKERS, Shared};
use crate::channel::Channel;
use crate::exports::Exports;
use crate::negotiation::{Ended, Negotiation, Next, Session, TlsOffer};
use crate::observe::Event;
use crate::output::{Output, Replies};
use crate::transmission::Next as NextRequest;

struct Connection {
    shared: Arc<Shared>,
    id: u64,
    client: SocketAddr,
    session: Session,
    turn: Mutex<Turn>,
    /// Rings when another worker has to take the input, and at the end.
    rings: Condvar,
    output: Mutex<Output<Channel>>,
    workers: AtomicUsize,
    ending: AtomicBool,
    orderly: AtomicBool,
}

/// Which worker has the input.
struct Turn {
    /// The input, unless a worker receives from it.
    input: Option<Input>,
    /// The worker that received last carries out its request since then.
    since: Option<Instant>,
    /// That request waits for the storage device: another worker takes the input.
    called: bool,
    /// Workers that wait for the input.
    waiting: usize,
}

/// Serves a connection until its negotiation has failed, or its workers run.
pub(super) fn serve(shared: &Arc<Shared>, id: u64, stream: TcpStream, client: SocketAddr) {
    shared.tell(&Event::Connected { client });
    match prepare(shared, stream, client) {
        Ok((input, channel, session)) => {
            shared.tell(&Event::Opened { client, name: &session.name });
            let connection = Arc::new(Connection {
                shared: shared.clone(),
                id,
                client,
                session,
                turn: Mutex::new(Turn { input: Some(input), since: None, called: true, waiting: 0 }),
                rings: Condvar::new(),
                output: Mutex::new(Output::new(channel)),
                workers: AtomicUsize::new(1),
                ending: AtomicBool::new(false),
                orderly: AtomicBool::new(false),
            });
            work(Worker(connection), None);
        }
        Err(ended) => {
            shared.leave(id);
            match ended {
                // Asked for the list of its disks, say.
                Ended::ByClient => {}
                Ended::Refused(name) => shared.tell(&Event::Refused { client, name: Some(&name) }),
                Ended::Broken => shared.tell(&Event::Refused { client, name: None }),
            }
        }
    }
}

fn prepare(
    shared: &Shared,
    stream: TcpStream,
    client: SocketAddr,
) -> Result<(Input, Channel, Session), Ended> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(shared.limits.stalled))?;
    stream.set_read_timeout(Some(shared.limits.negotiation))?;
    keep_alive(&stream).map_err(io::Error::from)?;
    let until = Instant::now() + shared.limits.negotiation;
    let goes_on = || Instant::now() < until;
    let mut channel = Channel::Plain(stream);
    let mut input = Input::new(channel.try_clone()?);
    let mut negotiation = greet(&*shared.exports, client.ip(), shared.tls_offer(), &mut input, &mut channel)?;
    let mut session = negotiate(&mut negotiation, &mut input, &mut channel, goes_on)?;
    if session.is_none() {
        // Bytes in the clear behind the option would count as encrypted ones.
        if !input.is_empty() {
            return Err(Ended::Broken);
        }
        channel = shared.encrypt(channel)?;
        input = Input::new(channel.try_clone()?);
        negotiation.begin_again();
        session = negotiate(&mut negotiation, &mut input, &mut channel, goes_on)?;
    }
    let session = session.ok_or(Ended::Broken)?;
    input.begin()?;
    Ok((input, channel, session))
}

/// Ends the connection of a Pi without power, which says nothing, after [`GONE`]: one that is shut down keeps its root up to the end, and
/// so its connection, too. A Pi whose network failed for longer connects again.
fn keep_alive(stream: &TcpStream) -> Result<(), rustix::io::Errno> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, GONE / 3)?;
    sockopt::set_tcp_keepintvl(stream, GONE / 6)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    // With bytes under way TCP sends no probes, but repeats the bytes for a quarter of an hour (tcp(7), tcp_retries2).
    sockopt::set_tcp_user_timeout(stream, u32::try_from(GONE.as_millis()).unwrap_or(u32::MAX))
}

/// Greets a client, and takes its flags.
pub(crate) fn greet<'a>(
    exports: &'a dyn Exports,
    client: IpAddr,
    tls: TlsOffer,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<Negotiation<'a>, Ended> {
    output.write_all(&Negotiation::greeting())?;
    let mut flags = [0; 4];
    input.read_exact(&mut flags)?;
    Negotiation::new(exports, client, flags, tls).ok_or(Ended::Broken)
}

/// Negotiates over a stream, while `goes_on`; `None`: the handshake of TLS follows.
pub(crate) fn negotiate(
    negotiation: &mut Negotiation<'_>,
    input: &mut impl Read,
    output: &mut impl Write,
    goes_on: impl Fn() -> bool,
) -> Result<Option<Session>, Ended> {
    let (mut data, mut out) = (Vec::new(), Vec::new());
    while goes_on() {
        let mut head = [0; 16];
        if input.read_exact(&mut head).is_err() {
            return Err(negotiation.ended());
        }
        let (option, len) = Negotiation::head(&head).ok_or(Ended::Broken)?;
        data.resize(len, 0);
        input.read_exact(&mut data)?;
        out.clear();
        let next = negotiation.handle(option, &data, &mut out);
        output.write_all(&out)?;
        match next {
            Next::Option => {}
            Next::Tls => return Ok(None),
            Next::Transmission(session) => return Ok(Some(session)),
            Next::End => return Err(negotiation.ended()),
        }
    }
    Err(Ended::Broken)
}

/// A worker, which may have the input: the last one to end closes the connection.
pub(super) fn work(mut worker: Worker, mut input: Option<Input>) {
    while let Some(taken) = input.take().or_else(|| worker.0.take_input()) {
        match worker.0.lead(taken) {
            Ok(Led::Lent) => {}
            Ok(Led::Idle(idle)) => {
                let connection = worker.0.clone();
                match connection.shared.idle.take(worker, idle) {
                    Ok(()) => return,
                    Err((back, idle)) => (worker, input) = (back, Some(idle)),
                }
            }
            Ok(Led::Ended) | Err(_) => worker.0.ending.store(true, Ordering::Release),
        }
    }
}

/// A place among the workers of a connection.
pub(super) struct Worker(Arc<Connection>);

/// How a worker's turn at the input ends.
enum Led {
    /// Another worker has the input.
    Lent,
    /// The client says nothing.
    Idle(Input),
    /// The connection ends.
    Ended,
}

impl Worker {
    /// The number of the connection.
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Connection { shared, id, client, .. } = &*self.0;
        if std::thread::panicking() {
            self.0.ending.store(true, Ordering::Release);
        }
        if self.0.workers.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.leave(*id);
            shared.tell(&Event::Closed { client: *client, orderly: self.0.orderly.load(Ordering::Acquire) });
            return;
        }
        // A worker that only had nothing to do leaves the connection to the others.
        if self.0.ending.load(Ordering::Acquire) {
            drop(self.0.turn());
            self.0.rings.notify_all();
            if !self.0.orderly.load(Ordering::Acquire) {
                // Wakes the worker that has the input.
                let _ended = self.0.output().stream().shutdown(std::net::Shutdown::Read);
            }
        }
    }
}

impl Connection {
    /// Waits for the input; `None` at the connection's end, and after [`IDLE`]. The input is for the taking when its worker calls, and
    /// when a request that was not expected to wait has taken [`LONG`].
    fn take_input(&self) -> Option<Input> {
        let until = Instant::now() + IDLE;
        let mut turn = self.turn();
        turn.waiting += 1;
        let taken = loop {
            let now = Instant::now();
            let is_late = turn.since.is_some_and(|since| now.duration_since(since) >= LONG);
            if self.ending.load(Ordering::Acquire) {
                break None;
            }
            if (turn.called || is_late) && turn.input.is_some() {
                break turn.input.take();
            }
            // As long as a request is carried out, one worker has to be there for the next.
            if now >= until && turn.since.is_none() {
                break None;
            }
            let waited = self.rings.wait_timeout(turn, LONG);
            (turn, _) = waited.unwrap_or_else(PoisonError::into_inner);
        };
        turn.waiting -= 1;
        if taken.is_some() {
            (turn.called, turn.since) = (false, None);
        }
        taken
    }

    /// Receives requests and carries them out.
    fn lead(self: &Arc<Self>, mut input: Input) -> io::Result<Led> {
        let mut buffer = Buffer(&self.shared, self.shared.take_buffer());
        loop {
            if !input.has_request() {
                self.output().flush()?;
                if !input.wait()? {
                    self.rest(&mut buffer.1);
                    return Ok(Led::Idle(input));
                }
            }
            let received = match self.session.receive(&mut input, &mut buffer.1)? {
                NextRequest::Request(received) => received,
                end => {
                    self.orderly.store(matches!(end, NextRequest::Disconnect), Ordering::Release);
                    self.output().flush()?;
                    return Ok(Led::Ended);
                }
            };
            self.lend(input);
            let waits = || {
                self.output().flush()?;
                self.call();
                Ok(())
            };
            let replies = Replies { output: &self.output, waits: &waits };
            let failure = self.session.perform(&received, &mut buffer.1, &replies)?;
            if let Some(failure) = failure {
                let (client, command, error) = (self.client, failure.command, failure.error);
                self.shared.tell(&Event::Failed { client, command, error });
            } else {
                let (command, len) = received.counted();
                self.shared.counts.count(command, len);
            }
            match self.take_back() {
                Some(back) => input = back,
                None => {
                    self.output().flush()?;
                    return Ok(Led::Lent);
                }
            }
        }
    }

    /// Puts the input where another worker can take it, and sees to it that one waits.
    fn lend(self: &Arc<Self>, input: Input) {
        let mut turn = self.turn();
        (turn.input, turn.since) = (Some(input), Some(Instant::now()));
        let is_alone = turn.waiting == 0;
        drop(turn);
        if is_alone {
            self.add_worker();
        }
    }

    /// Lets another worker take the input.
    fn call(self: &Arc<Self>) {
        let mut turn = self.turn();
        turn.called = turn.input.is_some();
        let is_alone = turn.waiting == 0;
        drop(turn);
        if is_alone {
            self.add_worker();
        } else {
            self.rings.notify_one();
        }
    }

    /// The input, unless another worker has taken it.
    fn take_back(&self) -> Option<Input> {
        let mut turn = self.turn();
        let input = turn.input.take();
        if input.is_some() {
            (turn.called, turn.since) = (false, None);
        }
        input
    }

    /// Gives back the memory that only saves time.
    fn rest(&self, buffer: &mut Vec<u8>) {
        *buffer = Vec::new();
        self.output().rest();
        self.session.export.disk.rest();
        self.shared.rest();
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self) -> MutexGuard<'_, Output<Channel>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_worker(self: &Arc<Self>) {
        let more = |workers| (workers < MOST_WORKERS).then_some(workers + 1);
        if self.workers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            let connection = self.clone();
            // Without another thread, this one goes on alone.
            if self.shared.spawn("nbd", move |_| work(Worker(connection), None)).is_err() {
                self.workers.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// A buffer of the server's, given back when dropped.
struct Buffer<'a>(&'a Shared, Vec<u8>);

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.0.put_buffer(core::mem::take(&mut self.1));
    }
}

/// The silence after which a client counts as gone. A shorter one would end connections by a switch that restarts.
const GONE: Duration = Duration::from_secs(30);
/// The time after which a request that was not expected to wait lets another worker receive the next: a write that the kernel holds up, say.
const LONG: Duration = Duration::from_millis(50);
