//! The bus: passes every fact to the registry first, and then to the listeners.
//!
//! ```text
//! service -> emit(client, fact) -> registry (writes, concludes) -> stamped events -> listeners
//! ```
//!
//! [`emit`](Bus::emit) returns when the registry and the listeners have handled the fact, so a mount after a fetch finds the
//! evidence of the fetch. The registry is locked for the first part only, and never while a listener runs. A thread in
//! [`keep_time`](Bus::keep_time) emits the events that are due when a deadline passes, if the loops that [`hear`](Bus::hear_by) Pis have
//! handled what came until then. If one has not, or that thread itself was late (a busy machine, SIGSTOP, a suspended laptop), the
//! silence of every Pi begins anew.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinetboot_core::pi::boot::Hearing;

use crate::ears::{Ear, Ears, LATE, Unheard};
use crate::events::{Event, Fact, Listener, Server};
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
    ears: Ears,
    /// The time of the last fact about a client, in milliseconds; 0 without one.
    heard: AtomicU64,
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
        let (changed, ears, heard) = (Condvar::new(), Ears::default(), AtomicU64::new(0));
        Self { shared: Arc::new(BusState { pis: Pis::default(), listeners, next, changed, ears, heard }) }
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

    /// Adds a loop that reads messages of Pis: before it has handled what came, no Pi was silent.
    pub fn hear_by(&self, name: impl Into<String>, ear: impl Ear + 'static) {
        self.shared.ears.add(name.into(), Box::new(ear));
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
        if applied.subject.is_some() {
            self.heard(at);
        }
        self.wait_until(deadline);
    }

    /// A client was heard: for some time, the clock looks whether it is late.
    fn heard(&self, at: Duration) {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX).max(1);
        let before = self.shared.heard.swap(millis, Ordering::Relaxed);
        if before == 0 || millis.saturating_sub(before) >= IDLE.as_millis() as u64 {
            drop(self.next());
            self.shared.changed.notify_one();
        }
    }

    /// When the clock looks whether it is late: while a Pi has a deadline, and clients are heard.
    fn next_look(&self, deadline: Duration, now: Duration) -> Duration {
        match self.shared.heard.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            _ if deadline == Duration::MAX => Duration::MAX,
            heard if now.saturating_sub(Duration::from_millis(heard)) < IDLE => now + LATE,
            _ => Duration::MAX,
        }
    }

    /// Emits the events that are due, until [`end_time`](Self::end_time). For a thread of its own.
    pub fn keep_time(&self) {
        let mut next = self.next();
        // The end of the last wait, if nothing ended it before.
        let mut expected = Duration::MAX;
        while !next.ends {
            next.asked = false;
            let now = self.pis().now();
            if expected.saturating_add(LATE) < now {
                drop(next);
                self.unheard(Unheard { by: "clock".into(), lost: 0 });
                (next, expected) = (self.next(), Duration::MAX);
                continue;
            }
            if next.deadline > now {
                expected = next.deadline.min(self.next_look(next.deadline, now));
                let changed = &self.shared.changed;
                next = match expected {
                    Duration::MAX => changed.wait(next).unwrap_or_else(PoisonError::into_inner),
                    until => {
                        changed.wait_timeout(next, until - now).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
                continue;
            }
            next.deadline = Duration::MAX;
            drop(next);
            self.tick(now);
            (next, expected) = (self.next(), Duration::MAX);
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
        let (due, deadline) = (registry.due(at), registry.deadline());
        drop(registry);
        if due.is_empty() {
            return self.wait_until(deadline);
        }
        if let Err(unheard) = self.shared.ears.listen() {
            self.unheard(unheard);
        }
        let mut registry = self.pis().lock();
        let late = registry.tick(at, due);
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

    /// Every silence begins anew.
    fn unheard(&self, Unheard { by, lost }: Unheard) {
        self.pis().lock().begin_to_hear();
        self.emit(None, Server::HeardLate { by, lost });
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

/// The time after the last fact about a client in which the clock looks every second whether it is late: longer than a Pi waits for an
/// answer.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use pinetboot_core::dhcp::MessageType;

    use super::*;
    use crate::events::{self, Dhcp};

    /// The verdicts, and whether messages were late.
    #[derive(Clone, Default)]
    struct Heard(Arc<(Mutex<Vec<&'static str>>, Condvar)>);

    impl Heard {
        fn wait_for(&self, what: &str) {
            let told = self.0.0.lock().unwrap();
            let lacks = |told: &mut Vec<&'static str>| !told.contains(&what);
            assert!(
                !self.0.1.wait_timeout_while(told, Duration::from_secs(20), lacks).unwrap().1.timed_out()
            );
        }
    }

    impl Listener for Heard {
        fn listen(&self, event: &Event) {
            let told = match event.fact {
                Fact::Boot(events::Boot::Stuck { .. }) => "stuck",
                Fact::Server(Server::HeardLate { .. }) => "late",
                _ => return,
            };
            self.0.0.lock().unwrap().push(told);
            self.0.1.notify_all();
        }
    }

    /// A loop that is behind until it is told otherwise.
    #[derive(Clone, Default)]
    struct Busy(Arc<AtomicBool>);

    impl Ear for Busy {
        fn ask(&self) {}

        fn has_heard(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn lost(&self) -> u64 {
            0
        }
    }

    fn asked(bus: &Bus) {
        let hardware = pinetboot_core::dhcp::HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
        let identity = pinetboot_core::pi::PiIdentity::BOOT_ROM;
        let kind = Some(MessageType::Discover);
        let fact = Dhcp::Asked {
            hardware,
            kind,
            xid: 7,
            identity: Some(identity),
            relayed: false,
            has_duid: false,
            is_boot_code: false,
        };
        bus.emit(None, fact);
    }

    /// A Pi that asks five times, and then no more, is told when the loop has handled what came: not before.
    #[test]
    fn a_silence_is_told_when_everything_was_heard() {
        const RATE: u32 = 50;
        let (heard, busy) = (Heard::default(), Busy::default());
        let bus = Bus::new(vec![Box::new(heard.clone())]);
        bus.set_watch(Hearing::ALL, RATE);
        bus.hear_by("dhcp eth0", busy.clone());
        thread::scope(|scope| {
            scope.spawn(|| bus.keep_time());
            let ask = || {
                for _ in 0..5 {
                    asked(&bus);
                    thread::sleep(Duration::from_secs(5) / RATE);
                }
            };
            ask();
            heard.wait_for("late");
            assert!(!heard.0.0.lock().unwrap().contains(&"stuck"));
            busy.0.store(true, Ordering::Relaxed);
            ask();
            heard.wait_for("stuck");
            bus.end_time();
        });
    }
}
