//! The initramfs of a machine whose root is on a served disk: a first program, and the modules that the image's kernel needs to reach
//! the disk, out of the image itself.

mod cpio;
mod modules;

use core::fmt;

use pinetboot_image::{ImageError, ReadAt, SystemView};

use self::cpio::Cpio;
use self::modules::Modules;

/// An initramfs: an archive in the format `newc`, not compressed (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Initramfs {
    /// The archive. The same image, kernels and first program give the same bytes.
    pub archive: Vec<u8>,
    /// The release of each kernel, and the names of its modules in the order in which they are loaded.
    pub modules: Vec<(String, Vec<String>)>,
    /// The release of a kernel that has overlayfs neither built in nor as a module: a root on a read-only disk stays read-only with it.
    pub lacks_overlayfs: Option<String>,
}

/// The reason why an image's kernel gets no initramfs.
#[derive(Debug)]
#[non_exhaustive]
pub enum InitramfsError {
    /// The image cannot be read.
    Image(ImageError),
    /// The image has no modules of this kernel.
    NoKernel(String),
    /// The kernel has neither built in nor as a module what the disk needs: the module's name.
    Lacks(String),
    /// A file of the image is damaged or too large: its path.
    Damaged(String),
}

impl Initramfs {
    /// Makes the initramfs for kernels of the image, by their releases: names in [`kernels`]. A card has a kernel for each model, and
    /// the Pi's firmware chooses. `init` is the first program, the file `pinetboot-init`; it loads `/modules/RELEASE/*` of the
    /// kernel that runs, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`InitramfsError`].
    pub fn of<R: ReadAt, B: ReadAt>(
        image: &SystemView<'_, R, B>,
        releases: &[String],
        init: &[u8],
    ) -> Result<Self, InitramfsError> {
        let mut archive = Cpio::default();
        archive.directory("dev");
        // The kernel opens the console before the first program mounts /dev, and Rust's runtime /dev/null.
        archive.character_device("dev/console", 5, 1);
        archive.character_device("dev/null", 1, 3);
        archive.directory("modules");
        let (mut all, mut lacks_overlayfs) = (Vec::new(), None);
        for release in releases {
            let modules = Modules::read(image, release)?;
            archive.directory(&format!("modules/{release}"));
            if !modules.has(OVERLAYFS) {
                lacks_overlayfs.get_or_insert_with(|| release.clone());
            }
            let mut names = Vec::new();
            for path in modules.paths(&NEEDED, &WANTED)? {
                let name = modules::name(&path);
                let module = modules.content(image, &path)?;
                archive.file(&format!("modules/{release}/{:03}-{name}.ko", names.len()), 0o644, &module);
                if archive.len() > MOST_BYTES {
                    return Err(InitramfsError::Damaged(path));
                }
                names.push(name);
            }
            all.push((release.clone(), names));
        }
        archive.file("init", 0o755, init);
        Ok(Self { archive: archive.finish(), modules: all, lacks_overlayfs })
    }
}

/// The releases of the kernels whose modules an image has, sorted.
///
/// # Errors
///
/// The image's.
pub fn kernels<R: ReadAt, B: ReadAt>(image: &SystemView<'_, R, B>) -> Result<Vec<String>, ImageError> {
    image.list(modules::DIRECTORY)
}

impl From<ImageError> for InitramfsError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl fmt::Display for InitramfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::NoKernel(release) => write!(
                f,
                "the image has no modules of the kernel {release}: /lib/modules/{release}/modules.dep is missing. Install the kernel's package in the image"
            ),
            Self::Lacks(module) => {
                write!(
                    f,
                    "the image's kernel has no {module}, neither built in nor as a module. Use another kernel"
                )
            }
            Self::Damaged(path) => write!(f, "the image is damaged: {path}"),
        }
    }
}

impl core::error::Error for InitramfsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Image(error) => Some(error),
            _ => None,
        }
    }
}

/// For a Pi that writes to its memory.
const OVERLAYFS: &str = "overlay";
/// What the disk needs.
const NEEDED: [&str; 2] = ["nbd", "ext4"];
/// What a Pi may need to reach the server, where its kernel has it as modules (names of Linux 6.1). Pi 5: macb. Pi 4: genet. Pi 3:
/// smsc95xx or lan78xx, on dwc2. The others are PHYs and buses, which no dependency names, and the checksum that ext4 looks up by
/// name; virtio is of emulated machines. Run on emulated machines alone.
const WANTED: [&str; 14] = [
    "crc32c_generic",
    OVERLAYFS,
    "broadcom",
    "bcm7xxx",
    "microchip",
    "mdio_bcm_unimac",
    "macb",
    "genet",
    "dwc2",
    "lan78xx",
    "smsc95xx",
    "virtio_pci",
    "virtio_mmio",
    "virtio_net",
];
/// Bytes of the modules in an initramfs.
const MOST_BYTES: usize = 64 << 20;
