//! File content: READ, WRITE, COMMIT.

use nfs3_types::nfs3::{
    COMMIT3res, COMMIT3resfail, COMMIT3resok, Nfs3Option, Nfs3Result, READ3resfail, WRITE3res, WRITE3resfail,
    WRITE3resok, fattr3, nfsstat3, post_op_attr, stable_how, wcc_data,
};
use nfs3_types::xdr_codec::{Pack, Void};

use super::{Arguments, Garbage, Reply, Request, Result, Target, wire};

type Answer<T> = core::result::Result<T, Garbage>;

impl Request<'_> {
    /// Reads into the reply, behind the head. The head is written last, as it has the attributes after the READ.
    pub(super) fn read(&self, mut arguments: Arguments<'_>, reply: &mut Reply) -> Answer<()> {
        let handle = arguments.opaque()?;
        let (offset, count): (u64, u32) = (arguments.fixed()?, arguments.fixed()?);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.most_read);
        let mut file_attributes = Nfs3Option::None;
        let read = self.target(handle).and_then(|target| {
            let room = reply.room(READ_HEAD + count.next_multiple_of(4));
            let into = room.get_mut(READ_HEAD..READ_HEAD + count).unwrap_or_default();
            let read = target.export.tree.read(&target.caller, &target.id, offset, into);
            if read.is_err() {
                file_attributes = target.after();
            }
            let read = read.map_err(wire::status)?;
            room.get_mut(READ_HEAD + read..)
                .unwrap_or_default()
                .iter_mut()
                .take(PADDING)
                .for_each(|byte| *byte = 0);
            let attributes = target.attributes()?;
            self.note_read(target.export.id);
            Ok((read, attributes))
        });
        match read {
            Ok((read, attributes)) => {
                self.counts.read(read);
                put_read(reply, read, read < count, offset, attributes);
            }
            Err(status) => {
                reply.put(&Nfs3Result::<Void, _>::Err((status, READ3resfail { file_attributes })));
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, mut arguments: Arguments<'_>) -> Answer<WRITE3res> {
        let handle = arguments.opaque()?;
        let (offset, count): (u64, u32) = (arguments.fixed()?, arguments.fixed()?);
        let stable: stable_how = arguments.fixed()?;
        let data = arguments.opaque()?;
        let target = match self.target_to_change(handle) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, WRITE3resfail::default()))),
        };
        let verf = self.write_verifier.now();
        let (written, file_wcc) = target.changed(|| write(&target, offset, count, stable, data));
        Ok(match written {
            Ok(()) => {
                self.counts.written(count);
                Nfs3Result::Ok(WRITE3resok { file_wcc, count, committed: stable, verf })
            }
            Err(status) => {
                if stable != stable_how::UNSTABLE {
                    self.write_verifier.failed(status);
                }
                Nfs3Result::Err((status, WRITE3resfail { file_wcc }))
            }
        })
    }

    pub(super) fn commit(&self, mut arguments: Arguments<'_>) -> Answer<COMMIT3res> {
        let handle = arguments.opaque()?;
        let (offset, count): (u64, u32) = (arguments.fixed()?, arguments.fixed()?);
        let target = match self.target_to_change(handle) {
            Ok(target) => target,
            Err(status) => {
                let file_wcc = wcc_data::default();
                return Ok(Nfs3Result::Err((status, COMMIT3resfail { file_wcc })));
            }
        };
        let (committed, file_wcc) =
            target.changed(|| target.export.tree.commit(&target.id, offset, count).map_err(wire::status));
        Ok(match committed {
            Ok(()) => Nfs3Result::Ok(COMMIT3resok { file_wcc, verf: self.write_verifier.now() }),
            Err(status) => {
                self.write_verifier.failed(status);
                Nfs3Result::Err((status, COMMIT3resfail { file_wcc }))
            }
        })
    }
}

fn write(target: &Target, offset: u64, count: u32, stable: stable_how, data: &[u8]) -> Result<()> {
    let data =
        usize::try_from(count).ok().and_then(|count| data.get(..count)).ok_or(nfsstat3::NFS3ERR_INVAL)?;
    let (tree, stable) = (&target.export.tree, wire::stable(stable));
    tree.write(&target.caller, &target.id, offset, data, stable).map_err(wire::status)
}

fn put_read(reply: &mut Reply, read: usize, short: bool, offset: u64, attributes: fattr3) {
    let ends = short || offset.saturating_add(read as u64) >= attributes.size;
    let count = u32::try_from(read).unwrap_or(u32::MAX);
    debug_assert_eq!(post_op_attr::Some(attributes.clone()).packed_size(), READ_HEAD - 16);
    reply.put(&nfsstat3::NFS3_OK);
    reply.put(&post_op_attr::Some(attributes));
    reply.put(&count);
    reply.put(&ends);
    reply.put(&count);
    reply.skip(read.next_multiple_of(4));
}

/// Bytes of the head: status, attributes, count, end of file, and the length of the data.
const READ_HEAD: usize = 4 + (4 + 84) + 4 + 4 + 4;
const PADDING: usize = 3;
