//! A directory of imported OS images: `pinetboot import` fills it and `pinetboot serve` serves it.
//!
//! ```text
//! DIR/images/NAME/root/        the root file system; the boot partition's files are beneath it, where the system mounts
//!                              them (root/boot/firmware)
//! DIR/images/NAME/files.mtree  the files beneath root/ with their checksums (mtree(5)), as they were imported
//! DIR/images/NAME/image.toml   facts about the image; written last, so a directory without the file is no image
//! DIR/current -> images/NAME   the current image
//! DIR/previous -> images/NAME  the current image before
//! DIR/state/                   layers and identities of single Pis
//! ```
//!
//! The command line in an imported image has no `root=`, `nfsroot=` or `ip=`. The server adds them, since only the server
//! knows its address and which Pi asks.

#[cfg_attr(not(feature = "import"), allow(dead_code, reason = "a part of it is for the command images"))]
pub(crate) mod manifest;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;

/// A directory of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    dir: PathBuf,
}

/// A complete image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its root file system.
    pub root: PathBuf,
    /// Its boot partition's files, beneath `root`.
    pub boot: PathBuf,
    /// Its facts.
    pub facts: ImageFacts,
}

/// Facts about an image: its `image.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ImageFacts {
    /// The recognised system and its release: `raspios-trixie`, `ubuntu-24.04`, `debian-12`, `unknown`.
    pub release: String,
    /// PRETTY_NAME of the system's os-release(5).
    pub pretty_name: String,
    /// Name of the imported file, without its directory.
    pub source: String,
    /// That file's SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Time of the import (RFC 3339, UTC).
    pub imported: String,
    /// Mount point of the boot partition, relative to the root.
    pub boot: PathBuf,
    /// Whether the image has a root file system: false after `import --boot-only`.
    pub has_root: bool,
    /// Whether its kernels mount an NFS root without the initramfs.
    pub kernel_mounts_root: bool,
    /// The original kernel command line; empty if the image had none.
    pub cmdline: String,
    /// Changes by the import, one line each.
    pub changes: Vec<String>,
    /// Files with capabilities, which NFSv3 does not carry: `/usr/bin/ping cap_net_raw=ep`.
    pub lost_capabilities: Vec<String>,
}

impl Images {
    /// The images in a directory; `None` if the directory holds no complete image.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or an image's facts cannot be parsed.
    pub fn open(dir: &Path) -> Result<Option<Self>, ImagesError> {
        let images = Self::at(dir);
        Ok(if images.list()?.is_empty() { None } else { Some(images) })
    }

    /// The images in a directory, which need not exist yet.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The current image; `None` if none is.
    ///
    /// # Errors
    ///
    /// If the link `current` exists but leads to no image.
    pub fn current(&self) -> Result<Option<Image>, ImagesError> {
        let link = self.dir.join(CURRENT);
        let Some(target) = target_of(&link)? else { return Ok(None) };
        self.at_target(&target)?.map(Some).ok_or_else(|| ImagesError::new(&link, Problem::NoImage(target)))
    }

    /// The image that was the current one before; `None` if none was, or if it was removed.
    ///
    /// # Errors
    ///
    /// If the link `previous` or the image's facts cannot be read.
    pub fn previous(&self) -> Result<Option<Image>, ImagesError> {
        let target = target_of(&self.dir.join(PREVIOUS))?;
        target.map_or(Ok(None), |target| self.at_target(&target))
    }

    fn at_target(&self, target: &Path) -> Result<Option<Image>, ImagesError> {
        let name = target.strip_prefix(IMAGES).ok().and_then(Path::to_str).filter(|name| is_name(name));
        name.map_or(Ok(None), |name| self.find(name))
    }

    /// The image of that name.
    ///
    /// # Errors
    ///
    /// If the image exists but its facts cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Image>, ImagesError> {
        if !is_name(name) {
            return Ok(None);
        }
        let place = self.place(name);
        let file = place.join(FACTS);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(ImagesError::new(&file, Problem::Io(error))),
        };
        let facts: ImageFacts = toml::from_str(&text)
            .map_err(|error| ImagesError::new(&file, Problem::Facts(error.message().to_owned())))?;
        if !facts.boot.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(ImagesError::new(
                &file,
                Problem::Facts("the path boot leads out of the image".into()),
            ));
        }
        let root = place.join(ROOT);
        Ok(Some(Image { name: name.to_owned(), boot: root.join(&facts.boot), root, facts }))
    }

    /// All images, by name.
    ///
    /// # Errors
    ///
    /// If the directory, or an image's facts, cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImagesError> {
        let dir = self.dir.join(IMAGES);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(ImagesError::new(&dir, Problem::Io(error))),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| ImagesError::new(&dir, Problem::Io(error)))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        names.iter().filter_map(|name| self.find(name).transpose()).collect()
    }

    /// The directory of an image, existing or not.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.join(IMAGES).join(name)
    }

    /// The default directory of the Pis' state.
    pub fn state(&self) -> PathBuf {
        self.dir.join(STATE)
    }

    /// Makes an image [`current`](Self::current), atomically; the one before becomes [`previous`](Self::previous).
    ///
    /// # Errors
    ///
    /// If no image has that name, or the link cannot be made.
    pub fn make_current(&self, name: &str) -> Result<(), ImagesError> {
        let (link, target) = (self.dir.join(CURRENT), Path::new(IMAGES).join(name));
        if self.find(name)?.is_none() {
            return Err(ImagesError::new(&link, Problem::NoImage(target)));
        }
        match self.current() {
            Ok(Some(before)) if before.name != name => {
                self.link(PREVIOUS, &before.name)?;
            }
            _ => {} // no other image, or a link to none, to which nothing leads back
        }
        self.link(CURRENT, name)
    }

    /// The same; what was done.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn switch(&self, name: &str) -> Result<String, ImagesError> {
        let before = self.current().ok().flatten().map(|image| image.name);
        if before.as_deref() == Some(name) {
            return Ok(format!("{name} is the current image already: unchanged"));
        }
        self.make_current(name)?;
        Ok(match before {
            Some(before) => format!("{name} is the current image, instead of {before}"),
            None => format!("{name} is the current image"),
        })
    }

    /// Replaces a link in the directory.
    fn link(&self, link: &str, name: &str) -> Result<(), ImagesError> {
        let (new, link) = (self.dir.join(format!(".{link}.new")), self.dir.join(link));
        let replaced = match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // Not symlink(2), which the filters of system calls lack, as some architectures do.
            _ => rustix::fs::symlinkat(Path::new(IMAGES).join(name), rustix::fs::CWD, &new)
                .map_err(io::Error::from)
                .and_then(|()| durable::rename(&new, &link)),
        };
        replaced.map_err(|error| ImagesError::new(&link, Problem::Io(error)))
    }

    /// Removes an image, and what an interrupted removal left. The caller knows that no Pi uses the image.
    ///
    /// # Errors
    ///
    /// If no image has that name, or the files cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), ImagesError> {
        let place = self.place(name);
        if self.find(name)?.is_none() {
            return Err(ImagesError::new(&place, Problem::NoImage(place.clone())));
        }
        let aside = self.dir.join(IMAGES).join(format!("{REMOVED}{name}"));
        let failed = |error| ImagesError::new(&place, Problem::Io(error));
        remove_all(&aside).map_err(failed)?;
        durable::rename(&place, &aside).map_err(failed)?;
        remove_all(&aside).map_err(failed)
    }

    /// Renames an image; a link that leads to the image follows. The caller knows that no Pi uses the image.
    ///
    /// # Errors
    ///
    /// If no image has the first name or one has the second, or the directory cannot be renamed.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), ImagesError> {
        let (place, target) = (self.place(name), self.place(new));
        if self.find(name)?.is_none() {
            return Err(ImagesError::new(&place, Problem::NoImage(place.clone())));
        }
        if !is_name(new) || fs::symlink_metadata(&target).is_ok() {
            let error = io::ErrorKind::AlreadyExists.into();
            return Err(ImagesError::new(&target, Problem::Io(error)));
        }
        let is = |image: Result<Option<Image>, ImagesError>| {
            image.ok().flatten().is_some_and(|image| image.name == name)
        };
        let (is_current, is_previous) = (is(self.current()), is(self.previous()));
        durable::rename(&place, &target).map_err(|error| ImagesError::new(&place, Problem::Io(error)))?;
        if is_current {
            self.link(CURRENT, new)?;
        }
        if is_previous {
            self.link(PREVIOUS, new)?;
        }
        Ok(())
    }
}

fn target_of(link: &Path) -> Result<Option<PathBuf>, ImagesError> {
    match fs::read_link(link) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ImagesError::new(link, Problem::Io(error))),
    }
}

fn remove_all(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether `name` is an image name: 1 to 64 letters, digits, `.`, `_`, `+` and `-`, the first one a letter or digit.
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// An error in a directory of images.
#[derive(Debug)]
pub struct ImagesError {
    place: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Facts(String),
    NoImage(PathBuf),
}

impl ImagesError {
    fn new(place: &Path, problem: Problem) -> Self {
        Self { place: place.to_owned(), problem }
    }
}

impl fmt::Display for ImagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.display();
        match &self.problem {
            Problem::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "{place}: {error}. Images are for root alone: run pinetboot with sudo")
            }
            Problem::Io(error) => write!(f, "{place}: {error}"),
            Problem::Facts(why) => write!(f, "{place}: {why}. Import the image again"),
            Problem::NoImage(target) => write!(f, "{place}: no image at {}", target.display()),
        }
    }
}

impl std::error::Error for ImagesError {}

/// The directory of the Pis' layers and identities.
pub(crate) const STATE: &str = "state";
/// The directory of all images.
pub(crate) const IMAGES: &str = "images";
/// The mode of an image's directory with a root. Root and its group alone may enter: the image's author decides about setuid programs and
/// devices, and the server that sends the boot files is in that group.
pub(crate) const MODE: u32 = 0o750;
/// An image's root file system.
pub(crate) const ROOT: &str = "root";
/// The manifest of an image's files.
pub(crate) const FILES: &str = "files.mtree";
/// An image's facts.
pub(crate) const FACTS: &str = "image.toml";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
/// Begins the name of an image that is being removed.
const REMOVED: &str = ".removed-";

#[cfg(test)]
mod tests {
    use super::*;

    fn add(dir: &Path, name: &str, facts: &ImageFacts) {
        let place = dir.join(IMAGES).join(name);
        fs::create_dir_all(place.join(ROOT).join(&facts.boot)).unwrap();
        fs::write(place.join(FACTS), toml::to_string(facts).unwrap()).unwrap();
    }

    fn facts() -> ImageFacts {
        ImageFacts {
            release: "raspios-trixie".into(),
            boot: "boot/firmware".into(),
            has_root: true,
            changes: vec!["fstab: a \"quoted\" line\nand another".into()],
            ..ImageFacts::default()
        }
    }

    #[test]
    fn images_are_found_listed_and_put_in_use() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Images::open(dir.path()).unwrap(), None, "nothing there");
        fs::create_dir_all(dir.path().join("images/half/root")).unwrap();
        assert_eq!(Images::open(dir.path()).unwrap(), None, "an import that never ended");

        add(dir.path(), "b", &facts());
        add(dir.path(), "a", &facts());
        let images = Images::open(dir.path()).unwrap().unwrap();
        let names: Vec<_> = images.list().unwrap().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(images.find("half").unwrap(), None);
        assert_eq!(images.current().unwrap(), None);

        images.make_current("b").unwrap();
        images.make_current("a").unwrap();
        let current = images.current().unwrap().unwrap();
        assert_eq!(current.name, "a");
        assert_eq!(current.boot, dir.path().join("images/a/root/boot/firmware"));
        assert_eq!(current.facts, facts());
        assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), Path::new("images/a"), "relative");
        assert!(images.make_current("half").is_err());
    }

    #[test]
    fn the_image_before_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            add(dir.path(), name, &facts());
        }
        let images = Images::at(dir.path());
        let names = || {
            let name = |image: Option<Image>| image.map(|image| image.name).unwrap_or_default();
            [name(images.current().unwrap()), name(images.previous().unwrap())]
        };
        images.make_current("a").unwrap();
        assert_eq!(names(), ["a", ""]);
        images.make_current("b").unwrap();
        images.make_current("b").unwrap();
        assert_eq!(names(), ["b", "a"], "no change is no step");
        images.make_current("a").unwrap();
        assert_eq!(names(), ["a", "b"], "back");
        images.rename("a", "x").unwrap();
        images.rename("b", "y").unwrap();
        assert_eq!(names(), ["x", "y"]);
        assert!(images.rename("x", "c").is_err() && images.rename("none", "z").is_err());
        images.remove("y").unwrap();
        assert_eq!(names(), ["x", ""]);
        assert!(images.remove("y").is_err() && !dir.path().join("images/.removed-y").exists());
        assert_eq!(images.list().unwrap().len(), 2);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "a", &facts());
        let images = Images::open(dir.path()).unwrap().unwrap();
        for target in ["images/b", "/etc", "images/../images/a", "images/a/root"] {
            let link = dir.path().join("current");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert!(images.current().is_err(), "{target}");
        }
    }

    #[test]
    fn facts_that_make_no_sense_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "a", &ImageFacts { boot: "../../etc".into(), ..facts() });
        assert!(Images::open(dir.path()).unwrap_err().to_string().contains("leads out"));
        fs::write(dir.path().join("images/a/image.toml"), "release = 1").unwrap();
        assert!(Images::open(dir.path()).is_err());
    }

    #[test]
    fn names_that_a_directory_may_have() {
        for name in ["trixie", "2026-04-13-raspios-trixie-arm64-lite", "ubuntu-24.04.3+raspi"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".partial", "a/b", "-x", "ä", "a b", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
