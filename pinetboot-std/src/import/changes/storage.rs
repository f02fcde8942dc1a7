//! Services that need the SD card: resizing, swap, the initramfs that finds the card, the bootloader's update.

use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// Growing the card's file system: `resize2fs_once`, which pi-gen enables (Bookworm), fails at every boot of a network root;
/// `rpi-resize.service` (Trixie) at the first.
pub(super) fn resize(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let view = context.view;
    let mut paths = vec![
        "etc/init.d/resize2fs_once".to_owned(),
        "etc/systemd/system/multi-user.target.wants/resize2fs_once.service".to_owned(),
        "etc/systemd/system/sysinit.target.wants/rpi-resize.service".to_owned(),
    ];
    for level in view.list("etc")?.iter().filter(|name| name.starts_with("rc") && name.ends_with(".d")) {
        let links = view.list(&format!("etc/{level}"))?;
        paths.extend(
            links
                .iter()
                .filter(|name| name.ends_with("resize2fs_once"))
                .map(|name| format!("etc/{level}/{name}")),
        );
    }
    removed(context, paths)
}

/// DietPi's own growing of the card (dietpi/dietpi-fs_partition_resize.service).
pub(super) fn resize_of_dietpi(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let targets = ["local-fs", "multi-user", "sysinit"];
    let path =
        |target| format!("etc/systemd/system/{target}.target.wants/dietpi-fs_partition_resize.service");
    removed(context, targets.map(path).into())
}

/// Swap files over the network are slow: Bookworm's dphys-swapfile makes one of 512 MB; Trixie's rpi-swap one of up to 2 GB
/// beside its swap in compressed memory, which stays.
pub(super) fn swap(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if context.release == Release::RaspiosBookworm {
        let link = "etc/systemd/system/multi-user.target.wants/dphys-swapfile.service";
        return removed(context, vec![link.into(), "var/swap".into()]);
    }
    if !context.view.has("etc/rpi/swap.conf")? {
        return Ok(Vec::new());
    }
    let content = "[Main]\nMechanism=zram\n";
    Ok(vec![Edit::write("etc/rpi/swap.conf.d/90-pinetboot.conf", content, "swap in compressed memory only")])
}

/// With `MODULES=dep` the initramfs is made for the device that the root is on; on NFS `mkinitramfs` finds none, fails, and
/// with it the upgrade of a kernel (initramfs-tools, `dep_add_modules_mount`).
pub(super) fn initramfs(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if context.view.list("etc/initramfs-tools")?.is_empty() {
        return Ok(Vec::new());
    }
    let path = "etc/initramfs-tools/conf.d/pinetboot";
    Ok(vec![Edit::write(path, "MODULES=most\n", "initramfs for any root, so that kernel upgrades succeed")])
}

/// Disables rpi-eeprom-update: its update among the boot files would reach every Pi that boots from them.
pub(super) fn eeprom_update(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let unit = "rpi-eeprom-update.service";
    Ok(if context.view.has_unit(unit)? { vec![Edit::mask(unit)] } else { Vec::new() })
}

/// Removes those of the files that exist.
pub(super) fn removed(context: &Context<'_>, paths: Vec<String>) -> Result<Vec<Edit>, ImageError> {
    let mut edits = Vec::new();
    for path in paths {
        if context.view.has(&path)? {
            edits.push(Edit::remove(path));
        }
    }
    Ok(edits)
}
