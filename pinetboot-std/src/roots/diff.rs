//! The changes of a Pi: reads its layer in overlayfs's format (Documentation/filesystems/overlayfs.rst).
//!
//! The walk covers the layer, and the parts of the base image beneath its entries, so the time grows with the layer. Not done:
//! changes of extended attributes and of hard links.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::layer::Layer;

/// A change. Paths start at the Pi's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The base image has no file of this name.
    Added,
    /// The base image has another file, mode or owner.
    Changed,
    /// The file, or the directory with its content, was deleted.
    Deleted,
    /// A directory with this former name.
    Renamed(PathBuf),
}

/// All changes of a layer, by path; a directory's ends with a slash.
///
/// # Errors
///
/// The system's; only root may read a layer.
pub(super) fn changes(layer: &Layer) -> io::Result<BTreeMap<PathBuf, Change>> {
    let mut walk =
        Walk { base_image: layer.facts.root.clone(), changes: BTreeMap::new(), moved: HashSet::new() };
    walk.directory(&layer.upper(), Some(&layer.facts.root), Path::new("/"), false)?;
    let Walk { mut changes, moved, .. } = walk;
    // overlayfs marks the former name of a renamed directory as deleted.
    changes.retain(|path, change| *change != Change::Deleted || !moved.contains(path));
    Ok(changes)
}

struct Walk {
    base_image: PathBuf,
    changes: BTreeMap<PathBuf, Change>,
    moved: HashSet<PathBuf>,
}

impl Walk {
    /// Walks a directory of the layer over one of the base image; `opaque`: the latter is hidden.
    fn directory(
        &mut self,
        upper: &Path,
        lower: Option<&Path>,
        shown: &Path,
        opaque: bool,
    ) -> io::Result<()> {
        let mut names = HashSet::new();
        for entry in fs::read_dir(upper)? {
            let entry = entry?;
            let name = entry.file_name();
            let lower = lower.map(|lower| lower.join(&name));
            self.entry(&entry.path(), lower.as_deref(), &shown.join(&name))?;
            names.insert(name);
        }
        if opaque && let Some(lower) = lower {
            for entry in fs::read_dir(lower)? {
                let entry = entry?;
                if !names.contains(&entry.file_name()) {
                    self.deleted(&entry.metadata()?, &shown.join(entry.file_name()));
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, upper: &Path, lower: Option<&Path>, shown: &Path) -> io::Result<()> {
        let new = fs::symlink_metadata(upper)?;
        let old = lower.and_then(|lower| fs::symlink_metadata(lower).ok());
        if new.file_type().is_char_device() && new.rdev() == 0 {
            if let Some(old) = old {
                self.deleted(&old, shown);
            }
            return Ok(());
        }
        if !new.is_dir() {
            let change = match old {
                None => Change::Added,
                Some(old) if is_same(&new, &old, upper, lower)? => return Ok(()),
                Some(_) => Change::Changed,
            };
            self.changes.insert(shown.to_owned(), change);
            return Ok(());
        }
        let directory = shown.join("");
        if let Some(redirect) = attribute(upper, "trusted.overlay.redirect")? {
            let from = self.redirected(&redirect, lower);
            let shown_from =
                Path::new("/").join(from.strip_prefix(&self.base_image).unwrap_or(&from)).join("");
            self.moved.insert(shown_from.clone());
            self.changes.insert(directory, Change::Renamed(shown_from));
            return self.directory(upper, Some(&from), shown, false);
        }
        let opaque = attribute(upper, "trusted.overlay.opaque")?.as_deref() == Some(b"y");
        let change = match &old {
            None => Some(Change::Added),
            Some(old) => {
                let as_before = old.is_dir() && new.mode() == old.mode() && owner(&new) == owner(old);
                (!as_before).then_some(Change::Changed)
            }
        };
        if let Some(change) = change {
            self.changes.insert(directory, change);
        }
        let lower = lower.filter(|_| old.is_some_and(|old| old.is_dir()));
        self.directory(upper, lower, shown, opaque)
    }

    /// The former path of a renamed directory: absolute from the top, or a name in the same directory.
    fn redirected(&self, redirect: &[u8], lower: Option<&Path>) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let redirect = Path::new(std::ffi::OsStr::from_bytes(redirect));
        match redirect.strip_prefix("/") {
            Ok(from_top) => self.base_image.join(from_top),
            Err(_) => lower.and_then(Path::parent).unwrap_or(&self.base_image).join(redirect),
        }
    }

    fn deleted(&mut self, old: &Metadata, shown: &Path) {
        let shown = if old.is_dir() { shown.join("") } else { shown.to_owned() };
        self.changes.insert(shown, Change::Deleted);
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "A",
            Self::Changed => "C",
            Self::Deleted => "D",
            Self::Renamed(_) => "R",
        })
    }
}

/// Whether a file in the layer equals the base image's: opened for writing, and not changed.
fn is_same(new: &Metadata, old: &Metadata, upper: &Path, lower: Option<&Path>) -> io::Result<bool> {
    if new.mode() != old.mode()
        || owner(new) != owner(old)
        || new.rdev() != old.rdev()
        || new.len() != old.len()
    {
        return Ok(false);
    }
    let Some(lower) = lower else { return Ok(false) };
    if new.is_symlink() {
        return Ok(fs::read_link(upper)? == fs::read_link(lower)?);
    }
    Ok(!new.is_file() || same_bytes(upper, lower)?)
}

fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let len = one.read(&mut a)?;
        if len == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        let (a, b) = (a.get(..len).unwrap_or_default(), b.get_mut(..len).unwrap_or_default());
        match other.read_exact(b) {
            Ok(()) if a == b => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// The value of an extended attribute; `None` without one of this name.
fn attribute(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match xattr::get(path, name) {
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(None),
        value => value,
    }
}

const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use pinetboot_core::pi::Prefix;

    use super::*;
    use crate::roots::{BaseImage, State};

    /// Changes that need no privileges; `tests/roots.rs` has whiteouts and renamed directories.
    #[test]
    fn what_is_added_and_changed_shows_and_what_was_only_copied_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("etc/apt")).unwrap();
        for name in ["hosts", "same", "touched", "mode", "type"] {
            fs::write(root.join("etc").join(name), name).unwrap();
        }
        symlink("a", root.join("etc/link")).unwrap();
        let state = State::at(&directory.path().join("state"));
        let layer = state.make_layer(Prefix::Serial(1), &BaseImage::at(&root).unwrap(), 2).unwrap();
        let etc = layer.upper().join("etc");
        fs::create_dir_all(etc.join("new/sub")).unwrap();
        fs::create_dir(etc.join("apt")).unwrap();
        fs::set_permissions(etc.join("apt"), fs::metadata(root.join("etc/apt")).unwrap().permissions())
            .unwrap();
        fs::set_permissions(&etc, fs::metadata(root.join("etc")).unwrap().permissions()).unwrap();
        fs::write(etc.join("hosts"), "HOSTS").unwrap();
        fs::write(etc.join("same"), "same").unwrap();
        fs::write(etc.join("touched"), "touched").unwrap();
        fs::write(etc.join("mode"), "mode").unwrap();
        fs::set_permissions(etc.join("mode"), PermissionsExt::from_mode(0o640)).unwrap();
        fs::create_dir(etc.join("type")).unwrap();
        fs::write(etc.join("new/sub/file"), "").unwrap();
        symlink("b", etc.join("link")).unwrap();

        let changes = changes(&layer).unwrap();
        let shown: Vec<_> =
            changes.iter().map(|(path, change)| format!("{change} {}", path.display())).collect();
        assert_eq!(
            shown,
            [
                "C /etc/hosts",
                "C /etc/link",
                "C /etc/mode",
                "A /etc/new/",
                "A /etc/new/sub/",
                "A /etc/new/sub/file",
                "C /etc/type/"
            ]
        );
    }
}
