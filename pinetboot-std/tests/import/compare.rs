//! Two trees, compared in all that a root file system has.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Something that is not the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Difference {
    /// Beneath both roots.
    pub(crate) path: PathBuf,
    /// The part that differs.
    pub(crate) what: String,
}

/// All differences, in the order of the paths.
pub(crate) fn differences(wanted: &Path, found: &Path) -> Vec<Difference> {
    let (wanted, found) = (tree(wanted), tree(found));
    let mut differences = Vec::new();
    for path in wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let mut differ = |what: &str| differences.push(Difference { path: path.clone(), what: what.into() });
        match (wanted.get(path), found.get(path)) {
            (Some(_), None) => differ("missing"),
            (None, _) => differ("not wanted"),
            (Some(wanted), Some(found)) => {
                for (part, value) in wanted {
                    if found.get(part) != Some(value) {
                        differ(part);
                    }
                }
            }
        }
    }
    differences
}

type Parts = Vec<(&'static str, Vec<u8>)>;

fn tree(root: &Path) -> BTreeMap<PathBuf, BTreeMap<&'static str, Vec<u8>>> {
    let mut paths = Vec::new();
    gather(root, root, &mut paths).unwrap();
    // Names of one file, so that links are compared by which names they join.
    let mut names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for path in &paths {
        let all = names.entry(fs::symlink_metadata(root.join(path)).unwrap().ino()).or_default();
        all.extend_from_slice(path.as_os_str().as_encoded_bytes());
        all.push(0);
    }
    let parts =
        |path: PathBuf| (path.clone(), parts(&root.join(path), &names).unwrap().into_iter().collect());
    paths.into_iter().map(parts).collect()
}

fn parts(path: &Path, names: &BTreeMap<u64, Vec<u8>>) -> io::Result<Parts> {
    let stat = fs::symlink_metadata(path)?;
    let kind = stat.file_type();
    let mut parts = vec![
        ("owner", format!("{}:{}", stat.uid(), stat.gid()).into_bytes()),
        ("mode", format!("{:o}", stat.mode()).into_bytes()),
        ("time", stat.mtime().to_string().into_bytes()), // mke2fs keeps whole seconds
        ("xattrs", xattrs(path)?),
    ];
    if !kind.is_dir() {
        parts.push(("links", names.get(&stat.ino()).cloned().unwrap_or_default()));
    }
    if kind.is_symlink() {
        parts.push(("target", fs::read_link(path)?.into_os_string().into_vec()));
    } else if kind.is_file() {
        parts.push(("size", stat.len().to_string().into_bytes()));
        if stat.len() < 1 << 30 {
            parts.push(("content", fs::read(path)?));
        }
    } else if kind.is_block_device() || kind.is_char_device() {
        parts.push(("device", stat.rdev().to_string().into_bytes()));
    }
    Ok(parts)
}

fn xattrs(path: &Path) -> io::Result<Vec<u8>> {
    let mut names: Vec<_> = xattr::list(path)?.collect();
    names.sort_unstable();
    let mut all = Vec::new();
    for name in names {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        all.extend([name.as_bytes(), b"=", &value, b"\n"].concat());
    }
    Ok(all)
}

fn gather(root: &Path, directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        paths.push(path.strip_prefix(root).map_err(io::Error::other)?.to_owned());
        if fs::symlink_metadata(&path)?.is_dir() {
            gather(root, &path, paths)?;
        }
    }
    Ok(())
}

/// A name that is not UTF-8.
pub(crate) fn odd_name() -> OsString {
    OsString::from_vec(b"odd-\xff\xfe".to_vec())
}
