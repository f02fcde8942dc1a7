//! The socket of the service manager: messages that may be lost, and those that may not.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The socket; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: UnixDatagram,
    /// Messages that wait until the manager reads; a thread delivers them in order.
    waiting: Mutex<VecDeque<String>>,
}

impl Socket {
    /// A connected socket.
    pub(super) fn new(socket: UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(Arc::new(Shared { socket, waiting: Mutex::default() })))
    }

    /// Sends a message, which is lost if the manager does not read: the next one says the same.
    pub(super) fn send(&self, message: &str) {
        let _lost = self.0.socket.send(message.as_bytes());
    }

    /// Sends a message on whose arrival the manager waits. If the manager does not read, a thread waits for that.
    pub(super) fn deliver(&self, message: String) {
        let mut waiting = self.0.waiting();
        if waiting.is_empty() && !self.0.is_full(&message) {
            return;
        }
        waiting.push_back(message);
        if waiting.len() == 1 {
            let shared = self.0.clone();
            let started = thread::Builder::new().name("notify".into()).spawn(move || shared.deliver());
            if started.is_err() {
                waiting.clear();
            }
        }
    }
}

impl Shared {
    /// Sends the message, unless the manager has to read others first.
    fn is_full(&self, message: &str) -> bool {
        self.socket.send(message.as_bytes()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what waits.
    fn deliver(&self) {
        loop {
            let mut room = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
            let _interrupted = poll(&mut room, PollTimeout::NONE);
            let mut waiting = self.waiting();
            while let Some(message) = waiting.front() {
                if self.is_full(message) {
                    break;
                }
                waiting.pop_front();
            }
            if waiting.is_empty() {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
