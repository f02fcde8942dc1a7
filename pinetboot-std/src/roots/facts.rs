//! The records of layers and Pis: `layer.toml` and `pi.toml`.
//!
//! No path in a record is absolute if the base image lies beside the state: a directory that is moved with its images goes on.

use std::fs::{self, File, FileTimes};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::base_image::{BaseImage, Content};
use crate::durable::{self, Staged};
use crate::events::{BootRecord, Mac};
use crate::images::{IMAGES, ROOT};
use crate::space::Size;

/// The facts about a layer: its `layer.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerFacts {
    /// The number of the export, part of every file handle of the Pi.
    pub export: u32,
    /// The root of the base image; in the file relative to the state directory, if the two are in one directory.
    pub root: PathBuf,
    /// The boot files' directory, relative to the root.
    pub boot: PathBuf,
    /// Whether its kernels mount a root by NFS without an initramfs.
    pub kernel_mounts_root: bool,
    /// The content of the base image when the layer was made or adopted; empty in a layer of version 1 that was not mounted since.
    #[serde(flatten)]
    pub content: Content,
}

/// The facts about a Pi: its `pi.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct PiFacts {
    /// The address of the last mount.
    pub address: Option<Ipv4Addr>,
    /// The MAC address of the last mount, as a directory's name: `2c-cf-67-01-02-03`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The host name at the last mount.
    pub name: String,
    /// The limit of the Pi's layers at the last mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_root_size: Option<Size>,
    /// The image of the last mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The last boots, oldest first.
    #[serde(rename = "boot", skip_serializing_if = "Vec::is_empty")]
    pub boots: Vec<BootRecord>,
}

impl PiFacts {
    /// The parsed MAC address.
    pub fn mac(&self) -> Option<Mac> {
        match Prefix::parse(self.mac.as_deref()?)? {
            Prefix::Mac(mac) => Some(mac),
            Prefix::Serial(_) => None,
        }
    }
}

impl LayerFacts {
    /// The facts about a layer on this base image.
    pub(super) fn new(export: u32, base_image: &BaseImage) -> Self {
        Self {
            export,
            root: base_image.root.clone(),
            boot: base_image.boot.clone(),
            kernel_mounts_root: base_image.kernel_mounts_root,
            content: base_image.content(),
        }
    }

    /// Reads the facts about a layer on this image, in a state directory.
    pub(super) fn read(file: &Path, state: &Path, image: &str) -> Option<Self> {
        let facts: Self = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
        let state = fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
        // A record of version 1 has an absolute path, which a directory that was moved has no more.
        let image_root = Path::new(IMAGES).join(image).join(ROOT);
        let beside =
            facts.root.ends_with(&image_root).then(|| state.parent().map(|dir| dir.join(&image_root)));
        let recorded = state.join(&facts.root);
        let root = beside.flatten().and_then(|root| root.canonicalize().ok());
        let root = root.unwrap_or_else(|| recorded.canonicalize().unwrap_or(recorded));
        Some(Self { root, ..facts })
    }

    /// Writes the facts, with the time of the file that they replace if `keep_time`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn write(&self, file: &Path, state: &Path, keep_time: bool) -> io::Result<()> {
        let time = keep_time.then(|| fs::metadata(file).and_then(|file| file.modified())).transpose()?;
        durable::replace(file, self.text(state)?.as_bytes(), 0o644)?;
        if let Some(time) = time {
            File::options().write(true).open(file)?.set_times(FileTimes::new().set_modified(time))?;
        }
        Ok(())
    }

    /// Stages the file of the facts.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn stage(&self, file: &Path, state: &Path) -> io::Result<Staged> {
        durable::stage(file, self.text(state)?.as_bytes(), 0o644)
    }

    fn text(&self, state: &Path) -> io::Result<String> {
        let state = fs::canonicalize(state)?;
        let beside = state.parent().and_then(|dir| self.root.strip_prefix(dir).ok());
        let root = beside.map_or_else(|| self.root.clone(), |root| Path::new("..").join(root));
        toml::to_string(&Self { root, ..self.clone() }).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_finds_its_image_after_a_move() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for part in ["pi/images/one/root", "pi/state", "elsewhere/root"] {
            fs::create_dir_all(place(part)).unwrap();
        }
        let write = |root: &str| {
            let facts = LayerFacts { root: place(root), ..LayerFacts::default() };
            facts.write(&place("pi/state/layer.toml"), &place("pi/state"), false).unwrap();
        };
        let root = |pi: &str| {
            let state = place(pi).join("state");
            LayerFacts::read(&state.join("layer.toml"), &state, "one").unwrap().root
        };
        write("pi/images/one/root");
        assert_eq!(root("pi"), place("pi/images/one/root"));
        fs::rename(place("pi"), place("pi2")).unwrap();
        assert_eq!(root("pi2"), place("pi2/images/one/root"));

        // Version 1.
        let old = format!(
            "export = 7\nroot = '{}'\nboot = 'boot'\nkernel-mounts-root = true\nfingerprint = '00'\n",
            place("pi/images/one/root").display()
        );
        fs::write(place("pi2/state/layer.toml"), old).unwrap();
        assert_eq!(root("pi2"), place("pi2/images/one/root"));

        fs::rename(place("pi2"), place("pi")).unwrap();
        write("elsewhere/root");
        fs::rename(place("pi"), place("pi2")).unwrap();
        assert_eq!(root("pi2"), place("elsewhere/root"));
    }

    #[test]
    fn a_pi_is_recorded() {
        let boots =
            vec![BootRecord { number: 7, began: 1_790_000_000, kernel: true, ..BootRecord::default() }];
        let mac = Some("2c-cf-67-01-02-03".to_owned());
        let facts = PiFacts {
            address: Some(Ipv4Addr::new(10, 0, 0, 5)),
            mac,
            name: "kitchen".into(),
            max_root_size: None,
            image: Some("trixie".into()),
            boots,
        };
        assert_eq!(facts.mac(), Some([0x2c, 0xcf, 0x67, 1, 2, 3]));
        let text = toml::to_string(&facts).unwrap();
        assert_eq!(toml::from_str::<PiFacts>(&text).unwrap(), facts);
    }
}
