//! The network side: a thread for each listener, and a few for each connection.
//!
//! The threads of a connection take turns: the one that holds the input receives a request, carries it out and replies; if the request
//! waits for the storage device, another one takes the input meanwhile. Requests of a client that wait so run beside each other, up to
//! [`MOST_WORKERS`], and a slow disk or a slow client holds up none but its own threads. An idle connection has none.

mod connection;
mod idle;
mod input;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "testing")]
pub(crate) use self::connection::{greet, negotiate};
use self::idle::Idle;
use crate::channel::Channel;
use crate::counts::RequestCounts;
use crate::exports::Exports;
use crate::negotiation::TlsOffer;
use crate::observe::{Event, Observer};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::trim::keep_large_blocks_apart;

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub per_client: usize,
    /// The time for a negotiation.
    pub negotiation: Duration,
    /// The time in which a client must take some bytes of a reply.
    pub stalled: Duration,
}

/// A running server; dropping it stops the server.
#[derive(Debug)]
pub struct Server(Arc<Shared>);

pub(crate) struct Shared {
    exports: Arc<dyn Exports>,
    observer: Arc<dyn Observer>,
    counts: Arc<RequestCounts>,
    limits: Limits,
    listeners: Mutex<Vec<Arc<TcpListener>>>,
    state: Mutex<State>,
    threads: Arc<Threads>,
    stopping: AtomicBool,
    /// Rings when the server stops.
    stops: Condvar,
    idle: Idle,
    /// Buffers for requests under way, to use again.
    buffers: Mutex<Vec<Vec<u8>>>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

#[derive(Default)]
struct State {
    connections: HashMap<u64, (IpAddr, TcpStream)>,
    next: u64,
}

/// The running threads. Apart from [`Shared`]: a thread has let go of that, and of the disks with it, before it counts as ended.
#[derive(Default)]
struct Threads {
    running: Mutex<usize>,
    /// Rings when a thread ends.
    ended: Condvar,
}

impl Default for Limits {
    /// 1024 connections, 16 of one address, 30 s for a negotiation, 60 s for a reply's next bytes.
    fn default() -> Self {
        Self {
            connections: 1024,
            per_client: 16,
            negotiation: Duration::from_secs(30),
            stalled: Duration::from_secs(60),
        }
    }
}

impl Server {
    /// Serves `exports` on listening sockets.
    ///
    /// # Errors
    ///
    /// The system's, if a thread cannot start.
    pub fn start(
        listeners: Vec<TcpListener>,
        exports: Arc<dyn Exports>,
        limits: Limits,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        Self::run(Shared::new(listeners, exports, limits, observer)?)
    }

    /// The same, with TLS for the clients that ask for it.
    ///
    /// # Errors
    ///
    /// The system's, if a thread cannot start.
    #[cfg(feature = "tls")]
    pub fn start_with_tls(
        listeners: Vec<TcpListener>,
        exports: Arc<dyn Exports>,
        limits: Limits,
        observer: Arc<dyn Observer>,
        tls: Tls,
    ) -> io::Result<Self> {
        Self::run(Shared { tls: Some(tls), ..Shared::new(listeners, exports, limits, observer)? })
    }

    fn run(shared: Shared) -> io::Result<Self> {
        keep_large_blocks_apart();
        let count = shared.listeners().len();
        let shared = Arc::new(shared);
        let server = Self(shared);
        server.0.spawn("nbd-idle", |shared| shared.idle.run(shared))?;
        for index in 0..count {
            server.0.spawn("nbd-listen", move |shared| shared.accept(index))?;
        }
        Ok(server)
    }

    /// Accepts connections on another socket in place of a listener, by its index at the start: where a network interface was removed
    /// and made again, a socket that was bound to it hears nothing any more. Connections stay.
    pub fn replace_listener(&self, index: usize, by: TcpListener) {
        let mut listeners = self.0.listeners();
        if !self.0.stopping.load(Ordering::Acquire)
            && let Some(listener) = listeners.get_mut(index)
        {
            // Its thread then accepts on the new one.
            let _ended = rustix::net::shutdown(&**listener, rustix::net::Shutdown::Both);
            *listener = Arc::new(by);
        }
    }

    /// The counts of requests and bytes.
    #[must_use]
    pub fn counts(&self) -> Arc<RequestCounts> {
        self.0.counts.clone()
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.state().connections.len()
    }

    /// Closes the ports and connections, and waits until the requests under way have ended, but no longer than `within`. Returns
    /// whether all have ended: a thread that waits for a disk is left behind.
    #[expect(clippy::must_use_candidate, reason = "a caller that only stops the server needs no result")]
    pub fn stop(&self, within: Duration) -> bool {
        self.0.stop(Instant::now() + within)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.stop(Instant::now() + STOP_WITHIN);
    }
}

impl Threads {
    fn running(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn new(
        listeners: Vec<TcpListener>,
        exports: Arc<dyn Exports>,
        limits: Limits,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        Ok(Self {
            exports,
            observer,
            counts: Arc::default(),
            limits,
            listeners: Mutex::new(listeners.into_iter().map(Arc::new).collect()),
            state: Mutex::default(),
            threads: Arc::default(),
            stopping: AtomicBool::new(false),
            stops: Condvar::new(),
            idle: Idle::new()?,
            buffers: Mutex::default(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    fn accept(self: &Arc<Self>, index: usize) {
        while !self.stopping.load(Ordering::Acquire) {
            let Some(listener) = self.listeners().get(index).cloned() else { return };
            let is_replaced =
                || self.listeners().get(index).is_none_or(|present| !Arc::ptr_eq(present, &listener));
            match listener.accept() {
                Ok((stream, client)) => self.admit(stream, client),
                Err(_) if self.stopping.load(Ordering::Acquire) || is_replaced() => {}
                Err(error) => {
                    self.tell(&Event::System(&error));
                    // Out of descriptors or memory: the next call would fail at once, too.
                    self.pause();
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let Some(id) = self.enter(&stream, client) else { return self.tell(&Event::Busy { client }) };
        let started = self.spawn("nbd", move |shared| connection::serve(shared, id, stream, client));
        if let Err(error) = started {
            self.leave(id);
            self.tell(&Event::System(&error));
        }
    }

    fn enter(&self, stream: &TcpStream, client: SocketAddr) -> Option<u64> {
        let address = client.ip();
        let handle = stream.try_clone().ok()?;
        let mut state = self.state();
        let of_client = state.connections.values().filter(|(ip, _)| *ip == address).count();
        if self.stopping.load(Ordering::Acquire)
            || state.connections.len() >= self.limits.connections
            || of_client >= self.limits.per_client
        {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.connections.insert(id, (address, handle));
        Some(id)
    }

    fn leave(&self, id: u64) {
        let left = self.state().connections.remove(&id);
        if let Some((_, stream)) = left {
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }

    fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce(&Arc<Self>) + Send + 'static) -> io::Result<()> {
        struct Ended(Arc<Threads>);
        impl Drop for Ended {
            fn drop(&mut self) {
                *self.0.running() -= 1;
                self.0.ended.notify_all();
            }
        }
        *self.threads.running() += 1;
        let (ended, shared) = (Ended(Arc::clone(&self.threads)), Arc::clone(self));
        let work = move || {
            let _ended = ended; // dropped last
            let shared = shared;
            run(&shared);
        };
        thread::Builder::new().name(name.into()).stack_size(STACK).spawn(work).map(drop)
    }

    fn stop(&self, until: Instant) -> bool {
        self.stopping.store(true, Ordering::Release);
        self.idle.wake();
        for listener in &*self.listeners() {
            let _ended = rustix::net::shutdown(&**listener, rustix::net::Shutdown::Both);
        }
        let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
        // At first, requests under way still reply, where the client reads.
        self.end_connections(Shutdown::Read, half) || self.end_connections(Shutdown::Both, until)
    }

    /// Shuts the connections down, and waits until all threads have ended; returns whether they have.
    fn end_connections(&self, how: Shutdown, until: Instant) -> bool {
        for (_, stream) in self.state().connections.values() {
            let _ended = stream.shutdown(how);
        }
        self.stops.notify_all();
        let mut running = self.threads.running();
        while *running > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            running =
                self.threads.ended.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits a little, but not while the server stops.
    fn pause(&self) {
        let state = self.state();
        let is_running = |_: &mut State| !self.stopping.load(Ordering::Acquire);
        let _state = self.stops.wait_timeout_while(state, PAUSE, is_running);
    }

    fn tell(&self, event: &Event<'_>) {
        self.observer.event(event);
    }

    /// What a client is told that asks for TLS.
    fn tls_offer(&self) -> TlsOffer {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return if tls.is_required() { TlsOffer::Required } else { TlsOffer::Optional };
        }
        TlsOffer::None
    }

    /// Shakes hands with a client that was offered TLS.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "no TLS was offered"))]
    fn encrypt(&self, channel: Channel) -> io::Result<Channel> {
        #[cfg(feature = "tls")]
        if let (Some(tls), Channel::Plain(stream)) = (&self.tls, channel) {
            return tls.accept(stream).map(Channel::Encrypted);
        }
        #[cfg(not(feature = "tls"))]
        drop(channel);
        Err(io::ErrorKind::Unsupported.into())
    }

    fn take_buffer(&self) -> Vec<u8> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < MOST_BUFFERS {
            buffers.push(buffer);
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<TcpListener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back the memory that only saves time.
    fn rest(&self) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        *buffers = Vec::new();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Threads of a connection, and so requests of a connection under way.
const MOST_WORKERS: usize = 8;
const MOST_BUFFERS: usize = 32;
/// Of address space, of which a thread uses some pages. glibc keeps up to 40 MiB of the stacks of ended threads, with their pages in use: these
/// are few then.
const STACK: usize = 2 << 20;
const STOP_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
