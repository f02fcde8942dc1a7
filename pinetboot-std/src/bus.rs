//! The bus: passes every fact to the registry first, and then to the listeners.
//!
//! ```text
//! service -> emit(client, fact) -> registry (writes, concludes) -> stamped events -> listeners
//! ```
//!
//! [`emit`](Bus::emit) returns when the registry and the listeners have handled the fact, so a mount after a fetch finds the
//! evidence of the fetch. The registry is locked for the first part only, and never while a listener runs. A thread in
//! [`keep_time`](Bus::keep_time) emits the events that are due when a deadline passes.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinetboot_core::pi::boot::Hearing;

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
    next: Mutex<Next>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    deadline: Duration,
    /// Whether the clock has yet to show that it turns.
    asked: bool,
    ends: bool,
}

impl Bus {
    /// A bus with an empty registry and these listeners.
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        let next = Mutex::new(Next { deadline: Duration::MAX, asked: false, ends: false });
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

    /// Sets what this server hears of Pis, and how fast the clock of their boots runs: 1, or more in tests.
    pub fn set_watch(&self, hearing: Hearing, rate: u32) {
        self.pis().lock().set_watch(hearing, rate);
    }

    /// Emits a fact; `client` names the client if the fact does not.
    pub fn emit(&self, client: impl Into<Option<Ipv4Addr>>, fact: impl Into<Fact>) {
        let (client, fact) = (client.into(), fact.into());
        let mut registry = self.pis().lock();
        let at = registry.now();
        let applied = registry.apply(at, client, &fact);
        let pi = applied.subject.and_then(|subject| registry.display_name(subject));
        let boot = applied.subject.and_then(|subject| registry.boot_key(subject));
        let deadline = registry.deadline();
        drop(registry);
        self.tell(&Event { at, pi: pi.clone(), boot, client, again: applied.again, fact });
        for fact in applied.follows {
            self.tell(&Event { at, pi: pi.clone(), boot, client, again: false, fact });
        }
        self.wait_until(deadline);
    }

    /// Emits the events that are due, until [`end_time`](Self::end_time). For a thread of its own.
    pub fn keep_time(&self) {
        let mut next = self.next();
        while !next.ends {
            next.asked = false;
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
            next = self.next();
        }
    }

    /// Ends [`keep_time`](Self::keep_time).
    pub fn end_time(&self) {
        self.next().ends = true;
        self.shared.changed.notify_one();
    }

    /// Asks the clock to show that it turns.
    pub fn ask_turn(&self) {
        self.next().asked = true;
        self.shared.changed.notify_one();
    }

    /// Whether the clock has turned since it was asked.
    pub fn has_turned(&self) -> bool {
        !self.next().asked
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.shared.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, at: Duration) {
        let mut registry = self.pis().lock();
        let late = registry.tick(at);
        let named = |(subject, client, fact): (Subject, Option<Ipv4Addr>, Fact)| Event {
            at,
            pi: registry.display_name(subject),
            boot: registry.boot_key(subject),
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
        let mut next = self.next();
        if deadline < next.deadline {
            next.deadline = deadline;
            self.shared.changed.notify_one();
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("pis", &self.shared.pis).finish_non_exhaustive()
    }
}
