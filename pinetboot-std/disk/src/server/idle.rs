//! Idle connections, which have no thread: one thread waits for all of them, and starts one for a connection whose client says something.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, read, write};

use super::Shared;
use super::connection::{Worker, work};
use super::input::Input;
use crate::trim::give_back_memory;

/// The idle connections of a server.
pub(super) struct Idle {
    epoll: OwnedFd,
    /// Wakes the thread.
    wakes: OwnedFd,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    all: HashMap<u64, (Worker, Input)>,
    /// Some are idle since memory was given back.
    has_more: bool,
    /// No thread waits for more.
    is_closed: bool,
}

impl Idle {
    /// None yet.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wakes = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wakes, EventData::new_u64(WAKES), EventFlags::IN)?;
        Ok(Self { epoll, wakes, connections: Mutex::default() })
    }

    /// Takes an idle connection from its last worker; gives it back where that cannot be.
    pub(super) fn take(&self, worker: Worker, input: Input) -> Result<(), (Worker, Input)> {
        let mut connections = self.connections();
        let id = worker.id();
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        if connections.is_closed || epoll::add(&self.epoll, &input, EventData::new_u64(id), flags).is_err() {
            return Err((worker, input));
        }
        connections.all.insert(id, (worker, input));
        connections.has_more = true;
        drop(connections);
        self.wake();
        Ok(())
    }

    /// The part of the one thread.
    pub(super) fn run(&self, shared: &Arc<Shared>) {
        let mut events = Vec::with_capacity(EVENTS);
        while !shared.stopping.load(Ordering::Acquire) {
            let rests = self.connections().has_more;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), rests.then_some(&REST)) {
                // Many become idle together.
                Ok(0) if rests => {
                    self.connections().has_more = false;
                    give_back_memory();
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    shared.tell(&super::Event::System(&error.into()));
                    shared.pause();
                }
            }
            for event in events.drain(..) {
                if event.data.u64() == WAKES {
                    let _woken = read(&self.wakes, &mut [0; 8]);
                }
                let Some((worker, input)) = self.connections().all.remove(&event.data.u64()) else {
                    continue;
                };
                // The descriptor is the input's, and so that of no other connection.
                let _removed = epoll::delete(&self.epoll, &input);
                // Without a thread the connection ends, and its client connects again.
                if let Err(error) = shared.spawn("nbd", move |_| work(worker, Some(input))) {
                    shared.tell(&super::Event::System(&error));
                }
            }
        }
        let idle = {
            let mut connections = self.connections();
            connections.is_closed = true;
            core::mem::take(&mut connections.all)
        };
        drop(idle);
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        let _woken = write(&self.wakes, &1u64.to_ne_bytes());
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of no connection.
const WAKES: u64 = u64::MAX;
/// The time without another idle connection after which memory is given back.
const REST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Events taken at once.
const EVENTS: usize = 64;
