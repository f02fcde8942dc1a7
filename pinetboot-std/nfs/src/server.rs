//! The network side: workers that wait for calls, carry them out and answer.
//!
//! A woken worker takes one call, lets the next worker wait for the following event, and carries out its call itself: no call moves
//! between threads, and a slow call (a disk, a mount) delays its own worker only. Each descriptor is armed for one event at a
//! time, so an event wakes one worker.

mod worker;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::connection::Connection;
use super::datagrams::Datagrams;
use super::message::Programs;
use super::observe::{Closing, Connected, Disconnected, Event, Trouble};
use super::service::Service;
use worker::Worker;

/// A running server; dropping it stops the server.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    service: Service,
    epoll: OwnedFd,
    sources: RwLock<HashMap<u64, Endpoint>>,
    next_token: AtomicU64,
    /// Bytes that all connections hold.
    held: AtomicIsize,
    stop: OwnedFd,
    stopping: AtomicBool,
    /// Wakes the maintenance thread.
    bell: (Mutex<bool>, Condvar),
}

/// A source of calls.
#[derive(Clone, Debug)]
enum Endpoint {
    Listener(Arc<TcpListener>, Programs),
    Connection(Arc<Connection>),
    Datagrams(Arc<Datagrams>),
}

impl Server {
    /// Starts the workers and the maintenance thread.
    pub(super) fn start(
        service: Service,
        listeners: Vec<(TcpListener, Programs)>,
        sockets: Vec<(UdpSocket, Programs)>,
    ) -> io::Result<Self> {
        let shared = Shared {
            service,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: RwLock::default(),
            next_token: AtomicU64::new(STOP + 1),
            held: AtomicIsize::new(0),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stopping: AtomicBool::new(false),
            bell: Default::default(),
        };
        // Stays readable once written, so that all workers see it.
        epoll::add(&shared.epoll, &shared.stop, EventData::new_u64(STOP), EventFlags::IN)?;
        for (listener, programs) in listeners {
            listener.set_nonblocking(true)?;
            shared.add(Endpoint::Listener(Arc::new(listener), programs))?;
        }
        for (socket, programs) in sockets {
            shared.add(Endpoint::Datagrams(Arc::new(Datagrams::new(socket, programs)?)))?;
        }
        let mut server = Self { shared: Arc::new(shared), threads: Vec::new() };
        for number in 0..WORKERS {
            let shared = server.shared.clone();
            let thread = thread::Builder::new().name(format!("nfs {number}"));
            server.threads.push(thread.spawn(move || Worker::new(&shared).run())?);
        }
        let shared = server.shared.clone();
        let thread = thread::Builder::new().name("nfs maintain".into());
        server.threads.push(thread.spawn(move || shared.maintain_until_stopped())?);
        Ok(server)
    }

    /// Open connections.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _rung = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        *self.shared.bell.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.bell.1.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.tell(Trouble::Panicked);
            }
        }
        for (token, _) in self.shared.connections() {
            self.shared.close(token, Closing::Stopped);
        }
    }
}

impl Shared {
    fn add(&self, source: Endpoint) -> io::Result<u64> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        epoll::add(
            &self.epoll,
            source.as_fd(),
            EventData::new_u64(token),
            EventFlags::IN | EventFlags::ONESHOT,
        )?;
        sources.insert(token, source);
        Ok(token)
    }

    fn find(&self, token: u64) -> Option<Endpoint> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(&token).cloned()
    }

    fn arm(&self, token: u64, source: impl AsFd, flags: EventFlags) {
        let armed =
            epoll::modify(&self.epoll, source, EventData::new_u64(token), flags | EventFlags::ONESHOT);
        if let Err(error) = armed
            && error != Errno::NOENT
        {
            self.tell(Trouble::Arm(&error.into()));
        }
    }

    /// Lets the next worker wait for the next event of a connection.
    fn arm_connection(&self, token: u64, connection: &Connection, look_at_once: bool) {
        connection.arm(|interest| {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, interest.read);
            flags.set(EventFlags::OUT, interest.write || look_at_once && interest.read);
            self.arm(token, connection, flags);
        });
    }

    fn close(&self, token: u64, why: Closing) {
        let removed = self.sources.write().unwrap_or_else(PoisonError::into_inner).remove(&token);
        if let Some(Endpoint::Connection(connection)) = removed {
            let _ended = epoll::delete(&self.epoll, &*connection);
            connection.shut_down();
            connection.trim();
            self.held.fetch_add(connection.growth(), Ordering::Relaxed);
            let (open_for, calls) = (connection.age(), connection.calls());
            let disconnected = Disconnected { peer: connection.peer, why, open_for, calls };
            self.service.tell(&Event::Disconnected(disconnected));
        }
    }

    fn tell(&self, trouble: Trouble<'_>) {
        self.service.tell(&Event::Trouble(trouble));
    }

    fn connections(&self) -> impl Iterator<Item = (u64, Arc<Connection>)> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let connections = sources.iter().filter_map(|(&token, source)| match source {
            Endpoint::Connection(connection) => Some((token, connection.clone())),
            _ => None,
        });
        connections.collect::<Vec<_>>().into_iter()
    }

    fn accept(&self, listener: &TcpListener, programs: Programs) {
        for _ in 0..ACCEPT_AT_ONCE {
            match listener.accept() {
                Ok((stream, SocketAddr::V4(peer))) => {
                    if let Err(error) = self.admit(stream, peer, programs) {
                        self.tell(Trouble::Serve { peer, error: &error });
                    }
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Most likely no descriptor is left: closing an idle connection frees one.
                    self.close_idlest();
                    self.tell(Trouble::Accept(&error));
                    return;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddrV4, programs: Programs) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // A client that lost its power sends no FIN.
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &60)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &10)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &6)?;
        if self.connections().count() >= MOST_CONNECTIONS {
            self.close_idlest();
        }
        let connection = Arc::new(Connection::new(stream, peer, programs));
        // Emitted before a worker can emit the connection's end.
        self.service.tell(&Event::Connected(Connected { peer }));
        self.add(Endpoint::Connection(connection))?;
        Ok(())
    }

    fn close_idlest(&self) {
        let idlest =
            self.connections().max_by_key(|(_, connection)| (connection.is_quiet(), connection.idle()));
        if let Some((token, _)) = idlest {
            self.close(token, Closing::MadeRoom);
        }
    }

    fn maintain_until_stopped(&self) {
        let (stopped, bell) = &self.bell;
        let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let waited = bell.wait_timeout(stopped, MAINTAIN_EVERY);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
            if catch_unwind(AssertUnwindSafe(|| self.maintain())).is_err() {
                self.tell(Trouble::Panicked);
            }
        }
    }

    fn maintain(&self) {
        for (token, connection) in self.connections() {
            let (idle, backlog) = (connection.idle(), connection.backlog());
            if idle > MOST_STUCK && backlog > 0 {
                self.close(token, Closing::Stuck);
            } else if idle > MOST_IDLE && connection.is_quiet() {
                self.close(token, Closing::Idle);
            } else if idle > MAINTAIN_EVERY.as_secs() {
                connection.trim();
                self.held.fetch_add(connection.growth(), Ordering::Relaxed);
            }
        }
        self.service.exports().maintain();
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(listener, _) => listener.as_fd(),
            Self::Connection(connection) => connection.as_fd(),
            Self::Datagrams(datagrams) => datagrams.as_fd(),
        }
    }
}

const STOP: u64 = 0;

/// Number of workers, and so of calls under way.
const WORKERS: usize = 24;
const ACCEPT_AT_ONCE: usize = 64;

/// Most connections: beyond this limit the idlest connection is closed.
const MOST_CONNECTIONS: usize = 1024;
/// Most bytes that all connections hold together.
const MOST_HELD: isize = 256 * 1024 * 1024;

const MAINTAIN_EVERY: Duration = Duration::from_secs(5);
/// Most idle seconds of a connection; Linux clients close an unused connection after five minutes.
const MOST_IDLE: u64 = 6 * 60;
/// Most seconds without progress of a connection with unsent answers.
const MOST_STUCK: u64 = 60;
