//! Stopping or interrupting a loop from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle on a [`LinuxNet`](super::LinuxNet), for signals and tests.
#[derive(Debug, Clone)]
pub struct Control(Arc<Requests>);

#[derive(Debug)]
struct Requests {
    event: EventFd,
    stop: AtomicBool,
    reload: AtomicBool,
    reloaded: AtomicBool,
    wake: AtomicBool,
    bind_again: AtomicBool,
    /// Whether the loop has yet to show that it turns.
    asked: AtomicBool,
    /// Whether the loop has yet to show that it has handled all that came.
    asked_heard: AtomicBool,
    /// Messages that were dropped.
    lost: AtomicU64,
}

/// The end of [`Server::run`](pinetboot_core::tftp::Server::run).
#[derive(Debug)]
pub enum Interrupt {
    /// [`Control::stop`] was called.
    Stop,
    /// [`Control::reload`] was called.
    Reload,
    /// [`Control::reloaded`] was called.
    Reloaded,
    /// A system call failed.
    Failed(io::Error),
}

impl Control {
    pub(crate) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let [stop, reload, reloaded, wake, bind_again, asked, asked_heard] =
            [const { AtomicBool::new(false) }; 7];
        let lost = AtomicU64::new(0);
        let requests = Requests { event, stop, reload, reloaded, wake, bind_again, asked, asked_heard, lost };
        Ok(Self(Arc::new(requests)))
    }

    /// Makes the loop return [`Interrupt::Stop`].
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.signal();
    }

    /// Makes the loop return [`Interrupt::Reload`].
    pub fn reload(&self) {
        self.0.reload.store(true, Ordering::Release);
        self.signal();
    }

    /// Makes the loop return [`Interrupt::Reloaded`].
    pub fn reloaded(&self) {
        self.0.reloaded.store(true, Ordering::Release);
        self.signal();
    }

    /// Makes [`Net::recv`](pinetboot_core::Net::recv) return, if it waits, without a datagram.
    pub fn wake(&self) {
        self.0.wake.store(true, Ordering::Release);
        self.signal();
    }

    /// Makes the network bind its sockets to their interface again, which was removed and made again.
    pub fn bind_again(&self) {
        self.0.bind_again.store(true, Ordering::Release);
        self.signal();
    }

    /// Whether [`stop`](Self::stop) was called, and the loop has not seen that.
    pub fn is_stopping(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Asks the loop to show that it turns.
    pub fn ask_turn(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.signal();
    }

    /// Whether the loop has turned since it was asked.
    pub fn has_turned(&self) -> bool {
        !self.0.asked.load(Ordering::Acquire)
    }

    /// Asks the loop to show that it has handled all that came.
    pub fn ask_heard(&self) {
        self.0.asked_heard.store(true, Ordering::Release);
        self.signal();
    }

    /// Whether the loop has shown that since it was asked.
    pub fn has_heard(&self) -> bool {
        !self.0.asked_heard.load(Ordering::Acquire)
    }

    /// Messages that were dropped because the loop was late, as of the last time that the loop was asked.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }

    /// The loop has handled all that came; `lost` messages were dropped.
    pub(super) fn heard(&self, lost: u64) {
        self.0.lost.store(lost, Ordering::Release);
        self.0.asked_heard.store(false, Ordering::Release);
    }

    /// Whether the sockets are to be bound again.
    pub(super) fn takes_bind_again(&self) -> bool {
        self.0.bind_again.swap(false, Ordering::Acquire)
    }

    /// The request since the last call; whether the loop is to be woken.
    pub(crate) fn check(&self) -> Result<bool, Interrupt> {
        let _drained = self.0.event.read();
        self.0.asked.store(false, Ordering::Release);
        if self.0.stop.swap(false, Ordering::Acquire) {
            return Err(Interrupt::Stop);
        }
        if self.0.reload.swap(false, Ordering::Acquire) {
            self.signal(); // there may be more
            return Err(Interrupt::Reload);
        }
        if self.0.reloaded.swap(false, Ordering::Acquire) {
            self.signal();
            return Err(Interrupt::Reloaded);
        }
        Ok(self.0.wake.swap(false, Ordering::Acquire))
    }

    fn signal(&self) {
        let _woken = self.0.event.write(1);
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl std::fmt::Display for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stop => f.write_str("interrupted"),
            Self::Reload => f.write_str("reload requested"),
            Self::Reloaded => f.write_str("reload done"),
            Self::Failed(error) => write!(f, "the network failed: {error}"),
        }
    }
}

impl std::error::Error for Interrupt {}
