//! What the server reports.

use std::net::SocketAddr;

use crate::disk::DiskError;

/// Receives the server's events, on the thread where they happen.
pub trait Observer: Send + Sync {
    /// An event.
    fn event(&self, event: &Event<'_>);
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client opened a connection.
    Connected {
        /// The client.
        client: SocketAddr,
    },
    /// A client has a disk.
    Opened {
        /// The client.
        client: SocketAddr,
        /// The export's name, as the client gave it; empty for the default.
        name: &'a str,
    },
    /// A connection was refused: the client has as many as it may, or the server has.
    Busy {
        /// The client.
        client: SocketAddr,
    },
    /// The connection ended before the client had a disk.
    Refused {
        /// The client.
        client: SocketAddr,
        /// The name of the export that the client may not have; `None` for bytes that are not NBD, or none in time.
        name: Option<&'a str>,
    },
    /// A request failed on the disk, and the client was told.
    Failed {
        /// The client.
        client: SocketAddr,
        /// The command's number in the protocol: 0 read, 1 write, 3 flush, 4 trim, 6 write zeroes, 7 block status.
        command: u16,
        /// The reason.
        error: DiskError,
    },
    /// A client that had a disk is gone.
    Closed {
        /// The client.
        client: SocketAddr,
        /// Whether the client ended the connection by the protocol's request.
        orderly: bool,
    },
    /// The system refused a connection or a thread.
    System(&'a std::io::Error),
}

impl Observer for () {
    fn event(&self, _event: &Event<'_>) {}
}
