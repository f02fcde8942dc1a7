//! Any bytes are an ext4 file system that is walked to its end, or refused; never for longer than its size allows.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use pinetboot_image::ImageError;
use pinetboot_image::ext4::{Ext4, FileKind};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ext4) = Ext4::open(bytes, bytes.len() as u64) else { return };
    let _ = walk(&ext4, bytes.len() as u64);
    let _ = ext4.find("etc/fstab").map(|file| file.map(|file| ext4.read(&file, 4096)));
    let _ = ext4.find("link/../../upwards/etc/./os-release");
});

fn walk(ext4: &Ext4<&[u8]>, len: u64) -> Result<(), ImageError> {
    let mut budget = ext4.budget();
    let mut mapped = 0;
    let mut seen = HashSet::new();
    let mut todo = vec![Ext4::<&[u8]>::ROOT];
    while let Some(number) = todo.pop() {
        let directory = ext4.inode(number)?;
        if directory.kind != FileKind::Directory || !seen.insert(number) {
            continue;
        }
        ext4.entries(&directory, &mut budget, |entry, budget| {
            assert!(!entry.name.is_empty() && entry.name.len() <= 255);
            assert!(
                !entry.name.contains(&b'/')
                    && !entry.name.contains(&0)
                    && !matches!(entry.name, b"." | b"..")
            );
            let inode = ext4.inode(entry.inode)?;
            for xattr in ext4.xattrs(&inode)? {
                assert!(!xattr.name.contains(&0));
            }
            match inode.kind {
                FileKind::Directory => todo.push(entry.inode),
                FileKind::Symlink => assert!(!ext4.target(&inode, budget)?.contains(&0)),
                FileKind::Regular => {
                    let mut end = 0;
                    for run in ext4.runs(&inode, budget)? {
                        assert!(run.len > 0 && run.logical >= end, "runs are in order");
                        end = run.logical + run.len;
                        mapped += run.len * ext4.block_size();
                        assert!((run.physical + run.len) * ext4.block_size() <= len);
                    }
                    assert!(end <= inode.size.div_ceil(ext4.block_size()), "nothing beyond the file's end");
                }
                _ => {}
            }
            Ok::<_, ImageError>(())
        })?;
    }
    assert!(mapped <= len, "no more content than the image has bytes");
    Ok(())
}
