//! All that a directory holds, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A line for each file beneath.
pub(crate) type Listing = BTreeMap<PathBuf, String>;

/// Everything beneath, with the attributes that an NFS client can set. `kept` chooses what is looked at.
pub(crate) fn listing(directory: &Path, kept: &dyn Fn(&Path) -> bool) -> Listing {
    let mut all = Listing::new();
    add(directory, kept, &mut all);
    all
}

fn add(directory: &Path, kept: &dyn Fn(&Path) -> bool, all: &mut Listing) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !kept(&path) {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut hasher = DefaultHasher::new();
        match metadata.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap().hash(&mut hasher),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().hash(&mut hasher),
            kind if kind.is_dir() => add(&path, kept, all),
            _ => metadata.rdev().hash(&mut hasher),
        }
        let size = if metadata.is_dir() { 0 } else { metadata.size() };
        let line = format!(
            "{:o} {}:{} {size} bytes, modified {}.{:09}, content {:x}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            hasher.finish()
        );
        all.insert(path, line);
    }
}

/// The differences, a line for each.
pub(crate) fn differences(before: &Listing, after: &Listing) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, line) in before {
        match after.get(path) {
            None => lines.push(format!("{} is gone: {line}", path.display())),
            Some(other) if other != line => {
                lines.push(format!("{} was {line}; is {other}", path.display()));
            }
            Some(_) => {}
        }
    }
    let new = after.keys().filter(|path| !before.contains_key(*path));
    lines.extend(new.map(|path| format!("{} is back", path.display())));
    lines
}
