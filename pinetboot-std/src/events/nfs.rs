//! Facts about the NFS server that concern no particular root.

use std::borrow::Cow;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// A fact about the NFS server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        /// The reason.
        why: String,
        /// The server closed the connection to free memory.
        for_memory: bool,
        /// The client did not end it: it answers no more, or reset it.
        is_broken: bool,
    },
    /// A client unmounted (UMNT, UMNTALL).
    Unmounted {
        /// The path; `None`: all paths.
        path: Option<String>,
    },
    /// A call was refused for its program, version, credentials or transport.
    CallRefused {
        /// The client.
        peer: SocketAddrV4,
        /// The RPC program: 100003 is NFS, 100005 MOUNT, 100000 the portmapper.
        program: u32,
        /// The program's version.
        version: u32,
        /// The procedure.
        procedure: u32,
        /// The reason.
        why: String,
        /// The remedy for the operator.
        remedy: Option<Cow<'static, str>>,
    },
    /// A call had a handle that this server did not seal, or of a removed layer.
    HandleRefused {
        /// The client.
        peer: SocketAddrV4,
        /// The reason.
        why: String,
    },
    /// A client acknowledges nothing for some 12 s; the connection stays open.
    Unacknowledged {
        /// The client.
        peer: SocketAddrV4,
    },
    /// The first READ over a connection.
    FirstRead,
    /// The first change of a file over a connection.
    FirstWrite,
    /// The kernel or the initramfs looked for a first program: for `init`, or for a directory of the places where Linux looks.
    InitSought {
        /// `init` is there.
        found: bool,
    },
    /// The system looked up the program of systemd's emergency mode.
    EmergencyShell,
    /// A system call failed.
    Trouble {
        /// The operation and the system's reason.
        what: String,
    },
}
