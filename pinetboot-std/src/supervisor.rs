//! The supervisor: the one place that ends `serve`.
//!
//! ```text
//! signal, end of a thread -> supervisor -> main stops the services in order -> exit
//!                                       -> after 4 s: exit without them
//! ```
//!
//! Threads start through [`Supervisor::spawn`]. A thread that panics or returns outside of a stop ends the process with
//! [`Exit::ThreadEnded`]: a service manager restarts a whole server, and no half of one stays `ready`. Panics unwind rather
//! than abort, so that open transfers get their ERROR and the log names the thread.
//!
//! The supervisor's own thread waits for signals, for the stop's deadline and, if the service manager has a watchdog, for the next
//! time to feed it. That thread waits for nothing else: log lines, whose disk may hang, go through threads; notifications do not block.

mod end;
mod thread;
mod turns;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::bus::Bus;
use crate::events::{Event, Fact, Listener, Server};
use crate::exit::{Exit, Failed};
use crate::notify::Notify;
pub(crate) use end::end;
use thread::Thread;
pub use turns::Turns;
use turns::Watched;

/// The supervisor; clones are the same one.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The phase has changed; for the main thread.
    changed: Condvar,
    /// The same for the supervisor's thread.
    wake: EventFd,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Whether a thread ended that should not have.
    failed: bool,
    /// Whether a service left a thread behind.
    overdue: bool,
    /// The reason why a service cannot go on.
    given_up: Option<Failed>,
    /// The service that the main thread is stopping.
    step: &'static str,
    /// Names of running threads.
    running: Vec<String>,
    loops: Vec<Watched>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Stopping,
}

impl Supervisor {
    /// Blocks SIGINT, SIGTERM and SIGHUP for [`start`](Self::start). Call before the first other thread starts: threads inherit
    /// the blocked signals.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new() -> io::Result<Self> {
        signals().thread_block()?;
        let state = Mutex::new(State {
            phase: Phase::Starting,
            failed: false,
            overdue: false,
            given_up: None,
            step: "",
            running: Vec::new(),
            loops: Vec::new(),
        });
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Shared { state, changed: Condvar::new(), wake })))
    }

    /// Starts the supervisor's thread. SIGHUP calls `reload`, which must not wait.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start(
        &self,
        bus: &Bus,
        notify: Notify,
        watchdog: Option<Duration>,
        reload: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let signals = SignalFd::with_flags(&signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let thread = Thread { shared: self.0.clone(), bus: bus.clone(), notify, watchdog, signals };
        Builder::new().name("supervisor".into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| thread.run(reload))).is_err() {
                end(Exit::ThreadEnded);
            }
        })?;
        Ok(())
    }

    /// Starts a thread of a service. An end with an error, a panic, and any end while the server serves are reported and
    /// stop the server.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn spawn(
        &self,
        bus: &Bus,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (shared, bus, name) = (self.0.clone(), bus.clone(), name.into());
        shared.lock().running.push(name.clone());
        let running = name.clone();
        let spawned = Builder::new().name(name.clone()).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(work));
            let why = match ended {
                Ok(Ok(())) if shared.lock().phase != Phase::Serving => None,
                Ok(Ok(())) => Some("ended".to_owned()),
                Ok(Err(error)) => Some(format!("ended: {error}")),
                Err(_) => Some("panicked".to_owned()),
            };
            if let Some(why) = why {
                bus.emit(None, Server::ThreadEnded { thread: name.clone(), why });
            }
            shared.forget(&name);
        });
        spawned.inspect_err(|_| self.0.forget(&running))
    }

    /// Watches a loop, if the service manager has a watchdog.
    pub fn watch(&self, name: impl Into<String>, turns: impl Turns + 'static) {
        self.0.lock().loops.push(Watched::new(name.into(), Box::new(turns)));
    }

    /// All services have started; false if the server has to stop already.
    pub fn serve(&self) -> bool {
        let mut state = self.0.lock();
        if state.phase == Phase::Starting {
            state.phase = Phase::Serving;
        }
        let _woken = self.0.wake.write(1);
        state.phase == Phase::Serving
    }

    /// Waits until the server has to stop.
    pub fn wait(&self) {
        let mut state = self.0.lock();
        while state.phase != Phase::Stopping {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Begins the stop: its deadline runs from now.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Stops the server because a service cannot go on; the first reason counts.
    pub fn give_up(&self, why: Failed) {
        self.0.lock().given_up.get_or_insert(why);
        self.0.stop();
    }

    /// The reason of [`give_up`](Self::give_up).
    pub fn given_up(&self) -> Option<Failed> {
        self.0.lock().given_up.take()
    }

    /// Tells that the main thread now waits for the end of this service; the service's threads have names that begin so.
    pub fn waits_for(&self, service: &'static str) {
        self.0.lock().step = service;
    }

    /// The exit code after an orderly stop.
    pub fn exit(&self) -> Exit {
        self.0.lock().exit()
    }
}

/// Stops the server when a thread ended. Other code reports its threads' ends by the same event.
impl Listener for Supervisor {
    fn listen(&self, event: &Event) {
        match event.fact {
            Fact::Server(Server::ThreadEnded { .. }) => {
                self.0.lock().failed = true;
                self.0.stop();
            }
            Fact::Server(Server::StopOverdue { .. }) => self.0.lock().overdue = true,
            _ => {}
        }
    }
}

/// Takes the report of a thread's end.
pub trait Reports: Clone + Send + 'static {
    /// Reports the end of this thread, which stops the server.
    fn thread_ended(&self, thread: String, why: String);
}

impl Reports for Bus {
    fn thread_ended(&self, thread: String, why: String) {
        self.emit(None, Server::ThreadEnded { thread, why });
    }
}

/// Starts a thread with a short task, which may end and may not panic.
///
/// # Errors
///
/// The system's.
pub fn task(to: &impl Reports, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let to = to.clone();
    Builder::new().name(name.into()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            to.thread_ended(name.into(), "panicked".into());
        }
    })?;
    Ok(())
}

impl State {
    const fn exit(&self) -> Exit {
        match (self.failed, self.overdue) {
            (true, _) => Exit::ThreadEnded,
            (false, true) => Exit::StopOverdue,
            (false, false) => Exit::Success,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().phase = Phase::Stopping;
        self.changed.notify_all();
        let _woken = self.wake.write(1);
    }

    fn forget(&self, name: &str) {
        let mut state = self.lock();
        if let Some(at) = state.running.iter().position(|running| running == name) {
            state.running.swap_remove(at);
        }
    }
}

/// The signals that end or reload the server.
pub(crate) fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<Fact>>>);

    impl Listener for Told {
        fn listen(&self, event: &Event) {
            self.0.lock().unwrap().push(event.fact.clone());
        }
    }

    fn supervised() -> (Supervisor, Bus, Told) {
        let (supervisor, told) = (Supervisor::new().unwrap(), Told::default());
        let bus = Bus::new(vec![Box::new(supervisor.clone()), Box::new(told.clone())]);
        (supervisor, bus, told)
    }

    fn ended(thread: &str, why: &str) -> Vec<Fact> {
        vec![Server::ThreadEnded { thread: thread.into(), why: why.into() }.into()]
    }

    #[test]
    fn a_thread_that_ends_while_serving_stops_the_server() {
        type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;
        let works: [(Work, &str); 3] = [
            (Box::new(|| Ok(())), "ended"),
            (Box::new(|| Err("no network".into())), "ended: no network"),
            (Box::new(|| panic!("a test")), "panicked"),
        ];
        for (work, why) in works {
            let (supervisor, bus, told) = supervised();
            assert!(supervisor.serve());
            let thread = supervisor.spawn(&bus, "nfs 3", work).unwrap();
            supervisor.wait();
            thread.join().unwrap();
            assert_eq!(supervisor.exit(), Exit::ThreadEnded);
            assert_eq!(*told.0.lock().unwrap(), ended("nfs 3", why));
            assert!(supervisor.0.lock().running.is_empty());
        }
    }

    #[test]
    fn a_thread_that_fails_during_the_start_leaves_no_half_server_ready() {
        let (supervisor, bus, _) = supervised();
        supervisor.spawn(&bus, "dhcp eth0", || panic!("a test")).unwrap().join().unwrap();
        assert!(!supervisor.serve());
        supervisor.wait();
        assert_eq!(supervisor.exit(), Exit::ThreadEnded);
    }

    #[test]
    fn the_ends_of_a_stop_are_well() {
        let (supervisor, bus, told) = supervised();
        assert!(supervisor.serve());
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || stopped.recv().map_or(Ok(()), |()| Err("sent".into()));
        let thread = supervisor.spawn(&bus, "tftp 0", work).unwrap();
        assert_eq!(supervisor.0.lock().running, ["tftp 0"]);
        supervisor.stop();
        drop(stop);
        thread.join().unwrap();
        assert_eq!(supervisor.exit(), Exit::Success);
        assert_eq!(*told.0.lock().unwrap(), []);
    }

    #[test]
    fn a_task_may_end_and_may_not_panic() {
        let (supervisor, bus, told) = supervised();
        assert!(supervisor.serve());
        let (done, is_done) = mpsc::channel();
        task(&bus, "reset", move || done.send(()).unwrap()).unwrap();
        is_done.recv().unwrap();
        task(&bus, "resume", || panic!("a test")).unwrap();
        supervisor.wait();
        assert_eq!(supervisor.exit(), Exit::ThreadEnded);
        while told.0.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        assert_eq!(*told.0.lock().unwrap(), ended("resume", "panicked"));
    }
}
