//! Lists the files of an image: `cargo run -p pinetboot-image --example list -- IMAGE [DIRECTORY]`
//!
//! A compressed image is unpacked into a temporary file first; the whole file system, or what is beneath DIRECTORY of the
//! root, is printed with modes, owners and sizes.

use std::env;
use std::path::Path;

use pinetboot_image::ext4::{DirectoryEntry, Ext4, FileKind, Inode};
use pinetboot_image::fat::Visit;
use pinetboot_image::{Choice, Fat, ImageError, ImageFile, Layout, Part, Partitions, ReadAt};

fn main() -> Result<(), ImageError> {
    let mut arguments = env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: list IMAGE [DIRECTORY]");
        return Ok(());
    };
    let directory = arguments.next().unwrap_or_default();
    let image = ImageFile::open(Path::new(&path), &env::temp_dir(), |_| Ok(()))?;
    let layout = Layout::find(&image, &Partitions::read(&image)?, Choice::default())?;
    if let Some(at) = layout.boot.map(|boot| boot.extent).filter(|_| directory.is_empty()) {
        println!("boot partition, FAT, {} MiB", at.len >> 20);
        Fat::open(Part::new(&image, at.start, at.len))?.walk(&mut Print)?;
    }
    if let Some(at) = layout.root.map(|root| root.extent) {
        println!("root partition, ext4, {} MiB", at.len >> 20);
        let root = Ext4::open(Part::new(&image, at.start, at.len), at.len)?;
        match root.find(&directory)? {
            Some(found) if found.kind == FileKind::Directory => print(&root, &found, &directory)?,
            _ => println!("no directory {directory}"),
        }
    }
    Ok(())
}

struct Print;

impl Visit for Print {
    type Error = ImageError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImageError> {
        println!("{:>12} {}/", "", path.join("/"));
        Ok(())
    }

    fn file(
        &mut self,
        path: &[String],
        len: u64,
        _: Option<i64>,
        _: &mut dyn std::io::Read,
    ) -> Result<(), ImageError> {
        println!("{len:>12} {}", path.join("/"));
        Ok(())
    }
}

fn print<R: ReadAt>(root: &Ext4<R>, directory: &Inode, path: &str) -> Result<(), ImageError> {
    let mut below = Vec::new();
    root.entries(directory, &mut root.budget(), |DirectoryEntry { name, inode, .. }, _| {
        let file = root.inode(inode)?;
        let path = format!("{path}/{}", String::from_utf8_lossy(name));
        println!("{:>12} {path} {:04o} {}:{}", file.size, file.permissions, file.uid, file.gid);
        if file.kind == FileKind::Directory {
            below.push((file, path));
        }
        Ok::<_, ImageError>(())
    })?;
    below.iter().try_for_each(|(directory, path)| print(root, directory, path))
}
