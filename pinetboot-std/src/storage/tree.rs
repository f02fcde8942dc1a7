//! A directory tree, served beneath its root and nowhere else.

mod error;
mod hints;

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat, fstatat};
use pinetboot_core::pi::{Lookup, Place, Prefix};
use pinetboot_core::{BootPath, OpenError};

use super::miss::Miss;
use super::recent::RecentFiles;
use super::shared::{OnDisk, Version};
use super::{FoundContent, Medium, Reach};
use crate::beneath::beneath;

pub use error::TreeError;
use error::{NOT_FOR_PIS, TreeErrorKind};
use hints::Hints;

/// A tree of boot files.
///
/// A name with a Pi's prefix (`7bf18f79/config.txt`) is looked up in the Pi's own directory if that exists, else in the shared
/// directory. Never in both: a Pi with its own system must not get the shared kernel because its directory lacks an optional
/// one.
///
/// TFTP has no users, so a file is sent only if its mode lets others read it (`chmod o+r`), as with other TFTP servers. A
/// directory with images or with state of Pis is refused: it holds keys and passwords.
#[derive(Debug)]
pub struct BootTree {
    root: OwnedFd,
    path: PathBuf,
    medium: Medium,
    /// Whether links may name places in the tree by absolute paths of this machine: not where a Pi writes.
    absolute_links: bool,
    recent: RecentFiles,
    hints: Hints,
}

impl BootTree {
    /// Opens a tree.
    ///
    /// # Errors
    ///
    /// If the directory is missing or empty, or this system cannot serve it safely.
    pub fn open_at(path: &Path) -> Result<Self, TreeError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty());
        Ok(Self { absolute_links: true, ..Self::open_as(path, root)? })
    }

    /// The tree in an open directory, which has this path.
    ///
    /// # Errors
    ///
    /// As for [`open_at`](Self::open_at).
    pub fn of(directory: OwnedFd, path: &Path) -> Result<Self, TreeError> {
        Self::open_as(path, Ok(directory))
    }

    fn open_as(path: &Path, root: Result<OwnedFd, Errno>) -> Result<Self, TreeError> {
        let error = |kind| TreeError { path: path.to_owned(), kind };
        let root = root.map_err(|errno| error(TreeErrorKind::Open(errno.into())))?;
        if let Some(found) = NOT_FOR_PIS.into_iter().find(|name| is_there(&root, name)) {
            return Err(error(TreeErrorKind::NotForPis(found)));
        }
        let through = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let mut entries = fs::read_dir(through).map_err(|reason| error(TreeErrorKind::Open(reason)))?;
        if entries.next().is_none() {
            return Err(error(TreeErrorKind::Empty));
        }
        match beneath(&root, Path::new("."), OFlag::O_PATH) {
            Ok(_) => {
                let (medium, path, recent) = (Medium::of(&root), path.to_owned(), RecentFiles::default());
                let hints = Hints::default();
                Ok(Self { medium, root, path, absolute_links: false, recent, hints })
            }
            Err(reason) => Err(error(TreeErrorKind::NoOpenat2(reason.into()))),
        }
    }

    /// The tree's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the open directory.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fstat(&self.root).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// Whether the tree has a config.txt, shared or in a directory.
    pub fn has_config(&self) -> bool {
        let in_directory = |path: PathBuf| path.join("config.txt").is_file();
        in_directory(self.path.clone())
            || fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| in_directory(entry.path()))
    }

    /// Opens a file by the Pi's rules.
    ///
    /// # Errors
    ///
    /// The reason, and the path of the look-up; [`OpenError::Later`]: not known within this reach.
    pub(super) fn open(&self, path: &BootPath<'_>, reach: Reach) -> Result<FoundContent, Miss> {
        let (place, opened) = self.open_by_the_rules(path, reach);
        opened.map_err(|obstacle| match obstacle {
            Obstacle::System(Errno::EAGAIN) => OpenError::Later.into(),
            _ => Miss::new(obstacle.error(), &self.path.join(place), obstacle.reason()),
        })
    }

    /// Reads a whole file; `None` if it is longer than `most` bytes.
    ///
    /// # Errors
    ///
    /// If the file is missing or cannot be read; [`OpenError::Later`]: not known within this reach.
    pub(super) fn read(
        &self,
        path: &BootPath<'_>,
        most: u64,
        reach: Reach,
    ) -> Result<Option<Arc<[u8]>>, Miss> {
        let file = match self.open(path, reach)? {
            FoundContent::Made(bytes) => return Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= most)),
            FoundContent::OnDisk(file) => file,
        };
        if file.version.len > most {
            return Ok(None);
        }
        match file.read_whole(reach) {
            Ok(Some(bytes)) => Ok(Some(bytes.into())),
            Ok(None) => Err(OpenError::Later.into()),
            Err(reason) => Err(Miss::new(OpenError::Failed, &file.place, reason)),
        }
    }

    /// Opens a file; returns the path of the last look-up, and its result.
    fn open_by_the_rules(
        &self,
        path: &BootPath<'_>,
        reach: Reach,
    ) -> (PathBuf, Result<FoundContent, Obstacle>) {
        // The name as requested first: an existing file needs no rules, and no look-up of the Pi's directory.
        let asked: PathBuf = path.components().collect();
        let opened = self.open_beneath(&asked, reach);
        if matches!(opened, Ok(_) | Err(Obstacle::System(Errno::EAGAIN))) {
            return (asked, opened);
        }
        let lookup = Lookup::new(*path);
        let obstacle = Cell::new(None);
        let own = |prefix| match self.own_directory(path, prefix, reach) {
            Ok(own) => own,
            Err(found) => {
                obstacle.set(Some(found));
                None
            }
        };
        let directory = match lookup.place(own) {
            Place::Own(directory) => PathBuf::from(directory),
            Place::Shared => PathBuf::new(),
        };
        if let Some((directory, obstacle)) = obstacle.into_inner() {
            return (directory.into(), Err(obstacle));
        }
        let place = directory.join(lookup.file().components().collect::<PathBuf>());
        let opened = if place == asked { opened } else { self.open_beneath(&place, reach) };
        (place, opened)
    }

    /// The name of the Pi's directory, if it exists: as requested, or in lower or upper case.
    ///
    /// # Errors
    ///
    /// The directory that is there and cannot be entered, or about which nothing is known within this reach.
    fn own_directory(
        &self,
        path: &BootPath<'_>,
        prefix: Prefix,
        reach: Reach,
    ) -> Result<Option<String>, (String, Obstacle)> {
        let asked = path.components().next().map(str::to_owned);
        let canonical = prefix.to_string();
        let upper = canonical.to_uppercase();
        let mut names: Vec<_> = asked.into_iter().chain([canonical, upper]).collect();
        names.dedup();
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
        for name in names {
            // One call for a link, if that is usual here. What goes wrong is found out below.
            if self.hints.has_links() && self.open_at_place(Path::new(&name), directory, reach).is_ok() {
                return Ok(Some(name));
            }
            // First without following a link: one call for a name that is absent, the usual case.
            match self.medium.open(reach, &self.root, Path::new(&name), directory | OFlag::O_NOFOLLOW) {
                Ok(_) => return Ok(Some(name)),
                Err(Errno::ENOENT) => {
                    self.hints.set_has_links(false);
                    continue;
                }
                Err(Errno::ENOTDIR) => {} // a link, or a file
                Err(errno) => return Err((name, errno.into())),
            }
            match self.open_at_place(Path::new(&name), directory, reach) {
                Ok(_) => {
                    self.hints.set_has_links(true);
                    return Ok(Some(name));
                }
                Err(Errno::ENOTDIR) => {}
                Err(Errno::ENOENT) => return Err((name, Obstacle::LeadsNowhere)),
                Err(errno) => return Err((name, errno.into())),
            }
        }
        Ok(None)
    }

    /// Opens what is at `place`, in UTF-8 or else in Latin-1. Links are followed as long as they stay in the tree.
    fn open_at_place(&self, place: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
        let opened = self.open_exactly(place, flags, reach);
        match &opened {
            Err(Errno::ENOENT) => {
                in_latin1(place).map_or(opened, |place| self.open_exactly(&place, flags, reach))
            }
            _ => opened,
        }
    }

    fn open_exactly(&self, place: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
        match self.medium.open(reach, &self.root, place, flags) {
            // The kernel refuses every absolute link (openat2(2), RESOLVE_BENEATH).
            Err(Errno::EXDEV) if self.absolute_links => {
                let inside = self.resolved(place)?;
                self.medium.open(reach, &self.root, &inside, flags)
            }
            opened => opened,
        }
    }

    /// The path in the tree to which a path with absolute links leads: `ENOENT` if nothing is there, `EXDEV` if it leaves the tree.
    fn resolved(&self, place: &Path) -> Result<PathBuf, Errno> {
        let top = PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd())).canonicalize();
        let top = top.map_err(|_| Errno::EXDEV)?;
        let place = top.join(place);
        match place.canonicalize() {
            Ok(found) => found.strip_prefix(&top).map(Path::to_owned).map_err(|_| Errno::EXDEV),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let last = place.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
                Err(if last.is_some_and(|last| last.starts_with(&top)) {
                    Errno::ENOENT
                } else {
                    Errno::EXDEV
                })
            }
            Err(_) => Err(Errno::EXDEV),
        }
    }

    fn open_beneath(&self, place: &Path, reach: Reach) -> Result<FoundContent, Obstacle> {
        if reach == Reach::Memory && !self.hints.is_long(place) {
            let found = self.open_at_place(place, OFlag::O_PATH, reach)?;
            let version = version_for_others(&File::from(found))?;
            if let Some(bytes) = self.recent.find(&version) {
                return Ok(FoundContent::Made(bytes));
            }
        }
        // O_NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = File::from(self.open_at_place(place, flags, reach)?);
        let version = version_for_others(&file)?;
        // A file system that is mounted below the tree's has its own kind.
        let medium = if reach == Reach::Memory { self.medium } else { Medium::of(&file) };
        let file = OnDisk { file, version, medium, place: self.path.join(place), first: None };
        self.hints.set_long(place, !RecentFiles::has_room_for(&version));
        if reach == Reach::Memory
            && RecentFiles::keeps(&version, SystemTime::now())
            && let Ok(Some(bytes)) = file.read_whole(reach)
        {
            let bytes = bytes.into();
            self.recent.keep(version, &bytes);
            return Ok(FoundContent::Made(bytes));
        }
        Ok(FoundContent::OnDisk(file))
    }
}

/// The path with the bytes of Latin-1, if they are others.
fn in_latin1(place: &Path) -> Option<PathBuf> {
    let bytes = BootPath::parse(place.as_os_str().as_bytes()).ok()?.latin1()?;
    Some(OsString::from_vec(bytes.collect()).into())
}

/// The version of a regular file that others may read.
fn version_for_others(file: &File) -> Result<Version, Obstacle> {
    let metadata = file.metadata().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if !metadata.is_file() {
        return Err(Errno::EISDIR.into());
    }
    if !Mode::from_bits_truncate(metadata.mode()).contains(Mode::S_IROTH) {
        return Err(Obstacle::NotForOthers);
    }
    Ok(Version::of(&metadata))
}

fn is_there(directory: &OwnedFd, name: &str) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

/// The reason for a refused file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    System(Errno),
    /// The file's mode does not let others read it.
    NotForOthers,
    /// A Pi's directory is a link to a directory that does not exist.
    LeadsNowhere,
}

impl Obstacle {
    const fn error(self) -> OpenError {
        match self {
            Self::System(Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ENAMETOOLONG) => {
                OpenError::NotFound
            }
            Self::System(Errno::EXDEV | Errno::ELOOP | Errno::EACCES | Errno::EPERM)
            | Self::NotForOthers
            | Self::LeadsNowhere => OpenError::Denied,
            Self::System(_) => OpenError::Failed,
        }
    }

    fn reason(self) -> io::Error {
        match self {
            Self::System(Errno::EXDEV) => io::Error::other("a link in the path leads out of the tree"),
            // The server is one of the others, unless the file is its user's.
            Self::System(Errno::EACCES) => {
                io::Error::other("not readable by others (chmod o+r, and o+x for its directories)")
            }
            Self::System(errno) => errno.into(),
            Self::NotForOthers => io::Error::other("not readable by others (chmod o+r)"),
            Self::LeadsNowhere => {
                io::Error::other("the Pi's directory is a link to a directory that does not exist")
            }
        }
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn read(tree: &BootTree, name: &str) -> Result<String, OpenError> {
        let path = BootPath::parse(name.as_bytes()).unwrap();
        let on_disk = tree.read(&path, 100, Reach::Disk).map(Option::unwrap).map_err(|miss| miss.error);
        // Now in the kernel's memory, unless the file system is one that has none.
        match tree.read(&path, 100, Reach::Memory) {
            Err(miss) if miss.error == OpenError::Later => {}
            in_memory => {
                assert_eq!(in_memory.map(Option::unwrap).map_err(|miss| miss.error), on_disk, "{name}");
            }
        }
        on_disk.map(|content| String::from_utf8(content.to_vec()).unwrap())
    }

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, BootTree) {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let tree = BootTree::open_at(directory.path()).unwrap();
        (directory, tree)
    }

    #[test]
    fn a_file_in_memory_is_watched() {
        let (directory, tree) = tree(&[("config.txt", "before")]);
        let place = directory.path().join("config.txt");
        let age = |path: &Path| {
            let ago = SystemTime::now() - std::time::Duration::from_secs(60);
            File::options().write(true).open(path).unwrap().set_modified(ago).unwrap();
        };
        assert_eq!(read(&tree, "config.txt").unwrap(), "before");
        let version = Version::of(&fs::metadata(&place).unwrap());
        // As if the file had been kept, which takes seconds.
        tree.recent.keep(version, &b"kept"[..].into());
        let path = BootPath::parse(b"config.txt").unwrap();
        let now = |tree: &BootTree| tree.read(&path, 100, Reach::Memory).ok().flatten();
        if let Some(kept) = now(&tree) {
            assert_eq!(&*kept, b"kept");
        }
        // The same length and time of modification: the inode's time tells.
        fs::write(&place, "after!").unwrap();
        age(&place);
        assert_eq!(read(&tree, "config.txt").unwrap(), "after!");
        tree.recent.keep(Version::of(&fs::metadata(&place).unwrap()), &b"kept"[..].into());
        fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&tree, "config.txt"), Err(OpenError::Denied));
        fs::remove_file(&place).unwrap();
        assert_eq!(read(&tree, "config.txt"), Err(OpenError::NotFound));
    }

    #[test]
    fn a_pi_with_a_directory_of_its_own_gets_nothing_else() {
        let (_directory, tree) = tree(&[
            ("config.txt", "shared"),
            ("kernel8.img", "kernel"),
            ("7bf18f79/config.txt", "own"),
            ("DC-A6-32-01-36-C2/config.txt", "by mac"),
        ]);
        assert_eq!(read(&tree, "7bf18f79//config.txt").unwrap(), "own");
        assert_eq!(read(&tree, "7BF18F79/config.txt").unwrap(), "own");
        assert_eq!(read(&tree, "7bf18f79/kernel8.img"), Err(OpenError::NotFound));
        assert_eq!(read(&tree, "dc-a6-32-01-36-c2/config.txt").unwrap(), "by mac");
        assert_eq!(read(&tree, "0badcafe/config.txt").unwrap(), "shared");
        assert_eq!(read(&tree, "/config.txt").unwrap(), "shared");
        assert_eq!(read(&tree, "0badcafe"), Err(OpenError::NotFound));
    }

    #[test]
    fn links_are_followed_only_within_the_tree() {
        let (directory, tree) = tree(&[("os/kernel8.img", "kernel"), ("config.txt", "")]);
        symlink("os", directory.path().join("7bf18f79")).unwrap();
        symlink("os/kernel8.img", directory.path().join("kernel8.img")).unwrap();
        symlink("/etc/passwd", directory.path().join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", directory.path().join("relative")).unwrap();
        symlink("loop", directory.path().join("loop")).unwrap();
        assert_eq!(read(&tree, "7bf18f79/kernel8.img").unwrap(), "kernel");
        assert_eq!(read(&tree, "kernel8.img").unwrap(), "kernel");
        for escape in ["absolute", "relative", "loop"] {
            assert_eq!(read(&tree, escape), Err(OpenError::Denied), "{escape}");
        }
    }

    /// A Pi whose directory is a link must not get the system of the others instead.
    #[test]
    fn a_pis_directory_may_be_a_link_in_the_tree_and_is_never_absent() {
        let (directory, tree) =
            tree(&[("config.txt", "shared"), ("os/config.txt", "own"), ("11223366", "file")]);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("config.txt"), "outside").unwrap();
        let top = directory.path();
        symlink(top.join("os"), top.join("11223344")).unwrap();
        symlink(top.join("os/config.txt"), top.join("os/link.txt")).unwrap();
        symlink(outside.path(), top.join("aabbccdd")).unwrap();
        symlink(top.join("missing"), top.join("aabbccee")).unwrap();
        symlink("missing", top.join("aabbccff")).unwrap();
        symlink("aabbcc00", top.join("aabbcc00")).unwrap();
        assert_eq!(read(&tree, "11223344/config.txt").unwrap(), "own", "absolute, and in the tree");
        assert_eq!(read(&tree, "11223344/link.txt").unwrap(), "own");
        assert_eq!(read(&tree, "11223344/kernel8.img"), Err(OpenError::NotFound));
        assert_eq!(read(&tree, "11223366/config.txt").unwrap(), "shared", "a file is no directory");
        for name in ["aabbccdd", "AABBCCDD", "aabbccee", "aabbccff", "aabbcc00"] {
            let asked = format!("{name}/config.txt");
            assert_eq!(read(&tree, &asked), Err(OpenError::Denied), "{name}");
            let miss = tree.open(&BootPath::parse(asked.as_bytes()).unwrap(), Reach::Disk).unwrap_err();
            let place = top.join(name.to_lowercase()).display().to_string();
            assert_eq!(miss.place, Some(place), "{:?}", miss.reason);
        }
    }

    #[test]
    fn a_name_in_latin_1_and_its_utf_8_form_are_one_file() {
        let (directory, tree) = tree(&[("Klänge/ÿ", "utf-8"), ("config.txt", "")]);
        let old = directory.path().join(std::ffi::OsStr::from_bytes(b"7bf18f79/\xd6l"));
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join(std::ffi::OsStr::from_bytes(b"\x80")), "latin-1").unwrap();
        let mut room = [0; 64];
        for (asked, content) in [
            (&b"Kl\xe4nge/\xff\xff"[..], Ok("utf-8")),
            (b"7bf18f79/\xd6l/\x80", Ok("latin-1")),
            ("7bf18f79/Öl/\u{80}".as_bytes(), Ok("latin-1")),
            (b"Kl\xe4nge/missing", Err(OpenError::NotFound)),
            (b"7bf18f79/Kl\xe4nge", Err(OpenError::NotFound)),
        ] {
            let path = BootPath::parse_text(asked, &mut room).unwrap();
            assert_eq!(read(&tree, path.as_requested()), content.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn only_files_are_files() {
        let (directory, tree) = tree(&[("overlays/README", "")]);
        nix::unistd::mkfifo(&directory.path().join("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(read(&tree, "overlays"), Err(OpenError::NotFound));
        assert_eq!(read(&tree, "overlays/README/x"), Err(OpenError::NotFound));
        assert_eq!(read(&tree, "fifo"), Err(OpenError::NotFound));
    }

    #[test]
    fn a_file_that_others_may_not_read_is_refused() {
        let (directory, tree) = tree(&[("config.txt", "all"), ("7bf18f79/key", "secret"), ("key", "shared")]);
        for (mode, name) in [(0o600, "7bf18f79/key"), (0o640, "7bf18f79/key"), (0o770, "key")] {
            fs::set_permissions(directory.path().join(name), Permissions::from_mode(mode)).unwrap();
            let miss = tree.open(&BootPath::parse(name.as_bytes()).unwrap(), Reach::Disk).unwrap_err();
            assert_eq!(miss.error, OpenError::Denied);
            assert_eq!(miss.place, Some(directory.path().join(name).display().to_string()));
            assert_eq!(miss.reason.unwrap().to_string(), "not readable by others (chmod o+r)");
        }
        fs::set_permissions(directory.path().join("key"), Permissions::from_mode(0o604)).unwrap();
        assert_eq!(read(&tree, "key").unwrap(), "shared");
        symlink("7bf18f79/key", directory.path().join("link")).unwrap();
        assert_eq!(read(&tree, "link"), Err(OpenError::Denied), "the file counts, not the link");
    }

    #[test]
    fn says_what_is_wrong_with_a_tree() {
        let directory = tempfile::tempdir().unwrap();
        let empty = BootTree::open_at(directory.path()).unwrap_err().to_string();
        assert!(empty.contains("is empty") && empty.contains("config.txt"), "{empty}");
        let missing = BootTree::open_at(&directory.path().join("missing")).unwrap_err().to_string();
        assert!(missing.contains("No such file"), "{missing}");
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(BootTree::open_at(&directory.path().join("file")).is_err());
    }

    #[test]
    fn images_and_the_state_of_pis_are_no_tree() {
        for inside in ["images/one/image.toml", "state/pis/bd989ae1/identity/key", "nfs-handle.key"] {
            let directory = tempfile::tempdir().unwrap();
            let place = directory.path().join(inside);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, "").unwrap();
            fs::write(directory.path().join("config.txt"), "").unwrap();
            let path = directory.path().display().to_string();
            let error = BootTree::open_at(directory.path()).unwrap_err().to_string();
            let name = inside.split('/').next().unwrap();
            for part in [name, &format!("pinetboot images {path}"), "serve another directory"] {
                assert!(error.contains(part), "{part:?} is not in: {error}");
            }
        }
    }

    #[cfg(feature = "nfs")]
    #[test]
    fn the_key_of_nfs_handles_is_known_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        pinetboot_nfs::Handles::load(directory.path()).unwrap();
        assert!(BootTree::open_at(directory.path()).is_err());
    }
}
