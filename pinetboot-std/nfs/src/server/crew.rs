//! The threads of a server: workers, replaced while they wait for a disk, and the knowledge of a thread that ended.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::disks::MOST_WORKERS;

/// The threads of a server.
#[derive(Debug, Default)]
pub(super) struct Crew {
    workers: Mutex<Workers>,
    /// Workers that wait for an event.
    idle: AtomicUsize,
    /// The supervisor looks at the workers in short intervals.
    watched: AtomicBool,
    running: (Mutex<usize>, Condvar),
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Workers {
    list: Vec<Progress>,
    next: u64,
}

/// A worker as the supervisor sees it.
#[derive(Debug)]
struct Progress {
    number: u64,
    /// Even while the worker waits for an event; each event adds two.
    steps: Arc<AtomicU64>,
    /// The steps at the last look.
    seen: u64,
    /// The steps at the last [`Crew::stuck`].
    seen_before: u64,
}

/// A worker's own part.
#[derive(Debug)]
pub(super) struct Duty {
    number: u64,
    steps: Arc<AtomicU64>,
}

impl Crew {
    /// Starts a thread.
    pub(super) fn spawn(
        self: &Arc<Self>,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let crew = self.clone();
        *crew.count() += 1;
        let spawned = thread::Builder::new().name(name).spawn(move || {
            // Counted however the thread ends.
            let _panic_was_printed = catch_unwind(AssertUnwindSafe(run));
            *crew.count() -= 1;
            crew.running.1.notify_all();
        });
        spawned.map(drop).inspect_err(|_| *self.count() -= 1)
    }

    /// Waits for the end of all threads, at most until `deadline`; returns whether all have ended.
    pub(super) fn wait_until_ended(&self, deadline: Instant) -> bool {
        let mut running = self.count();
        while *running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.running.1.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Records that a thread ended that should not.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Adds a worker to the watched ones.
    pub(super) fn enlist(&self) -> Duty {
        let mut workers = self.workers();
        let (number, steps) = (workers.next, Arc::new(AtomicU64::new(0)));
        workers.next += 1;
        workers.list.push(Progress { number, steps: steps.clone(), seen: 0, seen_before: 0 });
        Duty { number, steps }
    }

    /// Removes a worker that did not start.
    pub(super) fn discharge(&self, number: u64) {
        self.workers().list.retain(|worker| worker.number != number);
    }

    /// A worker is about to wait for an event; false if it should end, since more than the usual workers are idle.
    pub(super) fn rest(&self, duty: &Duty) -> bool {
        if self.idle.fetch_add(1, Ordering::Relaxed) >= WORKERS {
            let mut workers = self.workers();
            if workers.list.len() > WORKERS {
                workers.list.retain(|worker| worker.number != duty.number);
                self.idle.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// A worker has an event. True if the supervisor should look at the workers: none is idle.
    pub(super) fn work(&self, duty: &Duty) -> bool {
        duty.steps.fetch_add(1, Ordering::Relaxed);
        self.idle.fetch_sub(1, Ordering::SeqCst) == 1 && !self.watched.swap(true, Ordering::SeqCst)
    }

    /// A worker is done with its event.
    pub(super) fn done(&self, duty: &Duty) {
        duty.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether no worker waits for an event.
    pub(super) fn is_busy(&self) -> bool {
        self.idle.load(Ordering::SeqCst) == 0
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// The number of workers to start: one for each worker that is at the same event as at the last look, up to a bound.
    pub(super) fn look(&self) -> usize {
        let mut workers = self.workers();
        let busy = self.is_busy();
        if !busy {
            self.watched.store(false, Ordering::SeqCst);
            // The last idle worker may have got an event between the lines above, and told no supervisor.
            if self.is_busy() {
                self.watched.store(true, Ordering::SeqCst);
            }
        }
        let slow = workers.list.iter_mut().filter_map(|worker| {
            let steps = worker.steps.load(Ordering::Relaxed);
            (std::mem::replace(&mut worker.seen, steps) == steps && steps % 2 == 1).then_some(())
        });
        let wanted = (WORKERS + slow.count()).min(MOST_WORKERS);
        if busy { wanted.saturating_sub(workers.list.len()) } else { 0 }
    }

    /// The number of workers that are at the same event as at the last call of this method.
    pub(super) fn stuck(&self) -> usize {
        let mut workers = self.workers();
        let stuck = workers.list.iter_mut().filter_map(|worker| {
            let steps = worker.steps.load(Ordering::Relaxed);
            (std::mem::replace(&mut worker.seen_before, steps) == steps && steps % 2 == 1).then_some(())
        });
        stuck.count()
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duty {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

/// The usual number of workers.
pub(super) const WORKERS: usize = 24;
/// The interval of looks at the workers while none is idle; a worker that is at one event for longer is replaced.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// This many workers, all of which wait for an event.
    fn crew(workers: usize) -> (Crew, Vec<Duty>) {
        let crew = Crew::default();
        let duties: Vec<_> = (0..workers).map(|_| crew.enlist()).collect();
        crew.idle.store(workers, Ordering::SeqCst);
        (crew, duties)
    }

    #[test]
    fn workers_that_stay_at_one_event_are_replaced_up_to_a_bound() {
        let (crew, mut duties) = crew(WORKERS);
        let rung: Vec<_> = duties.iter().map(|duty| crew.work(duty)).collect();
        assert_eq!(rung.iter().position(|rung| *rung), Some(WORKERS - 1), "the last idle one rings");
        assert_eq!(crew.look(), 0, "they have just begun");
        assert_eq!(crew.look(), WORKERS);
        // A worker that went on is not slow.
        crew.done(&duties[0]);
        crew.idle.fetch_add(1, Ordering::SeqCst);
        crew.work(&duties[0]);
        assert_eq!(crew.look(), WORKERS - 1);
        while duties.len() < 2 * MOST_WORKERS {
            let wanted = crew.look();
            if wanted == 0 {
                break;
            }
            for _ in 0..wanted {
                let duty = crew.enlist();
                crew.idle.fetch_add(1, Ordering::SeqCst);
                crew.work(&duty);
                duties.push(duty);
            }
            crew.look();
        }
        assert_eq!(duties.len(), MOST_WORKERS);
    }

    #[test]
    fn nothing_is_watched_while_a_worker_is_idle() {
        let (crew, duties) = crew(WORKERS);
        duties[1..].iter().for_each(|duty| assert!(!crew.work(duty)));
        assert_eq!((crew.look(), crew.look(), crew.is_watched()), (0, 0, false));
        assert!(crew.work(&duties[0]) && crew.is_watched());
        crew.done(&duties[0]);
        assert!(crew.rest(&duties[0]));
        crew.look();
        assert!(!crew.is_watched());
    }

    #[test]
    fn workers_beyond_the_usual_end_when_idle() {
        let (crew, duties) = crew(WORKERS + 5);
        for duty in &duties {
            crew.work(duty);
        }
        let kept = duties.iter().filter(|duty| {
            crew.done(duty);
            crew.rest(duty)
        });
        assert_eq!(kept.count(), WORKERS);
        assert_eq!(crew.workers().list.len(), WORKERS);
    }

    #[test]
    fn stuck_workers_are_those_at_the_same_event_as_before() {
        let (crew, duties) = crew(WORKERS);
        for duty in &duties[..3] {
            crew.work(duty);
        }
        assert_eq!((crew.stuck(), crew.stuck()), (0, 3));
        crew.done(&duties[0]);
        assert_eq!(crew.stuck(), 2);
    }
}
