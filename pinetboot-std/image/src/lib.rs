//! Reads an operating system image without mounting it: no root, no loop device, no kernel driver.
//!
//! ```text
//! file -> container -> partitions -> boot: FAT12, FAT16, FAT32  \
//!         xz, gzip,    MBR, GPT                                  -> one view of the system's files
//!         zstd, bzip2,               root: ext2, ext3, ext4     /
//!         zip, tar
//! ```
//!
//! | item | does |
//! |---|---|
//! | [`ImageFile`] | opens an image file, unpacks it in the background, and hashes it |
//! | [`Container`] | recognises the compression and unpacks a stream |
//! | [`Partitions`] | lists the partitions and what they hold |
//! | [`Layout`] | finds the boot and the root partition among them |
//! | [`Fat`] | lists, reads and walks the boot partition |
//! | [`ext4`] | reads the root: owners, links, devices, times, extended attributes |
//! | [`journal`] | reads the journal that the system left |
//! | [`SystemView`] | looks files up in both, as the running system sees them |
//! | [`ReadAt`], [`Part`] | random access to bytes; implement `ReadAt` for any other source |
//!
//! ```no_run
//! use std::path::Path;
//!
//! use pinetboot_image::ext4::Ext4;
//! use pinetboot_image::{Choice, Fat, ImageFile, Layout, Part, Partitions, SystemView};
//!
//! let path = Path::new("raspios-trixie-arm64-lite.img.xz");
//! let image = ImageFile::open(path, Path::new("/var/tmp"), |_| Ok(()))?;
//! let layout = Layout::find(&image, &Partitions::read(&image)?, Choice::default())?;
//! let (boot, root) = (layout.boot.map(|boot| boot.extent), layout.root.map(|root| root.extent));
//! let root = root.map(|at| Ext4::open(Part::new(&image, at.start, at.len), at.len)).transpose()?;
//! let boot = boot.map(|at| Fat::open(Part::new(&image, at.start, at.len))).transpose()?;
//! let system = SystemView::new(root.as_ref(), boot.as_ref(), "boot/firmware");
//! let release = system.read("etc/os-release", 4096)?.unwrap_or_default();
//! println!("{}", String::from_utf8_lossy(&release));
//! # Ok::<(), pinetboot_image::ImageError>(())
//! ```
//!
//! Every image is treated as hostile: lengths and pointers are checked before use, allocations are bounded by what the image
//! really holds, and a walk over a file system reads no block more often than a sound file system allows. The parsers are
//! fuzzed.
//!
//! Not done: writing; LVM, RAID and encryption; file systems other than FAT and ext2 to ext4; an ext4
//! journal that must be replayed (such an image is refused).

#![forbid(unsafe_code)]

mod container;
mod error;
pub mod ext4;
pub mod fat;
mod foreign;
mod image_file;
pub mod journal;
mod layout;
mod metadata;
mod partitions;
mod read_at;
mod sparse;
mod view;

pub use container::Container;
pub use error::ImageError;
pub use fat::Fat;
pub use image_file::ImageFile;
pub use layout::{Choice, Layout};
pub use partitions::{Content, Extent, Partition, Partitions};
pub use read_at::{Part, ReadAt};
pub use sparse::write_sparse;
pub use view::SystemView;

// So that its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
