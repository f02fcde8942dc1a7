//! MOUNT, the protocol that turns a path into the handle of a directory: version 3 (RFC 1813, appendix I), and of version 1
//! (RFC 1094, appendix A) all but mounting, since its handles are NFSv2's.
//!
//! Anyone may ask, from any port and without credentials: the initramfs of Debian does (klibc's nfsmount). Who gets what is
//! for [`Exports::mount`] to say. The list of who has mounted what is kept for `showmount`, and means no more than there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nfs3_types::mount::{MNTPATHLEN, fhandle3, mountres3, mountres3_ok, mountstat3};
use nfs3_types::nfs3::{ftype3, nfs_fh3, nfsstat3};
use tracing::debug;

use super::arguments::{Arguments, Garbage};
use super::export::{Exports, MountError};
use super::file_system::Caller;
use super::handle::Handles;
use super::reply::Reply;
use super::rpc::{AUTH_SYS, Ended};

pub(super) use nfs3_types::mount::PROGRAM;

/// Who has mounted what, as far as was told.
#[derive(Debug, Default)]
pub(super) struct Mounts(Mutex<BTreeSet<(Ipv4Addr, PathBuf)>>);

/// One call.
pub(super) struct Request<'a> {
    pub(super) exports: &'a dyn Exports,
    pub(super) handles: &'a Handles,
    pub(super) mounts: &'a Mounts,
    pub(super) client: Ipv4Addr,
    pub(super) version: u32,
    /// The most bytes to answer with: a list may be far longer than the question, whose sender may be made up.
    pub(super) most_list: usize,
}

impl Request<'_> {
    pub(super) fn answer(
        &self,
        procedure: u32,
        mut arguments: Arguments<'_>,
        reply: &mut Reply,
    ) -> Result<Ended, Garbage> {
        match procedure {
            NULL => {}
            MNT => {
                let path = path(arguments.opaque()?);
                match self.version {
                    3 => reply.put(&self.mount(path)),
                    // The status of version 1 is a Unix error number.
                    _ => reply.put(&EACCES),
                }
            }
            DUMP => self.put_mounts(reply),
            UMNT => self.mounts.forget(self.client, Some(path(arguments.opaque()?))),
            UMNTALL => self.mounts.forget(self.client, None),
            EXPORT => self.put_exports(reply),
            _ => return Ok(Ended::NoSuchProcedure),
        }
        Ok(Ended::Success)
    }

    fn mount(&self, path: &Path) -> mountres3<'static> {
        let client = self.client;
        match self.open(path) {
            Ok(handle) => {
                debug!("{client} mounts {}", path.display());
                self.mounts.add(client, path);
                mountres3::Ok(mountres3_ok { fhandle: fhandle3(handle.data), auth_flavors: vec![AUTH_SYS] })
            }
            Err((status, why)) => {
                // Someone who is refused asks again every second. What an operator should know, `Exports` says, and not too often.
                debug!("{client} may not mount {}: {why}", path.display());
                mountres3::Err(status)
            }
        }
    }

    /// The handle of the export, or of a directory in it.
    fn open(&self, path: &Path) -> Result<nfs_fh3, (mountstat3, String)> {
        if path.as_os_str().len() > MNTPATHLEN {
            return Err((mountstat3::MNT3ERR_NAMETOOLONG, "the path is too long".into()));
        }
        let export = self.exports.mount(path, self.client).map_err(|error| {
            let status = match error {
                MountError::NotFound => mountstat3::MNT3ERR_NOENT,
                MountError::Denied => mountstat3::MNT3ERR_ACCES,
                MountError::Failed => mountstat3::MNT3ERR_SERVERFAULT,
            };
            (status, error.to_string())
        })?;
        if !self.exports.permits(&export, self.client) {
            return Err((mountstat3::MNT3ERR_ACCES, MountError::Denied.to_string()));
        }
        let inside = path.strip_prefix(&export.path).unwrap_or(Path::new(""));
        let mut dir = export.tree.root();
        for component in inside.components() {
            let Component::Normal(name) = component else {
                return Err((mountstat3::MNT3ERR_INVAL, "the path is not plain".into()));
            };
            let found = export
                .tree
                .lookup(&Caller::ROOT, &dir, name.as_bytes())
                .map_err(|status| (mount_status(status), format!("{}: {status}", name.display())))?;
            if found.attributes.type_ != ftype3::NF3DIR {
                return Err((mountstat3::MNT3ERR_NOTDIR, format!("{} is not a directory", name.display())));
            }
            dir = found.id;
        }
        Ok(self.handles.seal(export.id, &dir))
    }

    fn put_mounts(&self, reply: &mut Reply) {
        let mounts = self.mounts.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_list(reply, mounts.iter(), |reply, (client, path)| {
            reply.put_opaque(client.to_string().as_bytes());
            reply.put_opaque(path.as_os_str().as_bytes());
        });
    }

    /// Whom a path is exported to is not told: it depends on more than a list could say.
    fn put_exports(&self, reply: &mut Reply) {
        self.put_list(reply, self.exports.list(self.client).iter(), |reply, path| {
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
        if mounts.len() < MOST_MOUNTS {
            mounts.insert((client, path.into()));
        }
    }

    fn forget(&self, client: Ipv4Addr, path: Option<&Path>) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|(who, what)| *who != client || path.is_some_and(|path| path != what));
    }
}

/// Without a path the top is meant: libnfs has none for a file that is right there.
fn path(bytes: &[u8]) -> &Path {
    Path::new(if bytes.is_empty() { OsStr::new("/") } else { OsStr::from_bytes(bytes) })
}

fn mount_status(status: nfsstat3) -> mountstat3 {
    match status {
        nfsstat3::NFS3ERR_PERM => mountstat3::MNT3ERR_PERM,
        nfsstat3::NFS3ERR_NOENT => mountstat3::MNT3ERR_NOENT,
        nfsstat3::NFS3ERR_ACCES => mountstat3::MNT3ERR_ACCES,
        nfsstat3::NFS3ERR_NOTDIR => mountstat3::MNT3ERR_NOTDIR,
        nfsstat3::NFS3ERR_INVAL => mountstat3::MNT3ERR_INVAL,
        nfsstat3::NFS3ERR_NAMETOOLONG => mountstat3::MNT3ERR_NAMETOOLONG,
        _ => mountstat3::MNT3ERR_IO,
    }
}

pub(super) const FIRST_VERSION: u32 = 1;
pub(super) const LAST_VERSION: u32 = 3;
const MOST_MOUNTS: usize = 1024;
const EACCES: u32 = 13;

const NULL: u32 = 0;
const MNT: u32 = 1;
const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;
