//! Damaged file systems, read by this crate and by the programs that make and check them: e2fsprogs, mtools and dosfstools.
//!
//! Seeds are fixed. `PINETBOOT_DAMAGED=N` makes N times as many images, with other seeds.
#![expect(clippy::unwrap_used, reason = "a panic is a test's failure")]

#[path = "damaged/ext4.rs"]
mod ext4;
#[path = "damaged/fat.rs"]
mod fat;
#[path = "damaged/random.rs"]
mod random;

use std::process::{Command, Stdio};

use ext4::{Image, Listing};
use pinetboot_image::ImageError;
use random::Random;

#[test]
#[ignore = "needs mke2fs, debugfs, e2fsck"]
fn damage_in_what_is_read_is_found_by_the_checksums() {
    let mut faulted = 0;
    for (number, features) in [
        "metadata_csum,^64bit,^huge_file",
        "metadata_csum,metadata_csum_seed,orphan_file,64bit",
        "metadata_csum,^dir_index,^64bit",
    ]
    .into_iter()
    .enumerate()
    {
        let mut image = Image::new(features);
        let sound = image.read_tracked().unwrap();
        assert_eq!(sound, image.read().unwrap());
        for seed in seeds(25) {
            let mut random = Random::new(seed << 8 | number as u64);
            let flips = image.flip_metadata(&mut random, 8);
            let is_faulted = !image.is_clean();
            faulted += u32::from(is_faulted);
            match image.read() {
                Err(_) => {}
                // A place that no checksum covers, behind the entries of an index.
                Ok(listing) if listing == sound && !is_faulted => {}
                Ok(listing) => panic!(
                    "{features}, seed {seed}: {flips:?} read without an error; e2fsck: {is_faulted}, as before: {}",
                    listing == sound
                ),
            }
            image.undo();
        }
    }
    assert!(faulted > 45, "{faulted}: the damage did no harm");
}

#[test]
#[ignore = "needs mke2fs, debugfs, e2fsck"]
fn a_group_descriptor_is_checked_in_old_file_systems_too() {
    let mut image = Image::new("uninit_bg,^metadata_csum,^64bit");
    let sound = image.read().unwrap();
    image.flip(2048 + 8, 1 << 3);
    assert!(image.read().unwrap_err().to_string().contains("descriptor of group 0"));
    assert!(!image.is_clean());
    image.undo();
    assert_eq!(image.read().unwrap(), sound);
}

#[test]
#[ignore = "needs mke2fs, debugfs, e2fsck"]
fn a_lost_feature_bit_is_a_damaged_superblock() {
    let mut image = Image::new("metadata_csum");
    image.flip(1024 + 0x65, 4);
    assert!(image.read().unwrap_err().to_string().contains("superblock"));
    image.undo();
    // Unlike a feature that tune2fs(8) took away.
    run(Command::new("tune2fs").args(["-O", "^metadata_csum"]).arg(image.path()));
    image.reload();
    image.read().unwrap();
}

#[test]
#[ignore = "needs mke2fs, debugfs, e2fsck"]
fn findings_of_long_runs_stay_mended() {
    let mut image = Image::new("metadata_csum,64bit");
    let sound = image.read().unwrap();
    // The attribute c of chattr(1) means nothing to Linux.
    image.change_by("set_inode_field etc/1 flags 0x80004");
    assert!(image.is_clean());
    assert_eq!(image.read().unwrap(), sound);
    image.undo();
    // The names of a lost block of a directory were left out without a word.
    for change in [
        "set_inode_field etc block[3] 2",
        "set_inode_field many size 3328",
        "set_inode_field many size 0",
        "set_inode_field many block[1] 46320",
    ] {
        image.change_by(change);
        assert!(!image.is_clean(), "{change}");
        let why = image.read().map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("lacks blocks") || why.contains("impossible number"), "{change}: {why}");
        image.undo();
    }
}

#[test]
#[ignore = "needs mke2fs, debugfs, e2fsck"]
fn ext4_is_read_as_debugfs_reads_it() {
    let (mut both, mut clean) = (0, 0);
    let mut wrong = Vec::new();
    for (number, features) in [
        "^metadata_csum,^64bit",
        "^metadata_csum,^extent,^64bit",
        "^metadata_csum,^dir_index,64bit,^flex_bg",
        "^has_journal,^extent,^64bit,^flex_bg,^filetype,^metadata_csum",
        "metadata_csum,64bit",
    ]
    .into_iter()
    .enumerate()
    {
        let mut image = Image::new(features);
        image.read_tracked().unwrap();
        for seed in seeds(25) {
            let mut random = Random::new(seed << 8 | number as u64);
            let change = if features.contains("^metadata_csum") {
                format!("{:?}", image.flip_metadata(&mut random, 3))
            } else {
                image.change_by_debugfs(&mut random)
            };
            let is_clean = image.is_clean();
            clean += u32::from(is_clean);
            let result = match (image.read(), image.read_by_debugfs()) {
                (Ok(ours), Ok(theirs)) => {
                    both += 1;
                    same(&ours, &theirs)
                }
                // What e2fsck overlooks: Linux refuses such a file, too (`__ext4_ext_check`), and a name cannot be twice here.
                (Err(ImageError::Corrupt(why)), _) if OVERLOOKED.contains(&why) => Ok(()),
                (Err(why), _) if is_clean => Err(format!("clean, but: {why}")),
                (_, Err(why)) if is_clean && why != "a name with a line end" => {
                    Err(format!("clean, but debugfs: {why}"))
                }
                _ => Ok(()),
            };
            wrong.extend(result.err().map(|why| format!("{features}, seed {seed}, {change}: {why}")));
            image.undo();
        }
    }
    println!("{both} images read by both, {clean} clean");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(both > 40 && clean > 20, "{both} read by both, {clean} clean");
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, fsck.fat"]
fn fat_is_read_as_mtools_reads_it() {
    let (mut both, mut clean) = (0, 0);
    let mut wrong = Vec::new();
    for (bits, kilobytes) in [(12, 1000), (16, 5000), (32, 34_000)] {
        let mut image = fat::Image::new(bits, kilobytes);
        let sound = image.read().unwrap();
        assert_eq!(sound, image.read_by_mtools().unwrap());
        for seed in seeds(30) {
            let mut random = Random::new(seed << 8 | u64::from(bits));
            let flips = format!("{:?}", image.flip(&mut random));
            let is_clean = image.is_clean();
            clean += u32::from(is_clean);
            let result = match (image.read(), image.read_by_mtools()) {
                (Ok(ours), Ok(theirs)) => {
                    both += 1;
                    fat::same(&ours, &theirs, &sound)
                }
                (Err(ImageError::Corrupt(why)), _) if fat::OVERLOOKED.contains(&why) => Ok(()),
                (Err(why), _) if is_clean => Err(format!("clean, but: {why}")),
                _ => Ok(()),
            };
            wrong.extend(
                result.err().map(|why| format!("FAT{bits}, seed {seed}, {flips}, clean {is_clean}: {why}")),
            );
            image.undo();
        }
    }
    println!("{both} images read by both, {clean} clean");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(both > 20 && clean > 10, "{both} read by both, {clean} clean");
}

const OVERLOOKED: &[&str] = &[
    "ext4 has an extent tree of the wrong depth",
    "ext4 has an extent tree with an impossible number of entries",
    ext4::NAME_TWICE,
];

/// Compares what debugfs says about each file; it says nothing about the content of special files.
fn same(ours: &Listing, theirs: &Listing) -> Result<(), String> {
    for path in ours.keys().chain(theirs.keys()) {
        let (a, b) = (ours.get(path), theirs.get(path));
        if a != b {
            let (mut a, mut b) = (format!("{a:?}"), format!("{b:?}"));
            [&mut a, &mut b].into_iter().for_each(|text| text.truncate(200));
            return Err(format!("{}: we read {a}, debugfs {b}", path.escape_ascii()));
        }
    }
    Ok(())
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("PINETBOOT_DAMAGED").ok().map(|times| times.parse::<u64>().unwrap());
    times.map_or(0..count, |times| 1000..1000 + count * times)
}

/// Runs a program, which must succeed; returns its output.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
