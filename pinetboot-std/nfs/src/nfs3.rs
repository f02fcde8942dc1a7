//! NFS version 3: RFC 1813, section 3, all 22 procedures, on any [`FileSystem`](super::FileSystem).
//!
//! This module has the rules of the protocol; the trait has the work of a file system.

mod content;
mod listing;
mod naming;
mod showing;
mod wire;

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nfs3_types::nfs3::{
    Nfs3Option, Nfs3Result, fattr3, nfs_fh3, nfsstat3, post_op_attr, post_op_fh3, pre_op_attr, wcc_attr,
    wcc_data,
};
use nfs3_types::xdr_codec::Opaque;

use super::arguments::{Arguments, Garbage};
use super::clients::Client;
use super::counts::CallCounts;
use super::disks::OnDisk;
use super::export::{Absent, Export, Exports, Permission};
use super::file_system::{Attributes, Caller, FileId, Found};
use super::handle::Handles;
use super::message::Transport;
use super::observe::{
    CallRefusal, CallRefused, Event, FirstRead, FirstWrite, HandleRefusal, HandleRefused, LookedUp, Observer,
};
use super::reply::Reply;
use super::write_verifier::WriteVerifier;

pub(super) use nfs3_types::nfs3::{PROGRAM, VERSION};

type Result<T> = core::result::Result<T, nfsstat3>;

/// A call with its context.
pub(super) struct Request<'a> {
    pub(super) exports: &'a dyn Exports,
    pub(super) counts: &'a CallCounts,
    pub(super) handles: &'a Handles,
    pub(super) write_verifier: &'a WriteVerifier,
    pub(super) observer: &'a dyn Observer,
    pub(super) client: SocketAddrV4,
    pub(super) share: &'a Client,
    /// The source port is below 1024, or any port is accepted.
    pub(super) secure: bool,
    pub(super) transport: Transport<'a>,
    pub(super) procedure: u32,
    pub(super) caller: Option<&'a Caller>,
    /// Most bytes of a READ's or READDIR's answer.
    pub(super) most_read: usize,
    /// Most bytes of a WRITE, for FSINFO.
    pub(super) most_write: usize,
}

/// The file of a handle, with its caller.
struct Target {
    export: Arc<Export>,
    id: FileId,
    caller: Caller,
    _place: OnDisk,
}

/// Whether a procedure may be carried out twice without harm.
pub(super) fn is_idempotent(procedure: u32) -> bool {
    !matches!(procedure, SETATTR | CREATE | MKDIR | SYMLINK | MKNOD | REMOVE | RMDIR | RENAME | LINK)
}

impl Request<'_> {
    /// Carries out a procedure, and writes its results into the reply.
    pub(super) fn answer(
        &self,
        arguments: Arguments<'_>,
        reply: &mut Reply,
    ) -> core::result::Result<(), CallRefusal> {
        match self.procedure {
            NULL => {}
            GETATTR => reply.put(&self.get_attributes(arguments)?),
            SETATTR => reply.put(&self.set_attributes(arguments)?),
            LOOKUP => reply.put(&self.lookup(arguments)?),
            ACCESS => reply.put(&self.access(arguments)?),
            READLINK => reply.put(&self.read_link(arguments)?),
            READ => self.read(arguments, reply)?,
            WRITE => reply.put(&self.write(arguments)?),
            CREATE => reply.put(&self.create(arguments)?),
            MKDIR => reply.put(&self.make_directory(arguments)?),
            SYMLINK => reply.put(&self.make_symlink(arguments)?),
            MKNOD => reply.put(&self.make_node(arguments)?),
            REMOVE => reply.put(&self.remove(arguments)?),
            RMDIR => reply.put(&self.remove_directory(arguments)?),
            RENAME => reply.put(&self.rename(arguments)?),
            LINK => reply.put(&self.link(arguments)?),
            READDIR => self.read_directory(arguments, false, reply)?,
            READDIRPLUS => self.read_directory(arguments, true, reply)?,
            FSSTAT => reply.put(&self.usage(arguments)?),
            FSINFO => reply.put(&self.information(arguments)?),
            PATHCONF => reply.put(&self.path_limits(arguments)?),
            COMMIT => reply.put(&self.commit(arguments)?),
            _ => return Err(CallRefusal::NoSuchProcedure),
        }
        Ok(())
    }

    /// > If the file handle is invalid .. NFS3ERR_BADHANDLE; if the file it refers to is gone .. NFS3ERR_STALE.
    ///
    /// A handle that this server did not seal gets the former, a handle of a removed export the latter.
    fn target(&self, handle: &[u8]) -> Result<Target> {
        if !self.secure {
            return Err(self.refuse_port());
        }
        let (export, id) =
            self.handles.open(handle).ok_or_else(|| self.refuse_handle(None, HandleRefusal::Forged))?;
        let export = self.exports.find(export).map_err(|absent| {
            let why = match absent {
                Absent::Unknown => HandleRefusal::Unknown,
                Absent::NotYet => HandleRefusal::NotReady,
            };
            self.refuse_handle(Some(export), why)
        })?;
        match self.exports.permits(&export, *self.client.ip()) {
            Permission::Granted => {}
            Permission::Later => return Err(self.refuse_handle(Some(export.id), HandleRefusal::Undecided)),
            Permission::Denied => return Err(self.refuse_handle(Some(export.id), HandleRefusal::Denied)),
        }
        let caller = match self.caller {
            Some(caller) if caller.uid == 0 && export.root_squash => Caller::NOBODY,
            Some(caller) => caller.clone(),
            None => Caller::NOBODY,
        };
        // > The server initiated the request, but was not able to complete it in a timely fashion. The client should wait and then
        // > try the request with a new RPC transaction ID.
        let place = self.share.enter(export.tree.disk()).ok_or(nfsstat3::NFS3ERR_JUKEBOX)?;
        Ok(Target { export, id, caller, _place: place })
    }

    /// The target of a change.
    fn target_to_change(&self, handle: &[u8]) -> Result<Target> {
        let target = self.target(handle)?;
        if target.export.read_only {
            return Err(nfsstat3::NFS3ERR_ROFS);
        }
        self.note_change(target.export.id);
        Ok(target)
    }

    /// Both targets of a change; a refused first one ends the check, so a call is refused once.
    fn targets_to_change(&self, first: &[u8], second: &[u8]) -> Result<(Target, Target)> {
        Ok((self.target_to_change(first)?, self.target_to_change(second)?))
    }

    /// The status for a source port above 1023: NFS3ERR_ACCES for all procedures. GETATTR, ACCESS, FSSTAT, FSINFO,
    /// PATHCONF and COMMIT list neither that nor NFS3ERR_PERM, but the lists are a guide to the more common errors, and not
    /// definitive (RFC 1813, section 3.3).
    #[cold]
    fn refuse_port(&self) -> nfsstat3 {
        self.observer.observe(&Event::CallRefused(CallRefused {
            client: self.client,
            program: PROGRAM,
            version: VERSION,
            procedure: self.procedure,
            why: CallRefusal::PortNotReserved,
        }));
        nfsstat3::NFS3ERR_ACCES
    }

    #[cold]
    fn refuse_handle(&self, export: Option<u32>, why: HandleRefusal) -> nfsstat3 {
        let (client, procedure) = (self.client, self.procedure);
        self.observer.observe(&Event::HandleRefused(HandleRefused { client, procedure, why, export }));
        match why {
            HandleRefusal::Forged => nfsstat3::NFS3ERR_BADHANDLE,
            HandleRefusal::Unknown => nfsstat3::NFS3ERR_STALE,
            HandleRefusal::NotReady | HandleRefusal::Undecided => nfsstat3::NFS3ERR_JUKEBOX,
            HandleRefusal::Denied => nfsstat3::NFS3ERR_ACCES,
        }
    }

    /// Reports a successful READ of this export, once for each connection.
    fn note_read(&self, export: u32) {
        if let Transport::Tcp { has_read, .. } = self.transport
            && !has_read.load(Ordering::Relaxed)
            && !has_read.swap(true, Ordering::Relaxed)
        {
            self.observer.observe(&Event::FirstRead(FirstRead { client: self.client, export }));
        }
    }

    /// Reports a change in this export, once for each connection.
    fn note_change(&self, export: u32) {
        if let Transport::Tcp { has_changed, .. } = self.transport
            && !has_changed.load(Ordering::Relaxed)
            && !has_changed.swap(true, Ordering::Relaxed)
        {
            self.observer.observe(&Event::FirstWrite(FirstWrite { client: self.client, export }));
        }
    }

    /// Reports a LOOKUP that has found the name, or has found that the directory lacks the name.
    fn note_lookup(&self, export: u32, name: &[u8], status: Option<nfsstat3>) {
        let found = match status {
            None => true,
            Some(nfsstat3::NFS3ERR_NOENT) => false,
            Some(_) => return,
        };
        self.observer.observe(&Event::LookedUp(LookedUp { client: self.client, export, name, found }));
    }

    /// A change of attributes writes the file's content too (fsync(2)). Its failure may be that of unstable writes, and is reported by the
    /// kernel once.
    fn note_failed_sync(&self, status: nfsstat3) {
        if status == nfsstat3::NFS3ERR_IO {
            self.write_verifier.failed(status);
        }
    }

    fn handle(&self, target: &Target, found: &Found) -> nfs_fh3 {
        nfs_fh3 { data: Opaque::owned(self.handles.seal(target.export.id, &found.id)) }
    }

    fn new_handle(&self, target: &Target, found: &Found) -> post_op_fh3 {
        Nfs3Option::Some(self.handle(target, found))
    }
}

impl Target {
    fn attributes(&self) -> Result<fattr3> {
        let attributes = self.export.tree.attributes(&self.id).map_err(wire::status)?;
        Ok(self.seen(&attributes))
    }

    fn seen(&self, attributes: &Attributes) -> fattr3 {
        wire::attributes(attributes, self.export.id)
    }

    fn after(&self) -> post_op_attr {
        self.attributes().map_or(Nfs3Option::None, Nfs3Option::Some)
    }

    fn before(&self) -> pre_op_attr {
        self.export.tree.attributes(&self.id).map_or(Nfs3Option::None, |attributes| {
            Nfs3Option::Some(wcc_attr {
                size: attributes.size,
                mtime: wire::time(attributes.modified),
                ctime: wire::time(attributes.changed),
            })
        })
    }

    /// Runs a change, and returns the attributes before and after it.
    fn changed<T>(&self, change: impl FnOnce() -> Result<T>) -> (Result<T>, wcc_data) {
        let before = self.before();
        let result = change();
        (result, wcc_data { before, after: self.after() })
    }
}

fn end<T, Ok, Failed>(
    result: Result<T>,
    ok: impl FnOnce(T) -> Ok,
    failed: impl FnOnce() -> Failed,
) -> Nfs3Result<Ok, Failed> {
    match result {
        Ok(value) => Nfs3Result::Ok(ok(value)),
        Err(status) => Nfs3Result::Err((status, failed())),
    }
}

/// The name of an existing or new file: one component, not `.` or `..`.
fn name(name: &[u8]) -> Result<&[u8]> {
    match component(name)? {
        b"." | b".." => Err(nfsstat3::NFS3ERR_EXIST),
        name => Ok(name),
    }
}

fn component(name: &[u8]) -> Result<&[u8]> {
    match name {
        [] => Err(nfsstat3::NFS3ERR_INVAL),
        name if name.len() > MOST_NAME => Err(nfsstat3::NFS3ERR_NAMETOOLONG),
        name if name.contains(&b'/') || name.contains(&0) => Err(nfsstat3::NFS3ERR_INVAL),
        name => Ok(name),
    }
}

const MOST_NAME: usize = 255;

const NULL: u32 = 0;
const GETATTR: u32 = 1;
const SETATTR: u32 = 2;
const LOOKUP: u32 = 3;
const ACCESS: u32 = 4;
const READLINK: u32 = 5;
const READ: u32 = 6;
const WRITE: u32 = 7;
const CREATE: u32 = 8;
const MKDIR: u32 = 9;
const SYMLINK: u32 = 10;
const MKNOD: u32 = 11;
const REMOVE: u32 = 12;
const RMDIR: u32 = 13;
const RENAME: u32 = 14;
const LINK: u32 = 15;
const READDIR: u32 = 16;
const READDIRPLUS: u32 = 17;
const FSSTAT: u32 = 18;
const FSINFO: u32 = 19;
const PATHCONF: u32 = 20;
const COMMIT: u32 = 21;
