//! Edits of a root file system, and their execution.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use pinetboot_image::ext4::FileKind;

use crate::import::root_writer::{self, Attributes, RootWriter};

/// A change of one file. Paths start at the root, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Writes a file. An existing file keeps its owner, permissions and attributes.
    Write {
        /// The file.
        path: String,
        /// The whole content.
        content: Vec<u8>,
        /// Permissions of a new file.
        permissions: u32,
        /// The owner of a new file.
        owner: (u32, u32),
        /// The change in a few words, for lists.
        what: String,
    },
    /// Removes a file.
    Remove {
        /// The file.
        path: String,
    },
    /// Makes a symbolic link, in place of an existing file.
    Link {
        /// The link.
        path: String,
        /// The link's target.
        target: String,
    },
    /// Makes a directory, if missing.
    Directory {
        /// The directory.
        path: String,
        /// Permissions of a new directory.
        permissions: u32,
        /// The owner of a new directory.
        owner: (u32, u32),
    },
}

impl Edit {
    /// Writes a file with owner root and mode 0644.
    pub fn write(path: impl Into<String>, content: impl Into<Vec<u8>>, what: impl Into<String>) -> Self {
        Self::Write {
            path: path.into(),
            content: content.into(),
            permissions: 0o644,
            owner: (0, 0),
            what: what.into(),
        }
    }

    /// Removes a file.
    pub fn remove(path: impl Into<String>) -> Self {
        Self::Remove { path: path.into() }
    }

    /// Makes a symbolic link.
    pub fn link(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::Link { path: path.into(), target: target.into() }
    }

    /// Masks a systemd unit: links it to /dev/null.
    pub fn mask(unit: &str) -> Self {
        Self::link(format!("etc/systemd/system/{unit}"), "/dev/null")
    }

    /// The edited file.
    pub fn path(&self) -> &str {
        match self {
            Self::Write { path, .. }
            | Self::Remove { path }
            | Self::Link { path, .. }
            | Self::Directory { path, .. } => path,
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, what, .. } => write!(f, "/{path}: {what}"),
            Self::Remove { path } => write!(f, "/{path}: removed"),
            Self::Link { path, target } => write!(f, "/{path}: a link to {target}"),
            Self::Directory { path, .. } => write!(f, "/{path}: created"),
        }
    }
}

/// Applies an edit.
///
/// # Errors
///
/// The system's.
pub fn apply(edit: &Edit, root: &RootWriter) -> io::Result<()> {
    let (directory, name) = edit.path().rsplit_once('/').unwrap_or(("", edit.path()));
    if matches!(edit, Edit::Remove { .. }) {
        let Ok(parent) = root.directory_through_links(directory.as_bytes()) else { return Ok(()) };
        return remove(&parent, name);
    }
    let parent = directories(root, directory)?;
    let made =
        |permissions, owner| Attributes { permissions, owner: Some(owner), modified: None, xattrs: &[] };
    match edit {
        Edit::Write { content, permissions, owner, .. } => {
            let before = root_writer::status(&parent, name.as_bytes())?;
            if before.is_some_and(|stat| stat.st_mode & KIND == REGULAR && stat.st_nlink == 1) {
                return root_writer::open_again(&parent, name.as_bytes())?.write_all(content);
            }
            remove(&parent, name)?;
            let mut file = root_writer::make_file(&parent, name.as_bytes())?;
            file.write_all(content)?;
            root_writer::finish(file.as_fd(), &made(*permissions, *owner))
        }
        Edit::Link { target, .. } => {
            remove(&parent, name)?;
            let attributes = made(0o777, (0, 0));
            root_writer::make_special(
                &parent,
                name.as_bytes(),
                FileKind::Symlink,
                target.as_bytes(),
                &attributes,
            )
        }
        Edit::Directory { path, permissions, owner } => {
            if root.directory_through_links(path.as_bytes()).is_err() {
                root_writer::make_directory(&parent, name.as_bytes())?;
                let place = root.directory_through_links(path.as_bytes())?;
                root_writer::finish(place.as_fd(), &made(*permissions, *owner))?;
            }
            Ok(())
        }
        Edit::Remove { .. } => Ok(()),
    }
}

/// Opens a directory, and creates missing directories on the way.
pub(crate) fn directories(root: &RootWriter, path: &str) -> io::Result<OwnedFd> {
    let mut made = String::new();
    let mut parent = root.directory(b"")?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        made = if made.is_empty() { name.to_owned() } else { format!("{made}/{name}") };
        parent = match root.directory_through_links(made.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if root_writer::status(&parent, name.as_bytes())?.is_some() {
                    return Err(io::Error::other(format!("/{made} is a dangling link")));
                }
                root_writer::make_directory(&parent, name.as_bytes())?;
                let place = root.directory_through_links(made.as_bytes())?;
                let attributes = Attributes { permissions: 0o755, owner: None, modified: None, xattrs: &[] };
                root_writer::finish(place.as_fd(), &attributes)?;
                place
            }
            place => place?,
        };
    }
    Ok(parent)
}

fn remove(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
