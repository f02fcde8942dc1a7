//! What happens at the NFS server, as plain values: for logs, counters, and programs that look after clients.
//!
//! A call that is carried out has no event, but for the first READ over a connection. Each call that is refused has one, and
//! a hostile client may send many: an observer that writes them down has to bound what it writes.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

/// Is told what happens, by the thread on which it happens, with no lock of the server held. The client waits meanwhile.
///
/// The observer `()` is told nothing.
pub trait Observer: Send + Sync {
    /// `event` happened.
    fn observe(&self, event: &Event<'_>);
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A TCP connection was accepted, of NFS and MOUNT or of the portmapper.
    Connected(Connected),
    /// A TCP connection has ended.
    Disconnected(Disconnected),
    /// MOUNT gave a client the handle of a directory.
    Mounted(Mounted<'a>),
    /// MOUNT refused a client a directory.
    MountRefused(MountRefused<'a>),
    /// A client says that it has unmounted.
    Unmounted(Unmounted<'a>),
    /// A call was refused for what it calls, or for how it came.
    CallRefused(CallRefused),
    /// A call of NFS was refused for its file handle.
    HandleRefused(HandleRefused),
    /// The first READ over a connection has succeeded.
    FirstRead(FirstRead),
    /// The server itself cannot do what it should.
    Trouble(Trouble<'a>),
}

/// A TCP connection that was accepted. A [`Disconnected`] of the same peer follows, or a [`Trouble::Serve`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// Address and port of the client.
    pub peer: SocketAddrV4,
}

/// A TCP connection that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Disconnected {
    /// Address and port of the client.
    pub peer: SocketAddrV4,
    /// Why the connection has ended.
    pub why: Closing,
    /// How long the connection was open.
    pub open_for: Duration,
    /// Calls that came over the connection.
    pub calls: u64,
}

/// Why a TCP connection ends.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closing {
    /// The client has closed the connection.
    Client,
    /// The connection broke: reset by the client, or the client does not answer any more.
    Broken(io::Error),
    /// A record is longer than any call: not RPC, or hostile.
    RecordTooLong,
    /// Nothing went either way for six minutes.
    Idle,
    /// The client has taken none of its answers for a minute.
    Stuck,
    /// The connection was idle for longest when another needed its place.
    MadeRoom,
    /// All connections together hold too much memory, and this one was to hold more.
    Memory,
    /// A call over the connection met a bug: a [`Trouble::Panicked`] says so.
    Panicked,
    /// The server ends.
    Stopped,
}

/// A directory that was mounted.
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

/// A directory that was refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MountRefused<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The path as the client named it: any bytes, up to a record full of them.
    pub path: &'a Path,
    /// The status that the client was told.
    pub status: MountStatus,
    /// The reason, for an operator.
    pub why: &'a str,
}

/// The status with which MOUNT refuses a directory (RFC 1813, section 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountStatus {
    /// No directory of that name is exported, or there (`MNT3ERR_NOENT`).
    NotFound,
    /// The client may not mount the directory, or not yet, or asks for a version that has no handles (`MNT3ERR_ACCES`).
    Denied,
    /// The path leads through a file that is no directory (`MNT3ERR_NOTDIR`).
    NotDirectory,
    /// The path leads upwards (`MNT3ERR_INVAL`).
    Invalid,
    /// The path or a name in it is too long (`MNT3ERR_NAMETOOLONG`).
    NameTooLong,
    /// The file system takes the server for another user than root (`MNT3ERR_PERM`).
    NotPermitted,
    /// The file system fails on the way to the directory (`MNT3ERR_IO`).
    Io,
    /// The export could not be made ready (`MNT3ERR_SERVERFAULT`).
    Failed,
}

/// Directories that a client has unmounted, by what it says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unmounted<'a> {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The path as the client named it; `None` for all that the client has mounted.
    pub path: Option<&'a Path>,
}

/// A call that was refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallRefused {
    /// Address and port of the client. The address of a datagram may be forged.
    pub client: SocketAddrV4,
    /// The RPC program: 100000 is the portmapper, 100003 NFS, 100005 MOUNT. 0 if the call ends before it, which only a call
    /// of [another version of RPC](CallRefusal::RpcVersion) may; so for the next two.
    pub program: u32,
    /// The version of the program.
    pub version: u32,
    /// The procedure of the program.
    pub procedure: u32,
    /// Why the call was refused.
    pub why: CallRefusal,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallRefusal {
    /// RPC itself is of this version, not of version 2.
    RpcVersion(u32),
    /// The program does not answer on this port.
    NoSuchProgram,
    /// The program does not have this version.
    NoSuchVersion {
        /// The first version here.
        low: u32,
        /// The last version here.
        high: u32,
    },
    /// The program does not have this procedure.
    NoSuchProcedure,
    /// The arguments are not those of the procedure.
    GarbageArguments,
    /// The credentials are longer than RPC allows, or not those of AUTH_SYS.
    BadCredentials,
    /// The credentials are of this flavor: neither AUTH_NONE (0) nor AUTH_SYS (1). RPCSEC_GSS (Kerberos) is 6.
    Flavor(u32),
    /// The source port is not below 1024, and [`insecure`](super::NfsConfig::insecure) is off.
    PortNotReserved,
    /// The call came by UDP, and [`udp`](super::NfsConfig::udp) is off.
    UdpOff,
}

/// A file handle that was refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HandleRefused {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The procedure of NFS version 3.
    pub procedure: u32,
    /// Why the handle was refused, which tells what the client was answered.
    pub why: HandleRefusal,
    /// The id of the export; `None` if the handle is not of this server.
    pub export: Option<u32>,
}

/// Why a file handle is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleRefusal {
    /// The handle was not sealed with this server's key: made up, or from before the key was lost (`NFS3ERR_BADHANDLE`).
    Forged,
    /// The export is gone for good (`NFS3ERR_STALE`).
    Unknown,
    /// The export is being made ready (`NFS3ERR_JUKEBOX`).
    NotReady,
    /// Whether the client may use the export is not known yet (`NFS3ERR_JUKEBOX`).
    Undecided,
    /// The client may not use the export (`NFS3ERR_ACCES`).
    Denied,
}

/// A READ that was the first of its connection to succeed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FirstRead {
    /// Address and port of the client.
    pub client: SocketAddrV4,
    /// The id of the export.
    pub export: u32,
}

/// What the server itself cannot do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trouble<'a> {
    /// No connection can be accepted; most likely the process has no file descriptor left. The idlest connection was closed.
    Accept(&'a io::Error),
    /// A connection that was accepted cannot be served, and is closed.
    Serve {
        /// Address and port of the client.
        peer: SocketAddrV4,
        /// The error of the system.
        error: &'a io::Error,
    },
    /// epoll fails for one connection or socket, which is not attended to any more.
    Arm(&'a io::Error),
    /// epoll fails as a whole: a worker ends.
    Wait(&'a io::Error),
    /// All connections together hold too much memory. The connection of this client is closed.
    Memory {
        /// Address and port of the client.
        peer: SocketAddrV4,
        /// Bytes that all connections hold.
        held: usize,
    },
    /// The system's portmapper goes on telling of a server that is gone.
    Unregister(&'a io::Error),
    /// A thread met a bug, here or in the [`Exports`](super::Exports). What it was about is given up, and the thread goes on.
    Panicked,
}

impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

/// The reason, for an operator: a clause without a full stop. So for [`CallRefused`] and [`Trouble`].
impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("closed by the client"),
            Self::Broken(error) => write!(f, "broken: {error}"),
            Self::RecordTooLong => f.write_str("a record is longer than any call"),
            Self::Idle => f.write_str("no call for six minutes"),
            Self::Stuck => f.write_str("the client took no answer for a minute"),
            Self::MadeRoom => f.write_str("closed as the idlest, to make room for another connection"),
            Self::Memory => f.write_str("all clients together hold too much memory"),
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
                write!(f, "all clients together hold {held} bytes; the connection of {peer} is closed")
            }
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
