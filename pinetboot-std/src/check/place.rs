//! What a path holds: boot files, a root, imported images, or an OS image.

use std::path::{Path, PathBuf};

use super::tree::Directory;
use crate::exit::{Exit, Failed};
use crate::images::Images;

/// A place, and the systems in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) systems: Vec<System>,
}

/// A system: boot files, a root, or both.
#[derive(Debug)]
pub(super) struct System {
    /// The image's name; `None` if the place is the system.
    pub(super) name: Option<String>,
    pub(super) kind: Kind,
    /// The directory of the boot files beneath the root, if they are there.
    pub(super) boot_in_root: Option<String>,
    /// Whether a server writes the root into command lines: of imported images, and of a root with its boot files.
    pub(super) server_adds_root: bool,
    /// Whether the system is for a card, and an import changes it.
    pub(super) is_for_card: bool,
}

/// Where the files are.
#[derive(Debug)]
pub(super) enum Kind {
    Directories {
        boot: Option<PathBuf>,
        root: Option<PathBuf>,
    },
    #[cfg(feature = "import")]
    Image(PathBuf),
}

impl Place {
    /// Looks at a path.
    ///
    /// # Errors
    ///
    /// If nothing that can be checked is there.
    pub(super) fn recognise(path: &Path, root: Option<&Path>) -> Result<Self, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::new(Exit::Tree, format!("{}: {error}", path.display()));
        let status = std::fs::metadata(path).map_err(|error| failed(&error))?;
        let systems = if status.is_dir() {
            let images = Images::open(path).map_err(|error| Failed::new(Exit::Tree, error))?;
            match (images, root) {
                (Some(images), None) => Self::images(&images)?,
                _ => vec![Self::directory(path, root)],
            }
        } else {
            vec![Self::image(path, root)?]
        };
        Ok(Self { path: path.to_owned(), systems })
    }

    fn images(images: &Images) -> Result<Vec<System>, Failed> {
        let all = images.list().map_err(|error| Failed::new(Exit::Tree, error))?;
        let system = |image: crate::images::Image| System {
            name: Some(image.name),
            boot_in_root: image.facts.boot.to_str().map(str::to_owned),
            kind: Kind::Directories {
                boot: Some(image.boot),
                root: image.facts.has_root.then_some(image.root),
            },
            server_adds_root: image.facts.has_root,
            is_for_card: false,
        };
        Ok(all.into_iter().map(system).collect())
    }

    fn directory(path: &Path, root: Option<&Path>) -> System {
        let is_root = ["etc/os-release", "usr/lib/os-release", "sbin/init", "etc/fstab"]
            .iter()
            .any(|file| path.join(file).symlink_metadata().is_ok());
        let inside = ["boot/firmware", "boot"].into_iter().find(|boot| {
            ["config.txt", "start4.elf"].iter().any(|file| path.join(boot).join(file).is_file())
        });
        let (boot, own_root, boot_in_root) = match (is_root, inside) {
            (true, Some(inside)) => (Some(path.join(inside)), Some(path), Some(inside.to_owned())),
            (true, None) => (None, Some(path), None),
            (false, _) => (Some(path.to_owned()), None, None),
        };
        System {
            name: None,
            kind: Kind::Directories { boot, root: root.or(own_root).map(Path::to_owned) },
            boot_in_root,
            server_adds_root: is_root,
            is_for_card: false,
        }
    }

    #[cfg(feature = "import")]
    fn image(path: &Path, root: Option<&Path>) -> Result<System, Failed> {
        if root.is_some() {
            return Err(Failed::new(
                Exit::Usage,
                "--root goes with a directory of boot files: an image has its own root",
            ));
        }
        Ok(System {
            name: None,
            kind: Kind::Image(path.to_owned()),
            boot_in_root: None,
            server_adds_root: true,
            is_for_card: true,
        })
    }

    #[cfg(not(feature = "import"))]
    fn image(path: &Path, _: Option<&Path>) -> Result<System, Failed> {
        Err(Failed::new(
            Exit::Usage,
            format!("{} is no directory, and this program was built without images", path.display()),
        ))
    }
}

/// Opens a directory, by one of [`Directory`]'s ways.
///
/// # Errors
///
/// The system's, with the path.
pub(super) fn directory(
    path: Option<&Path>,
    open: fn(&Path) -> std::io::Result<Directory>,
) -> Result<Option<Directory>, Failed> {
    let open = |path: &Path| {
        open(path).map_err(|error| Failed::new(Exit::Tree, format!("{}: {error}", path.display())))
    };
    path.map(open).transpose()
}
