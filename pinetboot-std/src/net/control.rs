//! Stopping or interrupting a loop from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle on a [`LinuxNet`](super::LinuxNet), for signals and tests.
#[derive(Debug, Clone)]
pub struct Control(Arc<Requests>);

#[derive(Debug)]
struct Requests {
    event: EventFd,
    stop: AtomicBool,
    reload: AtomicBool,
    /// Whether the loop has yet to show that it turns.
    asked: AtomicBool,
}

/// The end of [`Server::run`](pinetboot_core::tftp::Server::run).
#[derive(Debug)]
pub enum Interrupt {
    /// [`Control::stop`] was called.
    Stop,
    /// [`Control::reload`] was called.
    Reload,
    /// A system call failed.
    Failed(io::Error),
}

impl Control {
    pub(super) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Requests {
            event,
            stop: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            asked: AtomicBool::new(false),
        })))
    }

    /// Makes the loop return [`Interrupt::Stop`].
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Makes the loop return [`Interrupt::Reload`].
    pub fn reload(&self) {
        self.0.reload.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks the loop to show that it turns.
    pub fn ask_turn(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the loop has turned since it was asked.
    pub fn has_turned(&self) -> bool {
        !self.0.asked.load(Ordering::Acquire)
    }

    /// The request since the last call.
    pub(super) fn check(&self) -> Result<(), Interrupt> {
        let _drained = self.0.event.read();
        self.0.asked.store(false, Ordering::Release);
        if self.0.stop.swap(false, Ordering::Acquire) {
            return Err(Interrupt::Stop);
        }
        if self.0.reload.swap(false, Ordering::Acquire) {
            return Err(Interrupt::Reload);
        }
        Ok(())
    }

    fn wake(&self) {
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
            Self::Failed(error) => write!(f, "the network failed: {error}"),
        }
    }
}

impl std::error::Error for Interrupt {}
