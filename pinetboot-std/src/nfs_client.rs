//! A client of portmapper, MOUNT and NFSv3, as a Pi's kernel uses them before its root is mounted: for `simulate` and `probe`.
//!
//! RFC 1813 (NFS version 3, MOUNT), RFC 5531 (RPC over TCP), RFC 1833 (portmapper, version 2). Nothing is written to the server.
//! The mount is taken back by UMNT: a real Pi's kernel sends none.
//!
//! Not done: UDP, NFSv4.

mod rpc;
mod walk;
mod xdr;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) use rpc::{Dial, Host, Stream, TIMEOUT};
use rpc::{Program, RpcClient};
pub(crate) use walk::{FoundFile, WalkError};
use xdr::{Reader, Writer};

/// The servers of a root: the address, and the ports where they are not asked of the portmapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NfsServer {
    pub(crate) address: Ipv4Addr,
    /// `port=` of the mount options.
    pub(crate) nfs_port: Option<u16>,
    /// `mountport=` of the mount options.
    pub(crate) mount_port: Option<u16>,
}

/// The ports of NFS and MOUNT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NfsPorts {
    pub(crate) nfs: u16,
    pub(crate) mount: u16,
}

/// A file handle: at most 64 bytes (NFS3_FHSIZE).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle(Vec<u8>);

/// A failed call.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection, or its port.
    Io(io::Error),
    /// The server knows no such program, or not that version.
    NoProgram,
    /// The server refused the credentials, or answered with another status of RPC.
    Refused(u32),
    /// The status of MOUNT or NFS.
    Status(u32),
    /// The answer breaks the protocol.
    Malformed,
}

impl NfsServer {
    /// The ports, asked of the portmapper unless given; 0 for a program that is not registered.
    pub(crate) fn ports(&self, dial: &mut dyn Dial) -> Result<NfsPorts, CallError> {
        if let (Some(nfs), Some(mount)) = (self.nfs_port, self.mount_port) {
            return Ok(NfsPorts { nfs, mount });
        }
        let mut portmap = RpcClient::connect(dial, SocketAddrV4::new(self.address, PORTMAP_PORT))?;
        let mut port = |given: Option<u16>, program: Program| match given {
            Some(port) => Ok(port),
            None => {
                let arguments = Writer::default().u32(program.number).u32(program.version).u32(TCP).u32(0);
                let answer = portmap.call(PORTMAP, GETPORT, arguments)?;
                let port = Reader::new(&answer).u32()?;
                u16::try_from(port).map_err(|_| CallError::Malformed)
            }
        };
        let nfs = port(self.nfs_port, NFS)?;
        Ok(NfsPorts { nfs, mount: port(self.mount_port, MOUNT)? })
    }

    /// Mounts a path, and returns the handle of its directory.
    pub(crate) fn mount(&self, dial: &mut dyn Dial, port: u16, path: &str) -> Result<Handle, CallError> {
        let mut mount = RpcClient::connect(dial, SocketAddrV4::new(self.address, port))?;
        let answer = mount.call(MOUNT, MNT, Writer::default().opaque(path.as_bytes()))?;
        let mut answer = Reader::new(&answer);
        match answer.u32()? {
            0 => Ok(Handle(answer.opaque(HANDLE_MAX)?.to_vec())),
            status => Err(CallError::Status(status)),
        }
    }

    /// Takes a mount back.
    pub(crate) fn unmount(&self, dial: &mut dyn Dial, port: u16, path: &str) -> Result<(), CallError> {
        let mut mount = RpcClient::connect(dial, SocketAddrV4::new(self.address, port))?;
        mount.call(MOUNT, UMNT, Writer::default().opaque(path.as_bytes())).map(drop)
    }

    /// Looks a file up from the root, following links as the system on this root does.
    pub(crate) fn find(
        &self,
        dial: &mut dyn Dial,
        port: u16,
        root: &Handle,
        paths: &[&str],
    ) -> Result<FoundFile, WalkError> {
        let mut nfs = RpcClient::connect(dial, SocketAddrV4::new(self.address, port))?;
        walk::find(&mut nfs, root, paths)
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NoProgram => f.write_str("the server has no such program or version"),
            Self::Refused(status) => write!(f, "RPC status {status}"),
            Self::Status(status) => f.write_str(status_name(*status)),
            Self::Malformed => f.write_str("the answer is malformed"),
        }
    }
}

/// The name of a status of MOUNT and NFS: both have the numbers of Unix errors (RFC 1813, sections 2.6 and 5.1.5).
fn status_name(status: u32) -> &'static str {
    match status {
        1 => "PERM",
        2 => "NOENT",
        5 => "IO",
        13 => "ACCES",
        20 => "NOTDIR",
        22 => "INVAL",
        63 => "NAMETOOLONG",
        70 => "STALE",
        10_001 => "BADHANDLE",
        10_004 => "NOTSUPP",
        10_006 => "SERVERFAULT",
        10_008 => "JUKEBOX",
        _ => "an unknown status",
    }
}

const PORTMAP_PORT: u16 = 111;
const PORTMAP: Program = Program { number: 100_000, version: 2 };
const MOUNT: Program = Program { number: 100_005, version: 3 };
const NFS: Program = Program { number: 100_003, version: 3 };
const GETPORT: u32 = 3;
const MNT: u32 = 1;
const UMNT: u32 = 3;
/// IPPROTO_TCP, as GETPORT names it.
const TCP: u32 = 6;
const HANDLE_MAX: usize = 64;
