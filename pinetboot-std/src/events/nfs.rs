//! The NFS server's facts: what concerns no root in particular.

use std::net::SocketAddrV4;

/// What happened at the NFS server.
#[derive(Debug, Clone, PartialEq)]
pub enum Nfs {
    /// A client opened a connection.
    Connected {
        /// The client.
        peer: SocketAddrV4,
    },
    /// A connection ended.
    Disconnected {
        /// The client.
        peer: SocketAddrV4,
        /// Why.
        why: String,
        /// The server ended it for want of memory.
        for_memory: bool,
    },
    /// A client took a mount back (UMNT).
    Unmounted {
        /// The path; `None`: all of them.
        path: Option<String>,
    },
    /// A call was not carried out: a program or version that is not here, or credentials that are not accepted.
    CallRefused {
        /// The client.
        peer: SocketAddrV4,
        /// The RPC program: 100003 is NFS, 100005 MOUNT, 100000 the portmapper.
        program: u32,
        /// The program's version.
        version: u32,
        /// The procedure.
        procedure: u32,
        /// Why.
        why: String,
        /// What the operator can do about it.
        remedy: Option<&'static str>,
    },
    /// A handle that this server did not seal, or of a layer that is gone.
    HandleRefused {
        /// The client.
        peer: SocketAddrV4,
        /// Why.
        why: String,
    },
    /// The first READ over a connection.
    FirstRead,
    /// The system refused something.
    Trouble {
        /// What, and the system's reason.
        what: String,
    },
}
