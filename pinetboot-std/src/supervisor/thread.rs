//! The supervisor's thread: signals, the end of a stop, the watchdog.

use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::{Phase, Shared, end};
use crate::bus::Bus;
use crate::events::{Server, Transfers};
use crate::exit::Exit;
use crate::notify::Notify;

/// The supervisor's thread.
pub(super) struct Thread {
    pub(super) shared: Arc<Shared>,
    pub(super) bus: Bus,
    pub(super) notify: Notify,
    pub(super) watchdog: Option<Duration>,
    pub(super) signals: SignalFd,
}

impl Thread {
    pub(super) fn run(&self, reload: impl Fn()) {
        let mut timers = Timers::default();
        loop {
            let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
            let wake = PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN);
            let _interrupted = poll(&mut [signals, wake], timers.timeout(Instant::now()));
            let _drained = self.shared.wake.read();
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.handle(signal.ssi_signo == Signal::SIGHUP as u32, &reload);
            }
            let now = Instant::now();
            let phase = self.shared.lock().phase;
            match (phase, timers.deadline) {
                (Phase::Stopping, None) => {
                    self.notify.stopping();
                    timers = Timers { deadline: now.checked_add(STOP_WITHIN), feed: None };
                }
                (Phase::Stopping, Some(deadline)) if now >= deadline => self.end_overdue(),
                (Phase::Serving, _) => self.feed(&mut timers, now),
                _ => {}
            }
        }
    }

    fn handle(&self, hang_up: bool, reload: &impl Fn()) {
        let phase = self.shared.lock().phase;
        match (hang_up, phase) {
            (true, Phase::Starting) => reload(),
            (true, Phase::Serving) => {
                self.notify.reloading();
                reload();
            }
            (true, Phase::Stopping) => {}
            (false, Phase::Serving) => self.shared.stop(),
            // No client was told of this server yet.
            (false, Phase::Starting) => {
                let _too_late = self.tell(Server::Stopped(Transfers::default())).recv_timeout(TELL_WITHIN);
                end(Exit::Success);
            }
            (false, Phase::Stopping) => end(Exit::Interrupted),
        }
    }

    /// Feeds the watchdog if all loops have turned since the last time, and asks them again.
    fn feed(&self, timers: &mut Timers, now: Instant) {
        let Some(period) = self.watchdog else { return };
        if timers.feed.is_some_and(|feed| now < feed) {
            return;
        }
        let interval = period / 2;
        // READY comes first: at the start the loops are asked, and the watchdog is fed an interval later.
        let is_first = timers.feed.is_none();
        timers.feed = now.checked_add(interval);
        let mut news = Vec::new();
        let all_turn = {
            let mut state = self.shared.lock();
            state.loops.iter_mut().for_each(|watched| news.extend(watched.look(interval)));
            state.loops.iter().all(|watched| !watched.is_stalled())
        };
        if all_turn && !is_first {
            self.notify.feed_watchdog();
        }
        news.into_iter().for_each(|fact| drop(self.tell(fact)));
    }

    fn end_overdue(&self) {
        let (service, threads, failed) = {
            let state = self.shared.lock();
            let is_waited_for = |name: &&String| !state.step.is_empty() && name.starts_with(state.step);
            let stuck: Vec<_> = state.running.iter().filter(is_waited_for).cloned().collect();
            (state.step, if stuck.is_empty() { vec!["main".into()] } else { stuck }, state.failed)
        };
        let told = self.tell(Server::StopOverdue { service, threads, within: STOP_WITHIN });
        let _too_late = told.recv_timeout(TELL_WITHIN);
        end(if failed { Exit::ThreadEnded } else { Exit::StopOverdue });
    }

    /// Emits a fact on a thread, because a listener may wait: for the disk of a log file, say. The receiver hears when that is done.
    fn tell(&self, fact: Server) -> mpsc::Receiver<()> {
        let (told, hears) = mpsc::channel();
        let bus = self.bus.clone();
        let _no_thread = Builder::new().name("supervisor tell".into()).spawn(move || {
            bus.emit(None, fact);
            let _gone = told.send(());
        });
        hears
    }
}

/// The timers of the supervisor's thread.
#[derive(Debug, Default)]
struct Timers {
    /// The end of the stop.
    deadline: Option<Instant>,
    /// The next time to feed the watchdog.
    feed: Option<Instant>,
}

impl Timers {
    fn timeout(&self, now: Instant) -> PollTimeout {
        let next = [self.deadline, self.feed].into_iter().flatten().min();
        let Some(wait) = next.map(|next| next.saturating_duration_since(now)) else {
            return PollTimeout::NONE;
        };
        // Rounded up: a millisecond late is better than a busy loop.
        PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    }
}

/// The time for an orderly stop. With [`TELL_WITHIN`] less than 5 s.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// The time for the last log line.
const TELL_WITHIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waits_do_not_overflow() {
        let now = Instant::now();
        let timers = Timers { deadline: now.checked_add(Duration::MAX), feed: None };
        assert_eq!(timers.timeout(now), PollTimeout::NONE);
        let timers = Timers { deadline: None, feed: now.checked_add(Duration::from_secs(1 << 40)) };
        assert_eq!(timers.timeout(now), PollTimeout::MAX);
        let timers = Timers { deadline: Some(now), feed: None };
        assert_eq!(timers.timeout(now), PollTimeout::ZERO);
    }
}
