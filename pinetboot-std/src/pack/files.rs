//! The files of a directory that a board can serve, by name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pinetboot_core::BootPath;
use walkdir::{DirEntry, WalkDir};

use crate::exit::{Exit, Failed};

/// The files, sorted by directory and name.
pub(super) struct PackFiles {
    pub(super) files: Vec<PackFile>,
    /// Entries that cannot be packed, each with the reason.
    pub(super) left_out: Vec<String>,
}

/// A file to pack.
pub(super) struct PackFile {
    /// The name that clients ask for.
    pub(super) name: String,
    /// Its path on this machine.
    pub(super) path: PathBuf,
    /// Its length in bytes, at the time of the walk.
    pub(super) len: u64,
}

impl PackFiles {
    /// Walks a directory. Links are followed within the directory, as the server does; an archive has no links.
    pub(super) fn walk(root: &Path) -> Result<Self, Failed> {
        let cannot_read = |path: &Path, error: &dyn std::fmt::Display| {
            Failed::new(Exit::Tree, format!("cannot read {}: {error}", path.display()))
        };
        let real_root = fs::canonicalize(root).map_err(|error| cannot_read(root, &error))?;
        if !real_root.is_dir() {
            return Err(cannot_read(root, &"not a directory"));
        }
        let mut tree = Self { files: Vec::new(), left_out: Vec::new() };
        let mut entries =
            WalkDir::new(&real_root).follow_links(true).sort_by_file_name().min_depth(1).into_iter();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => match source(&real_root, &entry) {
                    Ok(Some(source)) => {
                        tree.files.push(source);
                        if tree.files.len() > MOST_FILES {
                            let why = format!("more than {MOST_FILES} files, so no copy of a boot partition");
                            return Err(cannot_read(root, &why));
                        }
                    }
                    Ok(None) => {}
                    Err(why) => {
                        tree.left_out.push(format!("{}: {why}", entry.path().display()));
                        if entry.file_type().is_dir() {
                            entries.skip_current_dir();
                        }
                    }
                },
                Err(error) => {
                    let path = error.path().unwrap_or(root);
                    let dangling =
                        error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
                    if error.loop_ancestor().is_some() {
                        tree.left_out.push(format!("{}: a link to a directory above it", path.display()));
                    } else if dangling && error.depth() > 0 {
                        tree.left_out.push(format!("{}: a dangling link", path.display()));
                    } else {
                        return Err(cannot_read(path, &error));
                    }
                }
            }
        }
        Ok(tree)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

impl PackFile {
    /// Reads the whole file; fails if its length has changed.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(self.len + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == self.len {
            Ok(bytes)
        } else {
            Err(io::Error::other("the file changed during packing"))
        }
    }
}

/// The file of an entry; `None` for a directory.
fn source(root: &Path, entry: &DirEntry) -> Result<Option<PackFile>, String> {
    if entry.path_is_symlink() {
        let target = fs::canonicalize(entry.path()).map_err(|error| error.to_string())?;
        if !target.starts_with(root) {
            return Err("a link that leads out of the directory".into());
        }
    } else if !entry.file_type().is_file() && !entry.file_type().is_dir() {
        return Err("neither a file nor a directory".into());
    }
    if entry.file_type().is_dir() {
        return Ok(None);
    }
    let name = entry.path().strip_prefix(root).map_err(|error| error.to_string())?;
    let name = name.as_os_str().as_bytes();
    let name = BootPath::parse(name).map_err(|why| format!("no client can ask for it: {why}"))?;
    if name.as_requested().contains('\\') {
        return Err("no client can ask for it: a backslash separates directories".into());
    }
    let metadata = entry.metadata().map_err(|error| error.to_string())?;
    Ok(Some(PackFile {
        name: name.as_requested().to_owned(),
        path: entry.path().to_owned(),
        len: metadata.len(),
    }))
}

/// A boot partition of Raspberry Pi OS has about 400.
const MOST_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_within_the_tree_are_followed_and_others_left_out() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        fs::create_dir(root.join("bd989ae1")).unwrap();
        fs::write(root.join("kernel8.img"), "kernel").unwrap();
        fs::write(root.join("back\\slash"), "").unwrap();
        symlink("kernel8.img", root.join("kernel_2712.img")).unwrap();
        symlink("..", root.join("bd989ae1/loop")).unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        symlink(outside.path(), root.join("secret")).unwrap();

        let found = PackFiles::walk(root).unwrap();
        let names: Vec<_> = found.files.iter().map(|file| (file.name.as_str(), file.len)).collect();
        assert_eq!(names, [("kernel8.img", 6), ("kernel_2712.img", 6)]);
        for (name, why) in [
            ("back\\slash", "no client"),
            ("bd989ae1/loop", "above"),
            ("dangling", "a dangling link"),
            ("secret", "out of the directory"),
        ] {
            assert!(found.left_out.iter().any(|line| line.contains(name) && line.contains(why)), "{name}");
        }
        assert_eq!(found.left_out.len(), 4, "{:?}", found.left_out);
    }

    #[test]
    fn a_link_to_a_directory_outside_brings_none_of_its_files() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        let tree = tempfile::tempdir().unwrap();
        symlink(outside.path(), tree.path().join("link")).unwrap();
        assert!(PackFiles::walk(tree.path()).unwrap().files.is_empty());
    }

    #[test]
    fn a_file_that_changes_while_it_is_packed_is_an_error() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("config.txt"), "old").unwrap();
        let found = PackFiles::walk(tree.path()).unwrap();
        for changed in ["newer", "no"] {
            fs::write(tree.path().join("config.txt"), changed).unwrap();
            assert!(found.files[0].read().is_err());
        }
    }
}
