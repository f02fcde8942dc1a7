//! Procedures that make, move and remove names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.

use nfs3_types::nfs3::{
    CREATE3res, CREATE3resfail, CREATE3resok, LINK3res, LINK3resfail, LINK3resok, MKDIR3res, MKDIR3resfail,
    MKDIR3resok, MKNOD3res, MKNOD3resfail, MKNOD3resok, Nfs3Option, Nfs3Result, REMOVE3res, REMOVE3resfail,
    REMOVE3resok, RENAME3res, RENAME3resfail, RENAME3resok, RMDIR3res, RMDIR3resfail, RMDIR3resok,
    SYMLINK3res, SYMLINK3resfail, SYMLINK3resok, nfsstat3, post_op_attr, post_op_fh3, wcc_data,
};

use super::{Arguments, Garbage, Request, Result, Target, component, name, wire};
use crate::file_system::{self, FileSystem, Found, FsError};

type Answer<T> = core::result::Result<T, Garbage>;

/// The result of making a file.
struct Made {
    object: Result<(post_op_fh3, post_op_attr)>,
    dir_wcc: wcc_data,
}

impl Request<'_> {
    pub(super) fn create(&self, mut arguments: Arguments<'_>) -> Answer<CREATE3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let how = wire::create_how(&arguments.fixed()?);
        let Made { object, dir_wcc } =
            self.make(dir, called, |tree, dir, name| tree.create(&dir.caller, &dir.id, name, &how));
        Ok(match object {
            Ok((obj, obj_attributes)) => Nfs3Result::Ok(CREATE3resok { obj, obj_attributes, dir_wcc }),
            Err(status) => Nfs3Result::Err((status, CREATE3resfail { dir_wcc })),
        })
    }

    pub(super) fn make_directory(&self, mut arguments: Arguments<'_>) -> Answer<MKDIR3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let with = wire::changes(&arguments.fixed()?);
        let Made { object, dir_wcc } =
            self.make(dir, called, |tree, dir, name| tree.make_directory(&dir.caller, &dir.id, name, &with));
        Ok(match object {
            Ok((obj, obj_attributes)) => Nfs3Result::Ok(MKDIR3resok { obj, obj_attributes, dir_wcc }),
            Err(status) => Nfs3Result::Err((status, MKDIR3resfail { dir_wcc })),
        })
    }

    pub(super) fn make_symlink(&self, mut arguments: Arguments<'_>) -> Answer<SYMLINK3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let with = wire::changes(&arguments.fixed()?);
        let target = arguments.opaque()?;
        let Made { object, dir_wcc } = self.make(dir, called, |tree, dir, name| match target.len() {
            0 => Err(FsError::Invalid),
            1..=MOST_PATH => tree.make_symlink(&dir.caller, &dir.id, name, target, &with),
            _ => Err(FsError::NameTooLong),
        });
        Ok(match object {
            Ok((obj, obj_attributes)) => Nfs3Result::Ok(SYMLINK3resok { obj, obj_attributes, dir_wcc }),
            Err(status) => Nfs3Result::Err((status, SYMLINK3resfail { dir_wcc })),
        })
    }

    pub(super) fn make_node(&self, mut arguments: Arguments<'_>) -> Answer<MKNOD3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let node = wire::node(&arguments.fixed()?);
        let Made { object, dir_wcc } = self.make(dir, called, |tree, dir, name| match node {
            Some((node, with)) => tree.make_node(&dir.caller, &dir.id, name, node, &with),
            None => Err(FsError::BadKind),
        });
        Ok(match object {
            Ok((obj, obj_attributes)) => Nfs3Result::Ok(MKNOD3resok { obj, obj_attributes, dir_wcc }),
            Err(status) => Nfs3Result::Err((status, MKNOD3resfail { dir_wcc })),
        })
    }

    pub(super) fn remove(&self, mut arguments: Arguments<'_>) -> Answer<REMOVE3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let (result, dir_wcc) =
            self.unmake(dir, called, |tree, dir, name| tree.remove(&dir.caller, &dir.id, name));
        Ok(match result {
            Ok(()) => Nfs3Result::Ok(REMOVE3resok { dir_wcc }),
            Err(status) => Nfs3Result::Err((status, REMOVE3resfail { dir_wcc })),
        })
    }

    pub(super) fn remove_directory(&self, mut arguments: Arguments<'_>) -> Answer<RMDIR3res> {
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let (result, dir_wcc) =
            self.unmake(dir, called, |tree, dir, name| tree.remove_directory(&dir.caller, &dir.id, name));
        Ok(match result {
            Ok(()) => Nfs3Result::Ok(RMDIR3resok { dir_wcc }),
            Err(status) => Nfs3Result::Err((status, RMDIR3resfail { dir_wcc })),
        })
    }

    pub(super) fn rename(&self, mut arguments: Arguments<'_>) -> Answer<RENAME3res> {
        let (from, from_name) = (arguments.opaque()?, arguments.opaque()?);
        let (to, to_name) = (arguments.opaque()?, arguments.opaque()?);
        let (from, to) = match self.targets_to_change(from, to) {
            Ok(targets) => targets,
            Err(status) => return Ok(Nfs3Result::Err((status, RENAME3resfail::default()))),
        };
        let ((result, todir_wcc), fromdir_wcc) = {
            let before = from.before();
            let both = to.changed(|| {
                let names = (present(from_name)?, present(to_name)?);
                within_one(&from, &to)?;
                to.export
                    .tree
                    .rename(&to.caller, (&from.id, names.0), (&to.id, names.1))
                    .map_err(wire::status)
            });
            (both, wcc_data { before, after: from.after() })
        };
        Ok(match result {
            Ok(()) => Nfs3Result::Ok(RENAME3resok { fromdir_wcc, todir_wcc }),
            Err(status) => Nfs3Result::Err((status, RENAME3resfail { fromdir_wcc, todir_wcc })),
        })
    }

    pub(super) fn link(&self, mut arguments: Arguments<'_>) -> Answer<LINK3res> {
        let file = arguments.opaque()?;
        let (dir, called) = (arguments.opaque()?, arguments.opaque()?);
        let (file, dir) = match self.targets_to_change(file, dir) {
            Ok(targets) => targets,
            Err(status) => {
                let failed =
                    LINK3resfail { file_attributes: Nfs3Option::None, linkdir_wcc: wcc_data::default() };
                return Ok(Nfs3Result::Err((status, failed)));
            }
        };
        let (result, linkdir_wcc) = dir.changed(|| {
            let name = name(called)?;
            within_one(&file, &dir)?;
            dir.export.tree.link(&dir.caller, &file.id, &dir.id, name).map_err(wire::status)
        });
        let file_attributes = file.after();
        Ok(match result {
            Ok(()) => Nfs3Result::Ok(LINK3resok { file_attributes, linkdir_wcc }),
            Err(status) => Nfs3Result::Err((status, LINK3resfail { file_attributes, linkdir_wcc })),
        })
    }

    fn make(
        &self,
        dir: &[u8],
        called: &[u8],
        make: impl FnOnce(&dyn FileSystem, &Target, &[u8]) -> file_system::Result<Found>,
    ) -> Made {
        let dir = match self.target_to_change(dir) {
            Ok(dir) => dir,
            Err(status) => return Made { object: Err(status), dir_wcc: wcc_data::default() },
        };
        let (made, dir_wcc) =
            dir.changed(|| make(&*dir.export.tree, &dir, name(called)?).map_err(wire::status));
        let made = made.inspect_err(|status| self.note_failed_sync(*status));
        let object =
            made.map(|found| (self.new_handle(&dir, &found), Nfs3Option::Some(dir.seen(&found.attributes))));
        Made { object, dir_wcc }
    }

    fn unmake(
        &self,
        dir: &[u8],
        called: &[u8],
        unmake: impl FnOnce(&dyn FileSystem, &Target, &[u8]) -> file_system::Result<()>,
    ) -> (Result<()>, wcc_data) {
        match self.target_to_change(dir) {
            Ok(dir) => {
                dir.changed(|| unmake(&*dir.export.tree, &dir, present(called)?).map_err(wire::status))
            }
            Err(status) => (Err(status), wcc_data::default()),
        }
    }
}

/// The name of a file to remove or move.
fn present(called: &[u8]) -> Result<&[u8]> {
    match component(called)? {
        b"." => Err(nfsstat3::NFS3ERR_INVAL),
        b".." => Err(nfsstat3::NFS3ERR_EXIST),
        name => Ok(name),
    }
}

fn within_one(a: &Target, b: &Target) -> Result<()> {
    if a.export.id == b.export.id { Ok(()) } else { Err(nfsstat3::NFS3ERR_XDEV) }
}

/// Most bytes of a link's target: Linux's limit without the NUL.
const MOST_PATH: usize = 4095;
