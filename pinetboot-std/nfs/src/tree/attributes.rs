//! Attributes and errors, from the kernel's words into NFS's.

use nfs3_types::nfs3::{fattr3, ftype3, nfsstat3, nfstime3, specdata3};
use rustix::fs::{FileType, Stat, major, minor};
use rustix::io::Errno;

/// `fsid` is left 0: one export is one file system to its clients, whatever is under it.
pub(super) fn attributes(stat: &Stat) -> fattr3 {
    fattr3 {
        type_: file_type(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        used: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
        rdev: specdata3 { specdata1: major(stat.st_rdev), specdata2: minor(stat.st_rdev) },
        fsid: 0,
        fileid: stat.st_ino,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// RFC 1813, section 2.6. What has no counterpart becomes what a client makes least mischief of.
pub(super) fn status(error: Errno) -> nfsstat3 {
    match error {
        Errno::PERM => nfsstat3::NFS3ERR_PERM,
        Errno::NOENT => nfsstat3::NFS3ERR_NOENT,
        Errno::NXIO => nfsstat3::NFS3ERR_NXIO,
        Errno::ACCESS | Errno::BUSY | Errno::TXTBSY => nfsstat3::NFS3ERR_ACCES,
        Errno::EXIST => nfsstat3::NFS3ERR_EXIST,
        Errno::XDEV => nfsstat3::NFS3ERR_XDEV,
        Errno::NODEV => nfsstat3::NFS3ERR_NODEV,
        Errno::NOTDIR => nfsstat3::NFS3ERR_NOTDIR,
        Errno::ISDIR => nfsstat3::NFS3ERR_ISDIR,
        Errno::INVAL | Errno::LOOP => nfsstat3::NFS3ERR_INVAL,
        Errno::FBIG => nfsstat3::NFS3ERR_FBIG,
        Errno::NOSPC => nfsstat3::NFS3ERR_NOSPC,
        Errno::ROFS => nfsstat3::NFS3ERR_ROFS,
        Errno::MLINK => nfsstat3::NFS3ERR_MLINK,
        Errno::NAMETOOLONG => nfsstat3::NFS3ERR_NAMETOOLONG,
        Errno::NOTEMPTY => nfsstat3::NFS3ERR_NOTEMPTY,
        Errno::DQUOT => nfsstat3::NFS3ERR_DQUOT,
        Errno::STALE => nfsstat3::NFS3ERR_STALE,
        Errno::OPNOTSUPP => nfsstat3::NFS3ERR_NOTSUPP,
        // Passes: the client is to ask again.
        Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TIMEDOUT => {
            nfsstat3::NFS3ERR_JUKEBOX
        }
        _ => nfsstat3::NFS3ERR_IO,
    }
}

fn file_type(kind: FileType) -> ftype3 {
    match kind {
        FileType::Directory => ftype3::NF3DIR,
        FileType::Symlink => ftype3::NF3LNK,
        FileType::BlockDevice => ftype3::NF3BLK,
        FileType::CharacterDevice => ftype3::NF3CHR,
        FileType::Fifo => ftype3::NF3FIFO,
        FileType::Socket => ftype3::NF3SOCK,
        FileType::RegularFile | FileType::Unknown => ftype3::NF3REG,
    }
}

fn time<N: TryInto<u32>>(seconds: i64, nanoseconds: N) -> nfstime3 {
    let seconds = u32::try_from(seconds.clamp(0, u32::MAX.into())).unwrap_or_default();
    nfstime3 { seconds, nseconds: nanoseconds.try_into().unwrap_or_default() }
}
