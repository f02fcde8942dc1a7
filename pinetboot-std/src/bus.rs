//! The bus: passes every fact to the registry first, and then to the listeners.
//!
//! ```text
//! service -> emit(client, fact) -> registry (writes, concludes) -> stamped events -> listeners
//! ```
//!
//! [`emit`](Bus::emit) returns when the registry and the listeners have handled the fact, so a mount after a fetch finds the
//! evidence of the fetch. The registry is locked for the first part only, and never while a listener runs. A thread of the
//! bus ([`Clock`]) emits the events that are due when a deadline passes.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::events::{Event, Fact, Listener};
use crate::pis::{Inventory, Pis, Subject};

/// The way for services to emit facts. Each service has a clone.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<BusState>,
}

struct BusState {
    pis: Pis,
    listeners: Vec<Box<dyn Listener>>,
    /// The next deadline of the clock, and whether the clock has to end.
    next: Mutex<Next>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    deadline: Duration,
    ends: bool,
}

/// The thread that emits overdue events; dropping it ends the thread.
#[derive(Debug)]
pub struct Clock {
    bus: Bus,
    thread: Option<JoinHandle<()>>,
}

impl Bus {
    /// A bus with an empty registry and these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        let next = Mutex::new(Next { deadline: Duration::MAX, ends: false });
        Self { shared: Arc::new(BusState { pis: Pis::default(), listeners, next, changed: Condvar::new() }) }
    }

    /// A bus without listeners: the registry alone.
    pub fn silent() -> Self {
        Self::new(Vec::new())
    }

    /// Read access to the registry.
    pub fn pis(&self) -> &Pis {
        &self.shared.pis
    }

    /// Replaces the inventory.
    pub fn set_inventory(&self, inventory: Arc<Inventory>) {
        self.pis().lock().set_inventory(inventory);
    }

    /// Emits a fact; `client` names the client if the fact does not.
    pub fn emit(&self, client: impl Into<Option<Ipv4Addr>>, fact: impl Into<Fact>) {
        let (client, fact) = (client.into(), fact.into());
        let at = self.pis().now();
        let mut registry = self.pis().lock();
        let applied = registry.apply(at, client, &fact);
        let pi = applied.subject.and_then(|subject| registry.display_name(subject));
        let deadline = registry.deadline();
        drop(registry);
        self.tell(&Event { at, pi: pi.clone(), client, again: applied.again, fact });
        for fact in applied.follows {
            self.tell(&Event { at, pi: pi.clone(), client, again: false, fact });
        }
        self.wait_until(deadline);
    }

    /// Starts the clock's thread.
    ///
    /// # Errors
    ///
    /// The system's, if the thread cannot start.
    pub fn start_clock(&self) -> io::Result<Clock> {
        let bus = self.clone();
        let thread = thread::Builder::new().name("clock".into()).spawn(move || bus.keep_time())?;
        Ok(Clock { bus: self.clone(), thread: Some(thread) })
    }

    fn keep_time(&self) {
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        while !next.ends {
            let now = self.pis().now();
            if next.deadline > now {
                let left = next.deadline - now;
                next = match next.deadline {
                    Duration::MAX => self.shared.changed.wait(next).unwrap_or_else(PoisonError::into_inner),
                    _ => {
                        self.shared.changed.wait_timeout(next, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
                continue;
            }
            next.deadline = Duration::MAX;
            drop(next);
            self.tick(now);
            next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tick(&self, at: Duration) {
        let mut registry = self.pis().lock();
        let late = registry.tick(at);
        let named = |(subject, client, fact): (Subject, Option<Ipv4Addr>, Fact)| Event {
            at,
            pi: registry.display_name(subject),
            client,
            again: false,
            fact,
        };
        let events: Vec<_> = late.into_iter().map(named).collect();
        let deadline = registry.deadline();
        drop(registry);
        events.iter().for_each(|event| self.tell(event));
        self.wait_until(deadline);
    }

    fn tell(&self, event: &Event) {
        for listener in &self.shared.listeners {
            listener.listen(event);
        }
    }

    fn wait_until(&self, deadline: Duration) {
        if deadline == Duration::MAX {
            return;
        }
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline < next.deadline {
            next.deadline = deadline;
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.bus.shared.next.lock().unwrap_or_else(PoisonError::into_inner).ends = true;
        self.bus.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("pis", &self.shared.pis).finish_non_exhaustive()
    }
}
