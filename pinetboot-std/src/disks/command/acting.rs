//! A command of root acts on disks as the user that owns them, as the server does: a link in their directory leads root nowhere.

use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Uid, getegid, geteuid, setegid, seteuid};

use super::failure;
use crate::disks::Place;
use crate::exit::Failed;

/// This process acts as another user, until this is dropped.
#[derive(Debug)]
pub(super) struct Acting(Option<(Uid, Gid)>);

impl Acting {
    /// Acts as the owner of the directory of disks, if this is root.
    pub(super) fn as_owner_of(place: &Place) -> Result<Self, Failed> {
        let owner = place.metadata().map_err(failure)?;
        let before = (geteuid(), getegid());
        if !before.0.is_root() || owner.uid() == 0 {
            return Ok(Self(None));
        }
        let acting = Self(Some(before));
        setegid(Gid::from_raw(owner.gid())).map_err(|errno| failure(errno.into()))?;
        seteuid(Uid::from_raw(owner.uid())).map_err(|errno| failure(errno.into()))?;
        Ok(acting)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some((user, group)) = self.0 {
            // Both are this process's own: the saved ones.
            let _back = seteuid(user).and_then(|()| setegid(group));
        }
    }
}
