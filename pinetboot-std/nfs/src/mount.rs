//! MOUNT, the protocol that returns the handle of a path's directory: version 3 (RFC 1813, appendix I), and version 1 (RFC 1094,
//! appendix A) without MNT, whose handles are NFSv2's.
//!
//! Credentials are not required: the initramfs of Debian sends none (klibc's nfsmount). A source port below 1024 is required, like
//! `secure` of exports(5): kernels and klibc use one. [`Exports::mount`] decides about each client. The list of a client's mounts
//! serves `showmount` on that client only.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nfs3_types::mount::{MNTPATHLEN, fhandle3, mountres3, mountres3_ok, mountstat3};
use nfs3_types::xdr_codec::Opaque;

use super::arguments::Arguments;
use super::clients::Client;
use super::disks::{MOUNTING, OnDisk};
use super::export::{Exports, MountError, MountErrorKind, Permission};
use super::file_system::{Caller, FileKind, FsError};
use super::handle::Handles;
use super::observe::{
    CallRefusal, CallRefused, Event, MountRefused, MountStatus, Mounted, Observer, Unmounted,
};
use super::reply::Reply;
use super::rpc::AUTH_SYS;
use super::tree::kernel::{Turns, schedule};

pub(super) use nfs3_types::mount::PROGRAM;

/// The mounts of clients, as the clients reported them.
#[derive(Debug, Default)]
pub(super) struct Mounts(Mutex<BTreeSet<(Ipv4Addr, PathBuf)>>);

/// Whether a message is a call of MNT, by its head (RFC 5531, section 9): the one of MOUNT that may take long.
pub(super) fn is_mnt(message: &[u8]) -> bool {
    let mut words =
        message.chunks_exact(4).map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
    message.len() <= MOST_MNT && words.nth(3) == Some(PROGRAM) && words.nth(1) == Some(MNT)
}

/// A call.
pub(super) struct Request<'a> {
    pub(super) exports: &'a dyn Exports,
    pub(super) handles: &'a Handles,
    pub(super) mounts: &'a Mounts,
    pub(super) observer: &'a dyn Observer,
    pub(super) client: SocketAddrV4,
    pub(super) share: &'a Client,
    /// The source port is below 1024, or any port is accepted.
    pub(super) secure: bool,
    pub(super) version: u32,
    pub(super) by_tcp: bool,
    /// Most bytes of an answer: a list may be far longer than the call, whose sender may be forged.
    pub(super) most_list: usize,
}

/// The long turns of a thread that mounts: calls of Pis that run go first.
struct LongTurns;

impl LongTurns {
    fn begin() -> Self {
        let _as_any_thread = schedule(Turns::Long);
        Self
    }
}

impl Drop for LongTurns {
    fn drop(&mut self) {
        let _as_any_thread = schedule(Turns::Soon);
    }
}

/// A refused mount.
struct Refusal {
    status: MountStatus,
    why: String,
}

impl Request<'_> {
    pub(super) fn answer(
        &self,
        procedure: u32,
        mut arguments: Arguments<'_>,
        reply: &mut Reply,
    ) -> Result<(), CallRefusal> {
        match procedure {
            NULL => {}
            MNT => {
                let mounted = self.mount(path(arguments.opaque()?));
                match self.version {
                    3 => reply.put(&mounted),
                    // The status of version 1 is a Unix error number.
                    _ => reply.put(&EACCES),
                }
            }
            DUMP => self.put_mounts(reply),
            UMNT => self.unmount(Some(path(arguments.opaque()?))),
            UMNTALL => self.unmount(None),
            EXPORT => self.put_exports(reply),
            _ => return Err(CallRefusal::NoSuchProcedure),
        }
        Ok(())
    }

    fn mount(&self, path: &Path) -> mountres3<'static> {
        let client = self.client;
        if !self.secure {
            let (program, version, why) = (PROGRAM, self.version, CallRefusal::PortNotReserved);
            let refused = CallRefused { client, program, version, procedure: MNT, why };
            self.observer.observe(&Event::CallRefused(refused));
            return mountres3::Err(mountstat3::MNT3ERR_ACCES);
        }
        let opened = {
            let _turns = LongTurns::begin();
            self.open(path)
        };
        match opened {
            Ok((export, handle)) => {
                self.mounts.add(*client.ip(), path);
                self.observer.observe(&Event::Mounted(Mounted { client, path, export }));
                mountres3::Ok(mountres3_ok {
                    fhandle: fhandle3(Opaque::owned(handle)),
                    auth_flavors: vec![AUTH_SYS],
                })
            }
            Err(Refusal { status, why }) => {
                let refused = MountRefused { client, path, status, why: &why };
                self.observer.observe(&Event::MountRefused(refused));
                mountres3::Err(wire_status(status))
            }
        }
    }

    /// The handle of the export, or of a directory in it.
    fn open(&self, path: &Path) -> Result<(u32, Vec<u8>), Refusal> {
        let client = *self.client.ip();
        if self.version != 3 {
            let why = "the client asks for a handle of NFS version 2, and only version 3 is served";
            return Err(Refusal::new(MountStatus::Denied, why));
        }
        if path.as_os_str().len() > MNTPATHLEN {
            return Err(Refusal::new(MountStatus::NameTooLong, "the path is longer than 1024 bytes"));
        }
        let mounting = self.place(MOUNTING)?;
        let export = self.exports.mount(path, client)?;
        drop(mounting);
        let why = match self.exports.permits(&export, client) {
            Permission::Granted => None,
            Permission::Later => Some("the permission of this client is not decided yet"),
            Permission::Denied => Some("the path is not exported to this client"),
        };
        if let Some(why) = why {
            return Err(Refusal::new(MountStatus::Denied, why));
        }
        let inside = path.strip_prefix(&export.path).unwrap_or(Path::new(""));
        let _place = self.place(export.tree.disk())?;
        let mut dir = export.tree.root();
        for component in inside.components() {
            let Component::Normal(name) = component else {
                return Err(Refusal::new(MountStatus::Invalid, "the path leads upwards"));
            };
            let found = export
                .tree
                .lookup(&Caller::ROOT, &dir, name.as_bytes())
                .map_err(|error| Refusal::new(mount_status(error), format!("{}: {error}", name.display())))?;
            if found.attributes.kind != FileKind::Directory {
                let why = format!("{} is not a directory", name.display());
                return Err(Refusal::new(MountStatus::NotDirectory, why));
            }
            dir = found.id;
        }
        Ok((export.id, self.handles.seal(export.id, &dir)))
    }

    fn place(&self, disk: u64) -> Result<OnDisk, Refusal> {
        let why = "too many calls wait for the disk: look for a disk that hangs";
        self.share.enter(disk).ok_or_else(|| Refusal::new(MountStatus::Failed, why))
    }

    fn unmount(&self, path: Option<&Path>) {
        self.mounts.forget(*self.client.ip(), path);
        self.observer.observe(&Event::Unmounted(Unmounted {
            client: self.client,
            path,
            by_tcp: self.by_tcp,
        }));
    }

    /// Lists the client's own mounts: the mounts of others would be a list of addresses to forge.
    fn put_mounts(&self, reply: &mut Reply) {
        let client = *self.client.ip();
        let mounts = self.mounts.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_list(reply, of_client(&mounts, client), |reply, path| {
            reply.put_opaque(client.to_string().as_bytes());
            reply.put_opaque(path.as_os_str().as_bytes());
        });
    }

    /// Lists exports without groups: the permissions depend on more than a list of hosts.
    fn put_exports(&self, reply: &mut Reply) {
        self.put_list(reply, self.exports.list(*self.client.ip()).iter(), |reply, path| {
            reply.put_opaque(path.as_os_str().as_bytes());
            reply.put(&false);
        });
    }

    fn put_list<T>(&self, reply: &mut Reply, items: impl Iterator<Item = T>, put: impl Fn(&mut Reply, T)) {
        for item in items {
            let before = reply.len();
            reply.put(&true);
            put(reply, item);
            if reply.len() > self.most_list {
                reply.truncate(before);
                break;
            }
        }
        reply.put(&false);
    }
}

impl Mounts {
    fn add(&self, client: Ipv4Addr, path: &Path) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if mounts.len() < MOST_MOUNTS && of_client(&mounts, client).count() < MOST_OF_CLIENT {
            mounts.insert((client, path.into()));
        }
    }

    fn forget(&self, client: Ipv4Addr, path: Option<&Path>) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|(who, what)| *who != client || path.is_some_and(|path| path != what));
    }
}

impl Refusal {
    fn new(status: MountStatus, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl From<MountError> for Refusal {
    fn from(error: MountError) -> Self {
        let status = match error.kind {
            MountErrorKind::NotFound => MountStatus::NotFound,
            MountErrorKind::Denied => MountStatus::Denied,
            MountErrorKind::Failed => MountStatus::Failed,
        };
        Self { status, why: error.why }
    }
}

fn of_client(mounts: &BTreeSet<(Ipv4Addr, PathBuf)>, client: Ipv4Addr) -> impl Iterator<Item = &Path> {
    let from = mounts.range((client, PathBuf::new())..);
    from.take_while(move |(address, _)| *address == client).map(|(_, path)| path.as_path())
}

/// An empty path stands for the top: libnfs sends one for a file in the top directory.
fn path(bytes: &[u8]) -> &Path {
    Path::new(if bytes.is_empty() { OsStr::new("/") } else { OsStr::from_bytes(bytes) })
}

fn mount_status(error: FsError) -> MountStatus {
    match error {
        FsError::NotOwner => MountStatus::NotPermitted,
        FsError::NotFound => MountStatus::NotFound,
        FsError::Denied => MountStatus::Denied,
        FsError::NotDirectory => MountStatus::NotDirectory,
        FsError::Invalid => MountStatus::Invalid,
        FsError::NameTooLong => MountStatus::NameTooLong,
        _ => MountStatus::Io,
    }
}

fn wire_status(status: MountStatus) -> mountstat3 {
    match status {
        MountStatus::NotPermitted => mountstat3::MNT3ERR_PERM,
        MountStatus::NotFound => mountstat3::MNT3ERR_NOENT,
        MountStatus::Io => mountstat3::MNT3ERR_IO,
        MountStatus::Denied => mountstat3::MNT3ERR_ACCES,
        MountStatus::NotDirectory => mountstat3::MNT3ERR_NOTDIR,
        MountStatus::Invalid => mountstat3::MNT3ERR_INVAL,
        MountStatus::NameTooLong => mountstat3::MNT3ERR_NAMETOOLONG,
        MountStatus::Failed => mountstat3::MNT3ERR_SERVERFAULT,
    }
}

pub(super) const FIRST_VERSION: u32 = 1;
pub(super) const LAST_VERSION: u32 = 3;
const MOST_MOUNTS: usize = 1024;
/// Most mounts of a client: a Pi mounts its root, and little else.
const MOST_OF_CLIENT: usize = 16;
const EACCES: u32 = 13;

const NULL: u32 = 0;
const MNT: u32 = 1;
/// A call with the longest path, credentials and verifier has less; a longer one is refused.
const MOST_MNT: usize = 2048;
const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;
