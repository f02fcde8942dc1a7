//! A connection: its negotiation, then its threads, which take turns at the input.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::{MOST_WORKERS, Shared};
use crate::exports::Exports;
use crate::negotiation::{Ended, Negotiation, Next, Session};
use crate::observe::Event;
use crate::transmission::Next as NextRequest;

struct Connection {
    shared: Arc<Shared>,
    id: u64,
    client: SocketAddr,
    session: Session,
    /// The input, unless a worker has it.
    input: Mutex<Input>,
    /// Rings when the input is given back, and at the end.
    turn: Condvar,
    output: Mutex<TcpStream>,
    workers: AtomicUsize,
    ending: AtomicBool,
    orderly: AtomicBool,
}

struct Input {
    stream: Option<BufReader<TcpStream>>,
    /// Workers that wait for the stream.
    waiting: usize,
}

/// Serves a connection until its negotiation has failed, or its workers run.
pub(super) fn serve(shared: &Arc<Shared>, id: u64, stream: TcpStream, client: SocketAddr) {
    match prepare(shared, &stream, client) {
        Ok((input, session)) => {
            shared.tell(&Event::Opened { client, name: &session.name });
            let connection = Arc::new(Connection {
                shared: shared.clone(),
                id,
                client,
                session,
                input: Mutex::new(Input { stream: Some(input), waiting: 0 }),
                turn: Condvar::new(),
                output: Mutex::new(stream),
                workers: AtomicUsize::new(1),
                ending: AtomicBool::new(false),
                orderly: AtomicBool::new(false),
            });
            work(connection);
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
    stream: &TcpStream,
    client: SocketAddr,
) -> Result<(BufReader<TcpStream>, Session), Ended> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(shared.limits.stalled))?;
    stream.set_read_timeout(Some(shared.limits.negotiation))?;
    keep_alive(stream).map_err(io::Error::from)?;
    let mut input = BufReader::with_capacity(INPUT, stream.try_clone()?);
    let until = Instant::now() + shared.limits.negotiation;
    let session =
        negotiate(&*shared.exports, client.ip(), &mut input, &mut &*stream, || Instant::now() < until)?;
    stream.set_read_timeout(None)?;
    Ok((input, session))
}

/// Ends the connection of a Pi without power, which says nothing, after a minute: one that is shut down keeps its root up to the end, and
/// so its connection, too. A Pi whose network failed for longer connects again.
fn keep_alive(stream: &TcpStream) -> Result<(), rustix::io::Errno> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(20))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 4)
}

/// Negotiates over a stream, while `goes_on`.
pub(crate) fn negotiate(
    exports: &dyn Exports,
    client: IpAddr,
    input: &mut impl Read,
    output: &mut impl Write,
    goes_on: impl Fn() -> bool,
) -> Result<Session, Ended> {
    output.write_all(&Negotiation::greeting())?;
    let mut flags = [0; 4];
    input.read_exact(&mut flags)?;
    let mut negotiation = Negotiation::new(exports, client, flags).ok_or(Ended::Broken)?;
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
            Next::Transmission(session) => return Ok(session),
            Next::End => return Err(negotiation.ended()),
        }
    }
    Err(Ended::Broken)
}

/// A worker: the last one to end closes the connection.
fn work(connection: Arc<Connection>) {
    let worker = Worker(connection);
    while let Some(input) = worker.0.take_input() {
        if !worker.0.turn(input).unwrap_or(false) {
            worker.0.ending.store(true, Ordering::Release);
        }
    }
}

struct Worker(Arc<Connection>);

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
            drop(self.0.input());
            self.0.turn.notify_all();
            if !self.0.orderly.load(Ordering::Acquire) {
                // Wakes the worker that has the input.
                let output = self.0.output.lock().unwrap_or_else(PoisonError::into_inner);
                let _ended = output.shutdown(std::net::Shutdown::Read);
            }
        }
    }
}

impl Connection {
    /// Waits for the input; `None` at the connection's end, and after [`IDLE`]: then another worker has waited for a request
    /// for as long.
    fn take_input(&self) -> Option<BufReader<TcpStream>> {
        let mut input = self.input();
        input.waiting += 1;
        let waits = |input: &mut Input| input.stream.is_none() && !self.ending.load(Ordering::Acquire);
        let waited = self.turn.wait_timeout_while(input, IDLE, waits);
        let (mut input, _) = waited.unwrap_or_else(PoisonError::into_inner);
        input.waiting -= 1;
        if self.ending.load(Ordering::Acquire) { None } else { input.stream.take() }
    }

    /// Gives the input to the next worker, which is made if there is none.
    fn pass_on(self: &Arc<Self>, stream: BufReader<TcpStream>) {
        let mut input = self.input();
        input.stream = Some(stream);
        let is_alone = input.waiting == 0;
        drop(input);
        if is_alone {
            self.add_worker();
        } else {
            self.turn.notify_one();
        }
    }

    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives a request and carries it out; `false` at the end.
    fn turn(self: &Arc<Self>, mut input: BufReader<TcpStream>) -> io::Result<bool> {
        // Waits without a buffer.
        let _first = input.fill_buf()?;
        let mut buffer = Buffer(&self.shared, self.shared.take_buffer());
        let received = match self.session.receive(&mut input, &mut buffer.1)? {
            NextRequest::Request(received) => received,
            end => {
                self.orderly.store(matches!(end, NextRequest::Disconnect), Ordering::Release);
                return Ok(false);
            }
        };
        self.pass_on(input);
        let failure = self.session.perform(&received, &mut buffer.1, &self.output)?;
        let Some(failure) = failure else {
            let (command, len) = received.counted();
            self.shared.counts.count(command, len);
            return Ok(true);
        };
        let (client, command, error) = (self.client, failure.command, failure.error);
        self.shared.tell(&Event::Failed { client, command, error });
        Ok(true)
    }

    fn add_worker(self: &Arc<Self>) {
        let more = |workers| (workers < MOST_WORKERS).then_some(workers + 1);
        if self.workers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            let connection = self.clone();
            // Without another thread, this one goes on alone.
            if self.shared.spawn("nbd", move |_| work(connection)).is_err() {
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

/// The time after which a worker with nothing to do ends.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes of the input's buffer: some requests, or the head of a write.
const INPUT: usize = 4 << 10;
