//! Base images: root file systems that many Pis share and no Pi changes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::images::{Image, Images, ImagesError};

/// A root file system, with the place of its boot files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image's name, or a name made from its path; names the layers on it.
    pub name: String,
    /// The root directory.
    pub root: PathBuf,
    /// The boot files' directory, relative to the root: `boot/firmware`.
    pub boot: PathBuf,
    /// Whether its kernels mount a root by NFS without an initramfs.
    pub kernel_mounts_root: bool,
    /// The SHA-256 of the imported image; empty if unknown.
    pub image_sha256: String,
}

/// The content of a base image, as far as a fingerprint tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Content {
    /// The SHA-256 of the imported image; empty for a tree that was not imported.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_sha256: String,
    /// A hash of times and sizes in the tree.
    pub tree: String,
}

/// The source of base images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseImages {
    /// A directory of images: the current one, or another for a Pi by the inventory.
    Images(Images),
    /// A single root file system.
    One(BaseImage),
}

impl BaseImage {
    /// A base image from a directory with a root file system, and perhaps boot files in boot/firmware or boot.
    ///
    /// # Errors
    ///
    /// If the directory does not exist.
    pub fn at(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let boot =
            ["boot/firmware", "boot"].into_iter().find(|boot| root.join(boot).join("config.txt").is_file());
        let last = root.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
        let last: String = last.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let name = format!("{}-{:08x}", if last.is_empty() { "root" } else { &last }, id_of(&root));
        Ok(Self {
            name,
            boot: boot.unwrap_or("boot/firmware").into(),
            root,
            kernel_mounts_root: false,
            image_sha256: String::new(),
        })
    }

    /// The directory of the boot files.
    pub fn boot_dir(&self) -> PathBuf {
        self.root.join(&self.boot)
    }

    /// The export number, the same after a restart.
    pub fn id(&self) -> u32 {
        id_of(&self.root)
    }

    /// The content: the same in a copy that keeps times. The hash of the tree changes with the usual changes: another tree unpacked there,
    /// or packages installed. A change of a single file may go unnoticed; to notice all would mean to check every file.
    pub fn content(&self) -> Content {
        let mut hash = FNV_OFFSET;
        for place in WATCHED.iter().map(|place| self.root.join(place)).chain([self.boot_dir()]) {
            if let Ok(metadata) = fs::symlink_metadata(place) {
                let size = if metadata.is_file() { metadata.size() } else { 0 };
                for number in [size, metadata.mtime() as u64, metadata.mtime_nsec() as u64] {
                    hash = fnv(hash, &number.to_le_bytes());
                }
            }
        }
        Content { image_sha256: self.image_sha256.clone(), tree: format!("{hash:016x}") }
    }
}

impl Content {
    /// Whether a layer that was made on this content may be mounted over another copy of it.
    pub(super) fn fits(&self, now: &Self) -> bool {
        match (self.image_sha256.as_str(), now.image_sha256.as_str()) {
            ("", _) | (_, "") => !self.tree.is_empty() && self.tree == now.tree,
            (before, now) => before == now,
        }
    }
}

impl TryFrom<Image> for BaseImage {
    type Error = Image;

    /// An image that has a root.
    fn try_from(image: Image) -> Result<Self, Image> {
        if !image.facts.has_root {
            return Err(image);
        }
        let Image { name, root, facts, .. } = image;
        let root = fs::canonicalize(&root).unwrap_or(root);
        let kernel_mounts_root = facts.kernel_mounts_root;
        Ok(Self { name, root, boot: facts.boot, kernel_mounts_root, image_sha256: facts.sha256 })
    }
}

impl BaseImages {
    /// The directory of the boot files of a Pi with this image in the inventory.
    ///
    /// # Errors
    ///
    /// If the Pi has no image.
    pub fn boot_dir(&self, image: Option<&str>) -> Result<PathBuf, NoBaseImage> {
        match self {
            Self::One(base_image) => Ok(base_image.boot_dir()),
            Self::Images(images) => Ok(image_for(images, image)?.boot),
        }
    }

    /// The base image of a Pi with this image in the inventory.
    ///
    /// # Errors
    ///
    /// If the Pi has none.
    pub fn base_image_for(&self, image: Option<&str>) -> Result<BaseImage, NoBaseImage> {
        match self {
            Self::One(base_image) => Ok(base_image.clone()),
            Self::Images(images) => {
                let image = image_for(images, image)?;
                BaseImage::try_from(image).map_err(|image| NoBaseImage::NoRoot(image.name))
            }
        }
    }

    /// The base image of this name.
    pub fn named(&self, name: &str) -> Option<BaseImage> {
        match self {
            Self::One(base_image) => Some(base_image).filter(|base_image| base_image.name == name).cloned(),
            Self::Images(images) => BaseImage::try_from(images.find(name).ok()??).ok(),
        }
    }

    /// All base images.
    ///
    /// # Errors
    ///
    /// If the images cannot be read.
    pub fn all(&self) -> Result<Vec<BaseImage>, NoBaseImage> {
        Ok(match self {
            Self::One(base_image) => vec![base_image.clone()],
            Self::Images(images) => {
                images.list()?.into_iter().filter_map(|image| BaseImage::try_from(image).ok()).collect()
            }
        })
    }
}

/// The image that a Pi boots: the inventory's, else the current one.
fn image_for(images: &Images, image: Option<&str>) -> Result<Image, NoBaseImage> {
    match image {
        Some(name) => images.find(name)?.ok_or_else(|| NoBaseImage::NoImage(name.to_owned())),
        None => images.current()?.ok_or(NoBaseImage::NoneInUse),
    }
}

/// The reason why a Pi has no base image.
#[derive(Debug)]
pub enum NoBaseImage {
    /// The image in the inventory does not exist.
    NoImage(String),
    /// No image is current.
    NoneInUse,
    /// This image has boot files only.
    NoRoot(String),
    /// The images cannot be read.
    Images(ImagesError),
}

impl From<ImagesError> for NoBaseImage {
    fn from(error: ImagesError) -> Self {
        Self::Images(error)
    }
}

impl std::fmt::Display for NoBaseImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoImage(name) => write!(f, "image {name} does not exist"),
            Self::NoneInUse => f.write_str("no current image: the link 'current' is missing. 'pinetboot images use' makes an image the current one"),
            Self::NoRoot(name) => write!(f, "image {name} has boot files only, and no root file system"),
            Self::Images(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for NoBaseImage {}

/// Places that package managers and unpacked trees change.
const WATCHED: &[&str] = &["", "etc", "usr", "usr/bin", "usr/lib", "usr/lib/modules", "var/lib/dpkg/status"];

fn id_of(path: &Path) -> u32 {
    let hash = fnv(FNV_OFFSET, path.as_os_str().as_encoded_bytes());
    ((hash >> 32) ^ hash) as u32 | 1
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_named_after_its_path_and_finds_its_boot_files() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("my root");
        fs::create_dir_all(root.join("boot/firmware")).unwrap();
        fs::write(root.join("boot/config.txt"), "").unwrap();
        let base_image = BaseImage::at(&root).unwrap();
        assert_eq!(base_image.boot, Path::new("boot"));
        assert!(base_image.name.starts_with("myroot-"), "{}", base_image.name);
        fs::write(root.join("boot/firmware/config.txt"), "").unwrap();
        assert_eq!(BaseImage::at(&root).unwrap().boot, Path::new("boot/firmware"));
        assert!(BaseImage::at(&directory.path().join("none")).is_err());
    }

    #[test]
    fn a_package_installed_into_it_shows() {
        let directory = tempfile::tempdir().unwrap();
        let status = directory.path().join("var/lib/dpkg/status");
        fs::create_dir_all(status.parent().unwrap()).unwrap();
        fs::write(&status, "old").unwrap();
        let base_image = BaseImage::at(directory.path()).unwrap();
        let before = base_image.content();
        assert!(before.fits(&base_image.content()));
        fs::write(status.with_extension("new"), "newer").unwrap();
        fs::rename(status.with_extension("new"), &status).unwrap();
        assert!(!before.fits(&base_image.content()));
        // An imported image is known by its file.
        let imported =
            |sha256: &str| BaseImage { image_sha256: sha256.into(), ..base_image.clone() }.content();
        assert!(Content { tree: "before".into(), ..imported("a") }.fits(&imported("a")));
        assert!(!imported("a").fits(&imported("b")));
        assert!(!Content::default().fits(&Content::default()), "unknown");
    }
}
