//! Directory content: READDIR and READDIRPLUS.

use nfs3_types::nfs3::{
    Nfs3Option, Nfs3Result, READDIR3resfail, cookieverf3, nfsstat3, post_op_attr, post_op_fh3,
};
use nfs3_types::xdr_codec::Void;

use super::{Arguments, Garbage, Reply, Request, Result, Target, wire};
use crate::file_system::{DirectoryEntry, Place};

impl Request<'_> {
    /// READDIR, or READDIRPLUS if `full`. Writes entries until the client's limit is reached.
    pub(super) fn read_directory(
        &self,
        mut arguments: Arguments<'_>,
        full: bool,
        reply: &mut Reply,
    ) -> core::result::Result<(), Garbage> {
        let handle = arguments.opaque()?;
        let (cookie, cookieverf3(verifier)): (u64, _) = (arguments.fixed()?, arguments.fixed()?);
        if full {
            // > The maximum number of bytes of directory information returned .. should not include the size of the
            // > attributes and file handle portions of the result.
            //
            // A hint for servers to which these are costly. The binding limit comes next.
            let _dircount: u32 = arguments.fixed()?;
        }
        let most = usize::try_from(arguments.fixed::<u32>()?).unwrap_or(usize::MAX).min(self.most_read);
        let place = Place { cookie, verifier: u64::from_be_bytes(verifier) };
        let start = reply.len();
        let mut dir_attributes = Nfs3Option::None;
        let listed = self.target(handle).and_then(|dir| {
            let listed = self.put_entries(&dir, place, full, most, reply);
            if listed.is_err() {
                dir_attributes = dir.after();
            }
            listed
        });
        if let Err(status) = listed {
            reply.truncate(start);
            reply.put(&Nfs3Result::<Void, _>::Err((status, READDIR3resfail { dir_attributes })));
        }
        Ok(())
    }

    fn put_entries(
        &self,
        dir: &Target,
        place: Place,
        full: bool,
        most: usize,
        reply: &mut Reply,
    ) -> Result<()> {
        let start = reply.len();
        reply.put(&nfsstat3::NFS3_OK);
        reply.put(&post_op_attr::Some(dir.attributes()?));
        let verifier_at = reply.len();
        reply.put(&cookieverf3::default());
        let (mut entries, mut enough) = (0, false);
        let listed = dir.export.tree.list(&dir.caller, &dir.id, place, full, &mut |entry| {
            let before = reply.len();
            self.put_entry(dir, entry, full, reply);
            // The status is not counted; the end of the list and the end-of-directory flag follow.
            enough = reply.len() - start - 4 + END > most;
            if enough {
                reply.truncate(before);
            } else {
                entries += 1;
            }
            !enough
        });
        let listed = listed.map_err(wire::status)?;
        if enough && entries == 0 {
            return Err(nfsstat3::NFS3ERR_TOOSMALL);
        }
        reply.put(&false);
        reply.put(&listed.end);
        reply.put_at(verifier_at, &listed.verifier.to_be_bytes());
        Ok(())
    }

    fn put_entry(&self, dir: &Target, entry: DirectoryEntry<'_>, full: bool, reply: &mut Reply) {
        reply.put(&true);
        reply.put(&entry.file_number);
        reply.put_opaque(entry.name);
        reply.put(&entry.cookie);
        if full {
            match entry.found {
                Some(found) => {
                    reply.put(&post_op_attr::Some(dir.seen(&found.attributes)));
                    let (handle, len) = self.handles.sealed(dir.export.id, &found.id);
                    reply.put(&true);
                    reply.put_opaque(handle.get(..len).unwrap_or_default());
                }
                None => {
                    reply.put(&post_op_attr::None);
                    reply.put(&post_op_fh3::None);
                }
            }
        }
    }
}

/// Bytes of the end of the list and the end-of-directory flag.
const END: usize = 4 + 4;
