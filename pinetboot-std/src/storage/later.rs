//! Results that come later, and the loop's notice of them.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::net::Control;

/// The clients of one loop whose results have come.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Wakes the loop.
    control: Option<Control>,
    /// Whether `peers` has any, without its lock.
    any: AtomicBool,
    peers: Mutex<VecDeque<SocketAddrV4>>,
    /// For threads without a loop.
    came: Condvar,
}

/// A result of another thread, for any number of clients.
#[derive(Debug)]
pub(super) struct Later<T>(Arc<Slot<T>>);

/// The place of a result.
#[derive(Debug)]
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
    arrivals: Arc<Arrivals>,
}

#[derive(Debug)]
struct State<T> {
    result: Option<Result<T, TimedOut>>,
    /// The thread works on it.
    runs: bool,
    is_over: bool,
    waiting: Vec<SocketAddrV4>,
}

/// The disk did not answer before the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimedOut;

/// What a deadline does.
pub(super) trait Overdue: Send + Sync {
    /// The deadline is over.
    fn expire(&self);
}

impl Arrivals {
    /// The arrivals of the loop with this control.
    pub(super) fn new(control: Control) -> Self {
        Self { control: Some(control), ..Self::silent() }
    }

    /// Arrivals that no loop hears of.
    pub(super) fn silent() -> Self {
        Self { control: None, any: AtomicBool::new(false), peers: Mutex::default(), came: Condvar::new() }
    }

    /// The next client that can go on.
    pub(super) fn pop(&self) -> Option<SocketAddrV4> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut peers = self.lock();
        let peer = peers.pop_front();
        self.any.store(!peers.is_empty(), Ordering::Release);
        peer
    }

    /// Waits until a client can go on.
    #[cfg(test)]
    pub(super) fn wait(&self) {
        let peers = self.came.wait_while(self.lock(), |peers| peers.is_empty());
        peers.unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn push(&self, clients: Vec<SocketAddrV4>) {
        if clients.is_empty() {
            return;
        }
        let mut peers = self.lock();
        let was_empty = peers.is_empty();
        peers.extend(clients);
        self.any.store(true, Ordering::Release);
        drop(peers);
        self.came.notify_all();
        if let (true, Some(control)) = (was_empty, &self.control) {
            control.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<SocketAddrV4>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Later<T> {
    pub(super) const fn new(slot: Arc<Slot<T>>) -> Self {
        Self(slot)
    }

    /// The result, once; `None`: the client hears of it.
    pub(super) fn poll(&self, client: SocketAddrV4) -> Option<Result<T, TimedOut>> {
        let mut state = self.0.lock();
        let result = state.result.take();
        if result.is_none() && !state.is_over && !state.waiting.contains(&client) {
            state.waiting.push(client);
        }
        result
    }

    /// The client hears of the result.
    pub(super) fn announce(&self, client: SocketAddrV4) {
        let mut state = self.0.lock();
        if state.is_over {
            self.0.arrivals.push(vec![client]);
        } else {
            state.waiting.push(client);
        }
    }

    /// Whether the result has come, or the deadline is over.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().is_over
    }
}

impl<T> Slot<T> {
    pub(super) fn new(arrivals: Arc<Arrivals>) -> Self {
        let state = State { result: None, runs: false, is_over: false, waiting: Vec::new() };
        Self { state: Mutex::new(state), arrivals }
    }

    /// A thread begins to work on it. Returns whether the result is still wanted.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.lock();
        state.runs = true;
        !state.is_over
    }

    /// Keeps the result for the clients. Returns whether it comes too late, and is dropped here.
    pub(super) fn finish(&self, result: T) -> bool {
        let mut state = self.lock();
        if state.is_over {
            drop(state);
            return true;
        }
        self.end(&mut state, Ok(result));
        false
    }

    /// Fails, if the result has not come. Returns whether a thread works on it.
    pub(super) fn expire(&self) -> bool {
        let mut state = self.lock();
        if state.is_over {
            return false;
        }
        self.end(&mut state, Err(TimedOut));
        state.runs
    }

    fn end(&self, state: &mut State<T>, result: Result<T, TimedOut>) {
        state.result = Some(result);
        state.is_over = true;
        self.arrivals.push(std::mem::take(&mut state.waiting));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk did not answer for {} s", DEADLINE.as_secs())
    }
}

impl std::error::Error for TimedOut {}

/// The time in which the disk must answer. A Pi waits 30 s for a file.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
