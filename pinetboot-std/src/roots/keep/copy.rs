//! Copies directories from one root to another, by descriptors alone: no link in either leads elsewhere.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat,
    symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;

/// A copy under way.
pub(super) struct Copy<'a> {
    from: OwnedFd,
    to: OwnedFd,
    /// Called for each file and each piece of one.
    tick: &'a dyn Fn() -> io::Result<()>,
    /// The first copy of a file with several names, by its path in the new root.
    linked: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl<'a> Copy<'a> {
    pub(super) fn new(from: OwnedFd, to: OwnedFd, tick: &'a dyn Fn() -> io::Result<()>) -> Self {
        Self { from, to, tick, linked: HashMap::new(), buffer: vec![0; 1 << 18] }
    }

    /// The size of a directory with its content, as the disk counts; 0 if the old root lacks the directory.
    pub(super) fn size(&self, place: &Path) -> io::Result<u64> {
        match descend(&self.from, place)? {
            Some(directory) => size_of(&directory, 0),
            None => Ok(0),
        }
    }

    /// Replaces a directory of the new root by the old root's; leaves it alone if the old root lacks the directory.
    pub(super) fn run(&mut self, place: &Path) -> io::Result<()> {
        let Some(from) = descend(&self.from, place)? else { return Ok(()) };
        let mut to = self.to.try_clone()?;
        let (mut old, mut path) = (self.from.try_clone()?, PathBuf::new());
        for name in names(place) {
            old = directory(&old, name)?;
            path.push(name);
            match mkdirat(&to, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    let made = directory(&to, name)?;
                    finish(&made, &stat(&old)?)?;
                    to = made;
                }
                Err(Errno::EXIST) => to = directory(&to, name)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        clear(&to, 0)?;
        self.directory(&from, &to, &path, 0)
    }

    /// Writes all to the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        Ok(syncfs(directory(&self.to, std::ffi::OsStr::new("."))?)?)
    }

    /// Copies the content of a directory to an empty one, and its attributes.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        check(depth)?;
        for name in entries(from)? {
            let at = path.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
            self.entry(from, to, &name, &at, depth).map_err(|error| {
                io::Error::new(error.kind(), format!("/{}: {error}", crate::text::shown(&at)))
            })?;
        }
        copy_xattrs(from, to)?;
        finish(to, &stat(from)?)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CString,
        at: &Path,
        depth: usize,
    ) -> io::Result<()> {
        (self.tick)()?;
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let name = std::ffi::OsStr::from_bytes(name.as_bytes());
            return self.directory(&directory(from, name)?, &directory(to, name)?, at, depth + 1);
        }
        let id = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&id) {
            return Ok(linkat(&self.to, first.as_path(), to, name, AtFlags::empty())?);
        }
        match kind {
            FileType::RegularFile => self.file(from, to, name, &stat)?,
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                own(to, name, &stat)?;
            }
            kind => {
                mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
                own(to, name, &stat)?;
                // The umask may have taken bits.
                rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
            }
        }
        if stat.st_nlink > 1 {
            self.linked.insert(id, at.to_owned());
        }
        Ok(())
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CString, stat: &Stat) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = File::from(openat(from, name, flags, Mode::empty())?);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = File::from(openat(to, name, flags, Mode::from_raw_mode(0o600))?);
        let len = u64::try_from(stat.st_size).unwrap_or_default();
        let mut end = 0;
        loop {
            let start = match seek(&source, SeekFrom::Data(end)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break, // no data behind
                Err(errno) => return Err(errno.into()),
            };
            end = seek(&source, SeekFrom::Hole(start))?;
            let mut at = start;
            while at < end {
                (self.tick)()?;
                let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buffer.len());
                let piece = self.buffer.get_mut(..piece).unwrap_or_default();
                source.read_exact_at(piece, at)?;
                target.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
        }
        target.set_len(len)?;
        copy_xattrs(&source, &target)?;
        finish(&target, stat)
    }
}

/// Opens a directory of a root, without following links; `None` without it.
fn descend(root: &OwnedFd, place: &Path) -> io::Result<Option<OwnedFd>> {
    let mut at = root.try_clone()?;
    for name in names(place) {
        at = match directory(&at, name) {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
    }
    Ok(Some(at))
}

fn names(place: &Path) -> impl Iterator<Item = &std::ffi::OsStr> {
    place.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn directory(at: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Ok(directory) => Ok(directory),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let name = crate::text::shown(name);
            Err(io::Error::other(format!(
                "{name} is no directory, or a link to one: name the directory itself"
            )))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// The names in a directory.
fn entries(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if ![&b"."[..], b".."].contains(&name.as_bytes()) {
            names.push(name);
        }
    }
    Ok(names)
}

fn size_of(at: &OwnedFd, depth: usize) -> io::Result<u64> {
    check(depth)?;
    let mut size = 0_u64;
    for name in entries(at)? {
        let stat = statat(at, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        size = size.saturating_add(u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let beneath = directory(at, std::ffi::OsStr::from_bytes(name.as_bytes()))?;
            size = size.saturating_add(size_of(&beneath, depth + 1)?);
        }
    }
    Ok(size)
}

/// Removes the content of a directory.
fn clear(at: &OwnedFd, depth: usize) -> io::Result<()> {
    check(depth)?;
    for name in entries(at)? {
        let stat = statat(at, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            clear(&directory(at, std::ffi::OsStr::from_bytes(name.as_bytes()))?, depth + 1)?;
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        unlinkat(at, &name, flags)?;
    }
    Ok(())
}

/// Copies extended attributes; overlayfs's own are not visible here.
fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut list = vec![0; 64 << 10]; // the kernel's limit, XATTR_LIST_MAX
    let len = match flistxattr(&from, &mut list[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in list.get(..len).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10]; // XATTR_SIZE_MAX
        let len = fgetxattr(&from, name, &mut value[..])?;
        fsetxattr(&to, name, value.get(..len).unwrap_or_default(), XattrFlags::empty())?;
    }
    Ok(())
}

/// Sets owner, mode and times; the mode last, for a change of the owner clears some of its bits.
fn finish(file: impl AsFd, stat: &Stat) -> io::Result<()> {
    fchown(&file, Some(uid(stat)), Some(gid(stat)))?;
    fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(futimens(&file, &times(stat))?)
}

/// Sets owner and times of a link or device.
fn own(at: &OwnedFd, name: &CString, stat: &Stat) -> io::Result<()> {
    chownat(at, name, Some(uid(stat)), Some(gid(stat)), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(at, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn uid(stat: &Stat) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(stat.st_gid)
}

fn times(stat: &Stat) -> Timestamps {
    let modified =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default() };
    let accessed =
        Timespec { tv_sec: stat.st_atime, tv_nsec: i64::try_from(stat.st_atime_nsec).unwrap_or_default() };
    Timestamps { last_access: accessed, last_modification: modified }
}

fn stat(file: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(file)?)
}

/// Each level holds descriptors.
fn check(depth: usize) -> io::Result<()> {
    if depth < MOST_DEPTH { Ok(()) } else { Err(io::Error::other("directories are nested too deeply")) }
}

const MOST_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use rustix::fs::CWD;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a_directory_is_replaced_with_all_that_it_has() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (old.path(), new.path());
        fs::create_dir_all(from.join("srv/home/ada/deep")).unwrap();
        fs::write(from.join("srv/home/ada/a"), "hello").unwrap();
        fs::hard_link(from.join("srv/home/ada/a"), from.join("srv/home/ada/deep/b")).unwrap();
        symlink("/etc/shadow", from.join("srv/home/link")).unwrap();
        fs::set_permissions(from.join("srv/home/ada"), fs::Permissions::from_mode(0o2750)).unwrap();
        let sparse = File::create(from.join("srv/home/sparse")).unwrap();
        sparse.write_all_at(b"x", 10 << 20).unwrap();
        sparse.set_len(20 << 20).unwrap();
        sparse.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::create_dir_all(to.join("srv/home/skeleton/deep")).unwrap();
        fs::write(to.join("srv/home/skeleton/deep/x"), "of the image").unwrap();
        fs::write(to.join("srv/other"), "stays").unwrap();

        let mut copy = Copy::new(open(from), open(to), &|| Ok(()));
        let place = Path::new("/srv/home");
        assert!((1..1 << 20).contains(&copy.size(place).unwrap()));
        copy.run(place).unwrap();
        copy.run(Path::new("/none")).unwrap();
        copy.finish().unwrap();
        let home = to.join("srv/home");
        assert_eq!(fs::read_to_string(home.join("ada/deep/b")).unwrap(), "hello");
        let ino = |name: &str| fs::metadata(home.join(name)).unwrap().ino();
        assert_eq!(ino("ada/a"), ino("ada/deep/b"), "one file with two names");
        assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(fs::metadata(home.join("ada")).unwrap().mode() & 0o7777, 0o2750);
        let sparse = fs::metadata(home.join("sparse")).unwrap();
        assert_eq!((sparse.len(), sparse.mtime()), (20 << 20, 0));
        assert!(sparse.blocks() < 100, "holes stay holes");
        assert!(!home.join("skeleton").exists() && to.join("srv/other").exists());
    }

    #[test]
    fn a_link_in_the_way_is_an_error() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(old.path().join("home")).unwrap();
        fs::write(old.path().join("home/x"), "x").unwrap();
        symlink("/tmp", new.path().join("home")).unwrap();
        let mut copy = Copy::new(open(old.path()), open(new.path()), &|| Ok(()));
        assert!(copy.run(Path::new("/home")).unwrap_err().to_string().contains("link"));
        let mut back = Copy::new(open(new.path()), open(old.path()), &|| Ok(()));
        assert!(back.run(Path::new("/home")).unwrap_err().to_string().contains("link"));
        assert!(old.path().join("home/x").exists(), "nothing was removed");
    }
}
