//! Threads for what may wait for a disk, and for ever if the disk hangs.
//!
//! A thread that waits for a hung disk cannot be stopped; it is lost until the disk answers. So that the rest goes on, a task
//! starts only if few others run on the same file, directory and tree, and for the same client ([`Task`]): a hung directory
//! costs [`MOST_IN_DIRECTORY`] threads, whatever is asked of it. A task has [`DEADLINE`] from its submission; then its clients
//! hear of the failure, while the thread goes on waiting.
//!
//! The threads are never joined: they keep no process from ending. One that finds no task for [`IDLE`] ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::later::{Arrivals, DEADLINE, Later, Overdue, Slot};
use crate::bus::Bus;
use crate::events;

/// A bounded number of threads, shared by all TFTP workers.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    bus: Bus,
    hashes: RandomState,
    state: Mutex<State>,
    /// A task was added.
    added: Condvar,
    /// The first deadline was added.
    timed: Condvar,
    /// A task is done.
    done: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// The number of running tasks by what they share.
    running: HashMap<u64, u32>,
    threads: usize,
    idle: usize,
    /// The deadlines of all tasks that may not be over, the next one first.
    deadlines: VecDeque<(Instant, Weak<dyn Overdue>)>,
    has_clock: bool,
}

struct Queued {
    client: Ipv4Addr,
    shares: [(u64, u32); 4],
    run: Box<dyn FnOnce() + Send>,
}

/// What a task works on, for the bounds.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The client that is served.
    pub(super) client: Ipv4Addr,
    /// The file.
    pub(super) place: PathBuf,
    /// The directory that holds the file, or another part of a tree that hangs as a whole.
    pub(super) directory: u64,
    /// The tree, or the file system.
    pub(super) tree: u64,
}

impl Pool {
    /// A pool without threads yet. A disk that hangs is reported on `bus`.
    pub fn new(bus: Bus) -> Self {
        let [added, timed, done] = [const { Condvar::new() }; 3];
        let (hashes, state) = (RandomState::new(), Mutex::default());
        Self(Arc::new(Shared { bus, hashes, state, added, timed, done }))
    }

    /// Waits until all tasks are done, but not for a disk that hangs.
    pub fn settle(&self) {
        let busy = |state: &mut State| !(state.queue.is_empty() && state.running.is_empty());
        let _settled = self.0.done.wait_timeout_while(self.0.lock(), SETTLE, busy);
    }

    /// Whether so many tasks wait, in all or of this client, that no more are to be added.
    pub(super) fn is_full(&self, client: Ipv4Addr) -> bool {
        let state = self.0.lock();
        let queue = &state.queue;
        queue.len() >= MOST_QUEUED
            || queue.iter().filter(|queued| queued.client == client).count() >= MOST_QUEUED_OF_CLIENT
    }

    /// Runs `work` on a thread of the pool; `arrivals` tells the loop of its end.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: Task,
        arrivals: &Arc<Arrivals>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Later<T> {
        let slot = Arc::new(Slot::new(Arc::clone(arrivals)));
        let (shares, client) = (self.0.shares(&task), task.client);
        let timed = Timed { slot: Arc::clone(&slot), task, bus: self.0.bus.clone() };
        let timed = Arc::new(timed);
        let deadline: Weak<dyn Overdue> = Arc::downgrade(&timed) as Weak<dyn Overdue>;
        let run = Box::new(move || {
            let began = Instant::now();
            if !timed.slot.begin() {
                return;
            }
            let result = work();
            if timed.slot.finish(result) {
                let (place, seconds) = (timed.task.place.display().to_string(), began.elapsed().as_secs());
                timed.bus.emit(None, events::Server::DiskAnswers { place, seconds });
            }
        });
        self.add(Queued { client, shares, run }, Some(deadline));
        Later::new(slot)
    }

    /// Drops a value on a thread of the pool: closing a file of a network file system may wait for the server.
    pub(super) fn discard<T: Send + 'static>(&self, task: &Task, value: T) {
        let run = Box::new(move || drop(value));
        self.add(Queued { client: task.client, shares: self.0.shares(task), run }, None);
    }

    /// The number of a part of a tree, for [`Task`].
    pub(super) fn number(&self, part: impl Hash) -> u64 {
        self.0.hashes.hash_one(part)
    }

    fn add(&self, queued: Queued, deadline: Option<Weak<dyn Overdue>>) {
        let mut state = self.0.lock();
        state.queue.push_back(queued);
        if let Some(deadline) = deadline {
            state.deadlines.push_back((Instant::now() + DEADLINE, deadline));
            self.0.keep_time(&mut state);
        }
        self.0.call_thread(&mut state);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a task shares with others, and how many of those may run.
    fn shares(&self, task: &Task) -> [(u64, u32); 4] {
        let share = |kind: u8, hash: &dyn Fn(&mut std::hash::DefaultHasher), most| {
            let mut hasher = self.hashes.build_hasher();
            kind.hash(&mut hasher);
            hash(&mut hasher);
            (hasher.finish(), most)
        };
        [
            share(0, &|hasher| (task.tree, &task.place).hash(hasher), 1),
            share(1, &|hasher| (task.tree, task.directory).hash(hasher), MOST_IN_DIRECTORY),
            share(2, &|hasher| task.tree.hash(hasher), MOST_IN_TREE),
            share(3, &|hasher| task.client.hash(hasher), MOST_OF_CLIENT),
        ]
    }

    /// Sees to it that a thread takes the next task that may start.
    fn call_thread(self: &Arc<Self>, state: &mut State) {
        if state.next().is_none() {
            return;
        }
        if state.idle > 0 {
            self.added.notify_one();
        } else if state.threads < MOST_THREADS {
            let shared = Arc::clone(self);
            let started = thread::Builder::new().name("disk".into()).spawn(move || shared.work());
            state.threads += usize::from(started.is_ok());
        }
    }

    /// Runs tasks until none comes for a while.
    fn work(self: Arc<Self>) {
        let _counted = Counted(&self);
        let mut state = self.lock();
        loop {
            let Some(queued) = state.next().and_then(|index| state.queue.remove(index)) else {
                state.idle += 1;
                let waited = self.added.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                state.idle -= 1;
                if waited.1.timed_out() && state.next().is_none() {
                    return;
                }
                continue;
            };
            let running = Running::begin(&self, &mut state, queued.shares);
            self.call_thread(&mut state);
            drop(state);
            // The clients of a task that panics hear of a failure (`Timed`); the thread goes on for others.
            let _panicked = catch_unwind(AssertUnwindSafe(queued.run));
            drop(running);
            state = self.lock();
        }
    }

    /// Sees to it that deadlines are kept.
    fn keep_time(self: &Arc<Self>, state: &mut State) {
        if !state.has_clock {
            let shared = Arc::clone(self);
            let started = thread::Builder::new().name("disk-clock".into()).spawn(move || shared.tick());
            state.has_clock = started.is_ok();
        } else if state.deadlines.len() == 1 {
            self.timed.notify_one();
        }
    }

    fn tick(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.deadlines.front() {
                None => state = self.timed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some((deadline, _)) if *deadline > now => {
                    let left = *deadline - now;
                    state = self.timed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let overdue = state.deadlines.pop_front().and_then(|(_, overdue)| overdue.upgrade());
                    drop(state);
                    if let Some(overdue) = overdue {
                        overdue.expire();
                    }
                    state = self.lock();
                }
            }
        }
    }
}

impl State {
    /// The first task that may start now.
    fn next(&self) -> Option<usize> {
        let has_room = |(share, most): &(u64, u32)| self.running.get(share).is_none_or(|count| count < most);
        self.queue.iter().position(|queued| queued.shares.iter().all(has_room))
    }
}

/// A running task. Dropped, also by a panic of the task, it makes room for others.
struct Running<'a> {
    shared: &'a Shared,
    shares: [(u64, u32); 4],
}

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared, state: &mut State, shares: [(u64, u32); 4]) -> Self {
        shares.iter().for_each(|(share, _)| *state.running.entry(*share).or_default() += 1);
        Self { shared, shares }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for (share, _) in self.shares {
            let count = state.running.get_mut(&share).map(|count| {
                *count -= 1;
                *count
            });
            if count == Some(0) {
                state.running.remove(&share);
            }
        }
        self.shared.done.notify_all();
    }
}

/// A thread of the pool.
struct Counted<'a>(&'a Shared);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

/// A task with a deadline.
struct Timed<T> {
    slot: Arc<Slot<T>>,
    task: Task,
    bus: Bus,
}

/// A task that panicked has no result.
impl<T> Drop for Timed<T> {
    fn drop(&mut self) {
        self.slot.expire();
    }
}

impl<T: Send> Overdue for Timed<T> {
    fn expire(&self) {
        if self.slot.expire() {
            let place = self.task.place.display().to_string();
            self.bus.emit(None, events::Server::DiskHangs { place, seconds: DEADLINE.as_secs() });
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Pool")
            .field("threads", &state.threads)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

/// Threads, those that wait for hung disks included.
const MOST_THREADS: usize = 32;
const MOST_IN_TREE: u32 = 16;
const MOST_IN_DIRECTORY: u32 = 4;
const MOST_OF_CLIENT: u32 = 4;
const MOST_QUEUED: usize = 1024;
const MOST_QUEUED_OF_CLIENT: usize = 64;
const SETTLE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::sync::mpsc;

    use super::*;

    fn task(host: u8, place: &str, directory: u64) -> Task {
        Task { client: Ipv4Addr::new(10, 0, 0, host), place: place.into(), directory, tree: 1 }
    }

    fn wait<T>(later: &Later<T>, arrivals: &Arrivals) -> Result<T, super::super::later::TimedOut> {
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        loop {
            if let Some(result) = later.poll(peer) {
                return result;
            }
            arrivals.wait();
        }
    }

    /// A task that runs until its sender is dropped, and says that it runs.
    fn hang(pool: &Pool, arrivals: &Arc<Arrivals>, task: Task) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (release, hangs) = mpsc::channel::<()>();
        let (tell, runs) = mpsc::channel();
        let _later = pool.run(task, arrivals, move || {
            tell.send(()).unwrap();
            let _released = hangs.recv();
        });
        (release, runs)
    }

    #[test]
    fn a_hung_file_and_a_hung_directory_leave_threads_to_others() {
        let (pool, arrivals) = (Pool::new(Bus::silent()), Arc::new(Arrivals::silent()));
        let hung: Vec<_> = (0..MOST_IN_DIRECTORY as u8)
            .map(|host| hang(&pool, &arrivals, task(host, &format!("nas/{host}"), 7)))
            .collect();
        hung.iter().for_each(|(_, runs)| runs.recv().unwrap());
        let more: Vec<_> =
            (50..70).map(|host| hang(&pool, &arrivals, task(host, &format!("nas/{host}"), 7))).collect();
        let same = hang(&pool, &arrivals, task(99, "nas/0", 8));
        assert_eq!(wait(&pool.run(task(99, "config.txt", 0), &arrivals, || 5), &arrivals).unwrap(), 5);
        assert!(same.1.try_recv().is_err() && more.iter().all(|(_, runs)| runs.try_recv().is_err()));
        drop(hung);
        more.into_iter().for_each(|(release, runs)| {
            drop(release);
            runs.recv().unwrap();
        });
        drop(same.0);
        same.1.recv().unwrap();
    }

    #[test]
    fn a_client_has_few_threads() {
        let (pool, arrivals) = (Pool::new(Bus::silent()), Arc::new(Arrivals::silent()));
        let hung: Vec<_> = (0..MOST_OF_CLIENT.into())
            .map(|number| hang(&pool, &arrivals, task(1, &number.to_string(), number)))
            .collect();
        hung.iter().for_each(|(_, runs)| runs.recv().unwrap());
        let waits = hang(&pool, &arrivals, task(1, "config.txt", 99));
        assert_eq!(wait(&pool.run(task(2, "start4.elf", 99), &arrivals, || 5), &arrivals).unwrap(), 5);
        assert!(waits.1.try_recv().is_err());
        drop((hung, waits.0));
        waits.1.recv().unwrap();
    }

    #[test]
    fn a_task_that_panics_costs_nothing_but_its_answer() {
        let (pool, arrivals) = (Pool::new(Bus::silent()), Arc::new(Arrivals::silent()));
        let _later =
            pool.run(task(1, "config.txt", 0), &arrivals, || std::panic::resume_unwind(Box::new(())));
        assert_eq!(wait(&pool.run(task(1, "config.txt", 0), &arrivals, || 5), &arrivals).unwrap(), 5);
        assert!(!pool.is_full(Ipv4Addr::new(10, 0, 0, 1)));
    }
}
