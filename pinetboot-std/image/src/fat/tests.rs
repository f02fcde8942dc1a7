//! File systems made by the crate `fatfs`, read by this one; and the same with damage.

use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use super::*;
use crate::read_at::u32_at;

/// Every path of a file system with its length and content; directories end in `/`.
#[derive(Default)]
struct Everything(Vec<(String, Vec<u8>)>);

impl Visit for Everything {
    type Error = ImageError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImageError> {
        self.0.push((path.join("/") + "/", Vec::new()));
        Ok(())
    }

    fn file(
        &mut self,
        path: &[String],
        len: u64,
        _: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        assert!(bytes.len() as u64 <= len);
        self.0.push((path.join("/"), bytes));
        Ok(())
    }
}

/// Files in fragments, in nested directories, with names of every kind.
fn formatted(kind: FatType, len: usize) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut disk = Cursor::new(vec![0; len]);
    fatfs::format_volume(&mut disk, FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512))
        .unwrap();
    let mut files = Vec::new();
    let fs = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
    assert_eq!(fs.fat_type(), kind);
    let root = fs.root_dir();
    let mut add = |name: &str, len: usize| {
        let content: Vec<u8> = (0..len).map(|at| (at / 7) as u8 ^ name.len() as u8).collect();
        // In pieces by turns with another file, so that neither lies together.
        let mut file = root.create_file(name).unwrap();
        let mut other = root.create_file("between.bin").unwrap();
        for piece in content.chunks(700) {
            file.write_all(piece).unwrap();
            other.write_all(piece).unwrap();
        }
        files.push((name.to_owned(), content));
    };
    add("CONFIG.TXT", 12);
    add("kernel_2712.img", 9000);
    add("ein langer Name mit Ümläuten und 日本語.dtb", 513);
    add("empty", 0);
    root.create_dir("overlays").unwrap();
    root.create_dir("overlays/Tiefer").unwrap();
    add("overlays/Mixed Case.dtbo", 1025);
    add("overlays/Tiefer/x.bin", 4096);
    for number in 0..40 {
        add(&format!("overlays/many-files-with-long-names-{number}.dtbo"), number);
    }
    root.remove("between.bin").unwrap();
    files.extend(["overlays/", "overlays/Tiefer/"].map(|name| (name.to_owned(), Vec::new())));
    drop(root);
    fs.unmount().unwrap();
    files.sort();
    (disk.into_inner(), files)
}

fn opened(disk: &[u8]) -> Result<Fat<&[u8]>, ImageError> {
    Fat::open(Part::new(disk, 0, disk.len() as u64))
}

#[test]
fn every_width_is_read_as_it_was_written() {
    for (kind, len) in [(FatType::Fat12, 1 << 20), (FatType::Fat16, 8 << 20), (FatType::Fat32, 35 << 20)] {
        let (disk, files) = formatted(kind, len);
        let fat = opened(&disk).unwrap();
        let mut found = Everything::default();
        fat.walk(&mut found).unwrap();
        found.0.sort();
        assert!(found.0 == files, "{kind:?}");

        assert_eq!(fat.read("config.txt", 5).unwrap().unwrap(), files[0].1[..5], "{kind:?}");
        assert_eq!(fat.read("OVERLAYS/tiefer/X.BIN", 9999).unwrap().unwrap().len(), 4096);
        assert_eq!(fat.read("overlays/../Config.txt", 99).unwrap().unwrap().len(), 12);
        assert_eq!(fat.read("EIN LANGER NAME MIT ÜMLÄUTEN UND 日本語.DTB", 99).unwrap().unwrap().len(), 99);
        assert_eq!(fat.read("MANYFI~1", 99).unwrap(), None);
        for none in ["none", "config.txt/x", "overlays", "overlays/none"] {
            assert_eq!(fat.read(none, 99).unwrap(), None, "{none}");
        }
        assert_eq!(fat.list("overlays").unwrap().len(), 44, "with . and ..");
        assert!(fat.list("").unwrap().contains(&"overlays".to_owned()));
        assert_eq!(fat.list("config.txt").unwrap(), [""; 0]);
    }
}

#[test]
fn damage_is_an_error_or_other_files_but_never_a_panic_or_without_end() {
    let (disk, _) = formatted(FatType::Fat12, 1 << 18);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % most
    };
    let mut refused = 0;
    for _ in 0..500 {
        let mut disk = disk.clone();
        for _ in 0..=below(4) {
            // The boot sector, the tables and the root's entries, where damage does most.
            let most = [64, 4096, 16384][below(3)];
            let (at, byte) = (below(most), below(256) as u8);
            disk[at] = [0, 0xff, byte][below(3)];
        }
        let Ok(fat) = opened(&disk) else { continue };
        refused += u32::from(fat.walk(&mut Everything::default()).is_err());
        let _ = fat.read("overlays/Tiefer/x.bin", 10_000);
        let _ = fat.list("overlays");
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_chain_in_a_circle_ends() {
    let (mut disk, _) = formatted(FatType::Fat12, 1 << 18);
    let entry = disk.windows(11).position(|bytes| bytes == b"CONFIG  TXT").unwrap();
    let first = u32_at(&disk, entry + 26).unwrap() & 0xffff;
    let next = |cluster: u32| (512 + cluster + cluster / 2) as usize; // behind the one reserved sector
    assert_eq!(first % 2, 0);
    disk[next(first)] = first as u8; // of 12 bits the lower ones: it follows itself
    disk[next(first) + 1] &= 0xf0;
    disk[entry + 28..entry + 32].fill(0xff); // 4 GiB long
    let error = opened(&disk).unwrap().walk(&mut Everything::default()).unwrap_err();
    assert!(error.to_string().contains("more than once"), "{error}");
}
