//! A small NFSv3 client over TCP, for tests and the load example.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;

use nfs3_types::mount;
use nfs3_types::nfs3::{self, *};
use nfs3_types::rpc::{RPC_VERSION_2, auth_unix, call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack, Void};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// A connection, on which several calls may be under way.
pub struct Client {
    pub stream: TcpStream,
    pub xid: u32,
    credentials: opaque_auth<'static>,
    out: Vec<u8>,
}

/// The outcome of a call, before its results are parsed.
#[derive(Debug)]
pub struct Answer {
    pub xid: u32,
    /// From the reply's status on.
    pub body: Vec<u8>,
}

impl Client {
    /// Acts as root, from a port that takes no privileges.
    pub fn connect(port: u16) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, port)
    }

    /// The same, from one of several loopback addresses.
    pub fn connect_from(address: Ipv4Addr, port: u16) -> Self {
        Self::on(stream(SocketAddrV4::new(address, 0), SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap())
    }

    /// Acts as root, from a port that takes privileges, as kernels do.
    pub fn connect_reserved(server: SocketAddrV4) -> Self {
        let connected = (512..1024).rev().find_map(|port| {
            match stream(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), server) {
                Err(error) if [ErrorKind::AddrInUse, ErrorKind::AddrNotAvailable].contains(&error.kind()) => {
                    None
                }
                connected => Some(connected),
            }
        });
        Self::on(connected.unwrap().unwrap())
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, xid: 0, credentials: opaque_auth::default(), out: Vec::new() };
        client.act_as(0, 0, &[]);
        client
    }

    pub fn act_as(&mut self, uid: u32, gid: u32, gids: &[u32]) {
        let auth = auth_unix { uid, gid, gids: gids.into(), ..auth_unix::default() };
        self.credentials = opaque_auth::auth_unix(&auth);
    }

    pub fn act_without_credentials(&mut self) {
        self.credentials = opaque_auth::default();
    }

    /// The bytes of a call, without the record mark.
    pub fn message(&self, prog: u32, vers: u32, proc: u32, arguments: &[u8]) -> Vec<u8> {
        let (cred, verf) = (self.credentials.borrow(), opaque_auth::default());
        let call = call_body { rpcvers: RPC_VERSION_2, prog, vers, proc, cred, verf };
        let mut message = Vec::new();
        rpc_msg { xid: self.xid, body: msg_body::CALL(call) }.pack(&mut message).unwrap();
        message.extend_from_slice(arguments);
        message
    }

    /// Sends a call without waiting for its answer; its xid.
    pub fn send(&mut self, prog: u32, vers: u32, proc: u32, arguments: &impl Pack) -> u32 {
        self.xid += 1;
        let (cred, verf) = (self.credentials.borrow(), opaque_auth::default());
        let call = call_body { rpcvers: RPC_VERSION_2, prog, vers, proc, cred, verf };
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out.extend([0; 4]);
        rpc_msg { xid: self.xid, body: msg_body::CALL(call) }.pack(&mut out).unwrap();
        arguments.pack(&mut out).unwrap();
        let mark = u32::try_from(out.len() - 4).unwrap() | 0x8000_0000;
        out[..4].copy_from_slice(&mark.to_be_bytes());
        self.stream.write_all(&out).unwrap();
        self.out = out;
        self.xid
    }

    pub fn send_message(&mut self, message: &[u8]) {
        let mark = u32::try_from(message.len()).unwrap() | 0x8000_0000;
        self.stream.write_all(&[&mark.to_be_bytes(), message].concat()).unwrap();
    }

    /// The next answer, to any call.
    pub fn receive(&mut self) -> Answer {
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark).unwrap();
        let len = (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).unwrap();
        let xid = u32::from_be_bytes(head[..4].try_into().unwrap());
        assert_eq!(head[4..], [0, 0, 0, 1], "a reply");
        let mut body = Vec::with_capacity(len - 8);
        Read::by_ref(&mut self.stream).take(len as u64 - 8).read_to_end(&mut body).unwrap();
        assert_eq!(body.len(), len - 8, "a whole answer");
        Answer { xid, body }
    }

    pub fn call_raw(&mut self, prog: u32, vers: u32, proc: u32, arguments: &impl Pack) -> Answer {
        let xid = self.send(prog, vers, proc, arguments);
        let answer = self.receive();
        assert_eq!(answer.xid, xid);
        answer
    }

    pub fn call<R: Unpack>(&mut self, prog: u32, vers: u32, proc: u32, arguments: &impl Pack) -> R {
        self.call_raw(prog, vers, proc, arguments).results()
    }

    pub fn nfs<R: Unpack>(&mut self, proc: NFS_PROGRAM, arguments: &impl Pack) -> R {
        self.call(nfs3::PROGRAM, nfs3::VERSION, proc as u32, arguments)
    }

    pub fn mount(&mut self, path: &str) -> Result<nfs_fh3, mount::mountstat3> {
        let path = mount::dirpath(Opaque::borrowed(path.as_bytes()));
        match self.call(mount::PROGRAM, mount::VERSION, 1, &path) {
            mount::mountres3::Ok(ok) => {
                assert_eq!(ok.auth_flavors, [1]);
                Ok(nfs_fh3 { data: Opaque::owned(ok.fhandle.0.into_owned()) })
            }
            mount::mountres3::Err(status) => Err(status),
        }
    }

    pub fn lookup(&mut self, dir: &nfs_fh3, name: &str) -> Result<nfs_fh3, nfsstat3> {
        let result: LOOKUP3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_LOOKUP, &LOOKUP3args { what: entry(dir, name) });
        flat(result).map(|ok| ok.object)
    }

    pub fn attributes(&mut self, file: &nfs_fh3) -> Result<fattr3, nfsstat3> {
        let result: GETATTR3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_GETATTR, &GETATTR3args { object: file.clone() });
        flat(result).map(|ok| ok.obj_attributes)
    }

    pub fn set(&mut self, file: &nfs_fh3, changes: sattr3, guard: sattrguard3) -> Result<wcc_data, nfsstat3> {
        let arguments = SETATTR3args { object: file.clone(), new_attributes: changes, guard };
        let result: SETATTR3res = self.nfs(NFS_PROGRAM::NFSPROC3_SETATTR, &arguments);
        flat(result).map(|ok| ok.obj_wcc)
    }

    pub fn access(&mut self, file: &nfs_fh3, access: u32) -> Result<u32, nfsstat3> {
        let arguments = ACCESS3args { object: file.clone(), access };
        let result: ACCESS3res = self.nfs(NFS_PROGRAM::NFSPROC3_ACCESS, &arguments);
        flat(result).map(|ok| ok.access)
    }

    pub fn read_link(&mut self, file: &nfs_fh3) -> Result<Vec<u8>, nfsstat3> {
        let result: READLINK3res<'static> =
            self.nfs(NFS_PROGRAM::NFSPROC3_READLINK, &READLINK3args { symlink: file.clone() });
        flat(result).map(|ok| ok.data.0.into_owned())
    }

    /// The bytes, and whether they reach the file's end.
    pub fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> Result<(Vec<u8>, bool), nfsstat3> {
        let arguments = READ3args { file: file.clone(), offset, count };
        let result: READ3res<'static> = self.nfs(NFS_PROGRAM::NFSPROC3_READ, &arguments);
        flat(result).map(|ok| {
            assert_eq!(ok.count as usize, ok.data.len());
            assert!(ok.file_attributes.is_some());
            (ok.data.into_owned(), ok.eof)
        })
    }

    pub fn write(
        &mut self,
        file: &nfs_fh3,
        offset: u64,
        data: &[u8],
        stable: stable_how,
    ) -> Result<WRITE3resok, nfsstat3> {
        let count = u32::try_from(data.len()).unwrap();
        let data = Opaque::borrowed(data);
        let arguments = WRITE3args { file: file.clone(), offset, count, stable, data };
        let result: WRITE3res = self.nfs(NFS_PROGRAM::NFSPROC3_WRITE, &arguments);
        flat(result)
    }

    pub fn commit(&mut self, file: &nfs_fh3) -> Result<writeverf3, nfsstat3> {
        let arguments = COMMIT3args { file: file.clone(), offset: 0, count: 0 };
        let result: COMMIT3res = self.nfs(NFS_PROGRAM::NFSPROC3_COMMIT, &arguments);
        flat(result).map(|ok| ok.verf)
    }

    pub fn create(&mut self, dir: &nfs_fh3, name: &str, how: createhow3) -> Result<CREATE3resok, nfsstat3> {
        let result: CREATE3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_CREATE, &CREATE3args { where_: entry(dir, name), how });
        flat(result)
    }

    /// An empty file of mode 0644.
    pub fn make(&mut self, dir: &nfs_fh3, name: &str) -> nfs_fh3 {
        self.create(dir, name, createhow3::GUARDED(mode(0o644))).unwrap().obj.unwrap()
    }

    pub fn mkdir(&mut self, dir: &nfs_fh3, name: &str, attributes: sattr3) -> Result<nfs_fh3, nfsstat3> {
        let result: MKDIR3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_MKDIR, &MKDIR3args { where_: entry(dir, name), attributes });
        flat(result).map(|ok| ok.obj.unwrap())
    }

    pub fn symlink(&mut self, dir: &nfs_fh3, name: &str, target: &str) -> Result<nfs_fh3, nfsstat3> {
        let symlink = symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: nfspath3(Opaque::borrowed(target.as_bytes())),
        };
        let result: SYMLINK3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_SYMLINK, &SYMLINK3args { where_: entry(dir, name), symlink });
        flat(result).map(|ok| ok.obj.unwrap())
    }

    pub fn mknod(&mut self, dir: &nfs_fh3, name: &str, what: mknoddata3) -> Result<nfs_fh3, nfsstat3> {
        let result: MKNOD3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_MKNOD, &MKNOD3args { where_: entry(dir, name), what });
        flat(result).map(|ok| ok.obj.unwrap())
    }

    pub fn remove(&mut self, dir: &nfs_fh3, name: &str) -> Result<(), nfsstat3> {
        let result: REMOVE3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_REMOVE, &REMOVE3args { object: entry(dir, name) });
        flat(result).map(drop)
    }

    pub fn rmdir(&mut self, dir: &nfs_fh3, name: &str) -> Result<(), nfsstat3> {
        let result: RMDIR3res =
            self.nfs(NFS_PROGRAM::NFSPROC3_RMDIR, &RMDIR3args { object: entry(dir, name) });
        flat(result).map(drop)
    }

    pub fn rename(&mut self, from: (&nfs_fh3, &str), to: (&nfs_fh3, &str)) -> Result<(), nfsstat3> {
        let arguments = RENAME3args { from: entry(from.0, from.1), to: entry(to.0, to.1) };
        let result: RENAME3res = self.nfs(NFS_PROGRAM::NFSPROC3_RENAME, &arguments);
        flat(result).map(drop)
    }

    pub fn link(&mut self, file: &nfs_fh3, dir: &nfs_fh3, name: &str) -> Result<(), nfsstat3> {
        let arguments = LINK3args { file: file.clone(), link: entry(dir, name) };
        let result: LINK3res = self.nfs(NFS_PROGRAM::NFSPROC3_LINK, &arguments);
        flat(result).map(drop)
    }

    /// A part of a directory, `count` bytes at most.
    pub fn list_part(
        &mut self,
        dir: &nfs_fh3,
        cookie: u64,
        verifier: cookieverf3,
        count: u32,
    ) -> Result<READDIRPLUS3resok<'static>, nfsstat3> {
        let arguments = READDIRPLUS3args {
            dir: dir.clone(),
            cookie,
            cookieverf: verifier,
            dircount: count,
            maxcount: count,
        };
        let result: READDIRPLUS3res<'static> = self.nfs(NFS_PROGRAM::NFSPROC3_READDIRPLUS, &arguments);
        flat(result)
    }

    /// All names of a directory but `.` and `..`, sorted.
    pub fn names(&mut self, dir: &nfs_fh3) -> Vec<String> {
        let (mut names, mut cookie, mut verifier) = (Vec::new(), 0, cookieverf3::default());
        loop {
            let part = self.list_part(dir, cookie, verifier, 4096).unwrap();
            verifier = part.cookieverf;
            for entry in part.reply.entries.0 {
                cookie = entry.cookie;
                names.push(String::from_utf8(entry.name.0.into_owned()).unwrap());
            }
            if part.reply.eof {
                names.retain(|name| name != "." && name != "..");
                names.sort();
                return names;
            }
        }
    }

    pub fn null(&mut self) {
        let Void = self.nfs(NFS_PROGRAM::NFSPROC3_NULL, &Void);
    }
}

fn stream(from: SocketAddrV4, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(from))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(socket.into())
}

impl Answer {
    /// Results of a call that was accepted; all of them must be understood.
    pub fn results<R: Unpack>(&self) -> R {
        assert_eq!(self.body[..16], [0; 16], "accepted, without a verifier, successful");
        let (result, len) = R::unpack(&mut &self.body[16..]).unwrap();
        assert_eq!(len, self.body.len() - 16, "nothing else is in the answer");
        result
    }
}

pub fn flat<T, E>(result: Nfs3Result<T, E>) -> Result<T, nfsstat3> {
    match result {
        Nfs3Result::Ok(ok) => Ok(ok),
        Nfs3Result::Err((status, _)) => Err(status),
    }
}

pub fn entry<'a>(dir: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: dir.clone(), name: name.as_bytes().into() }
}

pub fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}
