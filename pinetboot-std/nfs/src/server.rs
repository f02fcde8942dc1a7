//! The network side: workers that wait for calls, carry them out and answer.
//!
//! A woken worker takes one call, lets the next worker wait for the following event, and carries out its call itself: no call moves
//! between threads, and a slow call (a disk, a mount) delays its own worker only. Each descriptor is armed for one event at a
//! time, so an event wakes one worker. Clients have [shares](super::clients) of the workers; a worker that waits for a disk is
//! [replaced](crew).

mod connections;
mod crew;
mod mounting;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use self::crew::{Crew, LOOK_EVERY, WORKERS};
use self::mounting::{Mounting, PATIENCE};
use self::worker::Worker;
use super::clients::Clients;
use super::connection::Connection;
use super::datagrams::Datagrams;
use super::message::Programs;
use super::observe::{Closing, Event, Trouble};
use super::service::Service;

/// A running server.
#[derive(Debug)]
pub(super) struct Server(Arc<Shared>);

struct Shared {
    service: Service,
    epoll: OwnedFd,
    sources: RwLock<HashMap<u64, Endpoint>>,
    next_token: AtomicU64,
    clients: Clients,
    most_connections: usize,
    crew: Arc<Crew>,
    mounting: Mounting,
    /// What waited for a place and has its turn, and an eventfd that counts the turns.
    turns: Mutex<VecDeque<Turn>>,
    turn: OwnedFd,
    /// [`Turns::ask`] was called, and no worker has seen that.
    asked: AtomicBool,
    /// Held by the one thread that closes connections for their memory.
    shedding: Mutex<()>,
    stop: OwnedFd,
    stopping: AtomicBool,
    /// Wakes the supervisor and the maintenance thread.
    bell: (Mutex<()>, Condvar),
    on_thread_end: Arc<dyn Fn(&str) + Send + Sync>,
}

/// A question to a server whether its workers still take events, for a watchdog.
#[derive(Clone, Debug)]
pub struct Turns(Weak<Shared>);

impl Turns {
    /// Asks for a turn; never waits.
    pub fn ask(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.asked.store(true, Ordering::SeqCst);
            shared.wake_for_turn();
        }
    }

    /// Whether a worker has taken an event since the last question. True for a stopped server.
    #[must_use]
    pub fn has_turned(&self) -> bool {
        self.0.upgrade().is_none_or(|shared| {
            !shared.asked.load(Ordering::SeqCst) || shared.stopping.load(Ordering::SeqCst)
        })
    }
}

/// The turn of what waited for a place.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The connection of this token.
    Connection(u64),
    /// The MNT that waits longest.
    Mount,
}

/// A source of calls.
#[derive(Clone, Debug)]
enum Endpoint {
    Listener(Arc<TcpListener>, Programs),
    Connection(Arc<Connection>),
    Datagrams(Arc<Datagrams>),
}

impl Server {
    /// Starts the threads. `on_thread_end` runs when a thread ended although the server was not stopped.
    pub(super) fn start(
        service: Service,
        listeners: Vec<(TcpListener, Programs)>,
        sockets: Vec<(UdpSocket, Programs)>,
        most_connections: usize,
        on_thread_end: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> io::Result<Self> {
        let shared = Shared {
            service,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: RwLock::default(),
            next_token: AtomicU64::new(TURN + 1),
            clients: Clients::default(),
            most_connections,
            crew: Arc::default(),
            mounting: Mounting::default(),
            turns: Mutex::default(),
            turn: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE)?,
            asked: AtomicBool::new(false),
            shedding: Mutex::default(),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stopping: AtomicBool::new(false),
            bell: Default::default(),
            on_thread_end,
        };
        // Stays readable once written, so that all workers see it.
        epoll::add(&shared.epoll, &shared.stop, EventData::new_u64(STOP), EventFlags::IN)?;
        epoll::add(&shared.epoll, &shared.turn, EventData::new_u64(TURN), EventFlags::IN)?;
        for (listener, programs) in listeners {
            listener.set_nonblocking(true)?;
            shared.add(Endpoint::Listener(Arc::new(listener), programs))?;
        }
        for (socket, programs) in sockets {
            shared.add(Endpoint::Datagrams(Arc::new(Datagrams::new(socket, programs)?)))?;
        }
        let server = Self(Arc::new(shared));
        let shared = &server.0;
        let started = (0..WORKERS)
            .try_for_each(|_| shared.start_worker())
            .and_then(|()| shared.start_thread("nfs supervise", Shared::supervise))
            .and_then(|()| shared.start_thread("nfs maintain", Shared::maintain));
        if let Err(error) = started {
            server.stop(Instant::now() + Duration::from_secs(1));
            return Err(error);
        }
        Ok(server)
    }

    pub(super) fn turns(&self) -> Turns {
        Turns(Arc::downgrade(&self.0))
    }

    /// Open connections.
    pub(super) fn connections(&self) -> usize {
        self.0.connections().count()
    }

    /// Whether a thread ended although the server was not stopped.
    pub(super) fn has_failed(&self) -> bool {
        self.0.crew.has_failed()
    }

    /// Stops the server, and waits for its threads, at most until `deadline`: a thread that waits for a disk then ends when the disk
    /// answers. Returns whether all threads have ended.
    pub(super) fn stop(&self, deadline: Instant) -> bool {
        let shared = &self.0;
        if shared.stopping.swap(true, Ordering::SeqCst) {
            return shared.crew.wait_until_ended(Instant::now());
        }
        let _rung = rustix::io::write(&shared.stop, &1u64.to_ne_bytes());
        shared.ring();
        let ended = shared.crew.wait_until_ended(deadline);
        for (token, _) in shared.connections() {
            shared.close(token, Closing::Stopped);
        }
        // Closes the ports, although a thread may keep the rest.
        shared.sources.write().unwrap_or_else(PoisonError::into_inner).clear();
        ended
    }
}

impl Shared {
    fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        let duty = self.crew.enlist();
        let number = duty.number();
        self.start_thread(&format!("nfs {number}"), move |shared| Worker::new(shared, duty).run())
            .inspect_err(|_| self.crew.discharge(number))
    }

    /// Starts a thread, which has to run until the server stops unless `run` returns true.
    fn start_thread(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Arc<Self>) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let (shared, name) = (self.clone(), name.to_owned());
        self.crew.spawn(name.clone(), move || {
            let expected = catch_unwind(AssertUnwindSafe(|| run(&shared))).unwrap_or(false);
            if !expected && !shared.stopping.load(Ordering::SeqCst) {
                shared.crew.fail();
                shared.tell(Trouble::ThreadEnded(&name));
                (shared.on_thread_end)(&name);
            }
        })
    }

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

    fn tell(&self, trouble: Trouble<'_>) {
        self.service.tell(&Event::Trouble(trouble));
    }

    fn ring(&self) {
        drop(self.bell.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.1.notify_all();
    }

    /// Waits for the bell, or for this time.
    fn wait_for_bell(&self, at_most: Duration, unless: impl FnOnce() -> bool) {
        let bell = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !unless() {
            let _bell = self.bell.1.wait_timeout(bell, at_most).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Replaces workers that wait for a disk, and maintains the connections.
    fn supervise(self: &Arc<Self>) -> bool {
        let (mut maintained, mut stuck) = (Instant::now(), 0);
        while !self.stopping.load(Ordering::SeqCst) {
            let (watched, queued) = (self.crew.is_watched(), self.mounting.is_waited_for());
            let interval = match watched {
                true => LOOK_EVERY,
                false if queued => PATIENCE,
                false => MAINTAIN_EVERY.saturating_sub(maintained.elapsed()),
            };
            self.wait_for_bell(interval, || {
                let asked = !watched && self.crew.is_watched() || !queued && self.mounting.is_waited_for();
                self.stopping.load(Ordering::SeqCst) || asked
            });
            if self.mounting.add_place() {
                self.give_turn(Turn::Mount);
            }
            for _ in 0..self.crew.look() {
                // A thread that cannot start is tried again at the next look.
                let _tried = self.start_worker();
            }
            if maintained.elapsed() >= MAINTAIN_EVERY {
                maintained = Instant::now();
                self.maintain_connections();
                // Told once, until all calls have ended.
                let before = std::mem::replace(&mut stuck, self.crew.stuck());
                if before == 0 && stuck > 0 {
                    self.tell(Trouble::Stuck { calls: stuck });
                }
            }
        }
        false
    }

    /// Maintains the exports, on a thread of its own: they may wait for a disk.
    fn maintain(self: &Arc<Self>) -> bool {
        let mut maintained = Instant::now();
        while !self.stopping.load(Ordering::SeqCst) {
            let left = MAINTAIN_EVERY.saturating_sub(maintained.elapsed());
            self.wait_for_bell(left, || self.stopping.load(Ordering::SeqCst));
            if maintained.elapsed() >= MAINTAIN_EVERY {
                if catch_unwind(AssertUnwindSafe(|| self.service.exports().maintain())).is_err() {
                    self.tell(Trouble::Panicked);
                }
                maintained = Instant::now();
            }
        }
        false
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

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("crew", &self.crew).finish_non_exhaustive()
    }
}

const STOP: u64 = 0;
const TURN: u64 = 1;
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);
