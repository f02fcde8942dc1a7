//! The tree of the demo: small versions of a Pi 5's boot files, generated in memory.

use std::convert::Infallible;
use std::sync::Arc;

use pinetboot_core::pi::Lookup;
use pinetboot_core::{File, NoUpload, OpenError, OpenRequest, Storage};

use crate::inspect;
use crate::simulate::DeviceTree;

/// Files in memory, shared by all Pis.
#[derive(Debug, Clone)]
pub(super) struct DemoTree(Vec<(&'static str, Bytes)>);

/// A file in memory.
#[derive(Debug, Clone)]
pub(super) struct Bytes(Arc<[u8]>);

impl DemoTree {
    /// A tree with the right names; kernel, initramfs, device tree and overlay hold filler bytes.
    pub(super) fn new() -> Self {
        let device_tree = DeviceTree::new()
            .property("compatible", b"raspberrypi,5-model-b\0brcm,bcm2712\0")
            .property("model", b"Raspberry Pi 5 Model B\0")
            .property("filler", &filler(78_000));
        let map = DeviceTree::new()
            .node(
                "vc4-kms-v3d",
                &[("bcm2835", b""), ("bcm2711", b"vc4-kms-v3d-pi4\0"), ("bcm2712", b"vc4-kms-v3d-pi5\0")],
            )
            .node("vc4-kms-v3d-pi5", &[("bcm2712", b"")]);
        let overlay =
            DeviceTree::new().property("compatible", b"brcm,bcm2712\0").property("filler", &filler(3_000));
        let files = [
            ("config.txt", CONFIG.into()),
            ("cmdline.txt", COMMAND_LINE.into()),
            ("kernel_2712.img", beginning(inspect::kernel::image("6.12.34"), 9_698_043)),
            ("initramfs_2712", beginning(b"070701".to_vec(), 6_523_888)),
            ("bcm2712-rpi-5-b.dtb", device_tree.finish()),
            ("overlays/overlay_map.dtb", map.finish()),
            ("overlays/vc4-kms-v3d-pi5.dtbo", overlay.finish()),
        ];
        Self(files.into_iter().map(|(name, bytes): (_, Vec<u8>)| (name, Bytes(bytes.into()))).collect())
    }

    pub(super) fn files(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.0.len()).sum()
    }
}

impl Storage for DemoTree {
    type File = Bytes;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Bytes, OpenError> {
        let wanted = Lookup::new(request.path).file(); // the tree has no directories of Pis
        let is_wanted = |name: &str| name.split('/').eq(wanted.components());
        let found = self.0.iter().find(|(name, _)| is_wanted(name));
        found.map(|(_, bytes)| bytes.clone()).ok_or(OpenError::NotFound)
    }
}

impl File for Bytes {
    type Error = Infallible;

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Infallible> {
        // The caller stays within the length.
        if let Some(bytes) = self.0.get(offset as usize..).and_then(|bytes| bytes.get(..buf.len())) {
            buf.copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// A file of this length: a beginning, then varied bytes.
fn beginning(mut content: Vec<u8>, len: usize) -> Vec<u8> {
    content.extend(filler(len.saturating_sub(content.len())));
    content
}

/// Varied bytes.
fn filler(len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

const CONFIG: &str = "\
# What Raspberry Pi OS has, shortened. See http://rptl.io/configtxt
dtparam=audio=on
camera_auto_detect=1
display_auto_detect=1

# Load an initramfs that goes with the kernel, if there is one
auto_initramfs=1

# The display; overlays/overlay_map.dtb knows the Pi 5's name for it
dtoverlay=vc4-kms-v3d
max_framebuffers=2
disable_fw_kms_setup=1
arm_64bit=1
disable_overscan=1

[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
enable_uart=1
";

const COMMAND_LINE: &str = "console=serial0,115200 console=tty1 root=/dev/nfs \
                            nfsroot=192.168.1.2:/srv/pi,vers=3,tcp rw ip=dhcp rootwait\n";
