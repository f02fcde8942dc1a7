//! Procedures that read attributes: GETATTR, LOOKUP, ACCESS, READLINK, FSSTAT, FSINFO, PATHCONF; and SETATTR.

use nfs3_types::nfs3::{
    ACCESS3res, ACCESS3resfail, ACCESS3resok, FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK,
    FSINFO3res, FSINFO3resfail, FSINFO3resok, FSSTAT3res, FSSTAT3resfail, FSSTAT3resok, GETATTR3res,
    GETATTR3resok, LOOKUP3res, LOOKUP3resfail, LOOKUP3resok, Nfs3Option, Nfs3Result, PATHCONF3res,
    PATHCONF3resfail, PATHCONF3resok, READLINK3res, READLINK3resfail, READLINK3resok, SETATTR3res,
    SETATTR3resfail, SETATTR3resok, nfspath3, nfsstat3, nfstime3, sattr3, sattrguard3,
};
use nfs3_types::xdr_codec::{Opaque, Void};

use super::{Arguments, Garbage, Request, component, end, wire};
use crate::file_system::Rights;

type Answer<T> = Result<T, Garbage>;

impl Request<'_> {
    pub(super) fn get_attributes(&self, mut arguments: Arguments<'_>) -> Answer<GETATTR3res> {
        let attributes = self.target(arguments.opaque()?).and_then(|target| target.attributes());
        Ok(end(attributes, |obj_attributes| GETATTR3resok { obj_attributes }, || Void))
    }

    pub(super) fn set_attributes(&self, mut arguments: Arguments<'_>) -> Answer<SETATTR3res> {
        let handle = arguments.opaque()?;
        let (changes, guard): (sattr3, sattrguard3) = (arguments.fixed()?, arguments.fixed()?);
        let target = match self.target_to_change(handle) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, SETATTR3resfail::default()))),
        };
        let (result, obj_wcc) = target.changed(|| {
            if let Nfs3Option::Some(expected) = guard
                && target.attributes()?.ctime != expected
            {
                return Err(nfsstat3::NFS3ERR_NOT_SYNC);
            }
            let changes = wire::changes(&changes);
            target.export.tree.set_attributes(&target.caller, &target.id, &changes).map_err(wire::status)
        });
        Ok(match result {
            Ok(()) => Nfs3Result::Ok(SETATTR3resok { obj_wcc }),
            Err(status) => {
                self.note_failed_sync(status);
                Nfs3Result::Err((status, SETATTR3resfail { obj_wcc }))
            }
        })
    }

    pub(super) fn lookup(&self, mut arguments: Arguments<'_>) -> Answer<LOOKUP3res> {
        let (dir, name) = (arguments.opaque()?, arguments.opaque()?);
        let dir = match self.target(dir) {
            Ok(dir) => dir,
            Err(status) => return Ok(Nfs3Result::Err((status, LOOKUP3resfail::default()))),
        };
        let found = component(name)
            .and_then(|name| dir.export.tree.lookup(&dir.caller, &dir.id, name).map_err(wire::status));
        self.note_lookup(dir.export.id, name, found.as_ref().err().copied());
        let dir_attributes = dir.after();
        Ok(match found {
            Ok(found) => Nfs3Result::Ok(LOOKUP3resok {
                object: self.handle(&dir, &found),
                obj_attributes: Nfs3Option::Some(dir.seen(&found.attributes)),
                dir_attributes,
            }),
            Err(status) => Nfs3Result::Err((status, LOOKUP3resfail { dir_attributes })),
        })
    }

    pub(super) fn access(&self, mut arguments: Arguments<'_>) -> Answer<ACCESS3res> {
        let (handle, wanted): (_, u32) = (arguments.opaque()?, arguments.fixed()?);
        let target = match self.target(handle) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, ACCESS3resfail::default()))),
        };
        let refused = if target.export.read_only {
            Rights::MODIFY | Rights::EXTEND | Rights::DELETE
        } else {
            Rights::NONE
        };
        let wanted = Rights::of_bits(wanted).without(refused);
        let access = target.export.tree.access(&target.caller, &target.id, wanted);
        let obj_attributes = target.after();
        Ok(match access {
            Ok(access) => Nfs3Result::Ok(ACCESS3resok { obj_attributes, access: access.bits() }),
            Err(error) => Nfs3Result::Err((wire::status(error), ACCESS3resfail { obj_attributes })),
        })
    }

    pub(super) fn read_link(&self, mut arguments: Arguments<'_>) -> Answer<READLINK3res<'static>> {
        let target = match self.target(arguments.opaque()?) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, READLINK3resfail::default()))),
        };
        let link = target.export.tree.read_link(&target.caller, &target.id);
        let symlink_attributes = target.after();
        Ok(match link {
            Ok(path) => {
                Nfs3Result::Ok(READLINK3resok { symlink_attributes, data: nfspath3(Opaque::owned(path)) })
            }
            Err(error) => Nfs3Result::Err((wire::status(error), READLINK3resfail { symlink_attributes })),
        })
    }

    pub(super) fn usage(&self, mut arguments: Arguments<'_>) -> Answer<FSSTAT3res> {
        let target = match self.target(arguments.opaque()?) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, FSSTAT3resfail::default()))),
        };
        let obj_attributes = target.after();
        Ok(match target.export.tree.usage() {
            Ok(usage) => Nfs3Result::Ok(FSSTAT3resok {
                obj_attributes,
                tbytes: usage.bytes,
                fbytes: usage.free_bytes,
                abytes: usage.available_bytes,
                tfiles: usage.files,
                ffiles: usage.free_files,
                afiles: usage.free_files,
                invarsec: 0,
            }),
            Err(error) => Nfs3Result::Err((wire::status(error), FSSTAT3resfail { obj_attributes })),
        })
    }

    pub(super) fn information(&self, mut arguments: Arguments<'_>) -> Answer<FSINFO3res> {
        let target = match self.target(arguments.opaque()?) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, FSINFO3resfail::default()))),
        };
        let [read, write] = [self.most_read, self.most_write].map(|most| most.try_into().unwrap_or(u32::MAX));
        let attributes = target.attributes();
        Ok(end(
            attributes,
            |attributes| FSINFO3resok {
                obj_attributes: Nfs3Option::Some(attributes),
                rtmax: read,
                rtpref: read,
                rtmult: 4096,
                wtmax: write,
                wtpref: write,
                wtmult: 4096,
                dtpref: read.min(64 * 1024),
                maxfilesize: i64::MAX.cast_unsigned(),
                time_delta: nfstime3 { seconds: 0, nseconds: 1 },
                properties: FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
            },
            FSINFO3resfail::default,
        ))
    }

    pub(super) fn path_limits(&self, mut arguments: Arguments<'_>) -> Answer<PATHCONF3res> {
        let target = match self.target(arguments.opaque()?) {
            Ok(target) => target,
            Err(status) => return Ok(Nfs3Result::Err((status, PATHCONF3resfail::default()))),
        };
        let obj_attributes = target.after();
        Ok(match target.export.tree.usage() {
            Ok(usage) => Nfs3Result::Ok(PATHCONF3resok {
                obj_attributes,
                linkmax: usage.link_max,
                name_max: usage.name_max,
                no_trunc: true,
                chown_restricted: true,
                case_insensitive: false,
                case_preserving: true,
            }),
            Err(error) => Nfs3Result::Err((wire::status(error), PATHCONF3resfail { obj_attributes })),
        })
    }
}
