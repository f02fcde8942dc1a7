//! An unfinished import: a directory beside the target, renamed to the target once all files are written.
//!
//! The process holds a lock on the directory. A directory without one is the remains of a killed process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use rustix::thread::CapabilitySet;
use tracing::Level;

use super::request::Request;
use super::root_writer;
use super::stop::Stop;
use crate::durable;
use crate::exit::{Exit, Failed};
use crate::images::{self, FACTS, FILES, IMAGES, ImageFacts, Images, ROOT, manifest};
use crate::output::tell;
use crate::sandbox::lacking;

/// An unfinished import. Dropping it removes the directory, unless [`commit`](Self::commit) succeeded.
#[derive(Debug)]
pub(super) struct Staging {
    images: PathBuf,
    place: PathBuf,
    target: PathBuf,
    name: String,
    _lock: File,
    committed: bool,
}

impl Staging {
    /// Creates the directory, after removing those of killed imports.
    pub(super) fn begin(images: &Images, request: &Request) -> Result<Self, Failed> {
        let name = &request.name;
        let failed = |path: &Path, error: io::Error| {
            let with_sudo = match error.kind() {
                io::ErrorKind::PermissionDenied => ". Run pinetboot with sudo",
                _ => "",
            };
            Failed::new(Exit::Failure, format!("{}: {error}{with_sudo}", path.display()))
        };
        let target = images.place(name);
        if fs::symlink_metadata(&target).is_ok() {
            let why = format!(
                "{} already exists. Give another --name, or remove the image first",
                target.display()
            );
            return Err(Failed::new(Exit::Usage, why));
        }
        let directory = request.to.join(IMAGES);
        durable::create_dir_all(&directory, 0o777).map_err(|error| failed(&directory, error))?;
        if !request.boot_only {
            may_write_roots(&directory)?;
        }
        remove_leftovers(&directory).map_err(|error| failed(&directory, error))?;

        let place = directory.join(format!("{PREFIX}{name}"));
        let mode = if request.boot_only { 0o755 } else { images::MODE };
        match fs::DirBuilder::new().mode(mode).create(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failed::new(Exit::Failure, format!("another process is importing {name}")));
            }
            done => done.map_err(|error| failed(&place, error))?,
        }
        let lock = lock(&place).map_err(|error| failed(&place, error))?;
        let staging =
            Self { images: directory, place, target, name: name.clone(), _lock: lock, committed: false };
        let root = staging.root();
        fs::create_dir(&root).map_err(|error| failed(&root, error))?;
        Ok(staging)
    }

    /// The directory that the root file system is written to.
    pub(super) fn root(&self) -> PathBuf {
        self.place.join(ROOT)
    }

    /// The directory of all images.
    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    /// Writes the manifest of the files; `bar` shows the progress, and `stop` ends the work.
    pub(super) fn list_files(&self, stop: &Stop, bar: &ProgressBar) -> Result<(), Failed> {
        let listed = manifest::write(&self.root(), &self.place.join(FILES), |read| {
            bar.inc(read);
            stop.check()
        });
        let place = self.target.display();
        listed.map_err(|error| {
            Failed::new(Exit::Failure, format!("{place}: cannot read the files back: {error}"))
        })
    }

    /// Writes the image's facts, and renames the directory to the target.
    pub(super) fn commit(mut self, facts: &ImageFacts) -> Result<(), Failed> {
        let commit = || {
            let text = toml::to_string_pretty(facts).map_err(io::Error::other)?;
            let path = self.place.join(FACTS);
            durable::replace(&path, text.as_bytes(), 0o644)?;
            durable::rename(&self.place, &self.target) // never replaces an image: rename(2) fails on a directory that is not empty
        };
        commit()
            .map_err(|error| Failed::new(Exit::Failure, format!("{}: {error}", self.target.display())))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.place) {
            tell(
                Level::WARN,
                format_args!(
                    "pinetboot: cannot remove {}, the unfinished import of {}: {error}",
                    self.place.display(),
                    self.name
                ),
            );
        }
    }
}

/// Checks the privileges that a root file system takes, before the first write.
fn may_write_roots(directory: &Path) -> Result<(), Failed> {
    let place = directory.display();
    if let Some(lacking) = lacking(REQUIRED) {
        let message = format!(
            "{place}: cannot write a root file system: its files of all users and its devices require {lacking}. --boot-only imports \
             the boot files alone, without root"
        );
        return Err(Failed::new(Exit::Failure, message));
    }
    root_writer::probe(directory).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!(
                "{place}: cannot create devices and files of other owners here ({error}). A root file system has both: run \
                 the import as root of this machine, in no rootless container. --boot-only imports the boot files alone, without root"
            ),
        )
    })
}

/// Owners, modes, set-id bits, devices and file capabilities. Without FSETID and SETFCAP the import would lose some without a word.
const REQUIRED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = lock(&path) else { continue };
        tell(
            Level::INFO,
            format_args!("pinetboot: removing {}, the remains of a killed import", path.display()),
        );
        fs::remove_dir_all(&path)?;
        drop(lock);
    }
    Ok(())
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    file.try_lock()?;
    Ok(file)
}

const PREFIX: &str = ".importing-";
