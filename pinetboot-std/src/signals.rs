//! SIGINT, SIGTERM and SIGHUP as a call of a function, for commands that end at once; `serve` has a
//! [`supervisor`](crate::supervisor).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::Exit;

/// Lets SIGINT, SIGTERM and SIGHUP call `stop`, and a second SIGINT or SIGTERM exit the process. Call before the first other
/// thread starts: threads inherit the blocked signals.
///
/// # Errors
///
/// The system's.
pub fn on_stop(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let signals = stop_signals();
    signals.thread_block()?;
    let stopping = Stopping::new(stop);
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = stopping;
        loop {
            if let Ok(signal) = signals.wait() {
                stopping.handle(signal);
            }
        }
    })?;
    Ok(())
}

/// The same while `work` runs; after that the signals have their former effect.
///
/// # Errors
///
/// The system's.
pub fn during<T>(stop: impl Fn() + Send, work: impl FnOnce() -> T) -> io::Result<T> {
    let signals = SignalFd::with_flags(&stop_signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // Closed when the work ends, also by a panic.
    let (works, ends) = UnixStream::pair()?;
    let before = stop_signals().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let done = thread::scope(|scope| {
        let watch = move || {
            let mut stopping = Stopping::new(stop);
            loop {
                let mut ready =
                    [signals.as_fd(), ends.as_fd()].map(|source| PollFd::new(source, PollFlags::POLLIN));
                if poll(&mut ready, PollTimeout::NONE).is_err() {
                    continue;
                }
                while let Ok(Some(signal)) = signals.read_signal() {
                    if let Ok(signal) = Signal::try_from(signal.ssi_signo as i32) {
                        stopping.handle(signal);
                    }
                }
                if ready.last().is_some_and(|ends| ends.any() != Some(false)) {
                    return;
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn_scoped(scope, watch)?;
        let done = work();
        drop(works);
        Ok(done)
    });
    before.thread_set_mask()?;
    done
}

/// Calls a function at the first signal.
struct Stopping<F> {
    stop: F,
    begun: bool,
}

impl<F: Fn()> Stopping<F> {
    const fn new(stop: F) -> Self {
        Self { stop, begun: false }
    }

    fn handle(&mut self, signal: Signal) {
        if signal != Signal::SIGHUP && std::mem::replace(&mut self.begun, true) {
            std::process::exit(Exit::Interrupted as i32);
        }
        (self.stop)();
    }
}

fn stop_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}
