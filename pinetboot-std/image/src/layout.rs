//! Which partitions a Pi boots from: the boot partition and the root, found by what they are.
//!
//! The boot partition is the one that `boot_partition` in autoboot.txt names (raspberrypi/documentation, config_txt/autoboot.adoc), else
//! the first FAT with boot files that is no recovery system (PINN, NOOBS), else the first FAT. The root is an ext4 with an init
//! or an os-release; among several, the one that `root=` in cmdline.txt names.

use crate::ext4::{Ext4, FileKind};
use crate::partitions::{Content, Partition, Partitions};
use crate::{Fat, ImageError, Part, ReadAt};

/// The boot and the root partition of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// The boot partition: FAT.
    pub boot: Option<Partition>,
    /// The root: ext2, ext3 or ext4.
    pub root: Option<Partition>,
    /// Choices that a reader may want to know, a sentence each.
    pub notes: Vec<String>,
}

/// A choice by partition numbers, instead of by content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a caller makes it")]
pub struct Choice {
    /// The boot partition.
    pub boot: Option<u32>,
    /// The root.
    pub root: Option<u32>,
}

impl Layout {
    /// Finds the two partitions.
    ///
    /// # Errors
    ///
    /// If the image has neither, a chosen one does not exist, or autoboot.txt names one that no Pi boots from. The error
    /// lists the partitions and their content.
    pub fn find<R: ReadAt>(image: &R, partitions: &Partitions, choice: Choice) -> Result<Self, ImageError> {
        let mut layout = Self::default();
        let boot = layout.find_boot(image, partitions, choice.boot)?;
        let fat = boot.map(|boot| Fat::open(part(image, boot))).transpose()?;
        let named = fat.as_ref().map(root_word).transpose()?.flatten();
        let root = layout.find_root(image, partitions, choice.root, named.as_deref())?;
        if boot.is_none() && root.is_none() {
            return Err(ImageError::Layout(format!(
                "the image has neither a FAT boot partition nor an ext4 root: {}",
                partitions
            )));
        }
        layout.boot = boot.cloned();
        layout.root = root.cloned();
        Ok(layout)
    }

    fn find_boot<'p, R: ReadAt>(
        &mut self,
        image: &R,
        partitions: &'p Partitions,
        wanted: Option<u32>,
    ) -> Result<Option<&'p Partition>, ImageError> {
        let of_number = |number, by: &str| {
            let found = partitions.get(number).filter(|partition| partition.content == Content::Fat);
            found.ok_or_else(|| {
                ImageError::Layout(format!("{by} partition {number}, which holds no FAT: {}", partitions))
            })
        };
        if let Some(number) = wanted {
            return of_number(number, "--boot-partition names").map(Some);
        }
        let fats = || partitions.all().iter().filter(|partition| partition.content == Content::Fat);
        let Some(first) = fats().next() else {
            let declared = partitions.all().iter().find(|partition| {
                partition.declared == Some(Content::Fat) && partition.content == Content::Unknown
            });
            return declared.map_or(Ok(None), |_| {
                Err(ImageError::Corrupt("its boot partition holds no FAT file system"))
            });
        };
        if let Some(number) = autoboot(&Fat::open(part(image, first))?)? {
            self.notes.push(format!("autoboot.txt names partition {number}: its boot files are taken"));
            return of_number(number, "autoboot.txt names").map(Some);
        }
        let mut systems = Vec::new();
        for partition in fats() {
            if has_boot_files(&Fat::open(part(image, partition))?)? {
                systems.push(partition);
            }
        }
        if let [taken, others @ ..] = systems.as_slice()
            && !others.is_empty()
        {
            let others: Vec<_> = others.iter().map(|other| other.number.to_string()).collect();
            self.notes.push(format!(
                "boot files of partition {}; partition {} has boot files, too (--boot-partition)",
                taken.number,
                others.join(" and ")
            ));
        }
        Ok(Some(systems.first().copied().unwrap_or(first)))
    }

    fn find_root<'p, R: ReadAt>(
        &mut self,
        image: &R,
        partitions: &'p Partitions,
        wanted: Option<u32>,
        named: Option<&str>,
    ) -> Result<Option<&'p Partition>, ImageError> {
        if let Some(number) = wanted {
            let found = partitions.get(number).filter(|partition| partition.content == Content::Ext);
            return found.map(Some).ok_or_else(|| {
                let why = "--root-partition names partition";
                ImageError::Layout(format!("{why} {number}, which holds no ext4: {partitions}"))
            });
        }
        let (mut systems, mut others) = (Vec::new(), Vec::new());
        for partition in partitions.all().iter().filter(|partition| partition.content == Content::Ext) {
            match is_system(image, partition) {
                Ok(true) => systems.push(partition),
                // Opening the chosen partition gives the reason.
                Ok(false) | Err(_) => others.push(partition),
            }
        }
        let is_named = |partition: &&&'p Partition| named.is_some_and(|named| is(image, partition, named));
        if let Some(by_name) = systems.iter().find(is_named) {
            return Ok(Some(by_name));
        }
        if let Some(first) = systems.first() {
            if let Some(named) = named {
                self.notes.push(format!(
                    "cmdline.txt names {named}, which is no partition with a system: partition {} is taken as root",
                    first.number
                ));
            }
            return Ok(Some(first));
        }
        if let Some(other) = others.iter().find(is_named).or(others.first()) {
            return Ok(Some(other));
        }
        if partitions.all().iter().any(|partition| partition.content == Content::Cut) {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(None)
    }
}

fn part<'i, R>(image: &'i R, partition: &Partition) -> Part<&'i R> {
    Part::new(image, partition.extent.start, partition.extent.len)
}

/// The partition that autoboot.txt names for a normal boot.
fn autoboot<R: ReadAt>(fat: &Fat<R>) -> Result<Option<u32>, ImageError> {
    let Some(text) = fat.read("autoboot.txt", MOST_TEXT)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let (mut applies, mut number) = (true, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            applies = section.trim() == "all";
        } else if let Some((key, value)) = line.split_once('=')
            && applies
            && key.trim() == "boot_partition"
        {
            number = value.trim().parse().ok().or(number);
        }
    }
    Ok(number.filter(|number| *number > 0)) // 0: the default partition
}

/// Whether a FAT holds a system's boot files. Those of PINN and NOOBS start a recovery system from the same card.
fn has_boot_files<R: ReadAt>(fat: &Fat<R>) -> Result<bool, ImageError> {
    let names: Vec<_> = fat.list("")?.into_iter().map(|name| name.to_ascii_lowercase()).collect();
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_recovery = has("recovery.cmdline") || has("recovery.rfs") || has("recovery.elf");
    let is_kernel = |name: &String| name.starts_with("kernel") && name.ends_with(".img");
    Ok(!is_recovery && (has("config.txt") || has("cmdline.txt") || names.iter().any(is_kernel)))
}

/// The value of `root=` in the command line.
fn root_word<R: ReadAt>(fat: &Fat<R>) -> Result<Option<String>, ImageError> {
    for name in ["current/cmdline.txt", "cmdline.txt"] {
        let Some(text) = fat.read(name, MOST_TEXT)? else { continue };
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some(root) = text.split_whitespace().find_map(|word| word.strip_prefix("root=")) {
            return Ok(Some(root.to_owned()));
        }
    }
    Ok(None)
}

/// Whether an ext4 holds a system: an init or an os-release.
fn is_system<R: ReadAt>(image: &R, partition: &Partition) -> Result<bool, ImageError> {
    let root = Ext4::open(part(image, partition), partition.extent.len)?;
    for path in SYSTEM {
        if root.find(path)?.is_some_and(|inode| inode.kind == FileKind::Regular) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `root=` names a partition.
fn is<R: ReadAt>(image: &R, partition: &Partition, named: &str) -> bool {
    let field = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        part(image, partition).read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    match named.split_once('=') {
        Some(("PARTUUID", id)) => id.eq_ignore_ascii_case(&partition.partuuid),
        Some(("PARTLABEL", label)) => label == partition.label,
        Some(("LABEL", label)) => field(SUPERBLOCK + 0x78, 16)
            .is_some_and(|name| name.split(|byte| *byte == 0).next() == Some(label.as_bytes())),
        Some(("UUID", id)) => field(SUPERBLOCK + 0x68, 16).is_some_and(|bytes| {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            id.replace('-', "").eq_ignore_ascii_case(&digits)
        }),
        _ => {
            let digits = named.trim_start_matches(|c: char| c != '/');
            let number: String = digits.chars().rev().take_while(char::is_ascii_digit).collect();
            let number: String = number.chars().rev().collect();
            named.starts_with("/dev/") && number.parse() == Ok(partition.number)
        }
    }
}

/// Offset of an ext4's superblock, in bytes.
const SUPERBLOCK: u64 = 1024;
/// Files of which a root has one. The kernel starts the first ones (init/main.c).
const SYSTEM: &[&str] = &[
    "sbin/init",
    "usr/sbin/init",
    "usr/lib/systemd/systemd",
    "bin/init",
    "etc/os-release",
    "usr/lib/os-release",
];
/// The longest configuration that is read, in bytes.
const MOST_TEXT: u64 = 64 << 10;
