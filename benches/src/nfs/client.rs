//! An NFSv3 client on one TCP connection, with a given number of calls under way: to a server it is like the kernel's client,
//! but without a cache. RFC 5531 (RPC, AUTH_SYS as root), RFC 1813.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use nfs3_types::mount::{self, mountres3};
use nfs3_types::nfs3::{self, nfs_fh3};
use nfs3_types::portmap::{self, IPPROTO_TCP, mapping};
use nfs3_types::rpc::{RPC_VERSION_2, auth_unix, call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

use crate::Failed;
use crate::world;

/// A connection to one program.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    program: (u32, u32),
    credentials: opaque_auth<'static>,
    xid: u32,
    out: Vec<u8>,
    body: Vec<u8>,
}

/// The largest reply in bytes, and the longest wait for a reply.
const LONGEST: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// The TCP port of a program, as the server's portmapper names it.
    pub(crate) fn port_of(program: u32, version: u32) -> Result<u16, Failed> {
        let mut portmap = Self::connect(111, (portmap::PROGRAM, portmap::VERSION))?;
        let asked = mapping { prog: program, vers: version, prot: IPPROTO_TCP, port: 0 };
        match portmap.call::<u32>(PMAPPROC_GETPORT, &asked)? {
            0 => Err(Failed::from("the portmapper does not know of the server")),
            port => Ok(port as u16),
        }
    }

    /// Connects to the NFS server at the port that its portmapper names, and mounts `path`; returns the root.
    pub(crate) fn mount(path: &str) -> Result<(Self, nfs_fh3), Failed> {
        let at = |program, version| Self::connect(Self::port_of(program, version)?, (program, version));
        let path = mount::dirpath(Opaque::borrowed(path.as_bytes()));
        match at(mount::PROGRAM, mount::VERSION)?.call(MOUNTPROC3_MNT, &path)? {
            mountres3::Ok(mounted) => {
                let root = nfs_fh3 { data: Opaque::owned(mounted.fhandle.0.into_owned()) };
                Ok((at(nfs3::PROGRAM, nfs3::VERSION)?, root))
            }
            mountres3::Err(status) => Err(format!("the server refused MNT: {status:?}").into()),
        }
    }

    fn connect(port: u16, program: (u32, u32)) -> Result<Self, Failed> {
        let address = SocketAddrV4::new(world::SERVER, port);
        let failed = |error| format!("cannot connect to {address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            program,
            credentials: opaque_auth::auth_unix(&auth_unix::default()),
            xid: 0,
            out: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Calls and waits for the results.
    pub(crate) fn call<R: Unpack>(&mut self, procedure: u32, arguments: &impl Pack) -> Result<R, Failed> {
        let sent = self.send(procedure, arguments)?;
        let (answered, mut body) = self.receive()?;
        if answered != sent {
            return Err("a reply to another call".into());
        }
        R::unpack(&mut body).map(|(results, _)| results).map_err(|_| "an answer that makes no sense".into())
    }

    /// Sends a call without waiting; returns its number.
    pub(crate) fn send(&mut self, procedure: u32, arguments: &impl Pack) -> Result<u32, Failed> {
        let sent = self.add(procedure, arguments)?;
        self.send_all()?;
        Ok(sent)
    }

    /// Adds a call to those that [`send_all`](Self::send_all) sends; returns its number.
    pub(crate) fn add(&mut self, procedure: u32, arguments: &impl Pack) -> Result<u32, Failed> {
        self.xid += 1;
        let (prog, vers) = self.program;
        let (cred, verf) = (self.credentials.borrow(), opaque_auth::default());
        let call = call_body { rpcvers: RPC_VERSION_2, prog, vers, proc: procedure, cred, verf };
        let start = self.out.len();
        self.out.extend([0; 4]);
        let packed = rpc_msg { xid: self.xid, body: msg_body::CALL(call) }.pack(&mut self.out);
        packed.and(arguments.pack(&mut self.out)).map_err(|error| format!("cannot pack a call: {error}"))?;
        let mark = (self.out.len() - start - 4) as u32 | LAST_FRAGMENT;
        self.out[start..start + 4].copy_from_slice(&mark.to_be_bytes());
        Ok(self.xid)
    }

    /// Sends the calls that were added.
    pub(crate) fn send_all(&mut self) -> Result<(), Failed> {
        let sent = self.stream.get_mut().write_all(&self.out);
        self.out.clear();
        sent.map_err(|error| format!("cannot send: {error}").into())
    }

    /// Whether another reply is there in part at least.
    pub(crate) fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// The next reply: the number of its call, and its results.
    pub(crate) fn receive(&mut self) -> Result<(u32, &[u8]), Failed> {
        let failed = |error| format!("cannot receive: {error}");
        let mut head = [0; 4 + HEAD];
        self.stream.read_exact(&mut head).map_err(failed)?;
        let word = |at: usize| head[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let len = (word(0) & !LAST_FRAGMENT) as usize;
        // > xid, REPLY, MSG_ACCEPTED, a verifier without a body, SUCCESS
        if word(0) & LAST_FRAGMENT == 0 || !(HEAD..LONGEST).contains(&len) || head[8..] != GOOD {
            return Err(format!("not a successful reply: {head:x?}").into());
        }
        self.body.resize(len - HEAD, 0);
        self.stream.read_exact(&mut self.body).map_err(failed)?;
        Ok((word(4), &self.body))
    }
}

/// The data in the results of a READ (RFC 1813, section 3.3.6).
pub(crate) fn data_read(results: &[u8]) -> &[u8] {
    // > post_op_attr, count, eof, and the data with its length
    let attributes = if results.get(4..8) == Some(&[0, 0, 0, 1]) { 84 } else { 0 };
    results.get(8 + attributes + 12..).unwrap_or_default()
}

/// Fails unless the results begin with NFS3_OK.
pub(crate) fn successful(results: &[u8]) -> Result<(), Failed> {
    match results.first_chunk() {
        Some([0, 0, 0, 0]) => Ok(()),
        status => Err(format!("NFS status {status:?}").into()),
    }
}

const PMAPPROC_GETPORT: u32 = 3;
const MOUNTPROC3_MNT: u32 = 1;
const LAST_FRAGMENT: u32 = 0x8000_0000;
/// The length of all fields before the results of a call that was carried out.
const HEAD: usize = 24;
const GOOD: [u8; HEAD - 4] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
