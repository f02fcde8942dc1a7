//! What the system refuses on the way: a datagram that it does not send, a port that it does not give.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// Something that the system refused. To a client it is a loss like any other.
#[derive(Debug)]
pub enum Trouble {
    /// A datagram was not sent: `EPERM` means that this machine's own firewall drops it.
    NotSent {
        /// The client.
        to: SocketAddrV4,
        /// The system's reason.
        error: io::Error,
    },
    /// There is no port for a transfer.
    NoPort(io::Error),
}

/// Is told of [`Trouble`], from the loop that meets it.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Told>>);

type Told = dyn Fn(&Trouble) + Send + Sync;

impl Watch {
    /// Calls this function.
    pub fn new(told: impl Fn(&Trouble) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(super) fn tell(&self, trouble: &Trouble) {
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
