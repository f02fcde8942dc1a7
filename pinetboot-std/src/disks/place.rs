//! The directory of all disks: `disks` in the state directory.
//!
//! ```text
//! images/NAME-HASH.img      an unpacked image
//! trees/NAME/               the boot files of an image
//! PI/lock                   held by the process that uses the disk
//! PI/NAME.qcow2             the disk of a Pi on the image NAME
//! PI/NAME@SNAPSHOT.qcow2    what the disk stands on: it does not change, and so never is another name of the disk itself
//! PI/boot/, PI/initramfs    the boot files of the boot under way
//! PI/NAME.rw                the Pi writes to the image NAME itself
//! ```

use core::fmt;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Access, Overlay};
use walkdir::WalkDir;

use crate::durable;

/// The directory of all disks.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// The directory, locked by the server that has it. It is reached by this descriptor: only root may enter the state directory above.
    opened: File,
}

/// The disk of a Pi on an image.
#[derive(Debug, Clone)]
pub(crate) struct DiskPlace {
    /// The Pi.
    pub(crate) pi: Prefix,
    /// The name of the image.
    pub(crate) image: String,
    /// The directory of the Pi.
    pub(crate) directory: PathBuf,
}

/// The lock of a Pi's disks; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct PiLock(#[expect(dead_code, reason = "holds the lock")] File);

/// A disk is in use, or cannot be locked.
#[derive(Debug)]
pub(crate) enum InUse {
    /// By another process.
    Elsewhere,
    /// The system's.
    System(io::Error),
}

impl Place {
    /// The directory in a state directory, for a command.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let path = state.join(DIRECTORY);
        Ok(Self { opened: File::open(&path)?, path })
    }

    /// The directory's own facts.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.opened.metadata()
    }

    /// Makes and takes the directory in a state directory, for a server.
    ///
    /// # Errors
    ///
    /// The system's, with the path; `ResourceBusy` if another server has the directory.
    pub(crate) fn take(state: &Path) -> io::Result<Self> {
        let path = state.join(DIRECTORY);
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(at)?;
        let opened = File::open(&path).map_err(at)?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("another pinetboot keeps its disks in {}", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        Ok(Self { path, opened })
    }

    /// The path, for messages and rules.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path by which this process reaches the directory.
    pub(crate) fn at(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.opened.as_raw_fd()))
    }

    /// Gives the directory and what is in it to the user and the group that the server becomes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn give_to(&self, (user, group): (u32, u32)) -> io::Result<()> {
        // Links are not followed: they are given away themselves.
        for entry in WalkDir::new(&self.path).follow_links(false) {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if (metadata.uid(), metadata.gid()) != (user, group) {
                lchown(entry.path(), Some(user), Some(group))?;
            }
        }
        Ok(())
    }

    /// The directory of unpacked images.
    pub(super) fn images(&self) -> PathBuf {
        self.at().join("images")
    }

    /// The directory of an image's boot files.
    pub(super) fn tree(&self, image: &str) -> PathBuf {
        self.at().join("trees").join(image)
    }

    /// The disk of a Pi on an image.
    pub(super) fn disk(&self, pi: Prefix, image: &str) -> DiskPlace {
        DiskPlace { pi, image: image.to_owned(), directory: self.at().join(pi.to_string()) }
    }

    /// All disks, sorted; also those of which only snapshots are left.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn disks(&self) -> io::Result<Vec<DiskPlace>> {
        let mut disks = Vec::new();
        for entry in fs::read_dir(self.at())? {
            let entry = entry?;
            let Some(pi) = entry.file_name().to_str().and_then(Prefix::parse) else { continue };
            for file in fs::read_dir(entry.path())? {
                let name = file?.file_name();
                disks.extend(name.to_str().and_then(image_of).map(|image| self.disk(pi, image)));
            }
        }
        disks.sort_by(|a, b| (a.pi, &a.image).cmp(&(b.pi, &b.image)));
        disks.dedup_by(|a, b| (a.pi, &a.image) == (b.pi, &b.image));
        Ok(disks)
    }

    /// The Pi that writes to an image itself.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn writer(&self, image: &str) -> io::Result<Option<Prefix>> {
        self.find_pi(|file| file.strip_suffix(WRITER) == Some(image))
    }

    /// A Pi with a disk on an image, or with a snapshot of one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn has_disk_on(&self, image: &str) -> io::Result<Option<Prefix>> {
        self.find_pi(|file| image_of(file) == Some(image))
    }

    /// The first Pi by name with such a file in its directory.
    fn find_pi(&self, is_it: impl Fn(&str) -> bool) -> io::Result<Option<Prefix>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.at())? {
            let entry = entry?;
            let Some(pi) = entry.file_name().to_str().and_then(Prefix::parse) else { continue };
            for file in fs::read_dir(entry.path())? {
                found.extend(file?.file_name().to_str().filter(|file| is_it(file)).map(|_| pi));
            }
        }
        Ok(found.into_iter().min())
    }

    /// The number of Pis that have a disk.
    pub(super) fn pis(&self) -> io::Result<usize> {
        let names = fs::read_dir(self.at())?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()).filter(|name| Prefix::parse(name).is_some()).count())
    }
}

impl DiskPlace {
    /// The file of the disk.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}", self.image))
    }

    /// The file of a snapshot.
    pub(super) fn snapshot(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}@{name}{SUFFIX}", self.image))
    }

    /// The names of the snapshots, sorted.
    pub(super) fn snapshots(&self) -> io::Result<Vec<String>> {
        let number = |path: &Path| path.symlink_metadata().ok().map(|metadata| metadata.ino());
        let disk = number(&self.file());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            let name = name.and_then(|name| name.strip_prefix(self.image.as_str())?.strip_prefix('@'));
            // A command that was cut off, or is under way, leaves a name of the disk itself.
            let is_other = |_: &&str| disk.is_none() || number(&entry.path()) != disk;
            names.extend(name.filter(is_other).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Removes what a command that was cut off has left: the name of a snapshot for the disk itself, which would change with the disk,
    /// and files that have not reached their place. Call this with the lock.
    fn tidy(&self) -> io::Result<()> {
        let mut files = HashMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let number = entry.metadata()?.ino();
            files.extend(entry.file_name().into_string().ok().map(|name| (name, number)));
        }
        let disk = |name: &str| image_of(name).and_then(|image| files.get(&format!("{image}{SUFFIX}")));
        let is_left = |(name, file): &(&String, &u64)| {
            let is_snapshot = name.contains('@') && name.ends_with(SUFFIX);
            (is_snapshot && disk(name) == Some(*file)) || name.ends_with(NEW) || name.starts_with(TEMPORARY)
        };
        let left: Vec<_> = files.iter().filter(is_left).collect();
        for (name, _) in &left {
            fs::remove_file(self.directory.join(name))?;
        }
        if left.is_empty() { Ok(()) } else { durable::sync(&self.directory) }
    }

    /// The file of a disk that is to replace the present one.
    pub(super) fn new_file(&self) -> PathBuf {
        self.directory.join(format!("{}{NEW}", self.image))
    }

    /// Locks the disks of the Pi for this process; makes their directory, and tidies it up.
    ///
    /// # Errors
    ///
    /// If another process uses them, or the system refuses.
    pub(super) fn lock(&self) -> Result<PiLock, InUse> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => self.tidy().map(|()| PiLock(file)).map_err(InUse::from),
            Err(TryLockError::WouldBlock) => Err(InUse::Elsewhere),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Whether the Pi writes to the image itself.
    pub(super) fn is_writer(&self) -> bool {
        self.directory.join(format!("{}{WRITER}", self.image)).exists()
    }

    /// Makes the Pi the one that writes to the image itself.
    pub(super) fn become_writer(&self) -> io::Result<()> {
        durable::replace(&self.directory.join(format!("{}{WRITER}", self.image)), b"", 0o600)
    }

    /// Makes the Pi no writer of any image; returns the images.
    pub(super) fn release(&self) -> io::Result<Vec<String>> {
        let mut images = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let file = file?;
            let name = file.file_name();
            if let Some(image) = name.to_str().and_then(|name| name.strip_suffix(WRITER)) {
                fs::remove_file(file.path())?;
                images.push(image.to_owned());
            }
        }
        Ok(images)
    }

    /// Makes the disk on this image, `len` bytes long at least.
    pub(super) fn create(&self, base: &Path, len: u64) -> Result<(), String> {
        Overlay::create(&self.file(), base, len)
            .map_err(|error| format!("cannot make the disk {}: {error}", self.image))
    }

    /// Opens the disk, which must stand on this image.
    pub(super) fn open(&self, image: &Path, access: Access) -> Result<Overlay, String> {
        let file = self.file();
        let base = last_base(&file).map_err(|error| format!("the disk {}: {error}", self.image))?;
        if base != normal(&self.directory.join(image)) {
            return Err(format!(
                "its disk stands on another image of the name {}. Rename one of the images, or discard the disk with 'pinetboot disks reset {}'",
                self.image, self.pi
            ));
        }
        let bases = base.parent().unwrap_or(Path::new("/"));
        Overlay::open(&file, bases, access)
            .map_err(|error| format!("cannot open the disk {}: {error}", self.image))
    }
}

impl From<io::Error> for InUse {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => {
                f.write_str("another process uses the disks of this Pi: 'pinetboot disks', or a server")
            }
            Self::System(error) => write!(f, "cannot lock the disks of this Pi: {error}"),
        }
    }
}

/// The name of the image in the file name of a disk, or of a snapshot.
fn image_of(file: &str) -> Option<&str> {
    file.strip_suffix(SUFFIX)?.split('@').next()
}

/// The image at the end of an overlay's bases.
pub(super) fn last_base(overlay: &Path) -> Result<PathBuf, String> {
    let mut file = overlay.to_owned();
    for _ in 0..MOST_BASES {
        if file.extension() != Some(OsStr::new("qcow2")) {
            return Ok(file);
        }
        file = normal(&Overlay::look(&file).map_err(|error| error.to_string())?.0);
    }
    Err("more than 16 snapshots stand on each other".into())
}

/// A path without `..`, by its text.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

const DIRECTORY: &str = "disks";
const SUFFIX: &str = ".qcow2";
const NEW: &str = ".qcow2.new";
/// What the names of files begin with that a new overlay is written to (crate `tempfile`).
const TEMPORARY: &str = ".tmp";
const WRITER: &str = ".rw";
const MOST_BASES: usize = 17;
