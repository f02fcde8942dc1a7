//! Failed system calls: a datagram that cannot be sent, a port that cannot be opened.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// A failed system call. To a client it is a lost datagram.
#[derive(Debug)]
pub enum Trouble {
    /// A datagram was not sent: `EPERM` means that this machine's own firewall drops it.
    NotSent {
        /// The client.
        to: SocketAddrV4,
        /// The system's reason.
        error: io::Error,
    },
    /// No port could be opened for a transfer.
    NoPort(io::Error),
}

/// Receives each [`Trouble`], on the thread of the loop.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Told>>);

type Told = dyn Fn(&Trouble) + Send + Sync;

impl Watch {
    /// A watch that calls this function.
    pub fn new(told: impl Fn(&Trouble) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(crate) fn tell(&self, trouble: &Trouble) {
        if let Some(told) = &self.0 {
            told(trouble);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").finish_non_exhaustive()
    }
}
