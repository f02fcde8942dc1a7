//! Events of the server, as plain values: for logs, counters, and programs that manage clients.
//!
//! A successful call has no event, except the first READ and the first change over a connection, and each LOOKUP. Each refused call and each
//! LOOKUP has an event, and a hostile client may send many: an observer that writes a log has to bound it.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

/// Receives events, on the thread of the event, with no lock of the server held. The client waits meanwhile.
///
/// The observer `()` ignores all events.
pub trait Observer: Send + Sync {
    /// Handles an event.
    fn observe(&self, event: &Event<'_>);
}

/// An event of the server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A TCP connection was accepted, of NFS and MOUNT or of the portmapper.
    Connected(Connected),
    /// A TCP connection has ended.
    Disconnected(Disconnected),
    /// MOUNT sent a client the handle of a directory.
    Mounted(Mounted<'a>),
    /// MOUNT refused a directory to a client.
    MountRefused(MountRefused<'a>),
    /// A client reported that it has unmounted.
    Unmounted(Unmounted<'a>),
    /// A call was refused for its program, version, procedure, credentials or transport.
    CallRefused(CallRefused),
    /// A call of NFS was refused for its file handle.
    HandleRefused(HandleRefused),
    /// The first READ over a connection has succeeded.
    FirstRead(FirstRead),
    /// The first change over a connection was permitted: a WRITE, a CREATE, a SETATTR ..
    FirstWrite(FirstWrite),
    /// A client looked a name up in a directory (LOOKUP).
    LookedUp(LookedUp<'a>),
    /// A client acknowledges nothing that the server sends over a connection, which stays open.
    Unacknowledged(Unacknowledged),
    /// A system call of the server failed.
    Trouble(Trouble<'a>),
}

/// A TCP connection that was accepted. A [`Disconnected`] of the same peer follows, or a [`Trouble::Serve`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// Address and port of the client.
    pub peer: SocketAddrV4,
}

/// A TCP connection whose client has acknowledged nothing for some 12 s, although bytes were sent again and again. Emitted once for each
/// such silence.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unacknowledged {
    /// Address and port of the client.
    pub peer: SocketAddrV4,
}

/// A TCP connection that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Disconnected {
    /// Address and port of the client.
    pub peer: SocketAddrV4,
    /// The reason for the end.
    pub why: Closing,
    /// The time for which the connection was open.
    pub open_for: Duration,
    /// Calls received over the connection.
    pub calls: u64,
}

/// The reason for the end of a TCP connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closing {
    /// The client has closed the connection.
    Client,
    /// The connection broke: reset by the client, or the client no longer answers.
    Broken(io::Error),
    /// A record is longer than any call: not RPC, or hostile.
    RecordTooLong,
    /// No byte went either way for six minutes.
    Idle,
    /// The client has taken none of its answers for a minute.
    Stuck,
    /// Another connection needed a place, and this one was the idlest of the client with most connections.
    MadeRoom,
    /// The client, or all together, hold too much memory, and this connection the most of it.
    Memory,
    /// A call over the connection panicked; a [`Trouble::Panicked`] reports that.
    Panicked,
    /// The server stops.
    Stopped,
}

/// A mounted directory.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Mounted<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The path as the client named it.
    pub path: &'a Path,
    /// The id of the export.
    pub export: u32,
}

/// A refused mount.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MountRefused<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The path as the client named it: any bytes, up to a whole record.
    pub path: &'a Path,
    /// The status for the client.
    pub status: MountStatus,
    /// The reason, for an operator.
    pub why: &'a str,
}

/// The status with which MOUNT refuses a directory (RFC 1813, section 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountStatus {
    /// No export has this path, or the directory does not exist (`MNT3ERR_NOENT`).
    NotFound,
    /// The client may not mount the directory, or not yet, or uses a version without handles (`MNT3ERR_ACCES`).
    Denied,
    /// A component of the path is not a directory (`MNT3ERR_NOTDIR`).
    NotDirectory,
    /// The path leads upwards (`MNT3ERR_INVAL`).
    Invalid,
    /// The path or a name in it is too long (`MNT3ERR_NAMETOOLONG`).
    NameTooLong,
    /// The file system refuses the server, which does not act as root (`MNT3ERR_PERM`).
    NotPermitted,
    /// The file system failed on the way to the directory (`MNT3ERR_IO`).
    Io,
    /// The export could not be made ready (`MNT3ERR_SERVERFAULT`).
    Failed,
}

/// Directories that a client reported as unmounted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unmounted<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The path as the client named it; `None` for all mounts of the client.
    pub path: Option<&'a Path>,
    /// Over TCP; the sender of a datagram may be forged.
    pub by_tcp: bool,
}

/// A refused call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallRefused {
    /// Address and port of the client. The address of a datagram may be forged.
    pub client: SocketAddrV4,
    /// The RPC program: 100000 is the portmapper, 100003 NFS, 100005 MOUNT. 0, like the next two, if a call of [another version of
    /// RPC](CallRefusal::RpcVersion) ends before it.
    pub program: u32,
    /// The version of the program.
    pub version: u32,
    /// The procedure of the program.
    pub procedure: u32,
    /// The reason.
    pub why: CallRefusal,
}

/// The reason for a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallRefusal {
    /// The call has this version of RPC, not version 2.
    RpcVersion(u32),
    /// The program does not answer on this port.
    NoSuchProgram,
    /// The program does not have this version.
    NoSuchVersion {
        /// The first served version.
        low: u32,
        /// The last served version.
        high: u32,
    },
    /// The program does not have this procedure.
    NoSuchProcedure,
    /// The arguments are not those of the procedure.
    GarbageArguments,
    /// The credentials are longer than RPC allows, or not those of AUTH_SYS.
    BadCredentials,
    /// The verifier is longer than RPC allows, or than the call.
    BadVerifier,
    /// The credentials are of this flavor: neither AUTH_NONE (0) nor AUTH_SYS (1). RPCSEC_GSS (Kerberos) is 6.
    Flavor(u32),
    /// The source port is not below 1024, and [`insecure`](super::NfsConfig::insecure) is off.
    PortNotReserved,
    /// The call came by UDP, and [`udp`](super::NfsConfig::udp) is off.
    UdpOff,
}

/// A refused file handle.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HandleRefused {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The procedure of NFS version 3.
    pub procedure: u32,
    /// The reason, which implies the status for the client.
    pub why: HandleRefusal,
    /// The id of the export; `None` if this server did not seal the handle.
    pub export: Option<u32>,
}

/// The reason for a refused file handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleRefusal {
    /// The handle was not sealed with this server's key: forged, or from before the key was lost (`NFS3ERR_BADHANDLE`).
    Forged,
    /// The export is gone for good (`NFS3ERR_STALE`).
    Unknown,
    /// The export is being made ready (`NFS3ERR_JUKEBOX`).
    NotReady,
    /// The client's permission is not decided yet (`NFS3ERR_JUKEBOX`).
    Undecided,
    /// The client may not use the export (`NFS3ERR_ACCES`).
    Denied,
}

/// The first successful READ of a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FirstRead {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The id of the export.
    pub export: u32,
}

/// The first permitted change of a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FirstWrite {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The id of the export.
    pub export: u32,
}

/// A name that a client looked up in a directory.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LookedUp<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The id of the export.
    pub export: u32,
    /// The name: one component, any bytes.
    pub name: &'a [u8],
    /// The directory has the name. `false` only if not (`NFS3ERR_NOENT`): a LOOKUP that fails for another reason has no event.
    pub found: bool,
}

/// A failed system call of the server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trouble<'a> {
    /// A connection could not be accepted; most likely the process has no file descriptor left. The idlest connection was closed.
    Accept(&'a io::Error),
    /// An accepted connection could not be served, and was closed.
    Serve {
        /// Address and port of the client.
        peer: SocketAddrV4,
        /// The system's reason.
        error: &'a io::Error,
    },
    /// epoll failed for a connection or socket, which is no longer served.
    Arm(&'a io::Error),
    /// epoll failed as a whole: a worker stops.
    Wait(&'a io::Error),
    /// A client, or all together, hold too much memory. The connection of this client is closed, as the client holds the most.
    Memory {
        /// Address and port of the client.
        peer: SocketAddrV4,
        /// Bytes that all connections of the client hold.
        held: usize,
    },
    /// Calls wait for a file system for more than five seconds: the disk is slow, or failed.
    Stuck {
        /// The number of calls.
        calls: usize,
    },
    /// A thread of this name has ended although the server was not stopped: by a panic outside of a call, or after a
    /// [`Wait`](Self::Wait).
    ThreadEnded(&'a str),
    /// The system's portmapper does not have the registration any more, and refuses it or does not answer: clients find no NFS. Told
    /// once, until it has the registration again.
    Unregistered(&'a io::Error),
    /// The system's portmapper had lost the registration, and has it again.
    RegisteredAgain,
    /// The system's portmapper keeps the registration of a stopped server.
    Unregister(&'a io::Error),
    /// A call panicked, here or in the [`Exports`](super::Exports). The call is abandoned, and the thread continues.
    Panicked,
}

impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

/// The reason, for an operator: a clause without a full stop, as for [`CallRefused`] and [`Trouble`].
impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("closed by the client"),
            Self::Broken(error) => write!(f, "broken: {error}"),
            Self::RecordTooLong => f.write_str("a record is longer than any call"),
            Self::Idle => f.write_str("no call for six minutes"),
            Self::Stuck => f.write_str("the client took no answer for a minute"),
            Self::MadeRoom => f.write_str("closed as the idlest, to make room for another connection"),
            Self::Memory => f.write_str("the client does not read its answers, and holds too much memory"),
            Self::Panicked => f.write_str("a call panicked in the server"),
            Self::Stopped => f.write_str("the server stops"),
        }
    }
}

impl fmt::Display for CallRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, version, procedure, .. } = self;
        match self.why {
            CallRefusal::RpcVersion(version) => write!(f, "RPC version {version} is not served, only 2"),
            CallRefusal::NoSuchProgram => write!(f, "the program {program} is not served on this port"),
            CallRefusal::NoSuchVersion { low, high } => {
                match *program {
                    nfs3_types::nfs3::PROGRAM => f.write_str("NFS ")?,
                    nfs3_types::mount::PROGRAM => f.write_str("MOUNT ")?,
                    _ => {}
                }
                write!(f, "version {version} is not served, only {low} to {high}")
            }
            CallRefusal::NoSuchProcedure => write!(f, "procedure {procedure} does not exist"),
            CallRefusal::GarbageArguments => f.write_str("the arguments are not those of the procedure"),
            CallRefusal::BadCredentials => f.write_str("the credentials are not those of AUTH_SYS"),
            CallRefusal::BadVerifier => f.write_str("the verifier is longer than RPC allows"),
            CallRefusal::Flavor(flavor) => {
                write!(f, "credentials of flavor {flavor} are not accepted, only AUTH_NONE and AUTH_SYS")
            }
            CallRefusal::PortNotReserved => {
                f.write_str("the source port is above 1023, so any user of that host may have sent the call")
            }
            CallRefusal::UdpOff => f.write_str("NFS is not served over UDP"),
        }
    }
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(error) => {
                write!(f, "cannot accept a connection: {error}; the idlest one was closed")
            }
            Self::Serve { peer, error } => write!(f, "cannot serve {peer}: {error}"),
            Self::Arm(error) => write!(f, "a connection is no longer served: epoll: {error}"),
            Self::Wait(error) => write!(f, "a worker stops: epoll: {error}"),
            Self::Memory { peer, held } => {
                write!(
                    f,
                    "unread answers of {} hold {held} bytes; the connection of {peer} is closed",
                    peer.ip()
                )
            }
            Self::Stuck { calls } => {
                write!(
                    f,
                    "{calls} calls wait for more than 5 s for a file system. Check the disk of the roots"
                )
            }
            Self::ThreadEnded(name) => write!(f, "the thread '{name}' ended unexpectedly"),
            Self::Unregistered(error) => write!(
                f,
                "the system's portmapper has lost this server, and clients find no NFS: {error}. Start it (systemctl restart \
                 rpcbind), or stop it and restart this server, which then serves the portmapper"
            ),
            Self::RegisteredAgain => f.write_str(
                "the system's portmapper had lost this server, and has it again: it was restarted",
            ),
            Self::Unregister(error) => {
                write!(f, "cannot unregister from the system's portmapper: {error}")
            }
            Self::Panicked => f.write_str("a thread panicked, and continues with the next call"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_refused_version_names_its_program() {
        let client = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1023);
        let said = |program, why| CallRefused { client, program, version: 4, procedure: 0, why }.to_string();
        let version = CallRefusal::NoSuchVersion { low: 3, high: 3 };
        assert_eq!(said(100_003, version), "NFS version 4 is not served, only 3 to 3");
        assert_eq!(said(100_005, version), "MOUNT version 4 is not served, only 3 to 3");
        assert_eq!(said(100_000, version), "version 4 is not served, only 3 to 3");
        assert_eq!(said(100_003, CallRefusal::RpcVersion(3)), "RPC version 3 is not served, only 2");
    }
}
