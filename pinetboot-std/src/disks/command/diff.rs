//! `disks diff`: the files of a disk beside those of its image.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::path::Path;

use pinetboot_disk::{Access, Disk, Image};
use pinetboot_image::ext4::{Ext4, FileKind};
use pinetboot_image::fat::Visit;
use pinetboot_image::{Fat, ImageError, ReadAt};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Locked;
use crate::disks::partitions::{Numbers, Reader};
use crate::disks::place::last_base;
use crate::exit::{Exit, Failed};
use crate::output;
use crate::text::shown;

/// The differences, for `--json`.
#[derive(Debug, Serialize)]
struct Diff {
    changes: Vec<Change>,
    /// A partition that cannot be compared, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    root_not_compared: Option<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    change: Kind,
    /// From the root, or beneath `/boot/firmware` for the boot partition.
    path: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Added,
    Changed,
    Deleted,
}

/// What is compared of a file: a hash.
type Files = BTreeMap<Vec<u8>, [u8; 32]>;

/// Prints the differences.
pub(super) fn run(locked: &Locked, json: bool) -> Result<(), Failed> {
    let failed = |why: &dyn std::fmt::Display| Failed::new(Exit::Failure, why);
    let disk = locked.open(Access::ReadOnly)?;
    let base = last_base(&locked.disk.file()).map_err(|why| failed(&why))?;
    let diff = diff(&disk, &base).map_err(|error| failed(&error))?;
    let mut out = output::stdout();
    if json {
        return out.json(&diff);
    }
    for Change { change, path } in &diff.changes {
        let letter = match change {
            Kind::Added => 'A',
            Kind::Changed => 'C',
            Kind::Deleted => 'D',
        };
        writeln!(out, "{letter} {}", shown(path))?;
    }
    if let Some(why) = &diff.root_not_compared {
        return Err(failed(&format!("the root cannot be compared, the boot partition was: {why}")));
    }
    Ok(())
}

fn diff(disk: &dyn Disk, base: &Path) -> Result<Diff, ImageError> {
    let image = Image::open(base, Access::ReadOnly)?;
    let numbers = Numbers::find(&image)?;
    let (disk, image) = (Reader(disk), Reader(&image));
    let mut changes =
        compare(BOOT, &files_of_fat(&numbers.boot(image)?)?, &files_of_fat(&numbers.boot(disk)?)?);
    let root_not_compared = match numbers.root(disk) {
        Ok(root) => {
            changes.extend(compare("", &files_of_ext4(&numbers.root(image)?)?, &files_of_ext4(&root)?));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Diff { changes, root_not_compared })
}

fn compare(beneath: &str, before: &Files, now: &Files) -> Vec<Change> {
    let named =
        |change, path: &[u8]| Change { change, path: format!("{beneath}/{}", String::from_utf8_lossy(path)) };
    let deleted =
        before.keys().filter(|path| !now.contains_key(*path)).map(|path| named(Kind::Deleted, path));
    let others = now.iter().filter_map(|(path, file)| match before.get(path) {
        None => Some(named(Kind::Added, path)),
        Some(then) if then != file => Some(named(Kind::Changed, path)),
        Some(_) => None,
    });
    deleted.chain(others).collect()
}

fn files_of_fat<R: ReadAt>(fat: &Fat<R>) -> Result<Files, ImageError> {
    let mut all = OfFat(Files::new());
    fat.walk(&mut all)?;
    Ok(all.0)
}

struct OfFat(Files);

impl Visit for OfFat {
    type Error = ImageError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImageError> {
        self.0.insert(path.join("/").into_bytes(), [0; 32]);
        Ok(())
    }

    fn file(
        &mut self,
        path: &[String],
        _: u64,
        _: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        let (mut hash, mut buf) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            match content.read(&mut buf) {
                Ok(0) => break,
                Ok(len) => hash.update(buf.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.0.insert(path.join("/").into_bytes(), hash.finalize().into());
        Ok(())
    }
}

fn files_of_ext4<R: ReadAt>(root: &Ext4<R>) -> Result<Files, ImageError> {
    let (mut files, mut budget, mut seen) = (Files::new(), root.budget(), HashSet::new());
    let mut todo = vec![(Vec::new(), root.inode(Ext4::<R>::ROOT)?)];
    while let Some((path, directory)) = todo.pop() {
        if !seen.insert(directory.number) {
            return Err(ImageError::Corrupt("its ext4 has directories without end"));
        }
        root.entries(&directory, &mut budget, |entry, _| -> Result<(), ImageError> {
            let path = if path.is_empty() { entry.name.to_vec() } else { [&path, entry.name].join(&b'/') };
            let inode = root.inode(entry.inode)?;
            let is_directory = inode.kind == FileKind::Directory;
            // The times and lengths of directories follow from their entries.
            let (size, time) = if is_directory { (0, None) } else { (inode.size, Some(inode.modified)) };
            let facts = (inode.kind, inode.permissions, inode.uid, inode.gid, size, time);
            files.insert(path.clone(), Sha256::digest(format!("{facts:?}")).into());
            if files.len() > MOST_FILES {
                return Err(ImageError::Corrupt("its ext4 has too many files"));
            }
            if is_directory {
                todo.push((path, inode));
            }
            Ok(())
        })?;
    }
    Ok(files)
}

/// The place of the boot partition in a Pi's system.
const BOOT: &str = "/boot/firmware";
const MOST_FILES: usize = 4_000_000;
