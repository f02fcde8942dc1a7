//! The served files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::content::{Content, LONGEST};
use crate::load::storm;

/// A file in a tree.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) content: Content,
}

impl Entry {
    fn new(name: &str, len: u64) -> Self {
        Self { name: name.into(), len, content: Content::of(name) }
    }

    fn write(&self, tree: &Path) -> io::Result<()> {
        let path = tree.join(&self.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::create(path)?;
        if self.content == Content::Zeros {
            return file.set_len(self.len);
        }
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let mut offset = 0;
        while offset < self.len {
            let len = (self.len - offset).min(LONGEST as u64) as usize;
            file.write_all(self.content.at(offset, len))?;
            offset += len as u64;
        }
        file.flush()
    }
}

/// The tree of most points: one big file, and a Pi's boot files, reached by the serial number of each.
pub(crate) fn boot_tree() -> io::Result<PathBuf> {
    let tree = root("boot");
    Entry::new(BIG, BIG_LEN).write(&tree)?;
    for (name, len) in storm::FILES {
        Entry::new(&format!("{}/{name}", storm::COMMON), *len).write(&tree)?;
    }
    for client in 0..MOST_CLIENTS {
        symlink(storm::COMMON, tree.join(storm::serial(client)))?;
    }
    Ok(tree)
}

/// A tree of `files` small files, a hundred to a directory.
pub(crate) fn wide_tree(files: usize) -> io::Result<(PathBuf, Vec<Entry>)> {
    let tree = root(&format!("wide-{files}"));
    let entries: Vec<_> = (0..files)
        .map(|file| Entry::new(&format!("{:04}/{:02}.dtbo", file / 100, file % 100), 1000))
        .collect();
    for entry in &entries {
        entry.write(&tree)?;
    }
    Ok((tree, entries))
}

/// One file of this length, sparse where memory is too small for it.
pub(crate) fn deep_tree(len: u64) -> io::Result<(PathBuf, Entry)> {
    let tree = root(&format!("deep-{len}"));
    let content = if len > 1 << 30 { Content::Zeros } else { Content::of("image") };
    let entry = Entry { name: "image".into(), len, content };
    entry.write(&tree)?;
    Ok((tree, entry))
}

/// The big file.
pub(crate) fn big() -> Entry {
    Entry::new(BIG, BIG_LEN)
}

/// In the harness's own /run, a file system in memory that goes away with it.
fn root(name: &str) -> PathBuf {
    Path::new("/run/tree").join(name)
}

pub(crate) const BIG: &str = "big.img";

/// Fewer than 65,536 blocks of 1024 bytes: not every server survives more.
pub(crate) const BIG_LEN: u64 = 64_000_000;

pub(crate) const MOST_CLIENTS: usize = 1000;
