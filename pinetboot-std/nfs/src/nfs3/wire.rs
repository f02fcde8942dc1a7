//! Conversions between the protocol's types and those of [`FileSystem`](crate::FileSystem).

use nfs3_types::nfs3::{
    createhow3, devicedata3, fattr3, ftype3, mknoddata3, nfsstat3, nfstime3, sattr3, set_atime, set_gid3,
    set_mode3, set_mtime, set_size3, set_uid3, specdata3, stable_how,
};

use crate::file_system::{
    Attributes, CreateHow, Device, FileKind, FsError, Node, SetAttributes, SetTime, Stable, Time,
};

pub(super) fn status(error: FsError) -> nfsstat3 {
    match error {
        FsError::NotOwner => nfsstat3::NFS3ERR_PERM,
        FsError::NotFound => nfsstat3::NFS3ERR_NOENT,
        FsError::Io => nfsstat3::NFS3ERR_IO,
        FsError::NoSuchDevice => nfsstat3::NFS3ERR_NXIO,
        FsError::Denied => nfsstat3::NFS3ERR_ACCES,
        FsError::Exists => nfsstat3::NFS3ERR_EXIST,
        FsError::OtherFileSystem => nfsstat3::NFS3ERR_XDEV,
        FsError::WrongDevice => nfsstat3::NFS3ERR_NODEV,
        FsError::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        FsError::IsDirectory => nfsstat3::NFS3ERR_ISDIR,
        FsError::Invalid => nfsstat3::NFS3ERR_INVAL,
        FsError::TooLarge => nfsstat3::NFS3ERR_FBIG,
        FsError::NoSpace => nfsstat3::NFS3ERR_NOSPC,
        FsError::ReadOnly => nfsstat3::NFS3ERR_ROFS,
        FsError::TooManyLinks => nfsstat3::NFS3ERR_MLINK,
        FsError::NameTooLong => nfsstat3::NFS3ERR_NAMETOOLONG,
        FsError::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        FsError::Quota => nfsstat3::NFS3ERR_DQUOT,
        FsError::Stale => nfsstat3::NFS3ERR_STALE,
        FsError::BadCookie => nfsstat3::NFS3ERR_BAD_COOKIE,
        FsError::NotSupported => nfsstat3::NFS3ERR_NOTSUPP,
        FsError::BadKind => nfsstat3::NFS3ERR_BADTYPE,
        FsError::Fault => nfsstat3::NFS3ERR_SERVERFAULT,
        FsError::Later => nfsstat3::NFS3ERR_JUKEBOX,
    }
}

/// Attributes of a file of this export. To its clients an export is one file system, also if made of several.
pub(super) fn attributes(of: &Attributes, export: u32) -> fattr3 {
    fattr3 {
        type_: kind(of.kind),
        mode: of.mode,
        nlink: of.links,
        uid: of.uid,
        gid: of.gid,
        size: of.size,
        used: of.used,
        rdev: specdata3 { specdata1: of.device.major, specdata2: of.device.minor },
        fsid: export.into(),
        fileid: of.file_number,
        atime: time(of.accessed),
        mtime: time(of.modified),
        ctime: time(of.changed),
    }
}

pub(super) fn time(time: Time) -> nfstime3 {
    nfstime3 { seconds: time.seconds, nseconds: time.nanoseconds }
}

pub(super) fn changes(wanted: &sattr3) -> SetAttributes {
    let to = |time: nfstime3| SetTime::To(Time { seconds: time.seconds, nanoseconds: time.nseconds });
    SetAttributes {
        mode: if let set_mode3::Some(mode) = wanted.mode { Some(mode) } else { None },
        uid: if let set_uid3::Some(uid) = wanted.uid { Some(uid) } else { None },
        gid: if let set_gid3::Some(gid) = wanted.gid { Some(gid) } else { None },
        size: if let set_size3::Some(size) = wanted.size { Some(size) } else { None },
        accessed: match wanted.atime {
            set_atime::DONT_CHANGE => SetTime::Keep,
            set_atime::SET_TO_SERVER_TIME => SetTime::Now,
            set_atime::SET_TO_CLIENT_TIME(time) => to(time),
        },
        modified: match wanted.mtime {
            set_mtime::DONT_CHANGE => SetTime::Keep,
            set_mtime::SET_TO_SERVER_TIME => SetTime::Now,
            set_mtime::SET_TO_CLIENT_TIME(time) => to(time),
        },
    }
}

pub(super) fn create_how(how: &createhow3) -> CreateHow {
    match how {
        createhow3::UNCHECKED(with) => CreateHow::Unchecked(changes(with)),
        createhow3::GUARDED(with) => CreateHow::Guarded(changes(with)),
        createhow3::EXCLUSIVE(verifier) => CreateHow::Exclusive(verifier.0),
    }
}

/// `None` for kinds that MKNOD does not make.
pub(super) fn node(what: &mknoddata3) -> Option<(Node, SetAttributes)> {
    let device = |of: &devicedata3| Device { major: of.spec.specdata1, minor: of.spec.specdata2 };
    let (node, with) = match what {
        mknoddata3::NF3CHR(of) => (Node::CharacterDevice(device(of)), &of.dev_attributes),
        mknoddata3::NF3BLK(of) => (Node::BlockDevice(device(of)), &of.dev_attributes),
        mknoddata3::NF3SOCK(with) => (Node::Socket, with),
        mknoddata3::NF3FIFO(with) => (Node::Fifo, with),
        mknoddata3::default => return None,
    };
    Some((node, changes(with)))
}

pub(super) fn stable(how: stable_how) -> Stable {
    match how {
        stable_how::UNSTABLE => Stable::Unstable,
        stable_how::DATA_SYNC => Stable::DataSync,
        stable_how::FILE_SYNC => Stable::FileSync,
    }
}

fn kind(kind: FileKind) -> ftype3 {
    match kind {
        FileKind::Regular => ftype3::NF3REG,
        FileKind::Directory => ftype3::NF3DIR,
        FileKind::BlockDevice => ftype3::NF3BLK,
        FileKind::CharacterDevice => ftype3::NF3CHR,
        FileKind::Symlink => ftype3::NF3LNK,
        FileKind::Socket => ftype3::NF3SOCK,
        FileKind::Fifo => ftype3::NF3FIFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_keeps_its_meaning() {
        let at = |seconds| Time { seconds, nanoseconds: seconds + 1 };
        let file = Attributes {
            kind: FileKind::CharacterDevice,
            mode: 0o644,
            links: 2,
            uid: 3,
            gid: 4,
            size: 5,
            used: 6,
            device: Device { major: 7, minor: 8 },
            file_number: 9,
            accessed: at(10),
            modified: at(20),
            changed: at(30),
        };
        let wire = attributes(&file, 40);
        assert_eq!((wire.type_, wire.mode, wire.nlink), (ftype3::NF3CHR, 0o644, 2));
        assert_eq!((wire.uid, wire.gid, wire.size, wire.used), (3, 4, 5, 6));
        assert_eq!((wire.rdev.specdata1, wire.rdev.specdata2), (7, 8));
        assert_eq!((wire.fsid, wire.fileid), (40, 9));
        let at = |seconds| nfstime3 { seconds, nseconds: seconds + 1 };
        assert_eq!((wire.atime, wire.mtime, wire.ctime), (at(10), at(20), at(30)));
    }

    #[test]
    fn every_change_keeps_its_meaning() {
        let wanted = sattr3 {
            mode: set_mode3::Some(1),
            uid: set_uid3::Some(2),
            gid: set_gid3::Some(3),
            size: set_size3::Some(4),
            atime: set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 5, nseconds: 6 }),
            mtime: set_mtime::SET_TO_SERVER_TIME,
        };
        let accessed = SetTime::To(Time { seconds: 5, nanoseconds: 6 });
        let expected = SetAttributes {
            mode: Some(1),
            uid: Some(2),
            gid: Some(3),
            size: Some(4),
            accessed,
            modified: SetTime::Now,
        };
        assert_eq!(changes(&wanted), expected);
        assert_eq!(changes(&sattr3::default()), SetAttributes::default());
    }
}
