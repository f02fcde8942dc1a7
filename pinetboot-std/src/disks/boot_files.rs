//! The boot partition of a disk as a directory to serve, with the initramfs: one copy for each boot, which the Pi's writes do not touch.
//!
//! A file that is the image's own is a link to the image's copy, so that a hundred Pis read one file. Not done: a FAT that
//! was not unmounted is read without a repair; an ext4 with a pending journal is not read, and the Pi gets the initramfs of its
//! last boot.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pinetboot_disk::{Disk, Initramfs, kernels};
use pinetboot_image::fat::Visit;
use pinetboot_image::{ImageError, SystemView};

use super::BootFiles;
use super::init::{FirstPrograms, Machine};
use super::partitions::{Numbers, Reader};
use super::place::DiskPlace;
use crate::durable;

/// The boot files of a disk.
pub(super) struct Made {
    pub(super) files: BootFiles,
    /// The reason why the initramfs is that of an earlier boot.
    pub(super) old_initramfs: Option<String>,
}

/// Makes the boot files of an image; names a kernel without overlayfs.
pub(super) fn of_image(
    image: &dyn Disk,
    numbers: Numbers,
    tree: &Path,
    init: &FirstPrograms,
) -> Result<Option<String>, String> {
    let initramfs = initramfs(image, numbers, init)?;
    copy(image, numbers, None, &initramfs.archive, tree)?;
    Ok(initramfs.lacks_overlayfs)
}

/// Makes the boot files of the present state of a Pi's disk, beside those of its image.
pub(super) fn of_disk(
    disk: &dyn Disk,
    (numbers, image): (Numbers, &Path),
    place: &DiskPlace,
    init: &FirstPrograms,
) -> Result<Made, String> {
    let last = place.directory.join("initramfs");
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (bytes, old_initramfs) = match initramfs(disk, numbers, init) {
        Ok(Initramfs { archive: bytes, .. }) => {
            if fs::read(&last).ok().as_ref() != Some(&bytes) {
                durable::replace(&last, &bytes, 0o644)
                    .map_err(|error| format!("{}: {error}", last.display()))?;
            }
            (bytes, None)
        }
        Err(why) => {
            // The remedy for an image is none for a disk, whose Pi is about to boot.
            let why = match numbers.root(Reader(disk)) {
                Err(ImageError::NotShutDown) => NEEDS_JOURNAL.to_owned(),
                _ => why,
            };
            let before = if last.exists() { read(&last) } else { read(&image.join(INITRAMFS)) };
            (before?, Some(why))
        }
    };
    let tree = place.directory.join("boot");
    let files = copy(disk, numbers, Some(image), &bytes, &tree)?;
    Ok(Made { files, old_initramfs })
}

impl BootFiles {
    /// Opens a directory of boot files.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let opened = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { directory: OwnedFd::from(opened), path: path.to_owned() })
    }
}

/// The initramfs for all kernels on a disk.
fn initramfs(disk: &dyn Disk, numbers: Numbers, init: &FirstPrograms) -> Result<Initramfs, String> {
    let failed = |error: ImageError| error.to_string();
    let reader = Reader(disk);
    let root = numbers.root(reader).map_err(failed)?;
    let boot = numbers.boot(reader).map_err(failed)?;
    let view = SystemView::new(Some(&root), Some(&boot), "boot/firmware");
    let mut releases = kernels(&view).map_err(failed)?;
    // Firmware and headers may leave a directory without modules.
    let has_modules =
        |release: &String| view.len(&format!("lib/modules/{release}/modules.dep")).ok().flatten().is_some();
    releases.retain(has_modules);
    if releases.is_empty() {
        return Err("the image has no kernel: /lib/modules has no modules".into());
    }
    if releases.len() > MOST_KERNELS {
        return Err(format!("the image has more than {MOST_KERNELS} kernels: remove old ones"));
    }
    let init = init.choose(Machine::of_system(&view).map_err(failed)?)?;
    Initramfs::of(&view, &releases, init).map_err(|error| error.to_string())
}

/// Copies the boot partition and the initramfs to a directory, which replaces one of its name.
fn copy(
    disk: &dyn Disk,
    numbers: Numbers,
    like: Option<&Path>,
    initramfs: &[u8],
    to: &Path,
) -> Result<BootFiles, String> {
    let new = to.with_extension("new");
    let made = (|| {
        remove(&new)?;
        make_directory(&new)?;
        let boot = numbers.boot(Reader(disk))?;
        let mut copy = Copy { to: &new, like, prefixes: vec![PathBuf::new()] };
        boot.walk(&mut copy)?;
        for directory in &copy.prefixes {
            let same = Path::new(INITRAMFS);
            copy.put(&directory.join(same), Some(same), &mut &*initramfs)?;
        }
        remove(to)?;
        fs::rename(&new, to)?;
        Ok(())
    })();
    made.map_err(|Fault(why)| format!("the boot partition: {why}"))?;
    BootFiles::open(to)
}

/// A fault of the image or of this system.
struct Fault(String);

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

struct Copy<'a> {
    to: &'a Path,
    /// The boot files of the image, to link.
    like: Option<&'a Path>,
    /// Directories with a command line: `os_prefix` of config.txt may name them, for the initramfs too.
    prefixes: Vec<PathBuf>,
}

impl Visit for Copy<'_> {
    type Error = Fault;

    fn directory(&mut self, path: &[String]) -> Result<(), Fault> {
        Ok(make_directory(&self.to.join(path.iter().collect::<PathBuf>()))?)
    }

    fn file(&mut self, path: &[String], _: u64, _: Option<i64>, content: &mut dyn Read) -> Result<(), Fault> {
        let path: PathBuf = path.iter().collect();
        if path.file_name().is_some_and(|name| name == "cmdline.txt")
            && let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty())
            && self.prefixes.len() < MOST_PREFIXES
        {
            self.prefixes.push(above.to_owned());
        }
        if path.file_name().is_some_and(|name| name == INITRAMFS) {
            return Ok(()); // the server's own takes its place
        }
        self.put(&path, Some(&path), content)
    }
}

impl Copy<'_> {
    /// Makes a file: as a link if the image's file `like` has this content.
    fn put(&self, path: &Path, like: Option<&Path>, content: &mut dyn Read) -> Result<(), Fault> {
        let target = self.to.join(path);
        let original = self.like.zip(like).map(|(tree, like)| tree.join(like));
        let mut same = original.as_ref().and_then(|original| File::open(original).ok());
        let (mut buf, mut theirs) = (vec![0; PIECE], vec![0; PIECE]);
        let mut out: Option<File> = None;
        let mut done = 0;
        loop {
            let len = fill(content, &mut buf)?;
            let piece = buf.get(..len).unwrap_or_default();
            if let Some(file) = &mut same {
                let read = fill(file, &mut theirs)?;
                if theirs.get(..read) == Some(piece) {
                    done += len as u64;
                    if len < PIECE {
                        break;
                    }
                    continue;
                }
                same = None;
            }
            if out.is_none() {
                let mut new = new_file(&target)?;
                if let Some(original) = original.as_ref().filter(|_| done > 0) {
                    io::copy(&mut File::open(original)?.take(done), &mut new)?;
                }
                out = Some(new);
            }
            if let Some(out) = &mut out {
                out.write_all(piece)?;
            }
            if len < PIECE {
                break;
            }
        }
        if let (Some(original), Some(_), None) = (original, same, out) {
            fs::hard_link(original, &target)?;
        }
        Ok(())
    }
}

/// Fills a buffer as far as the source goes.
fn fill(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Makes a file that TFTP may send.
fn new_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(file)
}

/// Makes a directory, unless it is there.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The name by which config.txt asks for the initramfs.
pub(crate) const INITRAMFS: &str = "pinetboot-initramfs";
const NEEDS_JOURNAL: &str = "its root was not shut down, and this boot replays the journal";
const PIECE: usize = 256 << 10;
/// A card of Raspberry Pi OS has one or two for each kind of processor.
const MOST_KERNELS: usize = 16;
const MOST_PREFIXES: usize = 16;
